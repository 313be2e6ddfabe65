"""Who makes the steps of a training: NumPy, or another room that is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from numformer.optim import Optimizer
from numformer.training.config import OptimConfig, TrainConfig
from numformer.training.step import Objective, Step, TrainStep
from numformer.training.workers import Workers

MakeStep = Callable[[Objective, Optimizer, Workers, TrainConfig, OptimConfig], Step]

# The room of a backend lies above this one, which imports nothing of it.
_ROOMS = {"jax": "numformer.jax.training"}


def step_maker(backend: str) -> MakeStep:
    """Return the function that makes a training's step; raises InputError where the backend is not installed."""
    if backend not in _ROOMS:
        return _with_numpy
    room: Any = importlib.import_module(_ROOMS[backend])
    make_step: MakeStep = room.make_step
    return make_step


def _with_numpy(
    objective: Objective, optimizer: Optimizer, workers: Workers, train: TrainConfig, optim: OptimConfig
) -> Step:
    return TrainStep(
        objective,
        optimizer,
        workers,
        seed=train.seed,
        shards=train.num_shards,
        accumulation=train.accumulation,
        clip_norm=optim.clip_norm,
        precision=train.precision,  # type: ignore[arg-type]  # TrainConfig lets none pass that is JAX's
    )
