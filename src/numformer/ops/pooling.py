"""One vector for a whole sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from numformer.tape import op


@op
def masked_mean(x: np.ndarray, mask: np.ndarray) -> Any:
    """Average the positions where the mask is True; a row without any gets zeros.

    x [B T D], mask [B T] bool -> [B D]
    """
    weights = mask.astype(x.dtype)[:, None, :]
    weights /= np.maximum(weights.sum(axis=-1, keepdims=True), 1.0)
    return (weights @ x)[:, 0], lambda dy: (weights.swapaxes(1, 2) * dy[:, None, :], None)


def last_true(mask: np.ndarray) -> np.ndarray:
    """Return the last position [B] at which a mask [B T] is True."""
    length = mask.shape[1]
    return length - 1 - np.argmax(mask[:, ::-1], axis=1)
