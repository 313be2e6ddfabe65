"""Small files of a Hugging Face folder that say how a model is used, and go along where it is written."""

from __future__ import annotations

from pathlib import Path

from numformer._files import write_atomically
from numformer.errors import InputError

_PATTERNS = (
    "generation_config.json",
    *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "*_Pooling/config.json"),
)
_MOST = 1 << 20  # bytes


def copy_companions(source: Path, folder: Path) -> None:
    """Copy them from the folder of a model; raises InputError for one that cannot be read or is absurdly large."""
    for path in (path for pattern in _PATTERNS for path in sorted(source.glob(pattern))):
        try:
            size = path.stat().st_size
            if size > _MOST:
                raise InputError(f"{path} has {size:,} bytes, expected at most {_MOST:,}")
            write_atomically(folder / path.relative_to(source), path.read_bytes())
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
