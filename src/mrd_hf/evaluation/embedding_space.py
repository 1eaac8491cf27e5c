"""Whose embedding space an encoder is in: what its class names, and the images and texts it is scored on, are of."""

from functools import cache

from datasets import Dataset
from transformers import PreTrainedConfig

from ..data.embedding.cached_teacher import are_one, origins_in_dataset, split_identifier, the_teacher
from ..encoder import recorded_teacher
from ..errors import UserError
from ..models.model_sources import text_tower_of
from ..models.teacher_folder import is_folder_revision
from ..teacher import folder_identifier


def teacher_of(model: str, config: PreTrainedConfig, given: str | None = None) -> str:
    """The identifier of the teacher whose space an encoder is in.

    Args:
        model (`str`): What the user calls the encoder.
        config (`PreTrainedConfig`): The encoder's.
        given (`str`, *optional*): The teacher that the user gives; default: the one that the encoder names.

    Raises:
        UserError: The encoder names none, or the given one is a folder of another than it names.
    """
    return _teacher(model, given, recorded_teacher(config))


@cache  # a folder is read in whole
def _teacher(model: str, given: str | None, own: str | None) -> str:
    if given is None:
        if own is None:
            raise UserError(f"{model} does not say whose embedding space it is in; give --teacher.")
        return own
    teacher = folder_identifier(given)
    folders = own is not None and all(is_folder_revision(split_identifier(name)[1]) for name in (teacher, own))
    if own is not None and folders and not are_one(teacher, own):
        raise UserError(
            f"--teacher {given}: the folder's content is {teacher.rpartition('@')[2]}, and {model}'s teacher "
            f"is {own}; give that one's folder."
        )
    return teacher


def text_tower(model: str, config: PreTrainedConfig, given: str | None = None) -> tuple[str, str | None]:
    """Name and revision of what embeds the class names; arguments and errors as for [`teacher_of`]."""
    if given is None:
        name, revision = text_tower_of(config)
        return name or teacher_of(model, config), revision
    teacher_of(model, config, given)  # of a folder: whether it is the one
    return split_identifier(given)


def check_embeddings_are_of(teacher: str, dataset: Dataset, name: str, model: str) -> None:
    """Raise a [`UserError`] if a dataset's embeddings are of another teacher than the encoder's."""
    found = the_teacher([origins_in_dataset(dataset)], name)
    if not are_one(found, teacher):
        raise UserError(
            f"{name}: its embeddings are those of the teacher {found}, and {model} is in the space of {teacher}; "
            f"embed it with that by mrd-hf embed-teacher, or say --teacher {found} if the two are one."
        )
