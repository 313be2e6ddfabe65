"""The tape: what an op records when it runs, and the walk that turns the record into gradients.

An op is a pure function on arrays that returns its value and its pullback (`vjp`, vector-Jacobian product). The decorator
`op` unwraps Tensors, calls the function and records a Node; `gradients` walks the Nodes backwards and returns gradients
without touching any shared state, so several threads can differentiate one model at once.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from numformer import random
from numformer.errors import InputError
from numformer.shapes import check_shapes, parse_shape_lines
from numformer.tensor import Edge, Tensor

SEEN_LIMIT = 1024  # combinations of shapes that an op remembers to have checked
_order = itertools.count()


class _State(threading.local):
    recording = True
    running: tuple[Sequence[Any], Sequence[Edge | None]] = ((), ())  # the op's arguments and where they came from


_state = _State()


class Node:
    """One recorded op: where its inputs came from and the pullback to them; a leaf has neither.

    The node does not hold the op's value, so a value lives only as long as a pullback or the caller mentions it.
    """

    __slots__ = ("leaf", "name", "num_outputs", "order", "parents", "vjp")

    def __init__(
        self, name: str, parents: Sequence[Edge | None], vjp: Callable[..., Any] | None, num_outputs: int = 1
    ) -> None:
        self.name = name
        self.parents = parents
        self.vjp = vjp
        self.num_outputs = num_outputs
        self.leaf: weakref.ref[Tensor] | None = None
        self.order = next(_order)  # a node is always younger than its parents

    @classmethod
    def of_leaf(cls, tensor: Tensor) -> Node:
        """Return the node of a tensor that was given, not computed."""
        node = cls("leaf", (), None)
        node.leaf = weakref.ref(tensor)
        return node


class Op:
    """A differentiable function on arrays: `body(*arrays, **settings)` returns (value, vjp), or (values, vjp) with a tuple.

    Called with a Tensor among its positional arguments it returns Tensors, otherwise arrays. `vjp` takes one gradient per
    value (None where a value was not used) and returns one gradient per positional argument, None where there is none.
    """

    def __init__(self, body: Callable[..., Any]) -> None:
        functools.update_wrapper(self, body)
        self.body = body
        self.name = body.__name__
        self.shape_lines = parse_shape_lines(body.__doc__ or "")
        self._seen: set[tuple[Any, ...]] = set()  # shapes that passed the check

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """Run the op, and record it when an argument requires a gradient."""
        while args and args[-1] is None:  # an optional argument that is not there
            args = args[:-1]
        arrays = [_as_array(a) for a in args]
        edges = [a.edge if _state.recording and isinstance(a, Tensor) else None for a in args]
        self._check(tuple(arrays))
        try:
            value, vjp = self._run(arrays, edges, settings)
        except InputError:
            raise
        except ValueError as error:  # NumPy's words for arrays that do not fit together
            shapes = ", ".join(str(list(np.shape(a))) for a in arrays)
            raise InputError(f"{self.name}: {error} (arguments of shapes {shapes})") from error
        if any(edges):
            return _attach(value, Node(self.name, edges, vjp, len(value) if isinstance(value, tuple) else 1))
        if any(isinstance(a, Tensor) for a in args):
            return tuple(map(Tensor, value)) if isinstance(value, tuple) else Tensor(value)
        return value

    def value_and_vjp(self, *arrays: Any, **settings: Any) -> Any:
        """Run the body as if every argument needed its gradient."""
        self._check(arrays)
        return self._run(arrays, [(Node(self.name, (), None), 0)] * len(arrays), settings)

    def _run(self, arrays: Sequence[Any], edges: Sequence[Edge | None], settings: dict[str, Any]) -> Any:
        outer, _state.running = _state.running, (arrays, edges)  # a body may call other ops
        try:
            return self.body(*arrays, **settings)
        finally:
            _state.running = outer

    def _check(self, arrays: tuple[Any, ...]) -> None:
        key = tuple([(a.shape, a.dtype.kind) if isinstance(a, np.ndarray) else None for a in arrays])
        if key not in self._seen:
            check_shapes(self.name, self.shape_lines, arrays)
            if len(self._seen) >= SEEN_LIMIT:
                self._seen.clear()
            self._seen.add(key)

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def _as_array(value: Any) -> Any:
    return (
        Tensor(value).data if isinstance(value, (list, tuple)) else value.data if isinstance(value, Tensor) else value
    )


OPS: dict[str, Op] = {}


def op(body: Callable[..., Any]) -> Op:
    """Make an op of a function and list it in OPS."""
    OPS[body.__name__] = Op(body)
    return OPS[body.__name__]


def needs_gradient() -> tuple[bool, ...]:
    """Tell a running op body which of its positional arguments need a gradient; none, and `vjp` is never called."""
    return tuple([edge is not None for edge in _state.running[1]])


def given_arrays() -> list[Any]:
    """Return the running op's arguments that no recorded op computed, such as parameters: others keep them alive."""
    return [array for array, edge in zip(*_state.running, strict=True) if _is_given(edge)]


def _is_given(edge: Edge | None) -> bool:
    return edge is None or edge[0].leaf is not None


def _attach(value: Any, node: Node) -> Any:
    if isinstance(value, tuple):
        return tuple(Tensor(part, edge=(node, index)) for index, part in enumerate(value))
    return Tensor(value, edge=(node, 0))


@contextmanager
def _recording(wanted: bool) -> Iterator[None]:
    before, _state.recording = _state.recording, wanted
    try:
        yield
    finally:
        _state.recording = before


def no_grad() -> Any:
    """Return a context in which this thread records nothing."""
    return _recording(False)


def is_recording() -> bool:
    """Tell whether this thread records ops at the moment."""
    return _state.recording


def placeholder(tensor: Tensor) -> Tensor:
    """Return a tensor at the same place in the graph, of the same shape, that does not keep the values alive."""
    return Tensor(np.broadcast_to(np.zeros((), tensor.dtype), tensor.shape), edge=tensor.edge)


def gradients(output: Tensor, wanted: Sequence[Tensor], grad: Any = None) -> list[np.ndarray | None]:
    """Return the derivative of `output` with respect to each wanted tensor, None where it does not depend on it.

    The wanted tensors count as independent variables, also where one was computed from another. `grad` is dL/d(output),
    which may be left out for a scalar. The graph between them is used up. Nothing is written to any tensor; the results
    may share memory. Raises InputError when there is nothing to differentiate or `grad` has another shape.
    """
    found = _walk(output, grad, stop={tensor.edge for tensor in wanted if tensor.edge})
    return [found.get(tensor.edge) if tensor.edge else None for tensor in wanted]


def leaf_gradients(output: Tensor, grad: Any = None) -> list[tuple[Tensor, np.ndarray]]:
    """Return every leaf that `output` depends on with its gradient."""
    found = _walk(output, grad, stop=set())
    alive = [(node.leaf() if node.leaf else None, value) for (node, _), value in found.items()]
    return [(leaf, value) for leaf, value in alive if leaf is not None]


def _walk(output: Tensor, grad: Any, stop: set[Edge]) -> dict[Edge, np.ndarray]:
    """Pull `grad` back from `output`, youngest node first, and return what reached leaves and `stop` nodes."""
    grads: dict[Edge, np.ndarray] = {}
    owned: set[Edge] = set()  # sums made here; all other gradients may be shared and are never written to
    if output.edge is None:
        raise InputError("there is nothing to differentiate: no input of this tensor requires a gradient")
    grads[output.edge] = _seed(output, grad)
    queue = [(-output.edge[0].order, output.edge[0])]
    queued = {output.edge[0]}
    while queue:
        _, node = heapq.heappop(queue)
        if node.leaf is not None:
            continue
        edges = [(node, index) for index in range(node.num_outputs)]
        dys = [None if edge in stop else grads.pop(edge, None) for edge in edges]
        if all(dy is None for dy in dys):
            continue
        if node.vjp is None:
            raise InputError(f"the graph behind {node.name} was used up by an earlier backward; run the forward again")
        pulled, parents = node.vjp(*dys), node.parents
        node.vjp, node.parents = None, ()  # frees what the pullback kept
        for edge, value in zip(parents, pulled if isinstance(pulled, tuple) else (pulled,), strict=True):
            if edge is None or value is None:
                continue
            if edge not in grads:
                grads[edge] = value
            elif edge in owned:
                grads[edge] += value
            else:
                grads[edge] = grads[edge] + value
                owned.add(edge)
            if edge[0] not in queued:
                queued.add(edge[0])
                heapq.heappush(queue, (-edge[0].order, edge[0]))
    return grads


def _seed(output: Tensor, grad: Any) -> np.ndarray:
    if grad is None:
        if output.size != 1:
            raise InputError(f"backward without a gradient needs a scalar, got a tensor of shape {output.shape}")
        return np.ones_like(output.data)
    array = np.asarray(grad.data if isinstance(grad, Tensor) else grad, dtype=output.dtype)
    if array.shape != output.shape:
        raise InputError(f"the gradient has shape {array.shape}, but the tensor it belongs to has shape {output.shape}")
    return array


def recompute(function: Callable[..., Tensor], *inputs: Tensor, parameters: Sequence[Tensor] = ()) -> Tensor:
    """Run `function(*inputs)` keeping only its inputs, and run it again when the gradient is asked for.

    `parameters` are the tensors that `function` reads besides its inputs. Activation checkpointing, Chen et al. 2016
    (arXiv:1604.06174): memory for one more forward pass. Dropout draws the same numbers both times, which are those it
    would draw without recomputation.
    """
    sources = (*inputs, *parameters)
    if not _state.recording or not any(source.requires_grad for source in sources):
        return function(*inputs)
    with no_grad(), random.record() as keys:
        value = function(*inputs).data
    precision, needs = storage.precision(), [x.requires_grad for x in inputs]
    kept = [x.data if _is_given(x.edge) else storage.store(x.data) for x in inputs]

    def vjp(dy: np.ndarray) -> tuple[np.ndarray | None, ...]:
        leaves = [Tensor(storage.load(x), requires_grad=need) for x, need in zip(kept, needs, strict=True)]
        with _recording(True), random.use(random.Replay(keys)), storage.storage(precision):
            output = function(*leaves)
        return tuple(gradients(output, [*leaves, *parameters], dy))

    return Tensor(value, edge=(Node("recompute", [source.edge for source in sources], vjp), 0))


from numformer.ops import storage  # noqa: E402  (it asks the tape above which op is running)
