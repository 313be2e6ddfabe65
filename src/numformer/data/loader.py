"""Arrays that belong together, and batches of them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numformer.errors import InputError
from numformer.random import generator

Arrays = tuple[NDArray[Any], ...]


class TensorDataset:
    """Examples held in arrays [N ...] of one length: example i is row i of each.

    Raises InputError without arrays, or when their lengths differ.
    """

    def __init__(self, *arrays: ArrayLike) -> None:
        try:
            self.arrays = tuple(np.asarray(array) for array in arrays)
        except ValueError as error:
            raise InputError(f"a TensorDataset needs arrays of rows of one length: {error}") from None
        shapes = [array.shape for array in self.arrays]
        if not shapes or () in shapes or len({shape[0] for shape in shapes}) > 1:
            raise InputError(f"a TensorDataset needs arrays of one length, got the shapes {shapes}")

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: Any) -> Arrays:
        return tuple(array[index] for array in self.arrays)


class DataLoader:
    """Batches of a dataset, one tuple of arrays [B ...] at a time; the last batch may be smaller.

    Each pass over a shuffled loader has an order of its own, which follows from (seed, epoch) alone; `epoch` counts
    the passes begun and may be set to repeat one. Raises InputError when batch_size is less than 1.
    """

    def __init__(
        self,
        dataset: TensorDataset,
        batch_size: int,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Arrays]:
        order = np.arange(len(self.dataset))
        if self.shuffle:
            generator(self.seed, self.epoch).shuffle(order)
        self.epoch += 1
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        return (self.dataset[order[start : start + self.batch_size]] for start in starts)
