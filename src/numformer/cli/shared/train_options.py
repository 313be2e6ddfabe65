"""The options of `numformer train TASK`: what all tasks take, and the data config and the model's config of the task."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from numformer.models.config import ArchitectureConfig
from numformer.tasks import TABLE, task_class
from numformer.training import OptimConfig, TrainConfig


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What every training command takes."""

    out: Path | None = None
    """Folder of the run; runs/NAME of the data when not given."""
    config: Path | None = None
    """TOML file of options, such as a recipe, another run's run.toml, or [[optim.groups]]; those on the command line win."""
    resume: bool = False
    """Continue the run in --out from its last checkpoint."""
    overwrite: bool = False
    """Replace the run in --out."""
    hosts: str = ""
    """How many processes train together under JAX, each started with this command; auto: as the cluster says."""
    host: int | None = None
    """Number of this process among --hosts, from 0, which writes the run folder."""
    coordinator: str = ""
    """ADDRESS:PORT of host 0, where the hosts meet."""
    host_timeout: float = 300.0
    """Seconds that the hosts wait for one another at the beginning."""
    pretrained: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Model whose weights and tokenizer to start from, named as RUN elsewhere; the head is new where the task is another."""


@dataclass(frozen=True, kw_only=True)
class FirstOptions(TrainOptions):
    """What says over which file the other options are read."""

    data: str = ""
    """What to train on, after which a folder is named that is not given."""


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """What a task that writes text shows of it at the end."""

    sample: int = 300
    """Tokens of sample text to print at the end."""
    prompt: str = ""
    """Text that the sample continues."""


def options_class(name: str, model: ArchitectureConfig | None = None) -> type[Any]:
    """Return the options of a task's training; the defaults of its training are the task's, those of its model too.

    With `model` the options of the model are the fields of that config, which may be of another architecture.
    """
    task = task_class(name)
    model = model or task.model_config
    samples = (SampleOptions,) if hasattr(task, "generate") else ()
    made = dataclasses.make_dataclass(
        f"Train{task.__name__}",
        [
            ("model", type(model), model),
            ("optim", OptimConfig, task.optim_config),
            ("train", TrainConfig, task.train_config),
        ],
        bases=(TrainOptions, task.data_config, *samples),
        kw_only=True,
        frozen=True,
    )
    what = TABLE[name].command
    made.__doc__ = (
        f"{what[:1].upper()}{what[1:]}, in a run folder that other commands and Hugging Face can read.\n\n"
        f"{task.data_config.__doc__} Ctrl-C stops after the current step with a checkpoint; --resume continues to the same "
        "bytes as if nothing happened."
    )
    return made
