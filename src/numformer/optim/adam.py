"""Adam and AdamW."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from numformer._names import takes_synonyms
from numformer.errors import InputError
from numformer.optim.groups import Group, Parameters, Setting
from numformer.optim.optimizer import Optimizer, check_range


@takes_synonyms
class Adam(Optimizer):
    """Steps of the average gradient over the root of its average square (Kingma and Ba 2015, arXiv:1412.6980).

    `weight_decay` adds decay · weight to the gradient of matrices (L2 regularisation).
    """

    slots: ClassVar[tuple[str, ...]] = ("mean", "square")
    decoupled = False
    betas = Setting[tuple[float, float]]()
    eps = Setting[float]()

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _check(self, settings: Group) -> None:
        super()._check(settings)
        for beta in settings["betas"]:
            check_range("each of betas", beta, low=0.0, below=1.0)
        if not settings["eps"] > 0.0:  # An element that never had a gradient would become 0/0.
            raise InputError(f"eps must be above 0, got {settings['eps']}")

    def rule(
        self, weights: np.ndarray, gradient: np.ndarray, group: Group, decay: float, count: int, **state: np.ndarray
    ) -> None:
        """m = β1 m + (1-β1) g, v = β2 v + (1-β2) g², w -= lr m̂ / (√v̂ + eps); the hats undo the start at zero.

        m̂ = m / (1-β1ⁿ) and v̂ = v / (1-β2ⁿ), where n is `count`: how often these averages were updated, not the run's step.
        """
        mean, square = state["mean"], state["square"]
        lr, (beta1, beta2) = group["lr"], group["betas"]
        correction1, correction2 = 1.0 - beta1**count, 1.0 - beta2**count
        if decay and self.decoupled:
            weights *= 1.0 - lr * decay
        elif decay:
            gradient = gradient + decay * weights
        scratch = np.multiply(gradient, 1.0 - beta1)
        mean *= beta1
        mean += scratch
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1.0 - beta2
        square *= beta2
        square += scratch
        np.sqrt(square, out=scratch)
        scratch *= 1.0 / math.sqrt(correction2)
        scratch += group["eps"]
        np.divide(mean, scratch, out=scratch)
        scratch *= lr / correction1
        weights -= scratch


@takes_synonyms
class AdamW(Adam):
    """Adam with weight decay apart from the gradient, on matrices only (Loshchilov and Hutter 2019, arXiv:1711.05101)."""

    decoupled = True

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)
