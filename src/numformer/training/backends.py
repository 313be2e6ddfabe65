"""Who makes the steps of a training: NumPy, or another room that is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from numformer.optim import Optimizer
from numformer.training.config import OptimConfig, TrainConfig
from numformer.training.step import MeasuredObjective, Step, TrainStep
from numformer.training.workers import Workers

MakeStep = Callable[[Optimizer, Workers], Step]

# The room of a backend lies above this one, which imports nothing of it.
_ROOMS = {"jax": "numformer.jax.training"}


def step_maker(objective: MeasuredObjective, train: TrainConfig, optim: OptimConfig) -> MakeStep:
    """Return the function that makes what takes a training's steps.

    Raises InputError where the backend is not installed or cannot do what is asked for, before anything begins.
    """
    if train.backend in _ROOMS:
        found: MakeStep = _room(train.backend).step_maker(objective, train, optim)
        return found

    def make(optimizer: Optimizer, workers: Workers) -> Step:
        return TrainStep(
            objective,
            optimizer,
            workers,
            seed=train.seed,
            shards=train.num_shards,
            accumulation=train.accumulation,
            clip_norm=optim.clip_norm,
            precision=train.precision,  # type: ignore[arg-type]  # TrainConfig lets none of JAX's pass
        )

    return make


def is_writer(backend: str) -> bool:
    """Tell whether this process writes the run folder: it does unless it is one of several hosts, and not the first."""
    return backend not in _ROOMS or bool(_room(backend).is_writer())


def _room(backend: str) -> Any:
    return importlib.import_module(_ROOMS[backend])
