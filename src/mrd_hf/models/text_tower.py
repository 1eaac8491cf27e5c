"""The text side of a teacher: texts and class names into the space that the shape encoder's embeddings live in."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import Embedding
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from .model_sources import ModelSource, find_model, named_loading_errors
from .open_clip_texts import is_open_clip, load_open_clip_texts


# These were trained on texts padded to one length, with the padding attended to or pooled over.
MODELS_WITH_PADDED_TEXTS = ("siglip", "siglip2")
# As long as the texts it was trained on, and as its processor has it; its tokenizer and BERT would take more.
ALIGN_TEXT_LENGTH = 64
# Texts that the model sees at a time: memory stays bounded however many there are.
BATCH_SIZE = 64
Pooling = Literal["mean", "cls"]


class TextTower:
    """A frozen text encoder that only embeds.

    Either the text half of an image-text dual encoder (CLIP, SigLIP, SigLIP2, MetaCLIP2, AltCLIP, ChineseCLIP, ALIGN,
    VisionTextDualEncoder, and others that `AutoModel` loads and that are used like them), or a plain text encoder
    whose token states are pooled, as sentence-embedding models are. Build it with [`TextTower.from_pretrained`].

    Args:
        model (`PreTrainedModel`):
            A dual encoder, which has `get_text_features`, or with `pooling` a plain text encoder. Frozen and set to
            eval mode here.
        tokenizer (`PreTrainedTokenizerBase`): The model's own.
        pooling (`"mean"` or `"cls"`, *optional*):
            How the token states of a plain text encoder become one: their mean, or the first. None: a dual encoder.
        max_length (`int`, *optional*): Texts are cut to as many tokens, if the model does not take fewer.
        lower_case (`bool`, defaults to `False`):
            Whether texts are made lower case before they are tokenized, as they always are for a SigLIP2 whose
            tokenizer leaves that undone.

    Attributes:
        embedding_dim (`int`): Width of the embeddings, measured.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pooling: Pooling | None = None,
        max_length: int | None = None,
        lower_case: bool = False,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.pooling = pooling
        unaware = model.config.model_type in MODELS_WITH_PADDED_TEXTS and leaves_capitals(tokenizer)
        self.lower_case = lower_case or unaware
        self.max_length, self.padding = text_limits(model, tokenizer)
        if max_length is not None:
            self.max_length = min(self.max_length, max_length)
        self.embedding_dim = self._embed_batch(["a shape"]).shape[1]

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        revision: str | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "TextTower":
        """Load a text tower from a folder written by `save_pretrained`, from an installed package, or from the Hub.

        Of a dual encoder the image half is dropped once loaded. For a plain text encoder the files that
        sentence-transformers saves beside it say how its states are pooled; without them, their mean is taken.
        Where the Hub does not answer, what is in its cache is taken.

        Args:
            name_or_path (`str` or `Path`):
                The folder, a Hub id such as `openai/clip-vit-base-patch32`, or `package:NAME/FOLDER`: a folder in the
                Python package of that name, of which nothing is imported.
            revision (`str`, *optional*):
                Branch, tag or commit on the Hub.
            device (`str` or `torch.device`, defaults to `"cpu"`):
                Where it runs.
            dtype (`torch.dtype`, defaults to `torch.float32`):
                Precision of the weights. Below float32 it also runs under autocast to that precision; its embeddings
                are float32 all the same.

        Raises:
            ValueError: If there is no such model or device, it does not embed texts, its tokenizer lacks its
                vocabulary, or sentence-transformers would do more with it than pool.
        """
        source = find_model(name_or_path, revision)
        name = source.reference
        model = load_teacher_model(source, dtype)
        pooling: _SentencePooling | None = None
        if not embeds_texts(model):
            if model.main_input_name != "input_ids" or model.config.is_encoder_decoder:
                raise ValueError(
                    f"teacher '{name}' is a {type(model).__name__}, which does not embed texts; give an image-text "
                    "dual encoder such as openai/clip-vit-base-patch32, or a text encoder such as "
                    "sentence-transformers/all-MiniLM-L6-v2."
                )
            pooling = _read_sentence_pooling(source)
        elif "vision_model" in dict(model.named_children()):
            model.vision_model = None
        try:
            tokenizer = AutoTokenizer.from_pretrained(source.path, **source.arguments)
        except (OSError, ValueError, ImportError) as error:
            raise ValueError(f"teacher '{name}': its tokenizer does not load. {error}") from error
        if tells_no_words_apart(tokenizer):
            raise ValueError(f"teacher '{name}' lacks its tokenizer's vocabulary; save it beside the model.")
        model = moved_to(model, device)
        if pooling is None:
            return cls(model, tokenizer)
        return cls(model, tokenizer, pooling.pooling, pooling.max_length, pooling.lower_case)

    def embed(self, texts: Sequence[str], batch_size: int = BATCH_SIZE) -> torch.Tensor:
        """Embed texts; those longer than the model reads are cut.

        Args:
            texts (sequence of `str`): As they are; prompt templates are the caller's.
            batch_size (`int`, defaults to 64): How many the model sees at a time.

        Returns:
            `torch.Tensor` of shape `(len(texts), embedding_dim)`: float32 with L2-normalised rows, on the model's
            device. A text's embedding does not depend on the other texts (beyond rounding).
        """
        embeds = torch.empty(len(texts), self.embedding_dim, device=self.model.device)
        for start in range(0, len(texts), batch_size):
            embeds[start : start + batch_size] = self._embed_batch(list(texts[start : start + batch_size]))
        return embeds

    def embed_classes(
        self, labels: Sequence[str], templates: Sequence[str], batch_size: int = BATCH_SIZE
    ) -> torch.Tensor:
        """Embed class names: the mean over the embeddings of their prompts, normalised again.

        Args:
            labels (sequence of `str`): Names such as `armchair`.
            templates (sequence of `str`): Prompts; the name takes the place of `{}`, which each must have.
            batch_size (`int`, defaults to 64): How many prompts the model sees at a time.

        Returns:
            `torch.Tensor` of shape `(len(labels), embedding_dim)`: float32 with L2-normalised rows, on the model's
            device.

        Raises:
            ValueError: If there is no template, or one has no `{}`.
        """
        check_templates(templates)
        # On the CPU, where adding up has one order.
        sums = torch.zeros(len(labels), self.embedding_dim)
        prompts: Iterator[tuple[int, str]] = (
            (place, template.replace("{}", label)) for place, label in enumerate(labels) for template in templates
        )
        while batch := list(islice(prompts, batch_size)):
            places = torch.tensor([place for place, _ in batch])
            sums.index_add_(0, places, self._embed_batch([prompt for _, prompt in batch]).cpu())
        return normalize(sums, dim=-1).to(self.model.device)

    def _embed_batch(self, texts: list[str]) -> torch.Tensor:
        inputs = self.tokenizer(
            [text.lower() for text in texts] if self.lower_case else texts,
            padding=self.padding,
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        )
        return embed_features(self.model, self._features, inputs)

    def _features(self, **inputs: torch.Tensor) -> torch.Tensor:
        if self.pooling is None:
            return self.model.get_text_features(**inputs).pooler_output
        states = self.model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"]
        if self.pooling == "cls":  # the first token that is not padding, whichever side that is on
            return states[torch.arange(len(states), device=states.device), mask.argmax(dim=1)]
        weights = mask[:, :, None].float()
        return (states * weights).sum(dim=1) / weights.sum(dim=1)


@torch.no_grad()  # not inference_mode: a loss could not keep its tensors for the backward pass
def embed_features(model: PreTrainedModel, compute: Callable[..., torch.Tensor], inputs: Any) -> torch.Tensor:
    """What `compute` makes of `inputs`, as normalised float32: on the model's device, below float32 under autocast."""
    device, dtype = model.device, model.dtype
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        features = compute(**inputs.to(device))
    return normalize(features.float(), dim=-1)


def load_teacher_model(source: ModelSource, dtype: torch.dtype) -> PreTrainedModel:
    """Load the whole model of a teacher; of one of open_clip's, the text half.

    Raises:
        ValueError: If there is none, and the message says where it was looked for; or its files are damaged.
    """
    if is_open_clip(source):
        return load_open_clip_texts(source, dtype)
    with named_loading_errors(source):
        try:
            # What it returns is read by name, whatever its configuration asks for.
            return AutoModel.from_pretrained(source.path, dtype=dtype, return_dict=True, **source.arguments)
        except ValueError as error:  # of kinds of models that transformers does not know
            raise ValueError(f"teacher '{source.reference}': {source.problem(error)}") from error


def embeds_texts(model: PreTrainedModel) -> bool:
    """Whether a model is a dual encoder, which projects texts into a space of its own."""
    return hasattr(model, "get_text_features")


def text_limits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[int, Literal["max_length", "longest"]]:
    """How many tokens of a text a model takes, and how its tokenizer must pad texts.

    Args:
        model (`PreTrainedModel`): Weights may be on the meta device.
        tokenizer (`PreTrainedTokenizerBase`): The model's own.
    """
    # Without a mask the model cannot tell padding from text: only one fixed length gives one embedding a text.
    fixed_length = (
        model.config.model_type in MODELS_WITH_PADDED_TEXTS or "attention_mask" not in tokenizer.model_input_names
    )
    # Some tokenizers (SigLIP2's) state no length of their own, others a longer one than the model has positions.
    return min(tokenizer.model_max_length, _text_positions(model)), "max_length" if fixed_length else "longest"


def leaves_capitals(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer of SigLIP's kind hands on capitals, which SigLIP2 has not seen in training.

    Its checkpoints of a fixed resolution say that they are a SigLIP with Gemma's tokenizer. SigLIP's own tokenizer and
    Siglip2Tokenizer, that of the others, lower-case texts themselves.
    """
    return type(tokenizer).__name__.removesuffix("Fast") == "GemmaTokenizer"


def tells_no_words_apart(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer lacks its vocabulary: it loads without, and every text would embed alike."""
    return tokenizer("chair")["input_ids"] == tokenizer("mouse")["input_ids"]


def check_templates(templates: Sequence[str]) -> None:
    """Raise a `ValueError` if there is no prompt template, or one without a place for the label."""
    if not templates:
        raise ValueError("there is no prompt template; give at least one, such as 'a point cloud model of {}.'.")
    for template in templates:
        if "{}" not in template:
            raise ValueError(f"the prompt template {template!r} has no {{}}, which the label takes the place of.")


def _text_positions(model: PreTrainedModel) -> int:
    text_config = model.config.text_config if embeds_texts(model) else model.config
    positions = text_config.max_position_embeddings
    if model.config.model_type == "align":
        return min(positions, ALIGN_TEXT_LENGTH)
    for name, module in model.named_modules():
        # RoBERTa's kind (AltCLIP has one) counts positions from the padding's on, which it passes to the table.
        if name.endswith("position_embeddings") and isinstance(module, Embedding) and module.padding_idx is not None:
            return positions - module.padding_idx - 1
    return positions


@dataclass(frozen=True)
class _SentencePooling:
    """What sentence-transformers would do with a text encoder, as [`TextTower`] has it."""

    pooling: Pooling = "mean"
    max_length: int | None = None
    lower_case: bool = False


# The last words of the modules' classes, whose places have moved between versions.
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")
_POOLING_MODES: dict[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


def _read_sentence_pooling(source: ModelSource) -> _SentencePooling:
    """Read the files of sentence-transformers, those that are there.

    Raises:
        ValueError: If they ask for more than pooling by mean or first token; or the Hub cannot say if there are any.
    """
    name = source.reference
    modules = _read_json(source, "modules.json")
    pooling_folder = "1_Pooling"
    for module in modules or []:
        kind = module["type"].rpartition(".")[2]
        if kind not in _KNOWN_MODULES:
            raise ValueError(
                f"teacher '{name}': modules.json has a module {kind}; only text encoders followed by "
                "Pooling and Normalize are known here."
            )
        pooling_folder = module["path"] if kind == "Pooling" else pooling_folder
    prompts = _read_json(source, "config_sentence_transformers.json") or {}
    if prompts.get("default_prompt_name") is not None:
        raise ValueError(
            f"teacher '{name}': config_sentence_transformers.json puts the prompt "
            f"'{prompts['default_prompt_name']}' before each text, which is not known here."
        )
    settings = _read_json(source, f"{pooling_folder}/config.json") or {}
    modes = [key for key, value in settings.items() if key.startswith("pooling_mode") and value is True]
    modes += [settings[key] for key in ("pooling_mode",) if isinstance(settings.get(key), str)]
    names = _POOLING_MODES | {"mean": "mean", "cls": "cls"}
    if settings and (len(modes) != 1 or modes[0] not in names):
        raise ValueError(
            f"teacher '{name}': {pooling_folder}/config.json asks for {' and '.join(modes) or 'no pooling'}; only "
            f"{' or '.join(_POOLING_MODES)} is known here."
        )
    encoder = _read_json(source, "sentence_bert_config.json") or {}
    return _SentencePooling(
        names[modes[0]] if modes else "mean", encoder.get("max_seq_length"), bool(encoder.get("do_lower_case"))
    )


def _read_json(source: ModelSource, file: str) -> Any:
    """The content of a file in a folder or repository; None if there is no such file."""
    try:
        path = cached_file(source.path, file, _raise_exceptions_for_missing_entries=False, **source.arguments)
        return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"teacher '{source.reference}': {file} cannot be read, or looked for on the Hub. {error}"
        ) from error


__all__ = ["TextTower"]


def moved_to(model: PreTrainedModel, device: str | torch.device) -> PreTrainedModel:
    """The model on a device.

    Raises:
        ValueError: There is no such device here.
    """
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"cannot compute on the device {device}: {error}") from None
