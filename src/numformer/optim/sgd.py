"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from numformer._names import takes_synonyms
from numformer.autograd import Parameter
from numformer.optim.optimizer import Optimizer, check_range


@takes_synonyms
class SGD(Optimizer):
    """w -= lr · velocity with velocity = momentum · velocity + gradient (Polyak 1964); plain descent without momentum."""

    slots: ClassVar[tuple[str, ...]] = ("velocity",)

    def __init__(
        self, parameters: Iterable[Parameter], lr: float = 1e-2, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        check_range("momentum", momentum, low=0.0, below=1.0)
        self.momentum = momentum

    def rule(self, weights: np.ndarray, gradient: np.ndarray, decay: float, count: int, **state: np.ndarray) -> None:
        """v = momentum v + g + decay w, w -= lr v; the velocity starts at zero, whichever update of the run is its first."""
        velocity = state["velocity"]
        velocity *= self.momentum
        velocity += gradient
        if decay:
            velocity += decay * weights
        weights -= self.lr * velocity
