"""What a language model sees of a text: windows of T tokens, each token's target being the next one."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numformer._notices import amount
from numformer.errors import InputError

Batch = tuple[NDArray[np.int64], NDArray[np.int64]]


class TokenWindows:
    """Windows of `length` tokens over a text's tokens [N], cut out only when they are asked for.

    Raises InputError, calling the text by `name`, when it is too short for one window and its last target.
    """

    def __init__(self, tokens: NDArray[Any], length: int, name: str = "text") -> None:
        if length < 1:
            raise InputError(f"a window needs at least 1 token, got max_seq_len={length}")
        if len(tokens) <= length:
            raise InputError(
                f"the {name} has {amount(len(tokens), 'tokens')}, fewer than the {length + 1} that one window of "
                f"max_seq_len={length} needs"
            )
        self.tokens = tokens
        self.length = length

    def sample(self, generator: np.random.Generator, batch_size: int) -> Batch:
        """Draw windows with replacement, every start equally likely: inputs and targets [B T]."""
        starts = generator.integers(0, len(self.tokens) - self.length, size=batch_size)
        return self._gather(starts, self.length)

    def sequential(self, batch_size: int, max_windows: int | None = None) -> Iterator[Batch]:
        """Yield windows that follow one another through the text: inputs and targets [B T], B up to batch_size.

        Together they predict every token but the first exactly once; what is left at the end is a shorter window, a
        batch of its own. With fewer than that allowed by `max_windows`, they are spread evenly over the text.
        """
        starts = np.arange(0, len(self.tokens) - 1, self.length)
        if max_windows is not None and max_windows < len(starts):
            starts = starts[np.arange(max_windows) * len(starts) // max_windows]
        whole = starts[starts + self.length < len(self.tokens)]
        for i in range(0, len(whole), batch_size):
            yield self._gather(whole[i : i + batch_size], self.length)
        if len(whole) < len(starts):
            yield self._gather(starts[-1:], len(self.tokens) - 1 - int(starts[-1]))

    def _gather(self, starts: NDArray[np.int64], length: int) -> Batch:
        windows = self.tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64)
        return windows[:, :-1], windows[:, 1:]


def split_tokens(tokens: NDArray[Any], valid_fraction: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Cut tokens [N] into a training part and the end, held out for validation; they share no token.

    Raises InputError when the fraction is not in 0..1 (1 excluded).
    """
    if not 0 <= valid_fraction < 1:
        raise InputError(f"valid_fraction must be at least 0 and less than 1, got {valid_fraction}")
    cut = int((1 - valid_fraction) * len(tokens))
    return tokens[:cut], tokens[cut:]
