"""Activation checkpointing: forget what a function computed, and compute it again for the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from numformer import random
from numformer.autograd import mode
from numformer.autograd.array import NUMPY, kind_of, open_room
from numformer.autograd.graph import Node, is_given
from numformer.autograd.storage import load, precision, storage, store
from numformer.autograd.tensor import Parameter, Tensor, gradients
from numformer.errors import InputError

_bodies: dict[str, Callable[..., Any]] = {}  # by kind of array, besides NumPy's


def recompute_by(kind: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that registers `recompute(function, *inputs)` for inputs of another kind of array."""

    def register(body: Callable[..., Any]) -> Callable[..., Any]:
        _bodies[kind] = body
        return body

    return register


def recompute(function: Callable[..., Tensor], *inputs: Tensor, parameters: Iterable[Tensor] = ()) -> Tensor:
    """Run `function(*inputs)` keeping only its inputs, and run it again when the gradient is asked for.

    `parameters` are the tensors that `function` reads besides its inputs. Activation checkpointing, Chen et al. 2016
    (arXiv:1604.06174): memory for one more forward pass. Dropout draws the same numbers both times, which are those it
    would draw without recomputation. Where somebody looks inside (`capture`, `intervene`), everything is kept as if there
    were no recomputation. Raises InputError, at the backward pass, when the function reads a tensor that requires a
    gradient and is not listed.
    """
    # A second run would be seen by those who look on when it is too late, or what they replaced would come back.
    if mode.is_watched() or not mode.is_recording():
        return function(*inputs)
    for kind in map(kind_of, inputs):
        if kind != NUMPY:
            open_room(kind)
            return _bodies[kind](function, *inputs)
    parameters = list(parameters)
    sources = (*inputs, *parameters)
    if not any(source.requires_grad for source in sources):
        return function(*inputs)
    with mode.recording(False), random.record() as keys:
        value = function(*inputs).data
    kept_precision, needs = precision(), [x.requires_grad for x in inputs]
    evaluating = mode.is_evaluating()
    kept = [x.data if is_given(x.edge) else store(x.data) for x in inputs]

    def vjp(dy: np.ndarray) -> tuple[np.ndarray | None, ...]:
        leaves = [Tensor(load(x), requires_grad=need) for x, need in zip(kept, needs, strict=True)]
        with (
            mode.recording(True),
            mode.evaluating(evaluating),
            mode.watched_by(None),  # as the first run was not
            random.use(random.Replay(keys)),
            storage(kept_precision),
        ):
            output = function(*leaves)
        if not output.requires_grad:  # the function cuts its inputs off
            return (None,) * (len(kept) + len(parameters))
        _check_listed(output, [*leaves, *parameters])
        return tuple(gradients(output, [*leaves, *parameters], dy, stop=parameters))

    node = Node(
        "recompute",
        [None if s.edge is None else (s.edge, s.shape, s.dtype) for s in sources],
        vjp,
        versions=[(s, s.version) for s in sources if isinstance(s, Parameter)],
    )
    return Tensor(value, edge=(node, 0))


def _check_listed(output: Tensor, listed: Sequence[Tensor]) -> None:
    """Raise InputError when the graph behind the output ends in a leaf that is not listed: it would get no gradient."""
    known = {tensor.edge[0] for tensor in listed if tensor.edge}
    seen, waiting = set(known), [output.edge[0]] if output.edge else []
    while waiting:
        node = waiting.pop()
        leaf = node.leaf() if node.leaf else None
        if leaf is not None and node not in known:  # one that is gone could not be given a gradient anyway
            raise InputError(
                f"recompute: the function reads a tensor of shape {list(leaf.shape)} that requires a gradient: "
                "list it in parameters"
            )
        for source in node.sources:
            if source is not None and source[0][0] not in seen:
                seen.add(source[0][0])
                waiting.append(source[0][0])
