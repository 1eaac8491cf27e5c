"""Tiny, randomly initialised image-text models with real tokenizers and image processors, saved as on the Hub."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AlignConfig,
    AlignModel,
    AlignProcessor,
    AltCLIPConfig,
    AltCLIPModel,
    AltCLIPProcessor,
    BertTokenizer,
    ChineseCLIPConfig,
    ChineseCLIPImageProcessorPil,
    ChineseCLIPModel,
    ChineseCLIPProcessor,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    EfficientNetImageProcessorPil,
    GemmaTokenizer,
    MetaClip2Config,
    MetaClip2Model,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    Siglip2Processor,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    SiglipProcessor,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
    ViTConfig,
    ViTImageProcessorPil,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
)


TOWER_SIZE = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}
IMAGE_SIZE = 30
CLIP_WIDTH = 24  # unlike any other width of the model, so that a probe of the wrong tensor is seen
SIGLIP_WIDTH = TOWER_SIZE["hidden_size"]
MAX_TEXT_LENGTH = 16
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [".", ","]
# Of tokenizers as Gemma's, before its letters.
GEMMA_TOKENS = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "\u2581"]
SQUARE = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
VISION = {**TOWER_SIZE, "image_size": IMAGE_SIZE, "patch_size": 10}


def save_tiny_clip(folder: Path, seed: int = 0) -> Path:
    """A CLIP with a byte-pair tokenizer over single letters; saves model, tokenizer and image processor."""
    tokens = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "ch</w>", "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[("c", "h</w>")], model_max_length=MAX_TEXT_LENGTH)
    text_config = {
        **TOWER_SIZE,
        "vocab_size": len(tokens),
        "max_position_embeddings": MAX_TEXT_LENGTH,
        "bos_token_id": vocabulary["<|startoftext|>"],
        "eos_token_id": vocabulary["<|endoftext|>"],
    }
    config = CLIPConfig(text_config=text_config, vision_config=VISION, projection_dim=CLIP_WIDTH)
    return _save(CLIPModel, config, CLIPProcessor(_clip_images(), tokenizer), folder, seed)


def save_tiny_siglip(folder: Path, seed: int = 0) -> Path:
    """A SigLIP with a Unigram tokenizer (as SentencePiece would give), no attention mask and no start token."""
    letters = [*LETTERS, "\u2581"]
    pieces = [("</s>", 0.0), ("<unk>", -20.0), *((letter, -5.0) for letter in letters), ("\u2581chair", -3.0)]
    unigram = Tokenizer(models.Unigram(pieces, unk_id=1))
    unigram.normalizer = normalizers.Lowercase()
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=unigram,
        unk_token="<unk>",
        eos_token="</s>",
        pad_token="</s>",
        model_max_length=MAX_TEXT_LENGTH,
        model_input_names=["input_ids"],
    )
    text_config = {
        **TOWER_SIZE,
        "vocab_size": len(pieces),
        "max_position_embeddings": MAX_TEXT_LENGTH,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    config = SiglipConfig(text_config=text_config, vision_config=VISION)
    return _save(SiglipModel, config, SiglipProcessor(SiglipImageProcessorPil(size=SQUARE), tokenizer), folder, seed)


def save_tiny_siglip2(folder: Path, seed: int = 0) -> Path:
    """A SigLIP2 NaFlex: as many patches as a picture's shape asks for; its tokenizer states no length."""
    tokens = [*GEMMA_TOKENS, *LETTERS]
    tokenizer = Siglip2Tokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[])
    config = Siglip2Config(
        text_config=_gemma_texts(tokens), vision_config={**TOWER_SIZE, "patch_size": 10, "num_patches": 9}
    )
    images = Siglip2ImageProcessorPil(patch_size=10, max_num_patches=12)
    return _save(Siglip2Model, config, Siglip2Processor(images, tokenizer), folder, seed)


def save_tiny_fixed_siglip2(folder: Path, seed: int = 0) -> Path:
    """A SigLIP2 of a fixed resolution, which says that it is a SigLIP with Gemma's tokenizer. It knows capitals."""
    capitals = [letter.upper() for letter in LETTERS[:26]]
    tokens = [*GEMMA_TOKENS, *LETTERS, *capitals]
    tokenizer = GemmaTokenizer(
        vocab={token: index for index, token in enumerate(tokens)}, merges=[], model_input_names=["input_ids"]
    )
    config = SiglipConfig(text_config=_gemma_texts(tokens), vision_config=VISION)
    return _save(SiglipModel, config, SiglipProcessor(SiglipImageProcessorPil(size=SQUARE), tokenizer), folder, seed)


def _gemma_texts(tokens: list[str]) -> dict[str, int]:
    """The configuration of a text tower whose tokenizer is Gemma's, of these tokens."""
    special = {f"{name}_token_id": tokens.index(f"<{name}>") for name in ("bos", "eos", "pad")}
    return {**TOWER_SIZE, "vocab_size": len(tokens), "max_position_embeddings": MAX_TEXT_LENGTH, **special}


def save_tiny_metaclip2(folder: Path, seed: int = 0) -> Path:
    """A MetaCLIP 2: CLIP's towers with XLM-V's kind of tokenizer."""
    tokenizer = _xlm_roberta_tokenizer(MAX_TEXT_LENGTH)
    text_config = {
        **TOWER_SIZE,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": MAX_TEXT_LENGTH,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    }
    config = MetaClip2Config(text_config=text_config, vision_config=VISION, projection_dim=CLIP_WIDTH)
    return _save(MetaClip2Model, config, CLIPProcessor(_clip_images(), tokenizer), folder, seed)


def save_tiny_altclip(folder: Path, seed: int = 0) -> Path:
    """An AltCLIP: positions of its XLM-RoBERTa begin after the padding's, so two of them are never read."""
    tokenizer = _xlm_roberta_tokenizer(MAX_TEXT_LENGTH)
    text_config = {
        **TOWER_SIZE,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": MAX_TEXT_LENGTH + 2,
        "project_dim": 20,
    }
    config = AltCLIPConfig(text_config=text_config, vision_config=VISION, projection_dim=CLIP_WIDTH)
    return _save(AltCLIPModel, config, AltCLIPProcessor(_clip_images(), tokenizer), folder, seed)


def save_tiny_chinese_clip(folder: Path, seed: int = 0) -> Path:
    """A Chinese CLIP: BERT's tokenizer and towers, and segments among the text model's inputs."""
    tokenizer = _bert_tokenizer()
    text_config = {**TOWER_SIZE, "vocab_size": len(tokenizer), "max_position_embeddings": MAX_TEXT_LENGTH}
    config = ChineseCLIPConfig(text_config=text_config, vision_config=VISION, projection_dim=CLIP_WIDTH)
    images = ChineseCLIPImageProcessorPil(size=SQUARE, crop_size=SQUARE)
    return _save(ChineseCLIPModel, config, ChineseCLIPProcessor(images, tokenizer), folder, seed)


def save_tiny_align(folder: Path, seed: int = 0) -> Path:
    """An ALIGN: an EfficientNet, whose last width is that of the embeddings, and BERT."""
    tokenizer = _bert_tokenizer()
    vision_config = {
        "image_size": IMAGE_SIZE,
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "in_channels": [32, 8],  # the first is that of the stem
        "out_channels": [8, CLIP_WIDTH],
        "kernel_sizes": [3, 3],
        "strides": [1, 2],
        "num_block_repeats": [1, 1],
        "expand_ratios": [1, 2],
        "hidden_dim": CLIP_WIDTH,
    }
    text_config = {**TOWER_SIZE, "vocab_size": len(tokenizer), "max_position_embeddings": MAX_TEXT_LENGTH}
    config = AlignConfig(text_config=text_config, vision_config=vision_config, projection_dim=CLIP_WIDTH)
    images = EfficientNetImageProcessorPil(size=SQUARE, do_center_crop=False)
    return _save(AlignModel, config, AlignProcessor(images, tokenizer), folder, seed)


def save_tiny_dual_encoder(folder: Path, seed: int = 0) -> Path:
    """A VisionTextDualEncoder of a ViT and an XLM-RoBERTa whose tokenizer states a longer length than it has."""
    tokenizer = _xlm_roberta_tokenizer(512)
    text = XLMRobertaConfig(
        **TOWER_SIZE, vocab_size=len(tokenizer), max_position_embeddings=MAX_TEXT_LENGTH + 2, type_vocab_size=1
    )
    config = VisionTextDualEncoderConfig.from_vision_text_configs(ViTConfig(**VISION), text, projection_dim=CLIP_WIDTH)
    processor = VisionTextDualEncoderProcessor(ViTImageProcessorPil(size=SQUARE), tokenizer)
    return _save(VisionTextDualEncoderModel, config, processor, folder, seed)


# By what the configuration calls them.
TINY_TEACHERS = {
    "clip": save_tiny_clip,
    "siglip": save_tiny_siglip,
    "siglip2": save_tiny_siglip2,
    "metaclip_2": save_tiny_metaclip2,
    "altclip": save_tiny_altclip,
    "chinese_clip": save_tiny_chinese_clip,
    "align": save_tiny_align,
    "vision-text-dual-encoder": save_tiny_dual_encoder,
}


def _clip_images() -> CLIPImageProcessorPil:
    return CLIPImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=SQUARE)


def _bert_tokenizer() -> BertTokenizer:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return BertTokenizer(vocab=vocabulary, model_max_length=MAX_TEXT_LENGTH)


def _xlm_roberta_tokenizer(max_length: int) -> XLMRobertaTokenizer:
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    pieces += [(letter, -5.0) for letter in [*LETTERS, "\u2581"]] + [("\u2581chair", -3.0), ("<mask>", 0.0)]
    return XLMRobertaTokenizer(vocab=pieces, model_max_length=max_length)


def _save(model_class: type[PreTrainedModel], config, processor: ProcessorMixin, folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    model = model_class(config)
    with torch.no_grad():  # wide enough weights that different inputs give clearly different embeddings
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.2)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
