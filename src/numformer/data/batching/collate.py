"""Examples put together into batches: numbers and arrays under each other, whatever structure they stand in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numformer.autograd import Tensor
from numformer.errors import InputError

_PADDED = "give the DataLoader collate_fn=nf.PaddingCollate(), which pads rows to one length"


def collate(examples: Sequence[Any]) -> Any:
    """Return a batch of examples, each field of theirs as an array [B ...].

    Arrays and lists of numbers are stacked, and so are numbers: whole ones become int64, others float32, while an array
    keeps its dtype. Tuples (named ones, too), lists of other things and dicts become the same with a batch in every field,
    and texts a list. Raises InputError where examples differ in structure or shape, or hold anything else.
    """
    return _collated(examples, _stack)


class PaddingCollate:
    """Collates as the DataLoader does by default, but fills rows of unequal length up to the longest with `value`.

    Rows are arrays and lists of numbers [T ...], such as token ids; every one of unequal length is filled up. Last in
    the batch comes a mask [B T], True where the first field that holds rows is real: examples `ids` become `(ids, mask)`,
    `(ids, label)` become `(ids, labels, mask)`, and a dict gets the key "mask". `mask.sum(1)` are the lengths.
    """

    def __init__(self, value: float = 0) -> None:
        self.value = value

    def __call__(self, examples: Sequence[Any]) -> Any:
        """Return a batch; raises InputError as the default does, and where no field holds rows."""
        masks: list[NDArray[np.bool_]] = []

        def pad(rows: list[NDArray[Any]]) -> NDArray[Any]:
            batch = _pad(rows, self.value)
            if batch.ndim > 1:
                masks.append(_real(rows))
            return batch

        batch = _collated(examples, pad)
        if not masks:
            raise InputError("there is nothing to pad: no field of the examples is an array or a list of numbers")
        if isinstance(batch, dict):
            if "mask" in batch:
                raise InputError('the examples have a field "mask", where PaddingCollate puts its own: rename it')
            return {**batch, "mask": masks[0]}
        return (*batch, masks[0]) if isinstance(batch, (tuple, list)) else (batch, masks[0])


def _collated(examples: Sequence[Any], put_together: Callable[[list[NDArray[Any]]], NDArray[Any]]) -> Any:
    """Return a batch in the structure of the examples, with their arrays put together by a function."""
    first = examples[0]
    if isinstance(first, (str, bytes)):
        return list(examples)
    if isinstance(first, Mapping):
        if any(not isinstance(each, Mapping) or each.keys() != first.keys() for each in examples):
            raise InputError(f"the examples of a batch must have the same keys, got {_several(examples)}")
        return {key: _collated([each[key] for each in examples], put_together) for key in first}
    if isinstance(first, tuple) or (isinstance(first, list) and not _is_row(first)):
        if any(not isinstance(each, type(first)) or len(each) != len(first) for each in examples):
            raise InputError(f"the examples of a batch must have the same fields, got {_several(examples)}")
        fields = [_collated(field, put_together) for field in zip(*examples, strict=True)]
        return type(first)(*fields) if hasattr(first, "_fields") else type(first)(fields)
    return put_together(_alike([_as_array(each) for each in examples]))


def _is_row(values: list[Any]) -> bool:
    """Tell whether a list holds numbers, or lists of them, and is not a structure of several fields."""
    return all(_is_row(v) if isinstance(v, list) else isinstance(v, (int, float, np.generic)) for v in values)


def _as_array(value: Any) -> NDArray[Any]:
    """Return a number, an array or a list of numbers as an array; raises InputError for anything else."""
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype != object:
            return array
    elif isinstance(value, (Tensor, int, float, list)):
        return Tensor(value).data
    raise InputError(
        f"a batch is made of numbers, arrays, texts, and tuples and dicts of them, got {value!r:.60}: "
        "give the DataLoader a collate_fn of your own"
    )


def _alike(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return arrays in one dtype; whole numbers beside float32 become float32, where NumPy would make both float64."""
    dtypes = [array.dtype for array in arrays if array.size] or [arrays[0].dtype]
    dtype = np.result_type(*([dtype for dtype in dtypes if dtype.kind == "f"] or dtypes))
    return [array.astype(dtype, copy=False) for array in arrays]


def _stack(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    if len(shapes := dict.fromkeys(array.shape for array in arrays)) > 1:
        raise InputError(f"the examples of a batch have the shapes {_several(list(shapes))}: {_PADDED}")
    return np.stack(arrays)


def _pad(rows: list[NDArray[Any]], value: float) -> NDArray[Any]:
    """Put rows [T ...] under each other, filled up with a value to the longest -> [B T ...]."""
    if len({row.shape for row in rows}) == 1:
        return np.stack(rows)
    if len(shapes := dict.fromkeys(row.shape[1:] for row in rows)) > 1 or any(row.ndim == 0 for row in rows):
        raise InputError(
            f"rows can be padded along their first axis alone, got rows of shapes {_several(list(shapes))}"
        )
    batch = np.full((len(rows), max(map(len, rows)), *rows[0].shape[1:]), value, rows[0].dtype)
    for place, row in zip(batch, rows, strict=True):
        place[: len(row)] = row
    return batch


def _real(rows: list[NDArray[Any]]) -> NDArray[np.bool_]:
    lengths = np.array([len(row) for row in rows])
    return np.arange(lengths.max()) < lengths[:, None]


def _several(values: Sequence[Any]) -> str:
    return ", ".join(f"{value!r:.40}" for value in values[:3]) + (", …" if len(values) > 3 else "")
