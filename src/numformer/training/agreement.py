"""What several hosts that train together compare before the first step: what each has read, and what it begins with.

Weights that differ would not show: every host would give its devices their part of another model, or of another batch.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from numformer.nn import Module
from numformer.optim import Optimizer
from numformer.pretrained import kept_state
from numformer.tokenizers import Savable, save_tokenizer

# What every host may call as it likes: where its files lie, how many of its cores it takes, and their number, by which
# NumPy would cut batches.
OWN = ("data", "valid", "tokenizer", "pretrained", "train.threads", "train.shards")
SPOKEN = {
    "crc32": "the checksum of the data",
    "text_crc32": "the checksum of the text",
    "num_bytes": "the number of bytes of the text",
    "num_examples": "the number of examples",
}


def facts_of_run(run: Mapping[str, Any], tokenizer: Savable) -> dict[str, str]:
    """Return by name what run.toml says of a run, with checksums of its data and of its tokenizer."""
    inner = {
        f"{table}.{name}" if isinstance(values, dict) else table: value
        for table, values in run.items()
        for name, value in (values.items() if isinstance(values, dict) else [("", values)])
    }
    facts = {SPOKEN.get(name, name): str(value) for name, value in inner.items() if name not in OWN}
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(tokenizer, folder)
        crc = 0
        for file in sorted(Path(folder).iterdir()):
            crc = zlib.crc32(file.read_bytes(), crc)
    return facts | {"the checksum of the tokenizer": f"{crc:08x}"}


def facts_of_start(step: int, model: Module, optimizer: Optimizer) -> dict[str, str]:
    """Return by name the step at which a training begins, and checksums of weights and averages."""
    return {
        "the step to go on from": str(step),
        "the checksum of the weights": _checksum(kept_state(model)),
        "the checksum of the optimizer's state": _checksum(optimizer.state_dict(copy=False)),
    }


def _checksum(arrays: Mapping[str, Any]) -> str:
    crc = 0
    for name, array in arrays.items():
        crc = zlib.crc32(np.ascontiguousarray(array).data, zlib.crc32(name.encode(), crc))
    return f"{crc:08x}"
