"""Model cards, and uploading a trained encoder to the Hub."""

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCard, ModelCardData
from huggingface_hub.errors import HfHubHTTPError

from .errors import UserError


def write_model_card(folder: Path, template: Path, teacher: str | None, **facts: Any) -> None:
    """Write a checkpoint's README.md from what really ran.

    Args:
        folder (`Path`): The checkpoint's folder.
        template (`Path`): Jinja template, `model_cards/template.md`.
        teacher (`str`, *optional*): The teacher's id.
        **facts: The template's variables.
    """
    data = ModelCardData(
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=["point-cloud", "3d", "zero-shot", "mrd-hf"],
        base_model=teacher if teacher is not None and teacher.count("/") == 1 else None,
    )
    ModelCard.from_template(data, template_str=template.read_text(), teacher=teacher, **facts).save(
        folder / "README.md"
    )


def push_folder(folder: Path, repo_id: str, private: bool) -> str:
    """Upload a checkpoint's folder; returns its address. Creates the repository if there is none.

    Raises:
        UserError: when the Hub cannot be reached or refuses; the folder stays as it is.
    """
    api = HfApi()
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        return str(api.upload_folder(folder_path=folder, repo_id=repo_id, commit_message="Upload the trained encoder"))
    except (HfHubHTTPError, OSError) as error:
        raise UserError(
            f"could not upload to {repo_id}: {error}. The encoder is safe in {folder}; log in with `hf auth login`, "
            f"then `hf upload {repo_id} {folder}`.",
            exit_code=1,
        ) from None
