"""Small files of a Hugging Face folder that say how a model is used, and go along where it is written.

Some kinds of models write some of them on their own; the others are copied.
"""

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
    """Copy those that the new folder of a model has not got already from the old one.

    Raises InputError for one that cannot be read or is absurdly large.
    """
    found = (path for pattern in _PATTERNS for path in sorted(source.glob(pattern)))
    for path in found:
        if (folder / path.relative_to(source)).exists():
            continue
        try:
            size = path.stat().st_size
            if size > _MOST:
                raise InputError(f"{path} has {size:,} bytes, expected at most {_MOST:,}")
            write_atomically(folder / path.relative_to(source), path.read_bytes())
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
