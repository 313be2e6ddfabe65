"""What can be written with a tensor: operators, and methods with the names that they have in NumPy and PyTorch.

Whatever has a derivative is an op, found by its name in OPS, or made of several. Comparisons and positions have none:
they return tensors of truth values and integers that stand in no graph.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from numformer._names import takes_synonyms
from numformer.autograd.conversions import Conversions
from numformer.errors import InputError

if TYPE_CHECKING:
    from numformer.autograd.tensor import Tensor

# Every op by its name. The decorator `op` fills the table; the operators look their op up in it, so that this file imports
# none of them.
OPS: dict[str, Callable[..., Any]] = {}
Axis = int | tuple[int, ...] | None
Method = TypeVar("Method", bound=Callable[..., Any])
_OPERANDS = (np.ndarray, np.generic, int, float, list, tuple)


def _over_axes(method: Method) -> Method:
    """Let a method take synonyms, and what NumPy's function of its name hands on: np.sum(x) calls x.sum(axis, out=None)."""
    renaming = takes_synonyms(method)

    @functools.wraps(method)
    def call(self: Any, *args: Any, **settings: Any) -> Any:
        if not settings:
            return method(self, *args)
        return renaming(
            self, *args, **{w: v for w, v in settings.items() if v is not None or w not in ("out", "dtype")}
        )

    return cast(Method, call)


class Operators(Conversions):
    """The operators and methods of Tensor; wherever one takes `axis` and `keepdims`, it takes `dim` and `keepdim` too."""

    __slots__ = ()

    # Arithmetic.
    def __add__(self, other: Any) -> Tensor:
        return OPS["add"](self, other)

    def __sub__(self, other: Any) -> Tensor:
        return OPS["sub"](self, other)

    def __mul__(self, other: Any) -> Tensor:
        return OPS["mul"](self, other)

    def __truediv__(self, other: Any) -> Tensor:
        return OPS["div"](self, other)

    def __pow__(self, other: Any) -> Tensor:
        return OPS["power"](self, other)

    def __matmul__(self, other: Any) -> Tensor:
        return OPS["matmul"](self, other)

    def __radd__(self, other: Any) -> Tensor:
        return OPS["add"](other, self)

    def __rsub__(self, other: Any) -> Tensor:
        return OPS["sub"](other, self)

    def __rmul__(self, other: Any) -> Tensor:
        return OPS["mul"](other, self)

    def __rtruediv__(self, other: Any) -> Tensor:
        return OPS["div"](other, self)

    def __rpow__(self, other: Any) -> Tensor:
        return OPS["power"](other, self)

    def __rmatmul__(self, other: Any) -> Tensor:
        return OPS["matmul"](other, self)

    def __neg__(self) -> Tensor:
        return OPS["mul"](self, -1.0)

    def __abs__(self) -> Tensor:
        return OPS["abs"](self)

    def __getitem__(self, key: Any) -> Tensor:
        return OPS["index"](self, key=key)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise InputError("tensors are not changed in place: use masked_fill or nf.ops.where, or write into .data")

    # Comparisons, element by element. Tensors are still told apart by identity in sets and dicts.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return self._paired(operator.eq, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return self._paired(operator.ne, other)

    def __lt__(self, other: Any) -> Tensor:
        return self._paired(operator.lt, other)

    def __le__(self, other: Any) -> Tensor:
        return self._paired(operator.le, other)

    def __gt__(self, other: Any) -> Tensor:
        return self._paired(operator.gt, other)

    def __ge__(self, other: Any) -> Tensor:
        return self._paired(operator.ge, other)

    def __and__(self, other: Any) -> Tensor:
        return self._paired(operator.and_, other)

    def __or__(self, other: Any) -> Tensor:
        return self._paired(operator.or_, other)

    def __invert__(self) -> Tensor:
        return self._plain(~self.data)

    # Whole quotients and remainders, through which no gradient flows.
    def __floordiv__(self, other: Any) -> Tensor:
        return self._divided(operator.floordiv, self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return self._divided(operator.floordiv, other, self)

    def __mod__(self, other: Any) -> Tensor:
        return self._divided(operator.mod, self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return self._divided(operator.mod, other, self)

    def _divided(self, function: Callable[[Any, Any], Any], x: Any, y: Any) -> Any:
        """Return what // or % gives; raises InputError where a gradient would be lost on the way."""
        other = y if x is self else x
        if not isinstance(other, (Operators, *_OPERANDS)):
            return NotImplemented
        if any(isinstance(each, Operators) and each.edge is not None for each in (x, y)):
            raise InputError("no gradient flows through // and %: take detach() first")
        x, y = (each.data if isinstance(each, Operators) else each for each in (x, y))
        try:
            with np.errstate(divide="ignore", invalid="ignore"):
                return self._plain(function(x, y))
        except (TypeError, ValueError):
            raise InputError(f"// and % need shapes that fit together, got {np.shape(x)} and {np.shape(y)}") from None

    def _paired(self, function: Callable[[Any, Any], Any], other: Any) -> Any:
        """Return a result without a derivative; NotImplemented, which Python answers, beside what is no array."""
        if not isinstance(other, (Operators, *_OPERANDS)):
            return NotImplemented
        theirs = other.data if isinstance(other, Operators) else np.asarray(other)
        try:
            return self._plain(function(self.data, theirs))
        except (TypeError, ValueError):
            raise InputError(
                f"{function.__name__.strip('_')} needs two tensors that fit together, got {self.data.dtype} of shape "
                f"{self.data.shape} and {theirs.dtype} of shape {theirs.shape}"
            ) from None

    # Element by element.
    def exp(self) -> Tensor:
        """Raise e to the power of every element."""
        return OPS["exp"](self)

    def log(self) -> Tensor:
        """Take the natural logarithm of every element, which must be positive."""
        return OPS["log"](self)

    def sqrt(self) -> Tensor:
        """Take the square root of every element; its derivative at 0 is infinite."""
        return OPS["power"](self, 0.5)

    def abs(self) -> Tensor:
        """Take the absolute value of every element."""
        return OPS["abs"](self)

    def tanh(self) -> Tensor:
        """Take the hyperbolic tangent of every element."""
        return OPS["tanh"](self)

    def sigmoid(self) -> Tensor:
        """Take the logistic function of every element."""
        return OPS["sigmoid"](self)

    def relu(self) -> Tensor:
        """Replace negative elements by 0."""
        return OPS["relu"](self)

    @takes_synonyms
    def softmax(self, axis: int = -1) -> Tensor:
        """Make probabilities that add up to 1 along an axis."""
        return OPS["softmax"](self, axis=axis)

    @takes_synonyms
    def log_softmax(self, axis: int = -1) -> Tensor:
        """Take the logarithm of the softmax along an axis."""
        return OPS["log_softmax"](self, axis=axis)

    def clamp(self, min: float | None = None, max: float | None = None) -> Tensor:
        """Replace elements below `min` and above `max` by these; no gradient flows to them."""
        x: Any = self if min is None else OPS["where"](self.data < min, min, self)
        return x if max is None else OPS["where"](self.data > max, max, x)

    def masked_fill(self, mask: Any, value: float) -> Tensor:
        """Put a value where the mask is True; mask and tensor broadcast."""
        return OPS["where"](mask, value, self)

    # Over axes.
    @_over_axes
    def any(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Tell whether an element along `axis`, or any at all, is not 0."""
        return self._plain(np.any(self.data, axis=axis, keepdims=keepdims))

    @_over_axes
    def all(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Tell whether every element along `axis`, or every one at all, is not 0."""
        return self._plain(np.all(self.data, axis=axis, keepdims=keepdims))

    @_over_axes
    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Sum over `axis` (all axes by default)."""
        return OPS["sum"](self, axis=axis, keepdims=keepdims)

    @_over_axes
    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Average over `axis` (all axes by default)."""
        return OPS["mean"](self, axis=axis, keepdims=keepdims)

    @_over_axes
    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Return the largest elements over `axis` (all axes by default), the values alone: `argmax` has their places."""
        return OPS["max"](self, axis=axis, keepdims=keepdims)

    @_over_axes
    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Return the smallest elements over `axis` (all axes by default), the values alone: `argmin` has their places."""
        return OPS["min"](self, axis=axis, keepdims=keepdims)

    @_over_axes
    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Return the place of the first largest element along `axis`, or among all elements in order."""
        return self._plain(np.argmax(self.data, axis=self._checked(axis), keepdims=keepdims))

    @_over_axes
    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Return the place of the first smallest element along `axis`, or among all elements in order."""
        return self._plain(np.argmin(self.data, axis=self._checked(axis), keepdims=keepdims))

    def _checked(self, axis: int | None) -> int | None:
        return None if axis is None else _place(axis, self.data.ndim)

    @_over_axes
    def var(self, axis: Axis = None, keepdims: bool = False, correction: int = 1) -> Tensor:
        """Return the variance over `axis` (all axes by default).

        The sum of squares is divided by the number of elements less `correction`: 1 as in PyTorch, where NumPy has 0.
        Raises InputError where no more elements than that are there.
        """
        centred = self - self.mean(axis, keepdims=True)
        squares = (centred * centred).sum(axis, keepdims=keepdims)
        count = self.data.size // math.prod(squares.shape) if squares.data.size else 0
        if count <= correction:
            raise InputError(f"a variance with correction={correction} needs more elements than {count}")
        return squares / float(count - correction)

    @_over_axes
    def std(self, axis: Axis = None, keepdims: bool = False, correction: int = 1) -> Tensor:
        """Return the root of `var`, with the same settings."""
        return self.var(axis, keepdims=keepdims, correction=correction).sqrt()

    # Shapes.
    def numel(self) -> int:
        """Return the number of elements."""
        return self.data.size

    def dim(self) -> int:
        """Return the number of axes."""
        return self.data.ndim

    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        """Return the elements in another shape; one length may be -1."""
        return OPS["reshape"](self, shape=_lengths(shape))

    view = reshape

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Make one axis of those from `start_dim` to `end_dim`, both included."""
        return OPS["reshape"](self, shape=flat_shape(self.data.shape, start_dim, end_dim))

    @takes_synonyms
    def squeeze(self, axis: int | None = None) -> Tensor:
        """Leave out axes of length 1: all of them, or `axis`, which stays where it is longer."""
        shape, at = self.data.shape, self._checked(axis)
        return OPS["reshape"](self, shape=[n for i, n in enumerate(shape) if n != 1 or (at is not None and i != at)])

    @takes_synonyms
    def unsqueeze(self, axis: int) -> Tensor:
        """Put in an axis of length 1, which will be number `axis`."""
        shape = self.data.shape
        at = _place(axis, len(shape) + 1)
        return OPS["reshape"](self, shape=(*shape[:at], 1, *shape[at:]))

    def transpose(self, *axes: int | Sequence[int] | None) -> Tensor:
        """Swap two axes; with as many numbers as there are axes, put all in that order; with none, reverse them.

        Two numbers always swap, as in PyTorch, also for a matrix; `permute`, or one sequence, always orders all axes.
        """
        if len(axes) != 2:
            return OPS["transpose"](self, axes=_lengths(axes) if axes else None)
        order = list(range(self.data.ndim))
        first, second = (_place(cast(int, axis), len(order)) for axis in axes)
        order[first], order[second] = second, first
        return OPS["transpose"](self, axes=order)

    def permute(self, *axes: int | Sequence[int]) -> Tensor:
        """Put all axes in another order."""
        return OPS["transpose"](self, axes=_lengths(axes))

    @property
    def T(self) -> Tensor:  # noqa: N802 (NumPy calls it so)
        """The axes in reverse order."""
        return OPS["transpose"](self)

    @property
    def mT(self) -> Tensor:  # noqa: N802 (PyTorch calls it so)
        """The last two axes swapped: every matrix transposed."""
        return self.transpose(-1, -2)

    def expand(self, *shape: int | Sequence[int]) -> Tensor:
        """Repeat axes of length 1 up to a shape, in which -1 stands for the length that is there."""
        lengths = _lengths(shape)
        own = (1,) * (len(lengths) - self.data.ndim) + self.data.shape
        wanted = [there if length == -1 else length for length, there in zip(lengths, own, strict=False)]
        if len(own) != len(wanted) or any(there not in (1, length) for there, length in zip(own, wanted, strict=True)):
            raise InputError(f"a tensor of shape {self.data.shape} cannot be expanded to {tuple(lengths)}")
        return OPS["add"](self, np.broadcast_to(np.zeros((), self.data.dtype), wanted))

    def repeat(self, *times: int | Sequence[int]) -> Tensor:
        """Put copies beside each other, as many along every axis as `times` says (`numpy.tile`)."""
        counts = _lengths(times)
        result: Any = OPS["reshape"](self, shape=(1,) * (len(counts) - self.data.ndim) + self.data.shape)
        if len(counts) != result.ndim:
            raise InputError(
                f"repeat of a tensor with ndim={self.data.ndim} needs as many numbers, got {tuple(counts)}"
            )
        for axis, count in enumerate(counts):
            result = OPS["concat"](*[result] * count, axis=axis) if count != 1 else result
        return result


def _lengths(numbers: Sequence[Any]) -> Sequence[int]:
    """Return numbers that were given one by one or as one sequence."""
    return numbers[0] if len(numbers) == 1 and not isinstance(numbers[0], (int, np.integer)) else numbers


def flat_shape(shape: tuple[int, ...], start_dim: int, end_dim: int) -> tuple[int, ...]:
    """Return a shape with one axis in place of those from `start_dim` to `end_dim`, both included."""
    shape = shape or (1,)
    start, end = (_place(axis, len(shape)) for axis in (start_dim, end_dim))
    return (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])


def _place(axis: int, ndim: int) -> int:
    """Return the number of an axis from the front; raises InputError where there is no such axis."""
    if not -ndim <= axis < ndim:
        raise InputError(f"there is no axis {axis} in a tensor with ndim={ndim}")
    return axis % ndim
