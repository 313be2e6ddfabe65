"""LoRA: a thin trainable product beside a frozen linear map (Hu et al. 2021, arXiv:2106.09685)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from numformer import ops, random
from numformer.autograd import Array, Parameter, Tensor
from numformer.errors import InputError
from numformer.nn import init
from numformer.nn.dropout import Dropout
from numformer.nn.layers import Linear
from numformer.nn.module import Module
from numformer.random import Generator

_SITE = 1 << 20  # keys of the dropouts in adapters: models number their own from 0


class LoRALinear(Linear):
    """x Wᵀ + b + scale · dropout(x) Aᵀ Bᵀ, x [... D] -> [... F], with A [r D] and B [F r].

    It goes on with the weight and the bias of the Linear whose place it takes. A is drawn from ±1/√D as PEFT does, B begins
    at 0, and so the layer begins as that Linear was.
    """

    def __init__(
        self, base: Linear, rank: int, scale: float, dropout: float = 0.0, *, generator: Generator | None = None
    ) -> None:
        init.check_sizes(rank=rank)
        self.weight, self.bias = base.weight, base.bias
        out_features, in_features = base.weight.shape
        self.lora_A = init.uniform(rank, in_features, bound=1.0 / math.sqrt(in_features), generator=generator)
        self.lora_B = init.zeros(out_features, rank)
        self.scale = scale
        self.dropout = Dropout(dropout)

    def forward(self, x: Array) -> Tensor:
        """Map the last axis, x [... D] -> [... F]."""
        thin = ops.linear(self.dropout(x), self.lora_A)
        return ops.linear(x, self.weight, self.bias) + ops.linear(thin * self.scale, self.lora_B)

    if TYPE_CHECKING:
        __call__ = forward

    def merged(self) -> Linear:
        """Return the one linear map that computes the same."""
        with init.undrawn():
            plain = Linear(self.weight.shape[1], self.weight.shape[0], bias=False)
        plain.weight = Parameter(self.weight.data + self.scale * (self.lora_B.data @ self.lora_A.data))
        plain.bias = self.bias
        return plain


def linear_layers(model: Module) -> dict[str, Linear]:
    """Return the linear layers of a model by their names."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Linear)}


def add_lora(model: Module, names: Iterable[str], rank: int, scale: float, dropout: float = 0.0, seed: int = 0) -> None:
    """Put adapters beside the linear layers of these names, in place, and freeze all but them.

    Raises InputError for a name that is no linear layer, or one that has an adapter.
    """
    model.freeze()
    layers = linear_layers(model)
    for number, name in enumerate(names):
        base = layers.get(name)
        if base is None or isinstance(base, LoRALinear):
            why = "has an adapter already" if base else f"is no linear layer of {type(model).__name__}"
            raise InputError(f"{name} {why}")
        layer = LoRALinear(base, rank, scale, dropout, generator=random.generator(seed, _SITE, number))
        layer.training = base.training
        layer.dropout.reseed(seed, _SITE + number)
        _put(model, name, layer)


def merge_lora(model: Module) -> None:
    """Put one linear layer in the place of every one with an adapter, and let all parameters be trained again."""
    for name, layer in lora_layers(model):
        _put(model, name, layer.merged())
    model.unfreeze()


def lora_layers(model: Module) -> Iterator[tuple[str, LoRALinear]]:
    """Yield the layers of a model that have an adapter, with their names."""
    return ((name, layer) for name, layer in linear_layers(model).items() if isinstance(layer, LoRALinear))


def _put(model: Module, name: str, layer: Linear) -> None:
    path, _, attribute = name.rpartition(".")
    setattr(dict(model.named_modules())[path], attribute, layer)
