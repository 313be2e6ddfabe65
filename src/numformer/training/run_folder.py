"""The run folder: an ordinary Hugging Face folder plus what it takes to repeat and to continue the run.

config.json, model.safetensors (the weights of the last checkpoint), tokenizer.json; run.toml (every setting), metrics.jsonl,
curves.png, best/ (the weights that did best on the held-out data) and state/checkpoint.safetensors (weights, optimizer and
counters of the last checkpoint, in one file, so that a run killed at any moment continues from a consistent state).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from numformer._files import remove_temporaries, write_atomically
from numformer.errors import InputError
from numformer.nn import Module
from numformer.optim import Optimizer
from numformer.pretrained import (
    config_file,
    kept_state,
    load_folder_weights,
    read_safetensors,
    save_config,
    save_model,
    take_state,
    under,
    weights_file,
    write_safetensors,
)
from numformer.tokenizers import Savable, check_savable, save_tokenizer
from numformer.training.answering import answering_folder, notes_of, step_of

OWN_FILES = (
    "config.json",
    "model.safetensors",
    "adapter_config.json",
    "adapter_model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "source_tokenizer.json",
    "metrics.jsonl",
    "curves.png",
    "best",
    "state",
    "run.toml",
    "task.toml",
)


@dataclass
class Progression:
    """Where a run stands: its last step, and the figures and the step of the best evaluation so far."""

    step: int = 0
    best: dict[str, float] = field(default_factory=dict)
    best_step: int = 0
    evaluations_since_best: int = 0


class RunFolder:
    """The folder of one run: reads and writes its files, and decides who may write there."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.settings_file = self.path / "run.toml"
        self.metrics_file = self.path / "metrics.jsonl"
        self.checkpoint_file = self.path / "state" / "checkpoint.safetensors"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and keep other processes from training in it; raises InputError when one does."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"could not make the folder {self.path}: {error.strerror}") from None
        if sys.platform == "win32":  # Nothing keeps two processes apart there.
            yield
            return
        import fcntl

        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"another process is training in {self.path}") from None
            yield
        finally:
            os.close(descriptor)

    def check_free(self, overwrite: bool) -> None:
        """Raise InputError unless a new run may start here: nothing there, or a run that may be overwritten."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; a run needs a folder of its own")
        if not self.path.exists() or not any(not name.name.endswith(".tmp") for name in self.path.iterdir()):
            return
        if not self.settings_file.exists():
            raise InputError(f"{self.path} exists and is not a run folder; choose another --out")
        if not overwrite:
            raise InputError(f"the run {self.path} exists: continue it with --resume or replace it with --overwrite")

    def start(self, settings: dict[str, Any], tokenizer: Savable) -> None:
        """Make the folder of a new run, removing the files of an older one.

        A link among them, such as a best/ kept on another disk, is removed itself; what it points to is left alone.
        """
        check_savable(tokenizer, self.path)
        _as_toml(settings)
        for name in OWN_FILES:
            target = self.path / name
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
        self.describe(settings, tokenizer)

    def check_tokenizer(self, tokenizer: Savable) -> None:
        """Raise InputError when the run would be continued with other tokens than it began with."""
        with tempfile.TemporaryDirectory(dir=self.path) as folder:
            save_tokenizer(tokenizer, folder)
            for file in Path(folder).iterdir():
                own = self.path / file.name
                if own.exists() and own.read_bytes() != file.read_bytes():
                    raise InputError(f"cannot resume: the tokenizer is not that of the run {self.path}")

    def describe(self, settings: dict[str, Any], tokenizer: Savable) -> None:
        """Write run.toml and the tokenizer, and clear away what a killed run was writing."""
        write_atomically(self.settings_file, _as_toml(settings))
        save_tokenizer(tokenizer, self.path)
        remove_temporaries(self.path, (*OWN_FILES, self.checkpoint_file.name))

    def read_settings(self) -> dict[str, Any]:
        """Return the contents of run.toml; raises InputError when this is not a run folder."""
        return read_toml(self.settings_file)

    def save_checkpoint(self, model: Module, optimizer: Optimizer, progression: Progression) -> None:
        """Write what a resumed run needs into state/, then the model as a Hugging Face folder for everybody else."""
        tensors = {f"model.{name}": value for name, value in kept_state(model).items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer.state_dict(copy=False).items()}
        write_safetensors(self.checkpoint_file, tensors, {"progression": json.dumps(asdict(progression))})
        save_model(model, self.path, notes_of(progression.step))

    def complete(self, model: Module, tokenizer: Savable, progression: Progression, criterion: str) -> None:
        """Write what a kill has kept from being written after the last checkpoint, and nothing where all is there."""
        if step_of(self.path) != progression.step or not (self.path / config_file(model)).exists():
            save_model(model, self.path, notes_of(progression.step))
        if not (self.path / "tokenizer.json").exists():
            save_tokenizer(tokenizer, self.path)
        is_best = progression.best and progression.best_step == progression.step
        if is_best and step_of(self.path / "best") != progression.step:
            self.save_best(model, tokenizer, progression, criterion)
        remove_temporaries(self.path, (*OWN_FILES, self.checkpoint_file.name))

    def load_checkpoint(self, model: Module, optimizer: Optimizer) -> Progression:
        """Put the state back; a run that was stopped before its first checkpoint starts from the beginning.

        Raises InputError when the checkpoint is damaged, belongs to another model, or was taken away.
        """
        if not self.checkpoint_file.exists():
            if weights_file(self.path).exists():
                raise InputError(f"{self.checkpoint_file} is missing: this run can only be replaced, with --overwrite")
            return Progression()
        tensors, metadata = read_safetensors(self.checkpoint_file)
        try:
            progression = Progression(**json.loads(metadata["progression"]))
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{self.checkpoint_file} is not the checkpoint of a run") from None
        optimizer.load_state_dict(under("optimizer.", tensors))  # it says when an earlier version wrote the state
        take_state(model, under("model.", tensors))
        return progression

    def save_best(self, model: Module, tokenizer: Savable, progression: Progression, criterion: str) -> None:
        """Write the model and its tokenizer into best/, in place of those of the evaluation that was best before."""
        save_config(model, self.path / "best")
        save_tokenizer(tokenizer, self.path / "best")
        notes = notes_of(progression.best_step, criterion, progression.best[criterion])
        save_model(model, self.path / "best", notes)

    def check_best(self) -> None:
        """Raise InputError when best/ is damaged, which a resumed run would find at its end only."""
        best = weights_file(self.path / "best")
        if best.exists():
            try:
                read_safetensors(best)
            except InputError as error:
                raise InputError(f"{error}; remove {best.parent} to go on without it") from None

    def load_best(self, model: Module) -> None:
        """Give a model the weights of best/, where that is; raises InputError when they are damaged."""
        if (found := answering_folder(self.path)) != self.path:
            load_folder_weights(model, found)


def run_of(folder: str | Path) -> RunFolder:
    """Return the run that a folder is, or whose best/ it is; raises InputError when it has no run.toml."""
    path = Path(folder)
    run = RunFolder(path if (path / "run.toml").exists() or path.name != "best" else path.parent)
    if not run.settings_file.exists():
        raise InputError(f"{folder} does not say what it was trained on: it has no run.toml; name the data")
    return run


def read_toml(path: Path) -> dict[str, Any]:
    """Return the contents of a TOML file; raises InputError when it is missing or malformed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as TOML: {error}") from None


def _as_toml(settings: dict[str, Any]) -> bytes:
    """Return settings as TOML; raises InputError for a file name that is not valid Unicode."""
    try:
        return tomli_w.dumps(settings).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"run.toml cannot name a file that is not valid Unicode: {error.object!r}") from None
