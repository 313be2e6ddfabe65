"""Token ids and masks as models are given them, brought into one form; on any kind of array.

These have no derivative, so they are not ops: they are written in the array API standard.
"""

from __future__ import annotations

from typing import Any

from numformer.autograd import Tensor, kind_of, namespace_of
from numformer.autograd.array import NUMPY, ragged
from numformer.errors import InputError


def as_ids(tokens: Any, features: bool = False) -> Any:
    """Return token ids given as a list, array or Tensor as an integer array [B T], or [B T C] where features may be.

    Raises InputError for another number of axes, no tokens at all, and numbers that are not whole.
    """
    ids = _as_array(tokens)
    whole = namespace_of(ids).isdtype(ids.dtype, "integral")
    if ids.ndim not in ((2, 3) if features else (2,)) or not whole or 0 in ids.shape:
        raise InputError(f"tokens must be integers with axes [B T], got {ids.dtype} of shape {tuple(ids.shape)}")
    return ids


def as_mask(mask: Any) -> Any:
    """Return a mask given as [T S], [B T S] or [B H T S], boolean or 0/1, as a boolean [B H T S]; True means attend.

    Raises InputError for numbers other than 0 and 1 (an additive mask) and for other shapes.
    """
    array = _as_array(mask)
    xp = namespace_of(array)
    if not xp.isdtype(array.dtype, "bool"):
        if kind_of(array) == NUMPY and not xp.all((array == 0) | (array == 1)):  # other kinds may not be there yet
            raise InputError("an attention mask holds True (or 1) where a query may attend and False (or 0) elsewhere")
        array = array != 0
    if not 2 <= array.ndim <= 4:
        raise InputError(f"an attention mask has axes [T S], [B T S] or [B H T S], got shape {tuple(array.shape)}")
    lead = {2: (1, 1), 3: (array.shape[0], 1)}.get(array.ndim, tuple(array.shape[:2]))
    return xp.reshape(array, (*lead, *array.shape[-2:]))


def padding_mask(ids: Any, pad_id: int) -> Any:
    """Return the mask [B 1 1 S] that keeps every query from attending to padding."""
    return (_as_array(ids) != pad_id)[:, None, None, :]


def key_mask(real: Any) -> Any:
    """Return the mask [B 1 1 S] that keeps every query from keys where `real` [B S] is False (or 0).

    Raises InputError for another number of axes, or numbers other than 0 and 1.
    """
    array = _as_array(real)
    if array.ndim == 4:
        return as_mask(array)
    if array.ndim != 2:
        raise InputError(f"a padding mask has axes [B S], got shape {tuple(array.shape)}")
    return as_mask(array[:, None, None, :])


def target_mask(mask: Any, ids: Any) -> Any:
    """Return the mask of a decoder over ids [B T]: `mask` is [B T], False at padding, or a matrix [T T] as in `as_mask`.

    With as many rows as tokens the two look alike: what is then not the causal matrix hides padding. (Read as padding, the
    causal matrix would say the same to a decoder, which sees no later position anyway.)
    Raises InputError as `as_mask` does.
    """
    batch, length = ids.shape
    given = _as_array(mask)
    if given.ndim != 2 or (batch != length and given.shape == (length, length)):
        return as_mask(given)
    is_square = batch == length and kind_of(given) == NUMPY  # what arrays of other kinds hold may not be there yet
    is_causal = is_square and given.shape == (length, length) and bool((given == causal_mask(length, given)).all())
    return as_mask(given) if is_causal else key_mask(given)


def window_mask(mask: Any, positions: Any, window: int) -> Any:
    """Return a mask [B H T S] without the keys `window` or more positions before their query.

    `positions` [B T] or [T] are those of the queries; key s is at position s.
    """
    mask, xp = as_mask(mask), namespace_of(mask)
    first = xp.reshape(positions, (-1, 1, positions.shape[-1], 1)) - window + 1
    return mask & (xp.arange(mask.shape[-1]) >= first)


def segment_places(segments: Any) -> tuple[Any, Any]:
    """Return the positions [B T] of tokens within their segments, and the mask [B 1 T T] that keeps segments apart.

    Each row of `segments` [B T] numbers the sequences that lie in it side by side.
    """
    numbers = as_ids(segments)
    xp = namespace_of(numbers)
    same = numbers[:, :, None] == numbers[:, None, :]
    before = xp.astype(xp.tril(same), numbers.dtype)
    return xp.sum(before, axis=-1) - 1, same[:, None]


def causal_mask(length: int, like: Any = None) -> Any:
    """Return the mask [T T] that lets position t attend to positions up to t, as the kind of array that `like` is."""
    xp = namespace_of(like)
    return xp.tril(xp.ones((length, length), dtype=xp.bool))


def _as_array(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.data
    if hasattr(value, "__array_namespace__"):
        return value
    try:
        return namespace_of(value).asarray(value)
    except ValueError:
        raise InputError(f"the rows of tokens or of a mask must have one length, got {ragged(value)}") from None
