"""The training loop: steps, evaluations, checkpoints, and every way in which a run can end."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from numformer import random
from numformer._notices import amount, say
from numformer.autograd import no_grad
from numformer.errors import InputError
from numformer.optim import layerwise_decay, learning_rate, parameter_groups
from numformer.optim.groups import frozen
from numformer.training.backends import step_maker
from numformer.training.config import OptimConfig, TrainConfig
from numformer.training.metrics import append_metrics, cut_metrics
from numformer.training.progress import Progress, Silent
from numformer.training.run_folder import Progression, RunFolder
from numformer.training.step import MeasuredObjective, Step
from numformer.training.workers import Workers, num_cores

OnStep = Callable[[dict[str, Any]], bool | None]  # called with the figures of a step; True stops the run after it


@dataclass(frozen=True)
class FitResult:
    """How a run ended: its last losses, and why it stopped ("finished", "interrupted", "callback" or "no improvement").

    `best_loss` is the validation loss at `best_step`, and `best` all figures that were measured there; `criterion` names
    the one that says which step is best. `new_steps` were made by this call, none where a run had come to its end before.
    """

    step: int
    loss: float
    val_loss: float | None
    best_loss: float | None
    best_step: int
    seconds: float
    stopped: str
    best: dict[str, float]
    criterion: str
    new_steps: int


class Trainer:
    """Trains a task's model; with a RunFolder every evaluation leaves a checkpoint to continue from."""

    def __init__(
        self,
        task: MeasuredObjective,
        train: TrainConfig,
        optim: OptimConfig,
        folder: RunFolder | None = None,
        progress: bool = True,
        on_step: OnStep | None = None,
    ) -> None:
        self.task, self.train, self.optim, self.folder, self.show = task, train, optim, folder, progress
        self.on_step = on_step
        self.threads = train.threads or num_cores()
        decayed = () if optim.layer_decay == 1.0 else layerwise_decay(task.model, optim.lr, optim.layer_decay)
        groups = parameter_groups(task.model, decayed or optim.groups)
        self.frozen = [p for group in groups if group.get("freeze") for p in group["params"] if p.requires_grad]
        with frozen(self.frozen):  # and while the run goes on, but not after it
            self.optimizer = optim.build(groups)
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.progression = Progression()
        self.resumed, self.seconds = False, 0.0
        self.loss = math.nan  # the last one, and the last of the held-out data
        self.val_loss: float | None = None
        self.best_weights: np.ndarray | None = None  # They are kept here where there is no folder for best/.
        # What is not installed, and a schedule that does not fit the steps, are reported here, before anything is written.
        self.make_step = step_maker(task, train, optim)
        learning_rate(1, peak=optim.lr, total_steps=max(1, train.steps), config=optim)

    def resume(self) -> None:
        """Take weights, optimizer and counters from the folder's last checkpoint, and drop the metrics after it.

        Raises InputError as `RunFolder.load_checkpoint` does.
        """
        assert self.folder is not None
        self.folder.check_best()
        self.progression = self.folder.load_checkpoint(self.task.model, self.optimizer)
        kept = cut_metrics(self.folder.metrics_file, self.progression.step)
        for line in kept:
            self.seconds, self.loss, self.val_loss = line["seconds"], line["loss"], line.get("val_loss", self.val_loss)
        self.resumed = True

    def why_nothing_is_left(self) -> str | None:
        """Return in words why a resumed run has no step to make, None where it has one."""
        at = self.progression
        if not self.resumed or self._why_end() is None:
            return None
        if at.step < self.train.steps:
            longer = f"a larger patience than {self.train.patience} goes on"
            return f"it stopped at step {at.step} for want of improvement; {longer}"
        return f"it has made its {at.step} steps; more steps go on"

    def run(self) -> FitResult:
        """Train to the last step, unless stopped before; raises InputError when the loss is no longer a number.

        Where there was held-out data the model has the best weights then; those of the last step are in the folder.
        """
        first, stopped = self.progression.step, self._why_end()
        if self.folder and (reason := self.why_nothing_is_left()):
            self.folder.complete(self.task.model, self.task.tokenizer, self.progression, self.task.criterion)
            if self.show:
                say(f"{self.folder.path}: nothing to do, {reason}")
            self.task.model.eval()
        else:
            self.task.model.train()
            try:
                with frozen(self.frozen):
                    stopped = self._loop()
            finally:
                self.task.model.eval()
        self._take_best()
        return self._result(stopped or "finished", self.progression.step - first)

    def _loop(self) -> str:
        """Make the steps that are left, and return why they ended."""
        at, stopped = self.progression, self._why_end()
        self._checkpoint()  # Of a run resumed after a kill too, so that all its files agree again.
        progress = Progress(at.step, self.train.steps, self.task.unit) if self.show else Silent()
        with ExitStack() as stack:
            workers = stack.enter_context(Workers(self.threads))
            # It may fork, so it comes before the thread of the progress line.
            train_step = self.make_step(self.optimizer, workers)
            interrupted = stack.enter_context(_interruptible(progress))
            stack.enter_context(progress)
            warm_up = f", warm-up of {amount(self.optim.warmup_steps, 'steps')}" if self.optim.warmup_steps else ""
            place = f", run folder {self.folder.path}" if self.folder else ""
            progress.say(self.task.describe() + warm_up + place)
            if introduction := train_step.introduction():
                progress.say(introduction)
            while stopped is None:
                line = self._step(train_step)
                self.loss = line["loss"]
                evaluate = at.step % self.train.eval_every == 0 or at.step == self.train.steps
                # Interrupted, a run is not evaluated: uninterrupted it would not have been.
                keep = train_step.any_host(interrupted.is_set())
                if evaluate or keep or self.on_step:
                    train_step.settle()
                if evaluate:
                    self._evaluate(train_step, workers, line)
                asked = self.on_step is not None and bool(self.on_step(dict(line)))
                keep = keep or asked
                if self.folder and (evaluate or keep or at.step % self.train.log_every == 0):
                    append_metrics(self.folder.metrics_file, line)
                if evaluate or keep:
                    if "val_loss" not in line:
                        self._check_weights()
                    self._checkpoint()
                progress.update(line)
                stopped = self._why_end() or ("callback" if asked else "interrupted" if keep else None)
            if summary := train_step.summary():
                progress.say(summary)
        return stopped

    def _take_best(self) -> None:
        """Give the model the weights that did best on held-out data, where those of the last step are others."""
        if self.best_weights is not None:
            self.optimizer.set_weights(self.best_weights)
        elif self.folder and self.progression.best and self.progression.best_step < self.progression.step:
            self.folder.load_best(self.task.model)

    def _result(self, stopped: str, new_steps: int) -> FitResult:
        at = self.progression
        return FitResult(
            step=at.step,
            loss=self.loss,
            val_loss=self.val_loss,
            best_loss=at.best.get("loss"),
            best_step=at.best_step,
            seconds=self.seconds,
            stopped=stopped,
            best=at.best,
            criterion=self.task.criterion,
            new_steps=new_steps,
        )

    def _why_end(self) -> str | None:
        if self.train.patience and self.progression.evaluations_since_best >= self.train.patience:
            return "no improvement"
        return "finished" if self.progression.step >= self.train.steps else None

    def _step(self, train_step: Step) -> dict[str, Any]:
        at = self.progression
        start = time.perf_counter()
        rate, *rates = [
            learning_rate(at.step + 1, peak=peak, total_steps=self.train.steps, config=self.optim)
            for peak in (self.optim.lr, *self.peaks)
        ]
        for group, own in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = own
        result = train_step(at.step + 1)
        self._check_finite("loss", result.loss, at.step + 1)
        self._check_finite("gradient's norm", result.grad_norm, at.step + 1)
        at.step += 1
        spent = time.perf_counter() - start
        self.seconds += spent
        return {
            "step": at.step,
            "loss": result.loss,
            "grad_norm": result.grad_norm,
            "lr": rate,
            "tokens_per_s": round(result.num_tokens / spent),
            "seconds": round(self.seconds, 2),
        }

    def _evaluate(self, train_step: Step, workers: Workers, line: dict[str, Any]) -> None:
        """Measure on held-out data, write the figures into the line of the step, and keep the weights that are best."""
        at = self.progression
        figures = train_step.evaluate(workers)
        if figures is None:
            return
        self.val_loss, criterion = figures["loss"], self.task.criterion
        self._check_finite("validation loss", figures["loss"], at.step)
        line |= {f"val_{name}": value for name, value in figures.items()}
        if not at.best or _rank(criterion, figures) > _rank(criterion, at.best):
            at.best, at.best_step, at.evaluations_since_best = figures, at.step, 0
            line["best"] = f"val_{criterion}"  # Who reads the line knows that it is the best so far, and by what.
            if not self.folder:
                self.best_weights = self.optimizer.weights.copy()
        else:
            at.evaluations_since_best += 1

    def _check_weights(self) -> None:
        """Make sure that weights nobody has measured are worth keeping, on a sequence of the last batch."""
        sequence = [array[:1] for array in self.task.batch(self.progression.step)]
        with no_grad(), np.errstate(over="ignore", invalid="ignore"), random.use(random.Stream(0)):
            self._check_finite("loss", self.task.loss_sum(*sequence).item(), self.progression.step)

    def _checkpoint(self) -> None:
        """Write the state and then, of the best step so far, best/: after a kill between the two it is made of the state."""
        at = self.progression
        if self.folder:
            self.folder.save_checkpoint(self.task.model, self.optimizer, at)
            if at.best and at.best_step == at.step:
                self.folder.save_best(self.task.model, self.task.tokenizer, at, self.task.criterion)

    def _check_finite(self, what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise InputError(
                f"the {what} became {value} at step {step}: try a learning rate below {self.optim.lr:g}, "
                f"more warmup_steps, or a smaller clip_norm; {self._put_back()}"
            )

    def _put_back(self) -> str:
        """Give the model the last weights that are known to be good, and return in words which these are."""
        if self.folder:
            self.folder.load_checkpoint(self.task.model, self.optimizer)
            return f"the last checkpoint is kept in {self.folder.path}"
        if self.best_weights is not None:
            self.optimizer.set_weights(self.best_weights)
            return f"the model has the weights of step {self.progression.best_step} again"
        if np.isfinite(self.optimizer.weights).all():
            return "the model keeps the weights that it had then"
        return "the weights of the model are no numbers any more: make it anew"


def _rank(criterion: str, figures: dict[str, float]) -> tuple[float, float]:
    """Return what is largest for the best figures: the criterion, and between equals the lower loss."""
    return (0.0 if criterion == "loss" else figures[criterion], -figures["loss"])


@contextmanager
def _interruptible(progress: Silent) -> Iterator[threading.Event]:
    """Let the first Ctrl-C ask the loop to stop after the step it is in; a second one interrupts at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def ask_to_stop(number: int, frame: Any) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)
        progress.say("stopping after this step; press Ctrl-C again to stop at once")

    before = signal.signal(signal.SIGINT, ask_to_stop)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
