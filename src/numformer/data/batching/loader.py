"""Datasets, and batches of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numformer._names import takes_synonyms
from numformer.autograd.array import ragged
from numformer.data.batching.collate import collate
from numformer.errors import InputError
from numformer.random import Generator, generator

Arrays = tuple[NDArray[Any], ...]


@runtime_checkable
class Dataset(Protocol):
    """Examples with numbers from 0: any object with these two methods, such as a list of pairs."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class TensorDataset:
    """Examples held in arrays [N ...] of one length: example i is row i of each.

    Raises InputError without arrays, or when their lengths differ.
    """

    def __init__(self, *arrays: ArrayLike) -> None:
        self.arrays = tuple(map(_as_array, arrays))
        shapes = [array.shape for array in self.arrays]
        if not shapes or () in shapes or len({shape[0] for shape in shapes}) > 1:
            raise InputError(f"a TensorDataset needs arrays of one length, got the shapes {shapes}")

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: Any) -> Arrays:
        return tuple(array[index] for array in self.arrays)


class DataLoader:
    """Batches of a dataset, put together by `collate_fn`; the last batch may be smaller.

    A dataset is anything with `__len__` and `__getitem__`, or an iterable, which is read in its own order and has no
    length. Without `collate_fn`, which gets a list of examples, numbers and arrays become arrays [B ...] in the structure
    of an example (see `numformer.data.batching.collate`).

    Each pass over a shuffled loader has an order of its own, which follows from (seed, epoch) alone; `epoch` counts
    the passes begun and may be set to repeat one. A `generator` of NumPy, from which each pass draws its order, takes the
    place of both; a number given for it is the seed. Raises InputError for a batch_size below 1, for an iterable that is to
    be shuffled, for a second pass over an iterator, which the first one used up, and for what no batch can be made of.
    """

    @takes_synonyms
    def __init__(
        self,
        dataset: Dataset | Iterable[Any],
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        *,
        collate_fn: Callable[[Any], Any] | None = None,
        generator: Generator | int | None = None,
    ) -> None:
        if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size!r}")
        self.has_length = _check_dataset(dataset)
        if shuffle and not self.has_length:
            raise InputError("an iterable dataset is read in its own order: shuffle it yourself, or give a list")
        if collate_fn is not None and not callable(collate_fn):
            raise InputError(f"collate_fn must be a function of a list of examples, got {collate_fn!r:.60}")
        self.dataset: Any = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed, self.generator = _sources_of_chance(seed, generator)
        self.collate_fn = collate_fn
        self.epoch = 0

    def __len__(self) -> int:
        if not self.has_length:
            raise TypeError("an iterable dataset has no length: count the batches as they come")
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        batches = self._chosen() if self.has_length else self._read()
        self.epoch += 1
        return batches

    def _chosen(self) -> Iterator[Any]:
        """Return the batches of a dataset whose examples have numbers."""
        order = np.arange(len(self.dataset))
        if self.shuffle:
            (self.generator or generator(self.seed, self.epoch)).shuffle(order)
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        chosen = (order[start : start + self.batch_size] for start in starts)
        if type(self.dataset) is TensorDataset and self.collate_fn is None:
            return (self.dataset[numbers] for numbers in chosen)  # the rows at once
        return (self._collated([self.dataset[int(number)] for number in numbers]) for numbers in chosen)

    def _read(self) -> Iterator[Any]:
        """Return the batches of an iterable; raises InputError where an earlier pass used it up."""
        examples = iter(self.dataset)
        if examples is self.dataset and self.epoch:
            raise InputError(
                "an earlier pass used up this iterator: give a list, or an object whose __iter__ starts anew each time"
            )
        batches = iter(lambda: list(itertools.islice(examples, self.batch_size)), [])
        return (self._collated(batch) for batch in batches if not self.drop_last or len(batch) == self.batch_size)

    def _collated(self, examples: Sequence[Any]) -> Any:
        return (self.collate_fn or collate)(examples)


def _as_array(rows: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(rows)
    except ValueError:
        raise InputError(f"a TensorDataset needs arrays of rows of one length, got {ragged(rows)}") from None


def _check_dataset(dataset: Any) -> bool:
    """Tell whether the examples of a dataset have numbers; raises InputError for what is no dataset."""
    if isinstance(dataset, (dict, str, bytes)) or hasattr(dataset, "iloc"):  # a table of pandas is one of columns, too
        raise InputError(
            f"a {type(dataset).__name__} is no dataset: give a list of examples, or arrays in nf.TensorDataset"
        )
    if isinstance(dataset, Dataset):
        return True
    if not isinstance(dataset, Iterable):
        raise InputError(f"a dataset has __len__ and __getitem__, or can be looped over, got {dataset!r:.60}")
    return False


def _sources_of_chance(seed: int, given: Any) -> tuple[int, np.random.Generator | None]:
    """Return the seed, and the generator that was given in its place if it is one."""
    if given is None or isinstance(given, np.random.Generator):
        return seed, given
    if isinstance(given, (int, np.integer)):
        return int(given), None
    raise InputError(f"generator must be one of NumPy (np.random.default_rng(0)) or a seed, got {given!r:.60}")
