"""Tensors as numbers of Python, and their dtypes; with what does nothing, for those who come from devices."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from numformer.errors import InputError

if TYPE_CHECKING:
    from numformer.autograd.tensor import Tensor


class Conversions:
    """The part of Tensor that turns its values into something else; none of it has a derivative."""

    __slots__ = ()
    data: np.ndarray
    edge: Any

    def _plain(self, array: Any) -> Tensor:
        """Return a tensor of an array that stands in no graph."""
        raise NotImplementedError

    # Numbers.
    def item(self) -> Any:
        """Return the only element as a Python number; raises InputError where there are more or none."""
        if self.data.size != 1:
            raise InputError(
                f"a tensor of shape {self.data.shape} is not one number: take an element, or sum() or mean()"
            )
        return self.data.item()

    def tolist(self) -> Any:
        """Return the elements as nested lists of Python numbers."""
        return self.data.tolist()

    def __float__(self) -> builtins.float:
        return builtins.float(self.item())

    def __int__(self) -> builtins.int:
        return builtins.int(self.item())

    def __round__(self, digits: builtins.int | None = None) -> Any:
        return round(self.item(), digits)

    def __index__(self) -> builtins.int:
        if self.data.size != 1 or self.data.dtype.kind not in "iu":
            raise TypeError(f"only one whole number is an index, got {self.data.dtype} of shape {self.data.shape}")
        return builtins.int(self.data.item())

    def __bool__(self) -> builtins.bool:
        if self.data.size != 1:
            raise InputError(f"a tensor of shape {self.data.shape} is neither true nor false: use any() or all()")
        return builtins.bool(self.data.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    # Dtypes, and what is there for those who come from devices and memory layouts.
    def astype(self, dtype: Any) -> Tensor:
        """Return the values in another dtype; raises InputError for one that would leave the graph unseen.

        Between floating-point dtypes no gradient flows: a model is converted by `Module.astype`.
        """
        try:
            dtype = np.dtype(dtype)
        except TypeError:
            raise InputError(f"expected a dtype of NumPy such as float32, got {dtype!r:.60}") from None
        if dtype == self.data.dtype:
            return self  # type: ignore[return-value]
        if self.edge is not None and dtype.kind == "f":
            raise InputError(
                f"a {self.data.dtype} tensor that gradients flow to stays so: convert the model by model.astype, "
                "or take detach() first"
            )
        return self._plain(self.data.astype(dtype))

    def float(self) -> Tensor:
        """Return the values as float32."""
        return self.astype(np.float32)

    def double(self) -> Tensor:
        """Return the values as float64."""
        return self.astype(np.float64)

    def long(self) -> Tensor:
        """Return the values as int64."""
        return self.astype(np.int64)

    def int(self) -> Tensor:
        """Return the values as int32."""
        return self.astype(np.int32)

    def bool(self) -> Tensor:
        """Tell of every element whether it is not 0."""
        return self.astype(np.bool_)

    def to(self, target: Any) -> Tensor:
        """Return the values in another dtype; "cpu" is where they are. Raises InputError for another device."""
        return self if on_cpu(target) else self.astype(target)  # type: ignore[return-value]

    def cpu(self) -> Self:
        """Return the tensor itself, which is always in the memory of the CPU."""
        return self

    def contiguous(self) -> Self:
        """Return the tensor itself: every op takes any order in memory."""
        return self


def on_cpu(target: Any) -> bool:
    """Tell whether "cpu" is meant, and no dtype; raises InputError for another device."""
    if isinstance(target, str) and target.partition(":")[0] in ("cuda", "mps", "xpu", "cpu", "gpu"):
        if target != "cpu":
            raise InputError(f"numformer computes on the CPU alone: leave out .to({target!r})")
        return True
    return False
