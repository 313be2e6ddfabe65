"""Layers one after the other, with activation checkpointing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from numformer.autograd import is_recording, recompute
from numformer.nn.containers import ModuleList
from numformer.nn.flat import flatten_parameters
from numformer.nn.module import Module


class Stack(ModuleList):
    """Layers applied in turn; with `recompute` each keeps only its inputs for the backward pass.

    The weights of every layer are moved into one piece of memory.
    """

    recompute = False

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__(modules)
        for layer in self:
            flatten_parameters(layer)

    def forward(self, x: Any, *tensors: Any, cache: Any = None, **settings: Any) -> Any:
        """Transform x; every layer gets the same tensors and settings, and its own part of a cache."""
        for number, layer in enumerate(self):
            if cache is not None:
                x = layer(x, *tensors, cache=cache.layer(number), **settings)
            elif self.recompute and is_recording():
                x = _recomputed(layer, x, *tensors, **settings)
            else:
                x = layer(x, *tensors, **settings)
        return x


def set_recompute(model: Module, wanted: bool) -> None:
    """Switch activation checkpointing on or off in every stack of layers."""
    for _, module in model.named_modules():
        if isinstance(module, Stack):
            module.recompute = wanted


@contextmanager
def recomputing(model: Module, wanted: bool) -> Iterator[None]:
    """Switch activation checkpointing on for a while where it is wanted, and leave every stack as it was."""
    stacks = [module for _, module in model.named_modules() if isinstance(module, Stack)]
    before = [stack.recompute for stack in stacks]
    for stack in stacks:
        stack.recompute = stack.recompute or wanted
    try:
        yield
    finally:
        for stack, was in zip(stacks, before, strict=True):
            stack.recompute = was


def _recomputed(layer: Module, *tensors: Any, **settings: Any) -> Any:
    return recompute(
        lambda *inputs: layer.call_inside(*inputs, **settings), *tensors, parameters=list(layer.parameters())
    )
