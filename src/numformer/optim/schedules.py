"""Learning rates as pure functions of the step, and the scheduler object that applies them to an optimizer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np

from numformer._names import takes_synonyms
from numformer.errors import InputError

Schedule = Literal["constant", "cosine", "linear", "noam"]


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate changes during training.

    Raises InputError for an unknown schedule or a value outside its range.
    """

    schedule: Schedule = "constant"
    """What the rate does after warm-up: stay, fall along a cosine or a line, or fall as 1/sqrt(step) (noam)."""
    warmup_steps: int = 0
    """Steps over which the rate first rises from 0 to its peak."""
    min_lr_ratio: float = 0.0
    """Final rate as a share of the peak, for cosine and linear."""

    def __post_init__(self) -> None:
        if self.schedule not in get_args(Schedule):
            raise InputError(f"got schedule={self.schedule!r}, expected one of {', '.join(get_args(Schedule))}")
        if not self.warmup_steps >= 0:
            raise InputError(f"got warmup_steps={self.warmup_steps}, expected a whole number of at least 0")
        if not 0 <= self.min_lr_ratio <= 1:
            raise InputError(f"got min_lr_ratio={self.min_lr_ratio}, expected a number from 0 to 1")


def learning_rate(step: int, *, peak: float, total_steps: int, config: ScheduleConfig) -> float:
    """Return the learning rate of one update, the first of which is step 1.

    The rate rises in a straight line to the peak at `warmup_steps`. Then cosine (Loshchilov and Hutter 2017) and linear
    fall to `min_lr_ratio * peak` at `total_steps`, and noam (Vaswani et al. 2017, §5.3) falls as 1/sqrt(step). After
    `total_steps` the rate stays what it was there.

    Raises InputError for a step or a total below 1, and for a warm-up that leaves cosine or linear no step to fall in.
    """
    if step < 1 or total_steps < 1:
        raise InputError(f"got step={step} and total_steps={total_steps}, expected both to be at least 1")
    if config.schedule in ("cosine", "linear") and config.warmup_steps >= total_steps:
        raise InputError(
            f"got warmup_steps={config.warmup_steps} with total_steps={total_steps}, "
            f"expected a warm-up shorter than the training for the {config.schedule} schedule"
        )
    step = min(step, total_steps)
    if step < config.warmup_steps:
        return peak * (step / config.warmup_steps)
    return peak * _after_warmup(step, total_steps, config)


def _after_warmup(step: int, total_steps: int, config: ScheduleConfig) -> float:
    """Return the rate as a share of the peak."""
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "noam":
        return math.sqrt(max(config.warmup_steps, 1) / step)
    progress = (step - config.warmup_steps) / (total_steps - config.warmup_steps)
    share = 1 - progress if config.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * share


class HasGroups(Protocol):
    """What a scheduler changes: anything with groups that have a learning rate, such as an optimizer."""

    param_groups: list[dict[str, Any]]


class LRScheduler:
    """Sets the "lr" of every group before every update, as in PyTorch: call `step()` after each `optimizer.step()`.

    The rates at construction are the peaks, of which all groups get the same share; construction sets the rates of the
    first update. Raises InputError as `learning_rate` does.
    """

    def __init__(self, optimizer: HasGroups, config: ScheduleConfig, total_steps: int) -> None:
        self.optimizer = optimizer
        self.config = config
        self.total_steps = total_steps
        self.peaks = [float(group["lr"]) for group in optimizer.param_groups]
        self._update = 1
        self._set_rates()

    def step(self) -> None:
        """Set the rates to those of the update after the one that was just made."""
        self._update += 1
        self._set_rates()

    def get_last_lr(self) -> list[float]:
        """Return the rate of each group that is now in force."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return the number of the next update and the peaks [G] of the groups."""
        return {"update": np.array(self._update), "peaks": np.array(self.peaks)}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from a `state_dict`; raises InputError when it is that of other groups."""
        peaks = state["peaks"].tolist() if set(state) == {"update", "peaks"} else []
        if len(peaks) != len(self.peaks):
            raise InputError(f"this is not the state of a scheduler of {len(self.peaks)} groups")
        self.peaks, self._update = peaks, int(state["update"])
        self._set_rates()

    def _set_rates(self) -> None:
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = learning_rate(self._update, peak=peak, total_steps=self.total_steps, config=self.config)
