"""Tensor: an array together with its place in the graph of a computation; and the gradients that follow from the graph."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar, overload

import numpy as np

from numformer._absent import OF_TENSOR, answers_for
from numformer._names import takes_synonyms
from numformer.autograd.array import ragged
from numformer.autograd.graph import Edge, Node, pull_back
from numformer.autograd.operators import OPS, Operators
from numformer.errors import InputError

_adding = threading.Lock()  # several threads may differentiate one model at once
Key = TypeVar("Key")


class Size(int):
    """The number of elements of an array, which answers as in PyTorch when it is called."""

    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: np.ndarray) -> Size:
        """Return the size of an array."""
        size = cls(array.size)
        size.shape = array.shape
        return size

    def __call__(self, dim: int | None = None) -> Any:
        """Return the shape, or the length of one axis."""
        return self.shape if dim is None else self.shape[dim]


@answers_for(OF_TENSOR)
class Tensor(Operators):
    """A NumPy array that remembers how it was computed, so that `backward` can differentiate it.

    `data` is the array, `grad` the gradient that `backward` left (None before). Lists and Python numbers become float32
    (or integers); an array keeps its dtype. Operators take Tensors, arrays and Python numbers.
    """

    __slots__ = ("__weakref__", "data", "edge", "grad")
    __array_ufunc__ = None  # an array on the left leaves the operator to the Tensor on the right

    def __init__(self, data: Any, requires_grad: bool = False, edge: Edge | None = None) -> None:
        if not isinstance(data, (np.ndarray, np.generic)):
            data = _as_array(data)
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
            self.edge = (Node.of_leaf(self), 0)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim

    @property
    def size(self) -> Size:
        """Number of elements; `size()` is the shape and `size(0)` the length of an axis, as in PyTorch."""
        return Size.of(self.data)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self.data.dtype

    def numpy(self) -> np.ndarray:
        """Return the array itself, not a copy."""
        return self.data

    def detach(self) -> Tensor:
        """Return the same values, cut off from the graph."""
        return Tensor(self.data)

    def clone(self) -> Tensor:
        """Return a copy of the values, through which gradients flow to this tensor."""
        return OPS["mul"](self, 1.0) if self.requires_grad else Tensor(self.data.copy())

    def requires_grad_(self, wanted: bool = True) -> Self:
        """Set `requires_grad` and return the tensor itself."""
        self.requires_grad = wanted
        return self

    def _plain(self, array: Any) -> Tensor:
        return Tensor(array)

    @takes_synonyms
    def backward(self, grad: Any = None) -> None:
        """Add the derivative of this tensor to `.grad` of every leaf it was computed from.

        `grad` is dL/d(this) with this tensor's shape; it may be left out for a scalar, which is then the loss L itself.
        Raises InputError when there is nothing to differentiate, or `grad` has another shape.
        """
        for (node, _), leaf_grad in pull_back(*_start(self, grad)).items():
            leaf = node.leaf() if node.leaf else None
            if leaf is not None:  # it may have been deleted meanwhile
                leaf.add_grad(leaf_grad)

    def add_grad(self, grad: np.ndarray) -> None:
        """Add to `.grad`, which is an array of this tensor alone; several threads may do so at once."""
        with _adding:
            self.grad = np.array(grad) if self.grad is None else np.asarray(self.grad + grad)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.data, dtype, copy=copy)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes as values alone; what was computed arrives as a tensor that was given."""
        return type(self), (self.data, self.requires_grad)

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
    """A Tensor that a Module owns and an optimizer updates; setting `requires_grad = False` freezes it.

    `version` counts the changes of the values in place. An op that reads a parameter notes it, and a backward pass after
    a change is refused: its gradients would be those of other weights. Whoever writes into `data` calls `mark_changed`.
    """

    __slots__ = ("version",)

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)
        self.version = 0

    def mark_changed(self) -> None:
        """Say that the values were changed in place."""
        self.version += 1

    @classmethod
    def full(cls, shape: tuple[int, ...], value: float) -> Parameter:
        """Return a float32 parameter with every element equal to `value`."""
        return cls(np.full(shape, value, np.float32))


def _as_array(data: Any) -> np.ndarray:
    """Return numbers and lists of them as an array, float32 where they are no integers."""
    if isinstance(data, (list, tuple)) and _holds_gradients(data):
        raise InputError("tensors in a list would be cut off from their gradients: use nf.ops.stack, or detach() each")
    try:
        array = np.asarray(data)
    except ValueError:
        raise InputError(f"the rows of a tensor must have one length, got {ragged(data)}") from None
    if array.dtype.kind not in "fiub":
        raise InputError(f"a tensor holds numbers, got {data!r:.60}")
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _holds_gradients(values: Sequence[Any]) -> bool:
    if not values or isinstance(values[0], (int, float)):  # a list of numbers may be long
        return False
    return any(isinstance(value, Tensor) and value.requires_grad for value in values)


def placeholder(tensor: Tensor) -> Tensor:
    """Return a tensor at the same place in the graph, of the same shape, that does not keep the values alive."""
    return Tensor(np.broadcast_to(np.zeros((), tensor.dtype), tensor.shape), edge=tensor.edge)


@overload
def gradients(output: Tensor, wanted: Mapping[Key, Tensor], grad: Any = None) -> dict[Key, np.ndarray | None]: ...
@overload
def gradients(
    output: Tensor, wanted: Sequence[Tensor] | Iterator[Tensor], grad: Any = None, stop: Sequence[Tensor] = ()
) -> list[np.ndarray | None]: ...
def gradients(
    output: Tensor,
    wanted: Sequence[Tensor] | Iterator[Tensor] | Mapping[Key, Tensor],
    grad: Any = None,
    stop: Sequence[Tensor] = (),
) -> list[np.ndarray | None] | dict[Key, np.ndarray | None]:
    """Return the derivative of `output` with respect to each wanted tensor, None where it does not depend on it.

    A wanted tensor may have been computed from another one: each gets its whole derivative. A mapping of names to tensors
    gives a dict of names to gradients. `grad` is dL/d(output), which may be left out for a scalar. The graph behind
    tensors in `stop` is left alone. What lies between is used up. Nothing is written to any tensor; the results may share
    memory. Raises InputError when there is nothing to differentiate, `grad` has another shape, or `wanted` is one tensor.
    """
    if isinstance(wanted, Tensor):
        raise InputError("gradients takes a list of the tensors wanted: write gradients(loss, [x])")
    if isinstance(wanted, Mapping):
        return dict(zip(wanted, gradients(output, list(wanted.values()), grad, stop), strict=True))
    wanted = list(wanted)
    edges = {tensor.edge for tensor in wanted if tensor.edge}
    found = pull_back(*_start(output, grad), edges, {tensor.edge for tensor in stop if tensor.edge})
    return [found.get(tensor.edge) if tensor.edge else None for tensor in wanted]


def _start(output: Tensor, grad: Any) -> tuple[Edge, np.ndarray]:
    """Return where a walk begins, and the gradient that it begins with."""
    if output.edge is None:
        raise InputError("there is nothing to differentiate: no input of this tensor requires a gradient")
    if grad is None:
        if output.size != 1:
            raise InputError(f"backward without a gradient needs a scalar, got a tensor of shape {output.shape}")
        return output.edge, np.ones_like(output.data)
    array = np.asarray(grad.data if isinstance(grad, Tensor) else grad, dtype=output.dtype)
    if array.shape != output.shape:
        raise InputError(f"the gradient has shape {array.shape}, but the tensor it belongs to has shape {output.shape}")
    return output.edge, array
