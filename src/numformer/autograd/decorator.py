"""Op: a function on arrays with its hand-derived pullback, and the decorator that makes one.

    @op
    def scale(x, factor=None, *, need, power=1):
        y = ...
        def vjp(dy):
            return dx, dfactor
        return y, vjp

Positional parameters are arrays; an optional one that is left out is None. Keyword-only ones are settings, but for `need`,
which tells a body that asks for it which of its arguments want a gradient. `vjp` takes the gradient of the value and
returns one gradient per positional parameter, None where there is none. What is kept for the backward pass is exactly what
`vjp` mentions, so an array that a caller gives must not be written to before the backward pass. Ids and targets are the
exception: ops copy them, for they are small and often lie in a buffer that is filled anew.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from numformer._names import rename_settings
from numformer.autograd import mode
from numformer.autograd.array import NUMPY, kind_of, open_room
from numformer.autograd.graph import Node, Source, is_given
from numformer.autograd.operators import OPS
from numformer.autograd.shapes import check_shapes, parse_shape_lines
from numformer.autograd.tensor import Parameter, Tensor
from numformer.errors import InputError

SEEN_LIMIT = 1024  # combinations of shapes that an op remembers to have checked
Gradients: TypeAlias = "tuple[np.ndarray | None, ...]"  # one for each positional argument
Result: TypeAlias = (
    "tuple[Any, Callable[..., np.ndarray | Gradients] | None]"  # a value, or a tuple of them; the pullback
)
Body: TypeAlias = Callable[..., Any]


class Need(tuple[bool, ...]):
    """Which positional arguments of an op want a gradient, one bool each; `given` are the arrays that no op computed."""

    given: Sequence[np.ndarray] = ()


class Op:
    """A differentiable function on arrays: `body(*arrays, **settings)` returns (value, vjp), or (values, vjp) with a tuple.

    Called with a Tensor among its positional arguments it returns Tensors, otherwise arrays. Arrays of another kind than
    NumPy's go to the body that was registered for their kind, which returns the value alone.
    """

    def __init__(self, body: Body) -> None:
        functools.update_wrapper(self, body)
        self.body = body
        self.name = body.__name__
        self.shape_lines = parse_shape_lines(body.__doc__ or "")
        self.bodies: dict[str, Body] = {}  # by kind of array, besides NumPy's
        parameters = inspect.signature(body).parameters.values()
        self._wants_need = any(p.name == "need" for p in parameters)
        self._is_variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self._positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._num_positional = -1 if self._is_variadic else len(self._positional)
        self._names = {p.name for p in self._positional}
        self._settings = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
        self._num_required = sum(p.default is p.empty for p in self._positional)
        self._left_out = (None,) * len(self._positional)
        self._nothing = Need([False] * len(self._positional))
        self._seen: set[tuple[Any, ...]] = set()  # shapes that passed the check

    def body_for(self, kind: str) -> Callable[[Body], Body]:
        """Return a decorator that registers the body for arrays of a kind (see `numformer.autograd.array`).

        The body takes the same arguments, without `need`, and returns the value; its library differentiates it.
        """

        def register(body: Body) -> Body:
            self.bodies[kind] = body
            return body

        return register

    def jax(self, body: Body) -> Body:
        """Register the body for arrays of JAX."""
        return self.body_for("jax")(body)

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """Run the op, and record it when an argument requires a gradient."""
        if settings or len(args) != self._num_positional:
            args = self._bind(args, settings)
        recording, tensors = mode.current.recording, False
        arrays: list[Any] = []
        sources: list[Source | None] = []
        shapes: list[Any] = []  # what the check of shapes goes by
        versions: list[tuple[Parameter, int]] = []
        for value in args:
            array, source = value, None
            if isinstance(value, Tensor):
                array, tensors = value.data, True
                if recording and value.edge is not None:
                    source = value.edge, array.shape, array.dtype
                if isinstance(value, Parameter):
                    versions.append((value, value.version))
            elif value is not None and not isinstance(value, np.ndarray):
                if (kind := kind_of(value)) != NUMPY:
                    return self._call_foreign(kind, args, settings)
                array = self._as_array(value)
            arrays.append(array)
            sources.append(source)
            shapes.append((array.shape, array.dtype.char) if isinstance(array, np.ndarray) else None)
        self._check(tuple(shapes), arrays)
        wanted = any(sources)
        value, vjp = self._run(arrays, sources, settings, wanted)
        if wanted:
            value = _attach(
                value, Node(self.name, sources, vjp, len(value) if isinstance(value, tuple) else 1, versions)
            )
        elif tensors:
            value = tuple(map(Tensor, value)) if isinstance(value, tuple) else Tensor(value)
        return value if mode.current.watcher is None else mode.current.watcher.see_op(self.name, value)

    def value_and_vjp(self, *args: Any, **settings: Any) -> Any:
        """Run the body as if every argument needed its gradient."""
        arrays = [self._as_array(a) for a in self._bind(args, settings)]
        check_shapes(self.name, self.shape_lines, arrays)
        node = Node(self.name, (), None)
        sources = [None if a is None else ((node, 0), np.shape(a), np.dtype(float)) for a in arrays]
        return self._run(arrays, sources, settings, wanted=True)

    def _bind(self, args: tuple[Any, ...], settings: dict[str, Any]) -> tuple[Any, ...]:
        """Return one value per positional parameter, None for those left out; takes them out of the settings."""
        if self._is_variadic:
            return args
        if len(args) >= self._num_required and self._names.isdisjoint(settings):
            args = (*args, *self._left_out[len(args) :])
            if len(args) == self._num_positional:
                return args
        for parameter in self._positional[len(args) :]:
            if parameter.name not in settings and parameter.default is parameter.empty:
                raise InputError(f"{self.name} lacks its argument {parameter.name}")
            args = (*args, settings.pop(parameter.name, None))
        if len(args) > self._num_positional or not self._names.isdisjoint(settings):
            raise InputError(f"{self.name} takes the arguments {', '.join(p.name for p in self._positional)} once each")
        return args

    def _call_foreign(self, kind: str, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        lost = [value.shape for value in args if isinstance(value, Tensor) and value.requires_grad]
        if mode.current.recording and lost:
            raise InputError(
                f"{self.name} was given an array of {kind} beside a Tensor {list(lost[0])} of {NUMPY}, which would get no "
                "gradient: bind or freeze the parameter that it is"
            )
        if kind not in self.bodies:
            open_room(kind)
        if kind not in self.bodies:
            raise InputError(f"{self.name} has no body for arrays of {kind}; it has one for {', '.join(self._kinds())}")
        arrays = [value.data if isinstance(value, Tensor) else value for value in args]
        check_shapes(self.name, self.shape_lines, arrays)
        if not settings.keys() <= self._settings:
            settings = rename_settings(settings, self._settings)  # synonyms, or misspelt
        value = self.bodies[kind](*arrays, **settings)
        return value if mode.current.watcher is None else mode.current.watcher.see_op(self.name, value)

    def _kinds(self) -> list[str]:
        return [NUMPY, *self.bodies]

    def _run(
        self, arrays: Sequence[Any], sources: Sequence[Source | None], settings: dict[str, Any], wanted: bool
    ) -> tuple[Any, Any]:
        """Return the body's value and pullback; raises InputError for arrays that do not fit, and for a faulty body."""
        if self._wants_need:
            settings["need"] = _need(arrays, sources) if wanted or self._is_variadic else self._nothing
        try:
            result = self.body(*arrays, **settings)
        except InputError:
            raise
        except (AttributeError, TypeError) as error:
            if settings.keys() <= self._settings:
                for value in arrays[: self._num_required]:
                    if not isinstance(value, (np.ndarray, np.generic)):
                        raise InputError(f"{self.name} takes an array, got {value!r:.60}") from error
                raise
            return self._run(
                arrays, sources, rename_settings(settings, self._settings), wanted
            )  # synonyms, or misspelt
        except (ValueError, ZeroDivisionError) as error:  # NumPy's words for arrays that do not fit together
            shapes = ", ".join(str(list(np.shape(a))) for a in arrays if a is not None)
            raise InputError(f"{self.name}: {error} (arguments of shapes {shapes})") from error
        if not isinstance(result, tuple) or len(result) != 2 or not (callable(result[1]) or result[1] is None):
            raise InputError(f"the body of the op {self.name} must return its value and its pullback (value, vjp)")
        if wanted and result[1] is None:
            raise InputError(f"the body of the op {self.name} returned no pullback, though a gradient is wanted")
        return result

    def _as_array(self, value: Any) -> Any:
        """Return a Tensor's array, lists as an array, numbers and None as they are; raises InputError for anything else."""
        if value is None or isinstance(value, (np.ndarray, np.generic, int, float)):
            return value
        if isinstance(value, (Tensor, list, tuple)):
            return value.data if isinstance(value, Tensor) else Tensor(value).data
        raise InputError(f"{self.name} takes arrays and numbers, got {value!r:.60}")

    def _check(self, shapes: tuple[Any, ...], arrays: Sequence[Any]) -> None:
        if shapes not in self._seen:
            check_shapes(self.name, self.shape_lines, arrays)
            if len(self._seen) >= SEEN_LIMIT:
                self._seen.clear()
            self._seen.add(shapes)

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def op(body: Body) -> Op:
    """Make an op of a function and list it in OPS under its name."""
    made = Op(body)
    OPS[made.name] = made
    return made


def _need(arrays: Sequence[Any], sources: Sequence[Source | None]) -> Need:
    need = Need([source is not None for source in sources])
    if mode.current.storing:
        need.given = [a for a, source in zip(arrays, sources, strict=True) if source is None or is_given(source[0])]
    return need


def _attach(value: Any, node: Node) -> Any:
    if isinstance(value, tuple):
        return tuple(Tensor(part, edge=(node, index)) for index, part in enumerate(value))
    return Tensor(value, edge=(node, 0))
