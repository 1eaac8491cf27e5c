"""The frozen image-text model whose embedding space the shape encoder learns, behind one small class."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from huggingface_hub import try_to_load_from_cache
from PIL import Image
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    BatchFeature,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from .errors import UserError
from .models.image_flattening import flatten_onto_white
from .models.model_sources import CONFIGURATION_FILES, PACKAGE, ModelSource, find_model
from .models.open_clip_images import load_open_clip
from .models.open_clip_texts import is_open_clip
from .models.teacher_folder import folder_revision
from .models.text_tower import (
    TextTower,
    embed_features,
    embeds_texts,
    load_teacher_model,
    moved_to,
    tells_no_words_apart,
)


# A folder of the Hub's cache, which is as good as the repository's name.
CACHED = re.compile(r"/models--(?P<id>[^/]+)/snapshots/(?P<commit>[0-9a-f]{40})$")


class TeacherProcessor(NamedTuple):
    """What is used of a processor, where there is none of transformers'."""

    tokenizer: PreTrainedTokenizerBase
    image_processor: Callable[..., BatchFeature]


class Teacher:
    """A frozen image-text dual encoder that only embeds.

    CLIP, SigLIP, SigLIP2, MetaCLIP2, AltCLIP, ChineseCLIP, ALIGN, VisionTextDualEncoder, and others that `AutoModel`
    loads and that are used like them, and models of open_clip's (extra `open-clip`). Build it with
    [`Teacher.from_pretrained`].

    Args:
        model (`PreTrainedModel`):
            Has `get_image_features` and `get_text_features`. Frozen and set to eval mode here.
        processor (`ProcessorMixin` or [`TeacherProcessor`]):
            The model's tokenizer and image processor.
        model_id (`str`):
            The folder or the Hub id the model came from.
        revision (`str`, *optional*):
            The commit on the Hub the model came from, or a digest of the folder it came from.
        name (`str`, *optional*):
            What to record as its name: the Hub id, or the folder's name; default: as `model_id` has it.

    Attributes:
        text_tower ([`TextTower`]): Its text side.
        embedding_dim (`int`): Width of the shared embedding space, measured by running both towers.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin | TeacherProcessor,
        model_id: str,
        revision: str | None = None,
        name: str | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.model_id = model_id
        self.revision = revision
        self.name = name or (Path(model_id).resolve().name if Path(model_id).is_dir() else model_id)
        self.text_tower = TextTower(model, processor.tokenizer)
        self.embedding_dim = self._probe_embedding_dim()

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        revision: str | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "Teacher":
        """Load a teacher from a folder written by `save_pretrained`, from an installed package, or from the Hub.

        Args:
            name_or_path (`str` or `Path`):
                The folder, a Hub id such as `openai/clip-vit-base-patch32`, or `package:NAME/FOLDER`.
            revision (`str`, *optional*):
                Branch, tag or commit on the Hub.
            device (`str` or `torch.device`, defaults to `"cpu"`):
                Where the teacher runs.
            dtype (`torch.dtype`, defaults to `torch.float32`):
                Precision of the weights. Below float32 the teacher also runs under autocast to that precision;
                its embeddings are float32 all the same.

        Raises:
            UserError: If there is no such model, or it is no image-text dual encoder.
        """
        name = str(name_or_path)
        try:
            source = find_model(name, revision)
            if is_open_clip(source):
                return cls._from_open_clip(source, device, dtype)
            model = load_teacher_model(source, dtype)
        except ValueError as error:
            raise UserError(str(error)) from error
        if not (hasattr(model, "get_image_features") and embeds_texts(model)):
            raise UserError(
                f"teacher '{name}' is a {type(model).__name__}, which does not embed both images and texts; "
                "give an image-text dual encoder such as openai/clip-vit-base-patch32."
            )
        try:
            # The PIL backend always, so that embeddings do not depend on whether torchvision is installed.
            processor = AutoProcessor.from_pretrained(source.path, backend="pil", **source.arguments)
        except (OSError, ValueError, ImportError) as error:
            raise UserError(f"teacher '{name}': its processor does not load. {error}") from error
        # Without its vocabulary file a tokenizer still loads, and knows no word: every text would embed alike.
        if not isinstance(processor, ProcessorMixin) or tells_no_words_apart(processor.tokenizer):
            raise UserError(
                f"teacher '{name}' lacks its image processor or its tokenizer's vocabulary; save both beside "
                "the model with AutoProcessor.save_pretrained."
            )
        recorded, revision = identify(source)
        return cls(_moved(model, device), processor, model_id=source.reference, revision=revision, name=recorded)

    @classmethod
    def _from_open_clip(cls, source: ModelSource, device: str | torch.device, dtype: torch.dtype) -> "Teacher":
        model, image_processor = load_open_clip(source, dtype)
        try:
            tokenizer = AutoTokenizer.from_pretrained(source.path, **source.arguments)
        except (OSError, ValueError, ImportError) as error:
            raise UserError(f"teacher '{source.reference}': its tokenizer does not load. {error}") from error
        if tells_no_words_apart(tokenizer):
            raise UserError(
                f"teacher '{source.reference}' lacks its tokenizer's vocabulary; save it beside the model."
            )
        recorded, revision = identify(source)
        processor = TeacherProcessor(tokenizer, image_processor)
        return cls(_moved(model, device), processor, model_id=source.reference, revision=revision, name=recorded)

    @property
    def identifier(self) -> str:
        """What to record as an embedding's origin: `id@commit`, `folder@sha256:...`, or a name alone."""
        return self.name if self.revision is None else f"{self.name}@{self.revision}"

    @property
    def image_backend(self) -> str:
        """Class of the image processor: those of other backends resize differently."""
        return type(self.processor.image_processor).__name__

    @property
    def logit_scale(self) -> float | None:
        """What the teacher multiplies similarities with, the inverse of its temperature; None if it has no such."""
        parameters = dict(self.model.named_parameters())
        if "logit_scale" in parameters:
            return parameters["logit_scale"].exp().item()
        return 1 / parameters["temperature"].item() if "temperature" in parameters else None  # ALIGN's

    def embed_images(self, images: list[Image.Image]) -> torch.Tensor:
        """Embed images, all in one batch.

        Args:
            images (`list[PIL.Image.Image]`): In any mode and size; transparency shows white.

        Returns:
            `torch.Tensor` of shape `(len(images), embedding_dim)`: float32 with L2-normalised rows, on the teacher's
            device.
        """
        if not images:
            return torch.zeros(0, self.embedding_dim, device=self.model.device)
        inputs = self.processor.image_processor([flatten_onto_white(image) for image in images], return_tensors="pt")
        return embed_features(self.model, self._image_features, inputs)

    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        """Embed texts, all in one batch; texts longer than the model reads are cut.

        Args:
            texts (`list[str]`): As they are; prompt templates are the caller's.

        Returns:
            `torch.Tensor` of shape `(len(texts), embedding_dim)`: float32 with L2-normalised rows, on the teacher's
            device. A text's embedding does not depend on the other texts (beyond rounding).
        """
        return self.text_tower.embed(texts, batch_size=max(1, len(texts)))

    def embed_classes(self, labels: Sequence[str], templates: Sequence[str], batch_size: int) -> torch.Tensor:
        """Embed class names, or other texts, in prompts: see [`TextTower.embed_classes`]."""
        return self.text_tower.embed_classes(labels, templates, batch_size)

    def _image_features(self, **inputs: torch.Tensor) -> torch.Tensor:
        return self.model.get_image_features(**inputs).pooler_output

    def _probe_embedding_dim(self) -> int:
        image_width = self.embed_images([Image.new("RGB", (32, 32))]).shape[1]
        text_width = self.text_tower.embedding_dim
        if image_width != text_width:
            raise UserError(
                f"teacher '{self.model_id}' embeds images into {image_width} dimensions and texts into {text_width}; "
                "a dual encoder with one shared space is needed, such as openai/clip-vit-base-patch32."
            )
        return image_width


def identify(source: ModelSource) -> tuple[str, str | None]:
    """What to record of a model's origin: a repository on the Hub and the commit; or a folder's name and a digest.

    Never a path of this machine, which says nothing elsewhere, and where another model may lie tomorrow.
    """
    if source.reference.startswith(PACKAGE):
        return source.reference, None
    if not Path(source.path).is_dir():
        kept = [try_to_load_from_cache(source.path, file, revision=source.revision) for file in CONFIGURATION_FILES]
        # The Hub's cache keeps each commit in a folder of that name.
        return source.reference, next((Path(file).parent.name for file in kept if isinstance(file, str)), None)
    folder = Path(source.path).resolve()
    cached = CACHED.search(folder.as_posix())
    if cached is not None:
        return cached["id"].replace("--", "/"), cached["commit"]
    return folder.name, folder_revision(folder)


def folder_identifier(name: str) -> str:
    """The identifier of the teacher in a folder; any other name as it is."""
    if not Path(name).is_dir():
        return name
    found, revision = identify(ModelSource(name, name))
    return f"{found}@{revision}"


def _moved(model: PreTrainedModel, device: str | torch.device) -> PreTrainedModel:
    try:
        return moved_to(model, device)
    except ValueError as error:
        raise UserError(str(error)) from None
