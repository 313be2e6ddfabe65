"""The pieces of a text that are trained and measured on: windows of the context length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from numformer.data import TokenWindows
from numformer.errors import InputError
from numformer.tasks.shared.objective import EVALUATION_TOKENS, Batch


def windows_of(tokens: np.ndarray, max_seq_len: int, max_windows: int | None) -> Iterator[Batch]:
    """Return the windows of a text in order, at most `max_windows` spread over it.

    Raises InputError for a text of fewer than two tokens, and for fewer than one window.
    """
    if len(tokens) < 2:
        raise InputError(f"measuring the loss takes a text of at least 2 tokens, got {len(tokens)}")
    if max_windows is not None and max_windows < 1:
        raise InputError(f"max_windows must be at least 1, got {max_windows}")
    length = min(max_seq_len, len(tokens) - 1)
    return TokenWindows(tokens, length).sequential(max(1, EVALUATION_TOKENS // length), max_windows)
