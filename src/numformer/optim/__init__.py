"""Optimizers, learning-rate schedules and gradient clipping."""

from numformer.optim.adam import Adam, AdamW
from numformer.optim.clipping import clip_grad_norm
from numformer.optim.groups import GroupSettings, ParameterGroup, layerwise_decay, parameter_groups
from numformer.optim.optimizer import Optimizer
from numformer.optim.schedules import LRScheduler, ScheduleConfig, learning_rate
from numformer.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "GroupSettings",
    "LRScheduler",
    "Optimizer",
    "ParameterGroup",
    "ScheduleConfig",
    "clip_grad_norm",
    "layerwise_decay",
    "learning_rate",
    "parameter_groups",
]
