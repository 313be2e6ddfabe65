"""Activations: what a network puts between its linear maps, element by element, and the softmax over an axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from numformer import ops
from numformer.autograd import Array, Tensor
from numformer.errors import InputError
from numformer.nn.module import Module


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Array) -> Tensor:
        """Replace negative elements by 0, x [...] -> [...]."""
        return ops.relu(x)


class LeakyReLU(Module):
    """x where it is positive, a small slope times x elsewhere, so that no unit is ever without a gradient."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Array) -> Tensor:
        """Multiply negative elements by the slope, x [...] -> [...]."""
        return ops.leaky_relu(x, negative_slope=self.negative_slope)


class Tanh(Module):
    """Hyperbolic tangent, from -1 to 1."""

    def forward(self, x: Array) -> Tensor:
        """Press every element into -1..1, x [...] -> [...]."""
        return ops.tanh(x)


class Sigmoid(Module):
    """Logistic function 1/(1 + e⁻ˣ), from 0 to 1."""

    def forward(self, x: Array) -> Tensor:
        """Make a probability of every element, x [...] -> [...]."""
        return ops.sigmoid(x)


class GELU(Module):
    """x Φ(x), exact ("none") or by its tanh formula."""

    def __init__(self, approximate: Literal["none", "tanh"] = "tanh") -> None:
        self.approximate: Literal["none", "tanh"] = approximate

    def forward(self, x: Array) -> Tensor:
        """Multiply every element by the share of a normal distribution below it, x [...] -> [...]."""
        return ops.gelu(x, approximate=self.approximate)


class SiLU(Module):
    """x σ(x), also called swish."""

    def forward(self, x: Array) -> Tensor:
        """Multiply every element by its logistic function, x [...] -> [...]."""
        return ops.silu(x)


class Softmax(Module):
    """Exponentials along an axis, the last one by default, divided by their sum: scores become probabilities."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Array) -> Tensor:
        """Make probabilities that add up to 1 of every row, x [... V] -> [... V]."""
        return ops.softmax(x, axis=self.axis)


ACTIVATIONS: dict[str, Callable[[], Module]] = {
    "relu": ReLU,
    "gelu": lambda: GELU("none"),
    "gelu_tanh": GELU,
    "silu": SiLU,
    "leaky_relu": LeakyReLU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
}


def make_activation(name: str) -> Module:
    """Return the activation of that name; raises InputError for an unknown one."""
    if name not in ACTIVATIONS:
        raise InputError(f"unknown activation {name!r}: choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()
