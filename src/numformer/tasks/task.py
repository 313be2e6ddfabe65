"""What every task shares: a model with its tokenizer, trained in a run folder, saved and loaded."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, Self

from numformer.errors import InputError
from numformer.nn.dropout import set_dropout
from numformer.pretrained import load_model, save_model
from numformer.tasks.attention import AttentionMap, Sequences, attention_maps
from numformer.tokenizers import load_tokenizer, save_tokenizer
from numformer.training import FitResult, OptimConfig, RunFolder, TrainConfig, Trainer
from numformer.training.curves import draw_curves
from numformer.training.metrics import read_metrics
from numformer.training.run_folder import read_toml, run_of
from numformer.training.settings import as_plain, check_same_run, sort_settings, table_of


class Task:
    """A model, its tokenizer and, for training, its data; a subclass says what the task reads, learns and predicts."""

    name: ClassVar[str]
    model_class: ClassVar[type]
    train_config: ClassVar[TrainConfig] = TrainConfig()
    optim_config: ClassVar[OptimConfig] = OptimConfig()

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.source: dict[str, Any] = {}  # where the data came from, as run.toml says it
        self.seed = 0

    def objective(self, train: TrainConfig) -> Any:
        """Return what to train on; raises InputError when there is no data."""
        raise TypeError(f"{type(self).__name__} has no objective")

    def fit(
        self,
        *,
        train: TrainConfig | None = None,
        optim: OptimConfig | None = None,
        out: str | Path | None = None,
        resume: bool = False,
        overwrite: bool = False,
        progress: bool = True,
        **settings: Any,
    ) -> FitResult:
        """Train; `settings` are fields of TrainConfig and OptimConfig, such as steps, batch_size and lr.

        With `out` the run is kept in that folder, from which `resume` continues it. Without it, a second `fit` goes on
        from the weights as they are, with a new optimizer and the same order of data. Raises InputError when the folder
        exists already, holds a run with other settings, or the loss stops being a number.
        """
        train = train or dataclasses.replace(self.train_config, seed=self.seed)
        train, optim = sort_settings(train, optim or self.optim_config, settings)
        if self.optim_config.warmup_steps == optim.warmup_steps >= train.steps:  # the default is for longer runs
            optim = dataclasses.replace(optim, warmup_steps=train.steps // 10)
        if train.seed != self.seed:
            raise InputError(
                f"seed is {train.seed}, but the model was made with seed={self.seed}: one seed decides both"
            )
        folder = None if out is None else RunFolder(out)
        before = folder.read_settings() if folder and resume else {}
        shards = train.shards or table_of(before, "train").get("shards") or train.num_shards
        train = dataclasses.replace(train, shards=shards)
        parts = {"model": self.model.config, "optim": optim, "train": train}
        run = {"task": self.name, **self.source, **{name: as_plain(part) for name, part in parts.items()}}
        trainer = Trainer(self.objective(train), train, optim, folder, progress)
        with folder.locked() if folder else nullcontext():
            self._prepare(trainer, run, before, resume, overwrite)
            result = trainer.run()
        if folder:
            draw_curves(read_metrics(folder.metrics_file), folder.path / "curves.png")
        return result

    def _prepare(
        self, trainer: Trainer, run: dict[str, Any], before: dict[str, Any], resume: bool, overwrite: bool
    ) -> None:
        """Make the folder of a new run, or take the state of the one to continue."""
        folder, steps = trainer.folder, trainer.train.steps
        if folder and resume:
            check_same_run(before, run)
            folder.check_tokenizer(self.tokenizer)
            trainer.resume()
            if trainer.progression.step > steps:
                raise InputError(f"{folder.path} has {trainer.progression.step} steps already, got steps={steps}")
            folder.describe(run, self.tokenizer)
        elif folder:
            folder.check_free(overwrite)
            folder.start(run, self.tokenizer)

    def sequences(self, text: str, second: str | None) -> Sequences:
        """Return what the model is called with for a text, and the tokens of it."""
        raise TypeError(f"{type(self).__name__} has no sequences")

    def attention(self, text: str, second: str | None = None) -> list[AttentionMap]:
        """Return the attention weights of every layer on a text.

        `second` is the target of a translation (the model's own when not given), or the context of a question.
        """
        return attention_maps(self.model, self.sequences(text, second))

    def save(self, folder: str | Path) -> None:
        """Write a Hugging Face folder: config.json, model.safetensors, tokenizer.json."""
        save_tokenizer(self.tokenizer, folder)
        save_model(self.model, folder)

    @classmethod
    def load(cls, folder: str | Path, tokenizer: Any = None) -> Self:
        """Read a folder that `save` or a run has written; raises InputError when it is damaged or of another task."""
        model = load_model_of(folder)
        if not isinstance(model, cls.model_class):
            raise InputError(
                f"{folder} holds a {type(model).__name__}, but {cls.__name__} needs a {cls.model_class.__name__}"
            )
        return cls(model, tokenizer or cls.load_tokenizer(folder))

    @classmethod
    def load_tokenizer(cls, folder: str | Path) -> Any:
        """Return the tokenizer of a folder."""
        return load_tokenizer(folder)


def load_model_of(folder: str | Path) -> Any:
    """Return the model of a folder; raises InputError when it is missing or damaged."""
    if not Path(folder).is_dir():
        raise InputError(f"there is no folder {folder}")
    return load_model(folder)


def adapt(model: Any, config: Any, default: Any, folder: str | Path) -> None:
    """Give a pretrained model the dropout of a config that does not leave it at the default.

    Raises InputError when the config has another shape than the model, which brings its own.
    """
    dropout = model.config.dropout if config.dropout == default.dropout else config.dropout
    shapes = [dataclasses.replace(each, dropout=dropout) for each in (config, default, model.config)]
    if shapes[0] not in shapes[1:]:  # a run that is repeated says the shape once more
        raise InputError(f"the shape of the model comes from {folder}: leave out the model's settings but dropout")
    set_dropout(model, dropout)


def settings_of(folder: str | Path) -> dict[str, Any]:
    """Return the settings of the run that a folder is or whose best/ it is, or those that were saved with a model."""
    saved = Path(folder) / "task.toml"
    if saved.exists() and not (Path(folder) / "run.toml").exists():
        return read_toml(saved)
    try:
        run = run_of(folder)
    except InputError:
        return {}
    return run.read_settings()
