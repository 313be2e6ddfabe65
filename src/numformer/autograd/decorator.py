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
from typing import Any

import numpy as np

from numformer.autograd import mode
from numformer.autograd.array import NUMPY, kind_of
from numformer.autograd.graph import Edge, Node, Source, is_given
from numformer.autograd.shapes import check_shapes, parse_shape_lines
from numformer.autograd.tensor import OPS, Parameter, Tensor
from numformer.errors import InputError

SEEN_LIMIT = 1024  # combinations of shapes that an op remembers to have checked
Body = Callable[..., Any]


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
        self._names = {p.name for p in self._positional}
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
        args = self._bind(args, settings)
        for value in args:
            if (kind := kind_of(value)) != NUMPY:
                return self._call_foreign(kind, args, settings)
        arrays = [_as_array(a) for a in args]
        recording = mode.state.recording
        edges = [a.edge if recording and isinstance(a, Tensor) else None for a in args]
        self._check(arrays)
        value, vjp = self._run(arrays, edges, settings)
        if any(edges):
            node = Node(
                self.name,
                [
                    None if edge is None else Source(edge, array.shape, array.dtype)
                    for edge, array in zip(edges, arrays, strict=True)
                ],
                vjp,
                len(value) if isinstance(value, tuple) else 1,
                [(a, a.version) for a in args if isinstance(a, Parameter)],
            )
            value = _attach(value, node)
        elif any(isinstance(a, Tensor) for a in args):
            value = tuple(map(Tensor, value)) if isinstance(value, tuple) else Tensor(value)
        return value if mode.state.watcher is None else mode.state.watcher.see_op(self.name, value)

    def value_and_vjp(self, *args: Any, **settings: Any) -> Any:
        """Run the body as if every argument needed its gradient."""
        arrays = [_as_array(a) for a in self._bind(args, settings)]
        self._check(arrays)
        wanted: Edge = (Node(self.name, (), None), 0)
        return self._run(arrays, [None if a is None else wanted for a in arrays], settings)

    def _bind(self, args: tuple[Any, ...], settings: dict[str, Any]) -> tuple[Any, ...]:
        """Return one value per positional parameter, None for those left out; takes them out of the settings."""
        if self._is_variadic or (len(args) == len(self._positional) and not settings):
            return args
        for parameter in self._positional[len(args) :]:
            if parameter.name not in settings and parameter.default is parameter.empty:
                raise InputError(f"{self.name} lacks its argument {parameter.name}")
            args = (*args, settings.pop(parameter.name, None))
        if len(args) > len(self._positional) or not self._names.isdisjoint(settings):
            raise InputError(f"{self.name} takes the arguments {', '.join(p.name for p in self._positional)} once each")
        return args

    def _call_foreign(self, kind: str, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        if kind not in self.bodies:
            raise InputError(f"{self.name} has no body for arrays of {kind}; it has one for {', '.join(self._kinds())}")
        self._check(args)
        return self.bodies[kind](*args, **settings)

    def _kinds(self) -> list[str]:
        return [NUMPY, *self.bodies]

    def _run(self, arrays: Sequence[Any], edges: Sequence[Edge | None], settings: dict[str, Any]) -> tuple[Any, Any]:
        """Return the body's value and pullback; raises InputError for arrays that do not fit, and for a faulty body."""
        wanted = any(edges)
        if self._wants_need:
            need = Need(edge is not None for edge in edges)
            if wanted:
                need.given = [a for a, edge in zip(arrays, edges, strict=True) if is_given(edge)]
            settings = {**settings, "need": need}
        try:
            result = self.body(*arrays, **settings)
        except InputError:
            raise
        except ValueError as error:  # NumPy's words for arrays that do not fit together
            shapes = ", ".join(str(list(np.shape(a))) for a in arrays if a is not None)
            raise InputError(f"{self.name}: {error} (arguments of shapes {shapes})") from error
        if not isinstance(result, tuple) or len(result) != 2 or not (callable(result[1]) or result[1] is None):
            raise InputError(f"the body of the op {self.name} must return its value and its pullback (value, vjp)")
        if wanted and result[1] is None:
            raise InputError(f"the body of the op {self.name} returned no pullback, though a gradient is wanted")
        return result

    def _check(self, arrays: Sequence[Any]) -> None:
        key = tuple([(a.shape, a.dtype) if hasattr(a, "shape") else None for a in arrays])
        if key not in self._seen:
            check_shapes(self.name, self.shape_lines, arrays)
            if len(self._seen) >= SEEN_LIMIT:
                self._seen.clear()
            self._seen.add(key)

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def op(body: Body) -> Op:
    """Make an op of a function and list it in OPS under its name."""
    made = Op(body)
    OPS[made.name] = made
    return made


def _as_array(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.data
    return Tensor(value).data if isinstance(value, (list, tuple)) else value


def _attach(value: Any, node: Node) -> Any:
    if isinstance(value, tuple):
        return tuple(Tensor(part, edge=(node, index)) for index, part in enumerate(value))
    return Tensor(value, edge=(node, 0))
