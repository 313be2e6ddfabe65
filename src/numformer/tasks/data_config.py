"""What the tasks on examples are told about their data, and what run.toml says of it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numformer.tokenizers import KINDS


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What to train on, and what to start from."""

    data: str = ""
    """File to train on."""
    valid: str | None = None
    """File of held-out examples; a part of the data when not given."""
    valid_fraction: float = 0.1
    """Share of the data that is held out."""
    tokenizer: str = "words"
    """words, bpe, wordpiece, unigram, characters, bytes, or the folder of a saved tokenizer."""
    vocab_size: int = 32_000
    """Number of tokens of a tokenizer that is trained on the data."""
    pretrained: str | None = None
    """Folder of a trained model whose weights and tokenizer to start from; the head is new where the task is another."""
    freeze: tuple[str, ...] = ()
    """Names of parts of the model that are not trained, such as bert.embeddings or bert.encoder.layer.0."""
    encoding: str = "utf-8"
    """Encoding of text files."""


def places(config: Any) -> dict[str, str]:
    """Return where the files that a config names lie, for those who look from another folder."""
    named = {name: getattr(config, name) for name in ("data", "valid", "pretrained", "tokenizer")}
    named = {name: value for name, value in named.items() if value and value not in KINDS}
    return {name: str(Path(value).resolve()) for name, value in named.items() if Path(value).exists()}


def checksum(*parts: list[Any]) -> int:
    """Return a number that tells whether the examples are still the same."""
    return zlib.crc32(repr(parts).encode("utf-8", "surrogatepass"))
