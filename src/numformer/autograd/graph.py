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
from typing import Any, TypeAlias

import numpy as np

from numformer.errors import InputError

_order = itertools.count()

Edge: TypeAlias = "tuple[Node, int]"  # an op that ran, and which of its results
Pullback: TypeAlias = Callable[..., Any]
Source: TypeAlias = (
    "tuple[Edge, tuple[int, ...], np.dtype[Any]]"  # of an argument, with what its gradient must look like
)


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


def is_given(edge: Edge | None) -> bool:
    """Tell whether a tensor with this edge was given, not computed, so that others keep its array alive."""
    return edge is None or edge[0].leaf is not None


def pull_back(
    output: Edge, grad: np.ndarray, wanted: Collection[Edge] | None = None, stop: Collection[Edge] = ()
) -> dict[Edge, np.ndarray]:
    """Pull the gradient of one result back and return the gradients of the wanted edges, or of every leaf (None).

    The walk goes on through a wanted edge, so its own ancestors can be wanted too, but not through those in `stop`, and
    only along ways that lead to a wanted edge. The nodes that it passes are used up. No gradient is written to after it
    was returned or handed to a pullback.
    Raises InputError for a node used up before, weights that changed since the forward, and a faulty pullback.
    """
    leading = None if wanted is None else _leading_to(output, {node for node, _ in wanted}, stop)
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
            if stop and (node, index) in stop:
                dys[index] = None
        if node.leaf is not None or all(dy is None for dy in dys) or (leading is not None and node not in leading):
            continue
        sources = node.sources
        for source, value in zip(sources, _pulled(node, dys), strict=True):
            if source is None or value is None:
                continue
            edge = source[0]
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
    return found


def _leading_to(output: Edge, targets: set[Node], stop: Collection[Edge]) -> set[Node]:
    """Return the nodes on a way from the output to a target, and those that were used up and may have been on one."""
    oldest = min([node.order for node in targets], default=0)
    reached, waiting = {output[0]}, [] if output in stop else [output[0]]
    while waiting:
        for source in waiting.pop().sources:
            if source is not None and (node := source[0][0]) not in reached and node.order >= oldest:
                reached.add(node)
                if source[0] not in stop:
                    waiting.append(node)
    leading: set[Node] = set()
    for node in sorted(reached, key=_order_of):  # the oldest first, so that what a node came from is known before it
        if node.vjp is None and node.leaf is None:
            leading.add(node)
        for source in node.sources:
            if source is not None and (source[0][0] in leading or source[0][0] in targets):
                leading.add(node)
                break
    return leading


def _order_of(node: Node) -> int:
    return node.order


def _pulled(node: Node, dys: list[np.ndarray | None]) -> Sequence[np.ndarray | None]:
    """Call a node's pullback, free what it kept, and return one gradient per argument; raises InputError for wrong ones."""
    if node.vjp is None:
        raise InputError(f"the graph behind {node.name} was used up by an earlier backward; run the forward again")
    for parameter, version in node.versions:
        if parameter.version != version:
            raise InputError(
                f"weights of shape {list(parameter.shape)} that {node.name} read were changed between the forward and "
                "the backward, by an optimizer's step or by load_state_dict: run the forward again"
            )
    pulled, sources = node.vjp(*dys), node.sources
    node.vjp, node.versions, node.sources = None, (), ()
    pulled = pulled if isinstance(pulled, tuple) else (pulled,)
    if len(pulled) != len(sources):
        raise InputError(
            f"the pullback of {node.name} returned {len(pulled)} gradients, expected {len(sources)}: one for each "
            "positional argument, None where there is none"
        )
    for source, value in zip(sources, pulled, strict=True):
        if value is not None and source is not None and (_shape(value) != source[1] or value.dtype != source[2]):
            break
    else:
        return pulled
    return [_as_source(node.name, number, sources[number], value, dys) for number, value in enumerate(pulled)]


def _shape(value: Any) -> Any:
    return getattr(value, "shape", None)


def _as_source(name: str, number: int, source: Source | None, value: Any, dys: list[np.ndarray | None]) -> Any:
    """Return a gradient in the dtype of its argument; raises InputError when it belongs to another shape or dtype.

    Arguments of two dtypes make a result of the wider one, and gradients of it: these are converted.
    """
    if source is None or value is None:
        return None
    _, shape, dtype = source
    result_dtypes = {dy.dtype for dy in dys if dy is not None}
    if _shape(value) == shape:
        if value.dtype == dtype:
            return value
        if value.dtype in result_dtypes and dtype not in result_dtypes:
            return value.astype(dtype)
    got = f"{value.dtype} {list(value.shape)}" if hasattr(value, "shape") else type(value).__name__
    raise InputError(
        f"the pullback of {name} returned a gradient of {got} for argument {number}, which is {dtype} {list(shape)}"
    )
