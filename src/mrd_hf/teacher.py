"""The frozen image-text model whose embedding space the shape encoder learns, behind one small class."""

from pathlib import Path

import numpy as np
import torch
from huggingface_hub import try_to_load_from_cache
from PIL import Image
from torch.nn import Embedding
from torch.nn.functional import normalize
from transformers import AutoModel, AutoProcessor, PreTrainedModel, ProcessorMixin

from .errors import UserError


# These were trained on texts padded to one length, with the padding attended to or pooled over.
MODELS_WITH_PADDED_TEXTS = ("siglip", "siglip2")
# As long as the texts it was trained on, and as its processor has it; its tokenizer and BERT would take more.
ALIGN_TEXT_LENGTH = 64


class Teacher:
    """A frozen image-text dual encoder that only embeds.

    CLIP, SigLIP, SigLIP2, MetaCLIP2, AltCLIP, ChineseCLIP, ALIGN, VisionTextDualEncoder, and others that `AutoModel`
    loads and that are used like them. Build it with [`Teacher.from_pretrained`].

    Args:
        model (`PreTrainedModel`):
            Has `get_image_features` and `get_text_features`. Frozen and set to eval mode here.
        processor (`ProcessorMixin`):
            The model's tokenizer and image processor.
        model_id (`str`):
            The folder or the Hub id the model came from.
        revision (`str`, *optional*):
            The commit on the Hub the model came from, where it came from there.

    Attributes:
        embedding_dim (`int`): Width of the shared embedding space, measured by running both towers.
    """

    def __init__(
        self, model: PreTrainedModel, processor: ProcessorMixin, model_id: str, revision: str | None = None
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.model_id = model_id
        self.revision = revision
        # Some tokenizers (SigLIP2's) state no length of their own, others a longer one than the model has positions.
        self._max_text_length = min(processor.tokenizer.model_max_length, _text_positions(model))
        # Without a mask the model cannot tell padding from text: only one fixed length gives one embedding a text.
        fixed_length = (
            model.config.model_type in MODELS_WITH_PADDED_TEXTS
            or "attention_mask" not in processor.tokenizer.model_input_names
        )
        self._padding = "max_length" if fixed_length else "longest"
        self.embedding_dim = self._probe_embedding_dim()

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        revision: str | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "Teacher":
        """Load a teacher from a folder written by `save_pretrained`, or from the Hub.

        Args:
            name_or_path (`str` or `Path`):
                The folder, or a Hub id such as `openai/clip-vit-base-patch32`.
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
            model = AutoModel.from_pretrained(name, revision=revision, dtype=dtype)
        except (OSError, ValueError) as error:
            raise UserError(_cannot_load(name, error)) from error
        if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
            raise UserError(
                f"teacher '{name}' is a {type(model).__name__}, which does not embed both images and texts; "
                "give an image-text dual encoder such as openai/clip-vit-base-patch32."
            )
        try:
            # The PIL backend always, so that embeddings do not depend on whether torchvision is installed.
            processor = AutoProcessor.from_pretrained(name, revision=revision, backend="pil")
        except (OSError, ValueError, ImportError) as error:
            raise UserError(f"teacher '{name}': its processor does not load. {error}") from error
        # Without its vocabulary file a tokenizer still loads, and knows no word: every text would embed alike.
        if not isinstance(processor, ProcessorMixin) or _tells_no_words_apart(processor):
            raise UserError(
                f"teacher '{name}' lacks its image processor or its tokenizer's vocabulary; save both beside "
                "the model with AutoProcessor.save_pretrained."
            )
        return cls(model.to(device), processor, model_id=name, revision=_commit_hash(name, revision))

    @property
    def identifier(self) -> str:
        """What to record as an embedding's origin: `id@commit`; `id`, or a local folder's name, without a commit."""
        if self.revision is not None:
            return f"{self.model_id}@{self.revision}"
        return Path(self.model_id).resolve().name if Path(self.model_id).is_dir() else self.model_id

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
        return self._embed(self.model.get_image_features, inputs)

    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        """Embed texts, all in one batch; texts longer than the model reads are cut.

        Args:
            texts (`list[str]`): As they are; prompt templates are the caller's.

        Returns:
            `torch.Tensor` of shape `(len(texts), embedding_dim)`: float32 with L2-normalised rows, on the teacher's
            device. A text's embedding does not depend on the other texts (beyond rounding).
        """
        if not texts:
            return torch.zeros(0, self.embedding_dim, device=self.model.device)
        inputs = self.processor.tokenizer(
            texts, padding=self._padding, truncation=True, max_length=self._max_text_length, return_tensors="pt"
        )
        return self._embed(self.model.get_text_features, inputs)

    @torch.no_grad()  # not inference_mode: a loss could not keep its tensors for the backward pass
    def _embed(self, get_features, inputs) -> torch.Tensor:  # type: ignore[no-untyped-def]
        device, dtype = self.model.device, self.model.dtype
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            features = get_features(**inputs.to(device)).pooler_output
        return normalize(features.float(), dim=-1)

    def _probe_embedding_dim(self) -> int:
        self.embedding_dim = 0
        image_width = self.embed_images([Image.new("RGB", (32, 32))]).shape[1]
        text_width = self.embed_texts(["a shape"]).shape[1]
        if image_width != text_width:
            raise UserError(
                f"teacher '{self.model_id}' embeds images into {image_width} dimensions and texts into {text_width}; "
                "a dual encoder with one shared space is needed, such as openai/clip-vit-base-patch32."
            )
        return image_width


def flatten_onto_white(image: Image.Image) -> Image.Image:
    """The image in mode RGB, its transparent parts white (converting straight to RGB shows what lies under them)."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        # 16 bits a pixel, of which Pillow would show all but the darkest 256 shades as white.
        image = Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    opaque = image.convert("RGBA")
    background = Image.new("RGBA", opaque.size, "white")
    return Image.alpha_composite(background, opaque).convert("RGB")


def _text_positions(model: PreTrainedModel) -> int:
    """How many tokens the text model takes."""
    positions = model.config.text_config.max_position_embeddings
    if model.config.model_type == "align":
        return min(positions, ALIGN_TEXT_LENGTH)
    for name, module in model.named_modules():
        # RoBERTa's kind (AltCLIP has one) counts positions from the padding's on, which it passes to the table.
        if name.endswith("position_embeddings") and isinstance(module, Embedding) and module.padding_idx is not None:
            return positions - module.padding_idx - 1
    return positions


def _cannot_load(name: str, error: Exception) -> str:
    if Path(name).is_dir():
        return (
            f"teacher '{name}': the folder holds no model that transformers can load; it needs the config.json and "
            f"model.safetensors that save_pretrained writes. {error}"
        )
    return (
        f"teacher '{name}': no such folder, and not reachable on the Hub; give a local folder saved by "
        f"save_pretrained or a Hub id like openai/clip-vit-base-patch32. {error}"
    )


def _tells_no_words_apart(processor: ProcessorMixin) -> bool:
    return processor.tokenizer("chair")["input_ids"] == processor.tokenizer("mouse")["input_ids"]


def _commit_hash(name: str, revision: str | None) -> str | None:
    """The commit a model was loaded from: the Hub's cache keeps each one in a folder of that name."""
    if Path(name).is_dir():
        return None
    config_file = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(config_file).parent.name if isinstance(config_file, str) else None
