"""What the tasks on examples share: reading, splitting, tokenizers, models from scratch or from a pretrained folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import tomli_w

from numformer.data.split import split_by_group
from numformer.errors import InputError
from numformer.files import write_atomically
from numformer.models.build import build_backbone
from numformer.models.config import ArchitectureConfig
from numformer.tasks.data_config import DataConfig, checksum, places
from numformer.tasks.encoding import pad_id, vocabulary_size
from numformer.tasks.task import Task, adapt, load_model_of, settings_of
from numformer.tokenizers import make_tokenizer
from numformer.training import TrainConfig
from numformer.training.run_folder import run_of
from numformer.training.settings import as_plain, check_settings, from_plain, table_of


class ExampleTask(Task):
    """A task on a list of examples; a subclass reads and encodes them and builds its model."""

    data_config: ClassVar[type[DataConfig]] = DataConfig
    model_config: ClassVar[ArchitectureConfig]
    example_form: ClassVar[str] = "a pair of texts"

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__(model, tokenizer)
        self.config: Any = self.data_config()
        self.train_data: list[Any] | None = None
        self.valid_data: list[Any] = []

    # What a subclass says.
    @classmethod
    def is_example(cls, example: Any) -> bool:
        """Tell whether an example has the form of the task's; by default that of a pair of texts."""
        return isinstance(example, (tuple, list)) and len(example) == 2 and all(isinstance(x, str) for x in example)

    @classmethod
    def read(cls, path: str, config: Any, labels: Sequence[str] | None = None) -> list[Any]:
        """Return the examples of a file; raises InputError, naming the line, for a label that is not among `labels`."""
        raise TypeError(f"{cls.__name__} has no read")

    @classmethod
    def labels(cls, examples: Sequence[Any]) -> list[str] | None:
        """Return the labels that occur in the examples, None where the task has none."""
        return None

    @classmethod
    def groups(cls, examples: Sequence[Any]) -> Sequence[Hashable]:
        """Return what examples that must lie on one side of the split have in common; by default they are equal."""
        return [repr(example) for example in examples]

    @classmethod
    def texts(cls, examples: Sequence[Any]) -> Iterable[Any]:
        """Return the texts to train a tokenizer on."""
        raise TypeError(f"{cls.__name__} has no texts")

    @classmethod
    def build(cls, config: Any, model: Any, examples: Sequence[Any], seed: int, base: Any) -> Any:
        """Return the model of a config, or one made of a pretrained model `base`."""
        raise TypeError(f"{cls.__name__} has no build")

    # What follows from it.
    @classmethod
    def from_data(
        cls,
        data: str | Path | Sequence[Any],
        *,
        valid: str | Path | Sequence[Any] | None = None,
        config: Any = None,
        model: Any = None,
        tokenizer: Any = None,
        seed: int = 0,
        **settings: Any,
    ) -> Self:
        """Make an untrained model for a file, or a list of examples.

        `settings` are fields of the task's data config (such as tokenizer, vocab_size, pretrained, freeze) and of its
        model's config (such as d_model), unless `config` and `model` give those whole. `tokenizer` is a kind, a folder,
        or an object. Raises InputError when the data is missing, malformed or too little.
        """
        if isinstance(tokenizer, (str, Path)):
            settings["tokenizer"], tokenizer = str(tokenizer), None
        config, model = cls._sort(config or cls.data_config(), model or cls.model_config, settings)
        if isinstance(data, (str, Path)):
            config = dataclasses.replace(config, data=str(data))
        if isinstance(valid, (str, Path)):
            config = dataclasses.replace(config, valid=str(valid))
        train_data, valid_data = cls.read_parts(
            config,
            None if isinstance(data, (str, Path)) else data,
            None if isinstance(valid, (str, Path)) else valid,
            seed,
        )
        known = train_data if valid is not None or config.valid else train_data + valid_data  # all of a rare label, too
        task = cls._make(config, model, tokenizer, train_data, known, seed)
        task.config, task.seed, task.train_data, task.valid_data = config, seed, train_data, valid_data
        task.source = as_plain(config) | places(config) | {"crc32": checksum(train_data, valid_data)}
        return task

    @classmethod
    def read_parts(
        cls, config: Any, data: Sequence[Any] | None, valid: Sequence[Any] | None, seed: int
    ) -> tuple[list[Any], list[Any]]:
        """Return the examples to train on and those held out, from files where no lists are given."""
        examples = cls.read(config.data, config) if data is None else cls._checked(data)
        if not examples:
            raise InputError("training needs at least one example, got none")
        if valid is not None or config.valid:
            return examples, cls._checked(valid) if valid is not None else cls.read_valid(config, examples)
        if config.valid_fraction == 0:
            return examples, []
        kept, held_out = split_by_group(cls.groups(examples), config.valid_fraction, seed)
        return [examples[i] for i in kept], [examples[i] for i in held_out]

    @classmethod
    def read_valid(cls, config: Any, examples: Sequence[Any]) -> list[Any]:
        """Return the examples of the file to hold out, whose labels must be among those to train on."""
        labels = None if config.pretrained else cls.labels(examples)  # a pretrained model may know others
        return cls.read(config.valid, config, labels=labels)

    @classmethod
    def load(cls, folder: str | Path, tokenizer: Any = None) -> Self:
        """Read a folder as `Task.load` does, with the settings of the run where it belongs to one."""
        task = super().load(folder, tokenizer)
        task.use_settings(settings_of(folder))
        return task

    def use_settings(self, settings: dict[str, Any]) -> None:
        """Take the settings about data and prediction that a run was made with, as run.toml has them."""
        known = {field.name for field in dataclasses.fields(self.data_config)}
        self.config = from_plain(self.data_config, {k: v for k, v in settings.items() if k in known}, "run.toml")

    def save(self, folder: str | Path) -> None:
        """Write a Hugging Face folder, and in task.toml the task with its settings about prediction."""
        super().save(folder)
        general = {field.name for field in dataclasses.fields(DataConfig)}
        own = {name: value for name, value in as_plain(self.config).items() if name not in general}
        write_atomically(Path(folder) / "task.toml", tomli_w.dumps({"task": self.name} | own))

    def load_held_out(self, folder: str | Path) -> None:
        """Take the examples that a run was validated on; raises InputError when the folder is not a run."""
        settings = run_of(folder).read_settings()
        if not settings.get("data"):
            raise InputError(f"the run {folder} names no file of data; name one to evaluate on")
        self.use_settings(settings)
        seed = from_plain(TrainConfig, table_of(settings, "train"), "run.toml [train]").seed
        train_data, valid_data = self.read_parts(self.config, None, None, seed)
        if settings.get("crc32") != checksum(train_data, valid_data):
            raise InputError(f"the data of {folder} has changed since the run began; name a file to evaluate on")
        self.valid_data = valid_data

    def examples_of(self, data: str | Path | Sequence[Any] | None) -> list[Any]:
        """Return the examples of a file or list, or the held-out ones; raises InputError when there are none."""
        if isinstance(data, (str, Path)):
            return self.read(str(data), self.config, labels=getattr(self.model, "labels", None))
        examples = self.valid_data if data is None else self._checked(data)
        if not examples:
            raise InputError("there are no held-out examples: name a file to evaluate on")
        return examples

    @classmethod
    def _checked(cls, examples: Sequence[Any]) -> list[Any]:
        examples = list(examples)
        for number, example in enumerate(examples):
            if not cls.is_example(example):
                raise InputError(f"example {number} is {repr(example)[:80]}, expected {cls.example_form}")
        return examples

    def _needs_data(self) -> list[Any]:
        if self.train_data is None:
            raise InputError(f"this model has no data to train on: make it with {type(self).__name__}.from_data")
        return self.train_data

    @classmethod
    def _sort(cls, config: Any, model: Any, settings: dict[str, Any]) -> tuple[Any, Any]:
        for given, kind in ((config, cls.data_config), (model, type(cls.model_config))):
            if not isinstance(given, kind):
                raise InputError(f"{cls.__name__} takes a {kind.__name__}, got a {type(given).__name__}")
        of_data = {field.name for field in dataclasses.fields(config)}
        of_model = {field.name for field in dataclasses.fields(model)} - of_data
        if isinstance(settings.get("freeze"), str):
            settings["freeze"] = (settings["freeze"],)
        check_settings(settings, of_data | of_model)
        return (
            dataclasses.replace(config, **{k: v for k, v in settings.items() if k in of_data}),
            dataclasses.replace(model, **{k: v for k, v in settings.items() if k in of_model}),
        )

    @classmethod
    def _make(cls, config: Any, model: Any, tokenizer: Any, examples: list[Any], known: list[Any], seed: int) -> Self:
        if config.pretrained is not None:
            base, own = load_model_of(config.pretrained), tokenizer or cls.load_tokenizer(config.pretrained)
            adapt(base, model, cls.model_config, config.pretrained)
            cls._check_tokenizer(config)
            built = cls.build(config, base.config, known, seed, base)
        else:
            own = tokenizer or cls.make_tokenizer(config, examples)
            built = cls.build(config, cls.fit_config(model, own), known, seed, None)
        if config.freeze:
            built.freeze(*config.freeze)
        return cls(built, own)

    @classmethod
    def _check_tokenizer(cls, config: Any) -> None:
        for field in dataclasses.fields(config):
            if field.name in ("tokenizer", "vocab_size") and getattr(config, field.name) != field.default:
                raise InputError(f"the tokenizer comes from {config.pretrained}: leave out {field.name}")

    @classmethod
    def make_tokenizer(cls, config: Any, examples: Sequence[Any]) -> Any:
        """Return the tokenizer that a config names, trained on the examples where it needs that."""
        return make_tokenizer(config.tokenizer, cls.texts(examples), config.vocab_size)

    @classmethod
    def fit_config(cls, model: Any, tokenizer: Any) -> Any:
        """Return the model's config with the sizes of the tokenizer; raises InputError when one is too small."""
        size = vocabulary_size(model.vocab_size, tokenizer)
        return dataclasses.replace(model, vocab_size=size, pad_id=pad_id(tokenizer))


def backbone_of(config: Any, model: Any, seed: int, base: Any) -> Any:
    """Return a new backbone, or that of a pretrained model; raises InputError when it has none to put a head on."""
    if base is None:
        return build_backbone(model, seed)
    if not hasattr(base, "backbone"):
        raise InputError(
            f"{config.pretrained} holds a {type(base).__name__}; this task needs a model that takes a head"
        )
    return base.backbone
