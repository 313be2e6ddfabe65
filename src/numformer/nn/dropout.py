"""Dropout, and what is done to every dropout of a model at once."""

from __future__ import annotations

import dataclasses
import numbers

from numformer import ops, random
from numformer.autograd import Array, is_evaluating
from numformer.errors import InputError
from numformer.nn.module import Module


class Dropout(Module):
    """Zero elements with probability p while training and divide the others by 1 - p; do nothing in evaluation.

    Raises InputError unless 0 <= p < 1.
    """

    def __init__(self, p: float = 0.1) -> None:
        given: object = p  # which may be anything
        if not (isinstance(given, numbers.Real) and 0.0 <= float(given) < 1.0):
            raise InputError(f"the dropout probability must be at least 0 and below 1, got {p!r:.60}")
        self.p = p
        self._stream = random.Stream()

    def reseed(self, *key: int) -> None:
        """Start the layer's own sequence of masks again, from a key."""
        self._stream = random.Stream(*key)

    @property
    def active(self) -> bool:
        """Whether anything is dropped: not in evaluation mode, and not inside `inference()`."""
        return self.training and self.p > 0.0 and not is_evaluating()

    def next_key(self) -> tuple[int, ...]:
        """Return the key of the next mask."""
        return random.next_key(self._stream)

    def forward(self, x: Array) -> Array:
        """Return x [...] with some elements zeroed and the others scaled up, or x itself where nothing is dropped."""
        return ops.dropout(x, p=self.p, key=self.next_key()) if self.active else x


def set_dropout(model: Module, p: float) -> None:
    """Give every Dropout of a model the probability p, and say so in the configs that it and its parts have."""
    for _, module in model.named_modules():
        if isinstance(module, Dropout):
            module.p = p
        elif hasattr(module, "config"):
            module.config = dataclasses.replace(module.config, dropout=p)
