"""Tiny, randomly initialised image-text models with real tokenizers and image processors, saved as on the Hub."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    SiglipProcessor,
)


TOWER_SIZE = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}
IMAGE_SIZE = 30
CLIP_WIDTH = 24  # unlike any other width of the model, so that a probe of the wrong tensor is seen
SIGLIP_WIDTH = TOWER_SIZE["hidden_size"]
MAX_TEXT_LENGTH = 16


def save_tiny_clip(folder: Path, seed: int = 0) -> Path:
    """A CLIP with a byte-pair tokenizer over single letters; saves model, tokenizer and image processor."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [".", ","]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "ch</w>", "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[("c", "h</w>")], model_max_length=MAX_TEXT_LENGTH)
    text_config = {
        **TOWER_SIZE,
        "vocab_size": len(tokens),
        "max_position_embeddings": MAX_TEXT_LENGTH,
        "bos_token_id": vocabulary["<|startoftext|>"],
        "eos_token_id": vocabulary["<|endoftext|>"],
    }
    vision_config = {**TOWER_SIZE, "image_size": IMAGE_SIZE, "patch_size": 10}
    config = CLIPConfig(text_config=text_config, vision_config=vision_config, projection_dim=CLIP_WIDTH)
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    )
    torch.manual_seed(seed)
    _save(CLIPModel(config), CLIPProcessor(image_processor, tokenizer), folder)
    return folder


def save_tiny_siglip(folder: Path, seed: int = 0) -> Path:
    """A SigLIP with a Unigram tokenizer (as SentencePiece would give), no attention mask and no start token."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [".", ",", "\u2581"]
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
    vision_config = {**TOWER_SIZE, "image_size": IMAGE_SIZE, "patch_size": 10}
    config = SiglipConfig(text_config=text_config, vision_config=vision_config)
    image_processor = SiglipImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    torch.manual_seed(seed)
    _save(SiglipModel(config), SiglipProcessor(image_processor, tokenizer), folder)
    return folder


def _save(model: CLIPModel | SiglipModel, processor: CLIPProcessor | SiglipProcessor, folder: Path) -> None:
    with torch.no_grad():  # wide enough weights that different inputs give clearly different embeddings
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.2)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
