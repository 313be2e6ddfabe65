"""The record of a computation, and the walk that turns it into gradients.

An op that runs leaves a Node: where its arguments came from, and its pullback. An Edge names one result of a node. The
walk starts at a result with its gradient, visits nodes from the youngest to the oldest, and calls each pullback once all
that was computed from the node's results has been pulled back. It returns gradients and touches no shared state, so
several threads can differentiate one model at once.
"""

from __future__ import annotations

import heapq
import itertools
import weakref
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from numformer.errors import InputError

_order = itertools.count()

Edge: TypeAlias = "tuple[Node, int]"  # an op that ran, and which of its results
Pullback: TypeAlias = Callable[..., Any]


class Source(NamedTuple):
    """Where one argument of an op came from, and the shape and dtype that its gradient must have."""

    edge: Edge
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Node:
    """One recorded op: the sources of its arguments (None where no gradient is wanted) and the pullback to them.

    A leaf, which was given and not computed, has neither. The node does not hold the op's value, so a value lives only as
    long as a pullback or the caller mentions it. `versions` are the parameters that the op read, each with the number of
    changes that it had seen then.
    """

    __slots__ = ("__weakref__", "leaf", "name", "num_outputs", "order", "sources", "versions", "vjp")

    def __init__(
        self,
        name: str,
        sources: Sequence[Source | None],
        vjp: Pullback | None,
        num_outputs: int = 1,
        versions: Sequence[tuple[Any, int]] = (),
    ) -> None:
        self.name = name
        self.sources = sources
        self.vjp = vjp
        self.num_outputs = num_outputs
        self.versions = versions
        self.leaf: weakref.ref[Any] | None = None
        self.order = next(_order)  # a node is always younger than those it came from

    @classmethod
    def of_leaf(cls, tensor: Any) -> Node:
        """Return the node of a tensor that was given, not computed."""
        node = cls("leaf", (), None)
        node.leaf = weakref.ref(tensor)
        return node

    @property
    def used_up(self) -> bool:
        """Whether an earlier walk took the pullback away."""
        return self.vjp is None and self.leaf is None


def is_given(edge: Edge | None) -> bool:
    """Tell whether a tensor with this edge was given, not computed, so that others keep its array alive."""
    return edge is None or edge[0].leaf is not None


def pull_back(
    output: Edge, grad: np.ndarray, wanted: Collection[Edge] | None = None, stop: Collection[Edge] = ()
) -> dict[Edge, np.ndarray]:
    """Pull the gradient of one result back and return the gradients of the wanted edges, or of every leaf (None).

    The walk goes on through a wanted edge, so its own ancestors can be wanted too, but not through those in `stop`. The
    nodes that it passes are used up. No gradient is written to after it was returned or handed to a pullback.
    Raises InputError for a node used up before, weights that changed since the forward, and a faulty pullback.
    """
    leading = None if wanted is None else _leading_to(output, {edge[0] for edge in wanted}, stop)
    grads: dict[Edge, np.ndarray] = {output: grad}
    summed: set[Edge] = set()  # arrays made here; all other gradients may be shared and are never written to
    found: dict[Edge, np.ndarray] = {}
    queue, queued = [(-output[0].order, output[0])], {output[0]}
    while queue:
        _, node = heapq.heappop(queue)
        dys = [grads.pop((node, index), None) for index in range(node.num_outputs)]
        for index, dy in enumerate(dys):
            if dy is not None and (node.leaf is not None if wanted is None else (node, index) in wanted):
                found[node, index] = np.asarray(dy)  # NumPy's sum of two arrays without axes is no array
            if (node, index) in stop:
                dys[index] = None
        if node.leaf is not None or all(dy is None for dy in dys) or (leading is not None and node not in leading):
            continue
        for source, value in zip(node.sources, _pulled(node, dys), strict=True):
            if source is None or value is None:
                continue
            edge = source.edge
            if edge not in grads:
                grads[edge] = value
            elif edge in summed:
                grads[edge] += value
            else:
                grads[edge] = grads[edge] + value
                summed.add(edge)
            if edge[0] not in queued:
                queued.add(edge[0])
                heapq.heappush(queue, (-edge[0].order, edge[0]))
        node.sources = ()
    return found


def _leading_to(output: Edge, targets: set[Node], stop: Collection[Edge]) -> set[Node]:
    """Return the nodes on a way from the output to a target: only their pullbacks need to run."""
    oldest = min((node.order for node in targets), default=0)
    reached, waiting = {output[0]}, [output[0]] if output not in stop else []
    while waiting:
        for source in waiting.pop().sources:
            if source is not None and source.edge[0].order >= oldest and source.edge[0] not in reached:
                reached.add(source.edge[0])
                if source.edge not in stop:
                    waiting.append(source.edge[0])
    leading: set[Node] = set()
    for node in sorted(reached, key=lambda node: node.order):  # the oldest first, so that sources come before
        passed = any(s is not None and (s.edge[0] in targets or s.edge[0] in leading) for s in node.sources)
        if passed or node.used_up:  # what an earlier walk used up may have led there: it is reported, not passed over
            leading.add(node)
    return leading


def _pulled(node: Node, dys: list[np.ndarray | None]) -> tuple[np.ndarray | None, ...]:
    """Call a node's pullback, free what it kept, and return one gradient per argument; raises InputError for wrong ones."""
    if node.vjp is None:
        raise InputError(f"the graph behind {node.name} was used up by an earlier backward; run the forward again")
    for parameter, version in node.versions:
        if parameter.version != version:
            raise InputError(
                f"weights of shape {list(parameter.shape)} that {node.name} read were changed between the forward and "
                "the backward, by an optimizer's step or by load_state_dict: run the forward again"
            )
    pulled = node.vjp(*dys)
    node.vjp, node.versions = None, ()
    pulled = pulled if isinstance(pulled, tuple) else (pulled,)
    if len(pulled) != len(node.sources):
        raise InputError(
            f"the pullback of {node.name} returned {len(pulled)} gradients, expected {len(node.sources)}: one for each "
            "positional argument, None where there is none"
        )
    result_dtypes = {dy.dtype for dy in dys if dy is not None}
    return tuple(
        None if source is None or value is None else _checked(node.name, number, source, value, result_dtypes)
        for number, (source, value) in enumerate(zip(node.sources, pulled, strict=True))
    )


def _checked(name: str, number: int, source: Source, value: Any, result_dtypes: set[Any]) -> np.ndarray:
    """Return a gradient in the dtype of its argument; raises InputError when it belongs to another shape or dtype.

    Arguments of two dtypes make a result of the wider one, and gradients of it: these are converted.
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape == source.shape and dtype == source.dtype:
        return value
    if shape == source.shape and dtype in result_dtypes and source.dtype not in result_dtypes:
        return value.astype(source.dtype)
    got = type(value).__name__ if shape is None else f"{dtype} {list(shape)}"
    raise InputError(
        f"the pullback of {name} returned a gradient of {got} for argument {number}, "
        f"which is {source.dtype} {list(source.shape)}"
    )
