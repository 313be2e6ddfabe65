"""Training: the loop, thread shards, run folders, metrics and curves."""

from numformer.training.config import OptimConfig, TrainConfig
from numformer.training.run_folder import RunFolder
from numformer.training.trainer import FitResult, Trainer

__all__ = ["FitResult", "OptimConfig", "RunFolder", "TrainConfig", "Trainer"]
