"""Tensor: an array together with its place in the graph of a computation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np

from numformer.errors import InputError

if TYPE_CHECKING:
    from numformer.tape import Node

Edge: TypeAlias = "tuple[Node, int]"  # an op that ran, and which of its results


class Tensor:
    """A NumPy array that remembers how it was computed, so that `backward` can differentiate it.

    `data` is the array, `grad` the gradient that `backward` left (None before). Lists and Python numbers become float32
    (or integers); an array keeps its dtype. Operators take Tensors, arrays and Python numbers.
    """

    __slots__ = ("__weakref__", "data", "edge", "grad")
    __array_ufunc__ = None  # an array on the left leaves the operator to the Tensor on the right

    def __init__(self, data: Any, requires_grad: bool = False, edge: Edge | None = None) -> None:
        if not isinstance(data, (np.ndarray, np.generic)):
            data = np.asarray(data)
            if data.dtype == np.float64:
                data = data.astype(np.float32)
        self.data: np.ndarray = np.asarray(data)
        self.grad: np.ndarray | None = None
        self.edge = edge
        if requires_grad:
            self.requires_grad = True

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this tensor."""
        return self.edge is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if wanted and self.data.dtype.kind != "f":
            raise InputError(f"only floating-point tensors can require gradients, got dtype {self.data.dtype}")
        if not wanted:
            self.edge = None
        elif self.edge is None:
            self.edge = (tape.Node.of_leaf(self), 0)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self.data.dtype

    @property
    def T(self) -> Tensor:  # noqa: N802 (NumPy calls it so)
        """The axes in reverse order."""
        return self.transpose()

    def numpy(self) -> np.ndarray:
        """Return the array itself, not a copy."""
        return self.data

    def item(self) -> float:
        """Return the only element as a Python number."""
        return self.data.item()

    def detach(self) -> Tensor:
        """Return the same values, cut off from the graph."""
        return Tensor(self.data)

    def backward(self, grad: Any = None) -> None:
        """Add the derivative of this tensor to `.grad` of every leaf it was computed from.

        `grad` is dL/d(this) with this tensor's shape; it may be left out for a scalar, which is then the loss L itself.
        Raises InputError when there is nothing to differentiate, or `grad` has another shape.
        """
        for leaf, leaf_grad in tape.leaf_gradients(self, grad):
            leaf.add_grad(leaf_grad)

    def add_grad(self, grad: np.ndarray) -> None:
        """Add to `.grad`, which is an array of this tensor alone."""
        self.grad = np.array(grad) if self.grad is None else self.grad + grad

    # Operators: each is one op of numformer.ops.basic.
    def __add__(self, other: Any) -> Tensor:
        return ops.add(self, other)

    def __sub__(self, other: Any) -> Tensor:
        return ops.sub(self, other)

    def __mul__(self, other: Any) -> Tensor:
        return ops.mul(self, other)

    def __truediv__(self, other: Any) -> Tensor:
        return ops.div(self, other)

    def __matmul__(self, other: Any) -> Tensor:
        return ops.matmul(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return ops.add(other, self)

    def __rsub__(self, other: Any) -> Tensor:
        return ops.sub(other, self)

    def __rmul__(self, other: Any) -> Tensor:
        return ops.mul(other, self)

    def __rtruediv__(self, other: Any) -> Tensor:
        return ops.div(other, self)

    def __rmatmul__(self, other: Any) -> Tensor:
        return ops.matmul(other, self)

    def __neg__(self) -> Tensor:
        return ops.mul(self, -1.0)

    def __getitem__(self, key: Any) -> Tensor:
        return ops.index(self, key=key)

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Sum over `axis` (all axes by default)."""
        return ops.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Average over `axis` (all axes by default)."""
        return ops.mean(self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        """Return the elements in another shape; one length may be -1."""
        return ops.reshape(self, shape=shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)

    def transpose(self, *axes: int) -> Tensor:
        """Reorder the axes (reverse them when none are given)."""
        return ops.transpose(self, axes=axes or None)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.data, dtype, copy=copy)

    def __deepcopy__(self, memo: Any) -> Self:
        is_leaf = self.edge is not None and self.edge[0].leaf is not None
        twin = type(self)(self.data.copy(), requires_grad=is_leaf)
        twin.grad = None if self.grad is None else self.grad.copy()
        memo[id(self)] = twin
        return twin

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        grad = ", requires_grad=True" if self.requires_grad else ""
        values = np.array2string(self.data, precision=4, threshold=20, prefix="Tensor(")
        return f"Tensor({values}, shape={self.shape}{grad})"


class Parameter(Tensor):
    """A Tensor that a Module owns and an optimizer updates; setting `requires_grad = False` freezes it."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)

    @classmethod
    def full(cls, shape: tuple[int, ...], value: float) -> Parameter:
        """Return a float32 parameter with every element equal to `value`."""
        return cls(np.full(shape, value, np.float32))


from numformer import ops, tape  # noqa: E402  (the ops need the class above)
