"""Dropout, and what is done to every dropout of a model at once."""

from __future__ import annotations

import dataclasses
import numbers

from numformer import ops, random
from numformer.autograd import Array, is_evaluating, kind_of
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

    def next_key(self, like: Array) -> tuple[int, ...]:
        """Return the key of the next mask, for an array of the kind of `like`.

        Raises InputError for whole numbers as the key of another kind than NumPy's: drawn while a function is compiled, they
        would be the same at every call.
        """
        key = random.next_key(self._stream)
        if (kind := kind_of(like)) != "numpy" and all(isinstance(part, int) for part in key):
            raise InputError(
                f"dropout on arrays of {kind} takes its numbers from a key that is given: "
                f"call the model inside numformer.{kind}.keyed(key), or put it in evaluation mode by eval()"
            )
        return key

    def forward(self, x: Array) -> Array:
        """Return x [...] with some elements zeroed and the others scaled up, or x itself where nothing is dropped."""
        return ops.dropout(x, p=self.p, key=self.next_key(x)) if self.active else x


def set_dropout(model: Module, p: float) -> None:
    """Give every Dropout of a model the probability p, and say so in the configs that it and its parts have."""
    for _, module in model.named_modules():
        if isinstance(module, Dropout):
            module.p = p
        elif hasattr(module, "config"):
            module.config = dataclasses.replace(module.config, dropout=p)
