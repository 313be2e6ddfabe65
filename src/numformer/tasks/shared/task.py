"""A task: a model with its tokenizer and, for training, its data; fitted in a run folder, saved and loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, Self, Unpack

import tomli_w

from numformer._files import write_atomically
from numformer._notices import amount, say
from numformer.errors import InputError
from numformer.models.config import ArchitectureConfig
from numformer.nn.module import Module
from numformer.nn.stack import recomputing
from numformer.pretrained import adapter_of, is_gguf, read_gguf, save_model
from numformer.pretrained.opening import Opened, check_rows
from numformer.tasks.shared.adapting import describe_adapters
from numformer.tasks.shared.attention import AttentionMap, Sequences, attention_maps
from numformer.tasks.shared.encoding import AnyTokenizer, describe_tokenizer
from numformer.tasks.shared.format import DataConfig
from numformer.tasks.shared.objective import Loss, TargetObjective
from numformer.tasks.shared.prediction import check_many, in_pieces
from numformer.tasks.shared.settings import names
from numformer.tasks.shared.start import open_source
from numformer.tokenizers import load_tokenizer, save_tokenizer
from numformer.training import FitResult, FitSettings, OptimConfig, RunFolder, TrainConfig, Trainer
from numformer.training.backends import is_writer
from numformer.training.curves import draw_curves
from numformer.training.metrics import read_metrics
from numformer.training.run_folder import read_toml, run_of
from numformer.training.settings import (
    SHOWN,
    as_plain,
    check_same_data,
    check_same_run,
    from_plain,
    resumptions,
    sort_settings,
    table_of,
)
from numformer.training.step import MeasuredObjective
from numformer.training.trainer import OnStep


class Task:
    """A model, its tokenizer and, for training, its data; a subclass says what the task reads, learns and predicts."""

    name: ClassVar[str]  # in commands, run.toml and numformer._names
    model_class: ClassVar[type]
    model_config: ClassVar[ArchitectureConfig]  # the defaults of a new model
    data_config: ClassVar[type[Any]]
    train_config: ClassVar[TrainConfig] = TrainConfig()
    optim_config: ClassVar[OptimConfig] = OptimConfig()

    needs: ClassVar[str | None] = None  # which models `fits` takes, where they are not those of model_class

    # What the commands take besides what all tasks have, as dataclasses of keywords; a field's docstring is its help.
    predict_options: ClassVar[type | None] = None  # keywords of `predict`
    evaluate_options: ClassVar[type | None] = None  # keywords of `evaluate`
    attention_options: ClassVar[type | None] = None
    of_training: ClassVar[tuple[str, ...]] = ()  # fields of data_config that no prediction needs, besides DataConfig's
    reading: ClassVar[tuple[str, ...]] = ()  # fields of data_config that say how a file is read, for `evaluate --data`
    second_text: ClassVar[str | None] = None  # the field of attention_options that is the second text of `attention`

    # What a prediction is made of (a second input is a keyword of `predict`), and what it says that is a column of a table.
    inputs: ClassVar[tuple[str, ...]] = ("text",)
    columns: ClassVar[tuple[str, ...]] = ()
    takes_words: ClassVar[bool] = False  # whether an input may be the words of a text
    predict: Callable[..., Any]  # of every task but language modelling, which has `generate`

    def __init__(self, model: Module, tokenizer: AnyTokenizer, config: Any = None) -> None:
        self.model: Any = model
        self.tokenizer: Any = tokenizer
        self.config = self.data_config() if config is None else config
        self.source: dict[str, Any] = {}  # where the data came from, as run.toml says it
        self.about_data: list[str] = []  # what `fit` says of data that came as lists or text; of files, reading says it
        self.seed = 0
        self._run: str | Path | None = None  # that the task was loaded from

    @classmethod
    def from_config(cls, config: Any, model: Any, *, seed: int = 0, resumed: RunFolder | None = None) -> Self:
        """Return an untrained task for the files that a config names, with the tokenizer of a run that is continued."""
        raise NotImplementedError

    def objective(self, train: TrainConfig) -> MeasuredObjective:
        """Return what to train on; raises InputError when there is no data."""
        raise NotImplementedError

    def sequences(self, text: str, second: str | None) -> Sequences:
        """Return what the model is called with for a text, and the tokens of it."""
        raise NotImplementedError

    def load_held_out(self, folder: str | Path) -> None:
        """Take what a run was validated on; raises InputError when the folder is not a run, or its data have changed."""
        raise NotImplementedError

    def details(self) -> dict[str, str]:
        """Return what `numformer info` says of this task alone, and of the adapters of its model."""
        return describe_adapters(self.model)

    def fit(
        self,
        *,
        train: TrainConfig | None = None,
        optim: OptimConfig | None = None,
        out: str | Path | None = None,
        resume: bool = False,
        overwrite: bool = False,
        progress: bool = True,
        on_step: OnStep | None = None,
        loss: Loss | None = None,
        **settings: Unpack[FitSettings],
    ) -> FitResult:
        """Train; `settings` are fields of TrainConfig and OptimConfig, such as steps, batch_size and lr.

        `on_step` is called after each step with its figures, those of a line of metrics.jsonl (step, loss, lr, grad_norm;
        val_loss and others where they were measured), and stops the run, with a checkpoint, by returning True. `loss` takes
        the place of the task's loss in training and validation: it gets logits [N C] and targets [N] (numbers [N] and [N] in
        regression) without padding, and returns their mean loss, a Tensor []. A run is resumed with the loss it began with.

        With held-out data the model has the weights of the best step at the end, as `result.best_step` says. With `out`
        the run is kept in that folder, from which `resume` continues it, from the weights of its last step. Without it, a
        second `fit` goes on from the weights as they are, the best ones, with a new optimizer and the same order of data.
        Raises InputError when the folder exists already, holds a run with other settings, or the loss stops being a
        number.
        """
        usual = self.train_config if loss is None else dataclasses.replace(self.train_config, label_smoothing=0.0)
        train = train or dataclasses.replace(usual, seed=self.seed)
        train, optim = sort_settings(train, optim or self.optim_config, dict(settings))
        if self.optim_config.warmup_steps == optim.warmup_steps >= train.steps:  # the default is for longer runs
            optim = dataclasses.replace(optim, warmup_steps=train.steps // 10)
        if train.seed != self.seed:
            raise InputError(
                f"seed is {train.seed}, but the model was made with seed={self.seed}: one seed decides both"
            )
        if on_step is not None and not callable(on_step):
            raise InputError(f"on_step must be a function of a step's figures, got {on_step!r:.60}")
        folder = None if out is None else RunFolder(out)
        before = folder.read_settings() if folder and resume else {}
        shards = train.shards or table_of(before, "train").get("shards") or train.num_shards
        train = dataclasses.replace(train, shards=shards)
        run = {
            "task": self.name,
            **self.source,
            **({} if loss is None else {"loss": getattr(loss, "__name__", type(loss).__name__)}),
            **{name: before[name] for name in SHOWN if name in before and name not in self.source},
            "model": self._shape(),
            "optim": as_plain(optim),
            "train": as_plain(train),
        }
        for line in self.about_data if progress else ():
            say(line)
        objective = self.objective(train)
        if loss is not None:
            if not isinstance(objective, TargetObjective):
                raise InputError(f"a {type(objective).__name__} takes no other loss")
            objective.use_loss(loss)
        trainer = Trainer(objective, train, optim, folder, progress, on_step)
        writes = is_writer(train.backend)
        with folder.locked() if folder and writes else nullcontext(), recomputing(self.model, train.recompute):
            self._prepare(trainer, run, before, resume, overwrite, writes)
            result = trainer.run()
        if trainer.folder and folder and (result.new_steps or not (folder.path / "curves.png").exists()):
            draw_curves(read_metrics(folder.metrics_file), folder.path / "curves.png", objective.loss_unit)
        return result

    def _shape(self) -> dict[str, Any]:
        """Return the model's config as run.toml says it, which names the architecture where it is not the task's own."""
        config = self.model.config
        own = type(config) is type(self.model_config)
        return ({} if own else {"model_type": config.model_type}) | as_plain(config)

    def _prepare(
        self, trainer: Trainer, run: dict[str, Any], before: dict[str, Any], resume: bool, overwrite: bool, writes: bool
    ) -> None:
        """Make the folder of a new run, or take the state of the one to continue; leave it to another who `writes` not."""
        folder, steps = trainer.folder, trainer.train.steps
        if folder and resume:
            check_same_run(before, run, folder.path)
            folder.check_tokenizer(self.tokenizer)
            trainer.resume()
            done = trainer.progression.step
            if done > steps:
                raise InputError(
                    f"the run {folder.path} has made {amount(done, 'steps')} already and cannot end at steps={steps}: "
                    "give more steps to continue it, or another folder to a shorter run"
                )
            if writes and trainer.why_nothing_is_left() is None:
                folder.describe(run | resumptions(before, run, done), self.tokenizer)
        elif folder and writes:
            folder.check_free(overwrite)
            folder.start(run, self.tokenizer)
        if not writes:
            trainer.folder = None

    def stream(
        self, inputs: Iterable[Any], *, paused: Callable[[], bool] = lambda: False, **settings: Any
    ) -> Iterator[Any]:
        """Yield what `predict` returns for each of any number of inputs, in order, with some hundred of them in memory.

        None stands for a blank input, which the model is not asked about. The first results come after 8 inputs, or when
        `paused` tells that the next one may be long in coming. `settings` are those of `predict`.
        """
        if not hasattr(self, "predict"):
            raise InputError(
                f"a {type(self).__name__} predicts nothing from texts: use generate, whose on_text gets pieces"
            )

        def answer(piece: list[Any]) -> Iterator[Any]:
            found = iter(self.predict([each for each in piece if each is not None], **settings))
            return (self.blank_prediction(settings) if each is None else next(found) for each in piece)

        yield from in_pieces(check_many(inputs), paused, answer)

    def input_columns(self) -> tuple[str, ...]:
        """Return the columns of a table that hold the (first) input, as the run was trained; several are joined."""
        return names(getattr(self.config, "text", None) or "text")

    @property
    def reads_pairs(self) -> bool | None:
        """Whether an input is a pair of texts; None where that is not known."""
        return False

    def columns_without_header(self) -> tuple[str, ...]:
        """Return what the columns of .tsv are called that has no header; only tasks on pairs read such."""
        return ()

    def table_columns(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the columns that a table has of predictions made with these settings."""
        return self.columns

    def blank_prediction(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return what stands for the prediction of a blank input with some settings: no value in any column."""
        return dict.fromkeys(self.columns)

    def in_words(self, prediction: Mapping[str, Any]) -> str:
        """Return a prediction as a person reads it, such as "good 0.93"."""
        answer, score = prediction[self.columns[0]], prediction.get("score")
        shown = f"{answer:.6g}" if isinstance(answer, float) else str(answer)
        return shown if score is None else f"{shown} {score:.2f}"

    def attention(self, text: str, second: str | None = None) -> list[AttentionMap]:
        """Return the attention weights of every layer on a text.

        `second` is the target of a translation (the model's own when not given), or the context of a question.
        """
        return attention_maps(self.model, self.sequences(text, second))

    def __repr__(self) -> str:
        facts = {
            "model": f"{type(self.model).__name__}, {self.model.num_parameters():,} parameters",
            "tokenizer": describe_tokenizer(self.tokenizer),
            "context": f"{self.model.config.max_seq_len} tokens",
        } | self.details()
        return f"{type(self).__name__}({'; '.join(f'{name} {fact}' for name, fact in facts.items())})"

    def save(self, folder: str | Path, dtype: str = "float32") -> None:
        """Write a Hugging Face folder (config.json, model.safetensors, tokenizer.json), its weights as `dtype`.

        That is float32, float16 or bfloat16; they are read as float32 again. A task.toml beside them names the task and its
        settings about prediction, where it has any. Raises InputError for the folder of a run, whose weights, best weights
        and settings belong together.
        """
        if not isinstance(folder, (str, Path)):
            raise InputError(f"a task is saved in a folder, got {folder!r:.60}")
        if (Path(folder) / "run.toml").exists():
            raise InputError(f"{folder} is a run, which keeps its own weights: save in another folder")
        save_tokenizer(self.tokenizer, folder)
        save_model(self.model, folder, dtype=dtype)
        general = {field.name for field in dataclasses.fields(DataConfig)}.union(self.of_training)
        own = {name: value for name, value in as_plain(self.config).items() if name not in general}
        file = Path(folder) / "task.toml"
        file.unlink(missing_ok=True)  # of a task that was saved there before
        if own:
            write_atomically(file, tomli_w.dumps({"task": self.name} | own))

    @classmethod
    def load(cls, folder: str | Path, tokenizer: AnyTokenizer | None = None, *, last: bool = False) -> Self:
        """Read a folder that `save` or a run has written, with the settings about prediction that it says.

        It may be any that `numformer.load` opens. A run gives its best weights where it has them, those of its last step with
        `last`. Raises InputError when it is damaged or of another task.
        """
        opened = open_source(folder, last)
        if not cls.fits(opened.model):
            raise InputError(
                f"{folder} holds a {type(opened.model).__name__}, but {cls.__name__} needs "
                f"{cls.needs or f'a {cls.model_class.__name__}'}"
            )
        task = cls(opened.model, tokenizer or cls.tokenizer_of(opened))
        task.use_settings(settings_of(opened.path))
        task.use_folder(opened.path)
        return task

    @classmethod
    def tokenizer_of(cls, opened: Opened) -> Any:
        """Return the tokenizer of a model, of adapters without one that of theirs.

        Raises InputError when it is missing or damaged, or has more tokens than rows.
        """
        tokenizer, adapter = opened.tokenizer, adapter_of(opened.model)
        if tokenizer is None and adapter is not None and not (opened.path / "tokenizer.json").exists():
            base = adapter.path
            tokenizer = read_gguf(base).tokenizer if is_gguf(base) else cls.load_tokenizer(base)
        tokenizer = tokenizer or cls.load_tokenizer(opened.path)
        check_rows(opened.model, tokenizer, opened.path)
        return tokenizer

    @classmethod
    def resumed_tokenizer(cls, run: RunFolder, source: dict[str, Any], seed: int) -> Any:
        """Return the tokenizer of a run that is to be continued; None where it was killed before it wrote that.

        Raises InputError when the data has changed since, before anything is made of it that does not fit the run.
        """
        check_same_data(run.read_settings(), {"task": cls.name, **source}, seed, run.path)
        return cls.load_tokenizer(run.path) if (run.path / "tokenizer.json").exists() else None

    @classmethod
    def fits(cls, model: Any) -> bool:
        """Tell whether a model is of the kind that the task has."""
        return isinstance(model, cls.model_class)

    @classmethod
    def load_tokenizer(cls, folder: str | Path) -> Any:
        """Return the tokenizer of a folder."""
        return load_tokenizer(folder)

    def use_folder(self, folder: Path) -> None:
        """Take what else the folder of the model says that the task needs."""

    def use_settings(self, settings: dict[str, Any]) -> None:
        """Take the settings about data and prediction that a run was made with, as run.toml has them."""
        known = {field.name for field in dataclasses.fields(self.data_config)}
        self.config = from_plain(self.data_config, {k: v for k, v in settings.items() if k in known}, "run.toml")


def check_not_moved(settings: dict[str, Any], run: str | Path, way_out: str) -> None:
    """Raise InputError when a file that a run was trained or validated on is not where it was."""
    for name in ("data", "valid"):
        file = Path(settings.get(name) or ".")
        if file.is_absolute() and not file.exists():
            raise InputError(f"{file}, which {run} was trained on, is not there any more: {way_out}")


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
