"""What a model consists of, without memory for its weights: its parameters by their axes, its layers by their branches."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from numformer.models.axes import Axis, axes_of
from numformer.models.build import build_backbone, build_model, model_task
from numformer.models.config import ArchitectureConfig
from numformer.models.registry import architecture_of
from numformer.nn import init
from numformer.nn.attention import MultiHeadAttention
from numformer.nn.feed_forward import FeedForward

KEPT = {"relu": 2, "gelu": 4, "silu": 4, "gelu_tanh": 6}  # wide vectors that JAX keeps to differentiate an activation
WRITING = ("lm", "mlm", "seq2seq")  # tasks whose logits are over the vocabulary


class ParameterShape(NamedTuple):
    """The shape of a parameter, and what its axes are."""

    shape: tuple[int, ...]
    axes: tuple[Axis, ...]


class Branch(NamedTuple):
    """What the gradient of a branch needs for each token, besides vectors of the model's width.

    `width` are the numbers in all; `num_heads` is that of an attention, which has so many rows of scores besides.
    """

    width: int
    num_heads: int = 0


class LayerShape(NamedTuple):
    """The branches of a layer, and its number of parameters."""

    branches: tuple[Branch, ...]
    num_parameters: int


@dataclass(frozen=True)
class Anatomy:
    """How often each shape of parameter and of layer is there; `num_logits` are a token's, 0 where the head has few."""

    parameters: Counter[ParameterShape]
    layers: Counter[LayerShape]
    num_parameters: int
    num_logits: int


@functools.lru_cache(maxsize=8)
def anatomy_of(config: ArchitectureConfig, task: str | None = None) -> Anatomy:
    """Return what a model of a config consists of, for a task or for the one that it does on its own.

    Raises InputError for a vocabulary that is not known yet, and for a task that the architecture cannot do.
    """
    config.check_vocabulary()
    task = architecture_of(config).task if task is None else model_task(task)
    with init.shapes_only():
        model = build_backbone(config) if task is None else build_model(config, task)
    parameters = Counter(
        ParameterShape(parameter.shape, axes_of(name, len(parameter.shape)))
        for name, parameter in model.named_parameters()
    )
    layers = Counter(
        LayerShape(tuple(_branches(layer, config.activation)), layer.num_parameters()) for layer in _layers(model)
    )
    vocabulary = getattr(config, config.vocabularies[-1])  # of the target, where there are two
    return Anatomy(parameters, layers, model.num_parameters(), vocabulary if task in WRITING else 0)


def _layers(model: Any) -> Iterator[Any]:
    for name, module in model.named_modules():
        above, _, last = name.rpartition(".")
        if above.endswith("layers") and last.isdecimal():
            yield module


def _branches(layer: Any, activation: str) -> Iterator[Branch]:
    """Yield the branches: an attention keeps queries, keys, values and the heads' output, a feed-forward part wide vectors.

    Those are of the activation and, where it is gated, the other map and the product.
    """
    for _, module in layer.named_modules():
        if isinstance(module, MultiHeadAttention):
            heads = module.out_proj.weight.shape[1]
            yield Branch(2 * heads + 2 * heads // module.num_heads * module.num_kv_heads, module.num_heads)
        elif isinstance(module, FeedForward):
            yield Branch(module.linear1.weight.shape[0] * (KEPT[activation] + 2 * (module.linear3 is not None)))
