"""The training loop: steps, evaluations, checkpoints, and every way in which a run can end."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from numformer.errors import InputError
from numformer.optim import learning_rate
from numformer.training.config import OptimConfig, TrainConfig
from numformer.training.metrics import append_metrics, cut_metrics
from numformer.training.progress import Progress, Silent
from numformer.training.run_folder import Progression, RunFolder
from numformer.training.step import Objective, StepResult, train_step
from numformer.training.workers import Workers, num_cores


class Task(Objective, Protocol):
    """An Objective with its model, tokenizer and validation."""

    model: Any
    tokenizer: Any

    def evaluate(self, workers: Workers) -> float | None:
        """Return the validation loss, or None without held-out data."""


@dataclass(frozen=True)
class FitResult:
    """How a run ended: its last losses, and why it stopped ("finished", "interrupted" or "no improvement")."""

    step: int
    loss: float
    val_loss: float | None
    best_loss: float | None
    best_step: int
    seconds: float
    stopped: str


class Trainer:
    """Trains a task's model; with a RunFolder every evaluation leaves a checkpoint to continue from."""

    def __init__(
        self, task: Task, train: TrainConfig, optim: OptimConfig, folder: RunFolder | None = None, progress: bool = True
    ) -> None:
        self.task, self.train, self.optim, self.folder, self.show = task, train, optim, folder, progress
        self.threads = train.threads or num_cores()
        self.pieces = (train.shards or self.threads) * train.accumulation
        self.optimizer = optim.build(list(task.model.parameters()))
        self.progression = Progression()
        learning_rate(1, peak=optim.lr, total_steps=max(1, train.steps), config=optim)  # complain now, not later

    def resume(self) -> None:
        """Continue from the folder's last checkpoint."""
        assert self.folder is not None
        self.progression = self.folder.load_checkpoint(self.task.model, self.optimizer)
        cut_metrics(self.folder.metrics_file, self.progression.step)

    def run(self) -> FitResult:
        """Train to the last step, unless stopped before; raises InputError when the loss is no longer a number."""
        at, loss, val_loss, stopped = self.progression, math.nan, None, "finished"
        self.task.model.train()
        if at.step == 0:
            self._checkpoint()
        progress = Progress(at.step, self.train.steps) if self.show else Silent()
        with Workers(self.threads) as workers, _interruptible() as interrupted, progress:
            while at.step < self.train.steps and stopped == "finished":
                line = self._step(workers)
                loss = line["loss"]
                last = at.step == self.train.steps or interrupted.is_set()
                evaluate = at.step % self.train.eval_every == 0 or last
                if evaluate:
                    val_loss = self._evaluate(workers, line)
                if self.folder and (evaluate or at.step % self.train.log_every == 0):
                    append_metrics(self.folder.metrics_file, line)
                if evaluate:
                    self._checkpoint()
                progress.update(line)
                if interrupted.is_set():
                    stopped = "interrupted"
                elif self.train.patience and at.evaluations_since_best >= self.train.patience:
                    stopped = "no improvement"
        self.task.model.eval()
        return FitResult(at.step, loss, val_loss, at.best_loss, at.best_step, at.seconds, stopped)

    def _step(self, workers: Workers) -> dict[str, Any]:
        at = self.progression
        start = time.perf_counter()
        rate = learning_rate(at.step + 1, peak=self.optim.lr, total_steps=self.train.steps, config=self.optim)
        self.optimizer.lr = rate
        result = train_step(
            self.task,
            self.optimizer,
            workers,
            seed=self.train.seed,
            step=at.step + 1,
            pieces=self.pieces,
            clip_norm=self.optim.clip_norm,
        )
        if not (math.isfinite(result.loss) and math.isfinite(result.grad_norm)):
            raise InputError(self._divergence(result))
        at.step += 1
        spent = time.perf_counter() - start
        at.seconds += spent
        return {
            "step": at.step,
            "loss": result.loss,
            "grad_norm": result.grad_norm,
            "lr": rate,
            "tokens_per_s": round(result.num_tokens / spent),
            "seconds": round(at.seconds, 2),
        }

    def _evaluate(self, workers: Workers, line: dict[str, Any]) -> float | None:
        at = self.progression
        self.task.model.eval()
        val_loss = self.task.evaluate(workers)
        self.task.model.train()
        if val_loss is None:
            return None
        line["val_loss"] = val_loss
        if at.best_loss is None or val_loss < at.best_loss:
            at.best_loss, at.best_step, at.evaluations_since_best = val_loss, at.step, 0
            if self.folder:
                self.folder.save_best(self.task.model, self.task.tokenizer)
        else:
            at.evaluations_since_best += 1
        return val_loss

    def _checkpoint(self) -> None:
        if self.folder:
            self.folder.save_checkpoint(self.task.model, self.optimizer, self.progression)

    def _divergence(self, result: StepResult) -> str:
        what = f"loss became {result.loss}" if not math.isfinite(result.loss) else f"gradient's norm is {result.grad_norm}"
        kept = f"; the last checkpoint is kept in {self.folder.path}" if self.folder else ""
        return (
            f"the {what} at step {self.progression.step + 1}: try a learning rate below {self.optim.lr:g}, "
            f"more warmup_steps, or a smaller clip_norm{kept}"
        )


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Let the first Ctrl-C (or SIGTERM) ask the loop to stop after the step it is in; a second one interrupts at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def ask_to_stop(number: int, frame: Any) -> None:
        event.set()
        for each, handler in before.items():
            signal.signal(each, handler)

    before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
