"""Model cards say what ran and are valid for the Hub; a folder is uploaded whole."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi, ModelCard

from mrd_hf.errors import UserError
from mrd_hf.hub import push_folder, write_model_card


TEMPLATE = Path(__file__).parent.parent / "model_cards" / "template.md"
FACTS = {
    "name": "encoder",
    "dataset": "org/data",
    "train_split": "train",
    "eval_split": "test",
    "num_shapes": 5,
    "parameters": "1.0M",
    "num_points": 64,
    "num_patches": 8,
    "steps": 3,
    "global_batch_size": 4,
    "num_processes": 1,
    "mixed_precision": "no",
    "hardware": "a CPU",
    "minutes": "0.1",
    "train_loss": "1.0",
    "software": "torch",
    "arguments": "{}",
}


@pytest.mark.parametrize(
    ("teacher", "base_model"), [("openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32"), ("a-folder", None)]
)
def test_a_card_states_its_metadata_and_facts(tmp_path, teacher, base_model):
    write_model_card(tmp_path, TEMPLATE, teacher=teacher, evaluation="zero-shot  50.0", **FACTS)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.library_name == "transformers"
    assert card.data.base_model == base_model
    assert "zero-shot  50.0" in card.text
    assert f"embedding space of `{teacher}`" in card.text
    assert "{{" not in card.content


def test_a_card_without_evaluation_says_so(tmp_path):
    write_model_card(tmp_path, TEMPLATE, teacher="t", evaluation=None, **FACTS)
    assert "Not evaluated." in (tmp_path / "README.md").read_text()


def test_a_push_that_fails_says_where_the_encoder_is(tmp_path, monkeypatch):
    def create_repo(self, repo_id, **arguments):
        raise ConnectionError("no route to the Hub")

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    with pytest.raises(UserError, match=f"no route to the Hub. The encoder is safe in {tmp_path}") as error:
        push_folder(tmp_path, "org/model", private=True)
    assert error.value.exit_code == 1


def test_pushing_creates_the_repository_and_uploads_the_folder(tmp_path, monkeypatch):
    calls = []

    class Repository:
        repo_id = "org/model"

    def create_repo(self, repo_id, **arguments):
        calls.append(("create", repo_id, arguments))
        return Repository

    def upload_folder(self, **arguments):
        calls.append(("upload", arguments["repo_id"], arguments["folder_path"]))
        return "https://hub/org/model"

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    assert push_folder(tmp_path, "model", private=True) == "https://hub/org/model"
    assert calls == [
        ("create", "model", {"private": True, "exist_ok": True}),
        ("upload", "org/model", tmp_path),
    ]
