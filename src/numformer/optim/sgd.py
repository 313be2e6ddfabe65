"""Stochastic gradient descent."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from numformer._names import takes_synonyms
from numformer.optim.groups import Group, Parameters, Setting
from numformer.optim.optimizer import Optimizer, check_range


@takes_synonyms
class SGD(Optimizer):
    """w -= lr · velocity with velocity = momentum · velocity + gradient (Polyak 1964); plain descent without momentum."""

    slots: ClassVar[tuple[str, ...]] = ("velocity",)
    momentum = Setting[float]()

    def __init__(
        self, parameters: Parameters, lr: float = 1e-2, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)

    def _check(self, settings: Group) -> None:
        super()._check(settings)
        check_range("momentum", settings["momentum"], low=0.0, below=1.0)

    def rule(
        self, weights: np.ndarray, gradient: np.ndarray, group: Group, decay: float, count: int, **state: np.ndarray
    ) -> None:
        """v = momentum v + g + decay w, w -= lr v; the velocity starts at zero, whichever update of the run is its first."""
        velocity = state["velocity"]
        velocity *= group["momentum"]
        velocity += gradient
        if decay:
            velocity += decay * weights
        weights -= group["lr"] * velocity
