"""A small model for sentences."""

import json
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizer


LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]


def save_tiny_sentence_model(
    folder: Path, pooling: dict | None = None, modules: list[str] | None = None, **settings: object
) -> Path:
    """A BERT that reads letters, with the files that sentence-transformers writes beside it."""
    torch.manual_seed(0)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=20,
        max_position_embeddings=40,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizer(vocab=vocabulary, do_lower_case=False).save_pretrained(folder)
    if pooling is not None:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if modules is not None:
        entries = [{"path": "1_Pooling" if m == "Pooling" else "", "type": f"st.models.{m}"} for m in modules]
        (folder / "modules.json").write_text(json.dumps(entries))
    for name, content in settings.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder
