"""Training: the loop, the shards of a step on several cores, run folders, metrics and curves."""

from numformer.training.config import FitSettings, OptimConfig, OptimSettings, TrainConfig, TrainSettings
from numformer.training.run_folder import RunFolder
from numformer.training.trainer import FitResult, Trainer

__all__ = [
    "FitResult",
    "FitSettings",
    "OptimConfig",
    "OptimSettings",
    "RunFolder",
    "TrainConfig",
    "TrainSettings",
    "Trainer",
]
