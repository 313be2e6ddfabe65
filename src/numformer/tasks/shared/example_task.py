"""The way from a file of examples to a task that can be fitted: read, split, tokenizer, config, model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from numformer._notices import amount, say
from numformer.data.files.examples import Examples
from numformer.data.split import split_by_group
from numformer.errors import InputError
from numformer.models.config import ArchitectureConfig
from numformer.nn.module import Module
from numformer.tasks.shared.adapting import adapters_in_run, check_adapters, put_adapters
from numformer.tasks.shared.encoding import AnyTokenizer
from numformer.tasks.shared.format import DataConfig, Format, Parts, marks, places
from numformer.tasks.shared.settings import fill_in
from numformer.tasks.shared.start import check_no_tokenizer, pretrained_model, start_of
from numformer.tasks.shared.task import Task, check_not_moved
from numformer.training import RunFolder, TrainConfig
from numformer.training.run_folder import run_of
from numformer.training.settings import as_plain, changed_data, from_plain, is_same_data, table_of

Example = TypeVar("Example")
Data = str | Path | Sequence[Example]  # a file, or the examples themselves


class ExampleTask(Task):
    """A task on a list of examples; a subclass names their format and builds the model."""

    format: ClassVar[Format[Any, Any]]
    data_config: ClassVar[type[DataConfig]] = DataConfig
    config: DataConfig
    train_data: list[Any] | None
    valid_data: list[Any]

    def __init__(self, model: Module, tokenizer: AnyTokenizer, config: DataConfig | None = None) -> None:
        super().__init__(model, tokenizer, config)
        self.train_data, self.valid_data = None, []

    @classmethod
    def build(cls, config: Any, model: Any, base: Any, examples: Sequence[Any], labels: list[str], seed: int) -> Any:
        """Return a new model of the config `model`, or one made of the pretrained model `base`.

        `examples` are those to train on; `labels` may be more than theirs.
        """
        raise NotImplementedError

    @classmethod
    def from_config(
        cls,
        config: Any,
        model: Any,
        *,
        seed: int = 0,
        data: Sequence[Any] | None = None,
        valid: Sequence[Any] | None = None,
        tokenizer: Any = None,
        resumed: RunFolder | None = None,
    ) -> Self:
        """Go the way from the files that a config names, or from examples in their place, to an untrained task.

        A run that is to be continued gives its tokenizer. Raises InputError when its data has changed, or the model that its
        adapters belong to, and for adapters of no model.
        """
        check_adapters(config)
        # 1. Read the examples, and hold some out; those of a run that is continued are still the same.
        data, valid = (None if each is None else checked(cls.format, each) for each in (data, valid))
        if resumed:
            check_not_moved(as_plain(config), resumed.path, "say with --data where it is")
        config = cls.format.settled(config, None if data is None else [*data, *(valid or ())])
        train_data, valid_data = read_parts(cls.format, config, data, valid, seed)
        source = as_plain(config) | places(config) | marks(train_data, valid_data)
        del source["lora"]  # which stands there where there are adapters
        if resumed:
            tokenizer = cls.resumed_tokenizer(resumed, source, seed)

        # 2. The tokenizer, and the model's config with its size; a pretrained model has both already.
        if config.pretrained is None:
            opened, base, tokenizer = None, None, tokenizer or cls.format.make_tokenizer(config, train_data)
            model = cls.format.fit_config(model, tokenizer)
        else:
            start = start_of(config.pretrained, resumed)
            opened = pretrained_model(start, model, cls.model_config, resumed)
            base, tokenizer = opened.model, tokenizer or cls.tokenizer_of(opened)
            check_no_tokenizer(config)
            model = base.config

        # 3. The model, for the labels of all examples where a part of them was held out: a rare one may lie there.
        separate = valid is not None or config.valid
        labels = cls.format.labels(train_data if separate else train_data + valid_data)
        built = cls.build(config, model, base, train_data, labels, seed)
        if config.freeze:
            built.freeze(*config.freeze)
        if opened is not None:
            put_adapters(built, config, opened, seed, resumed)

        # 4. The task; `fit` goes on from here, and asks `objective` for batches of the examples.
        task = cls(built, tokenizer, config)
        task.seed, task.train_data, task.valid_data = seed, train_data, valid_data
        lists = {"data": data, "valid": valid}
        task.about_data = [summary(cls.format, name, given) for name, given in lists.items() if given]
        task.source = source | adapters_in_run(built, config)
        return task

    @classmethod
    def _from_data(
        cls,
        data: Data[Any],
        valid: Data[Any] | None,
        config: DataConfig | None,
        model: ArchitectureConfig | None,
        tokenizer: str | Path | AnyTokenizer | None,
        seed: int,
        settings: Mapping[str, Any],
    ) -> Self:
        """Sort what `from_data` is given into configs and objects, and go the way with them."""
        chosen, shape = config or cls.data_config(), model or cls.model_config
        for given, kind in ((chosen, cls.data_config), (shape, type(cls.model_config))):
            if not isinstance(given, kind):
                raise InputError(f"{cls.__name__} takes a {kind.__name__}, got a {type(given).__name__}")
        chosen, shape = fill_in(chosen, shape, settings)
        named: dict[str, Any] = {"data": data, "valid": valid, "tokenizer": tokenizer}
        files: dict[str, Any] = {name: str(value) for name, value in named.items() if isinstance(value, (str, Path))}
        objects = {name: value for name, value in named.items() if name not in files}
        return cls.from_config(dataclasses.replace(chosen, **files), shape, seed=seed, **objects)

    def load_held_out(self, folder: str | Path) -> None:
        """Take the examples that a run was validated on; raises InputError when the folder is not a run."""
        settings = run_of(folder).read_settings()
        if not settings.get("data"):
            raise InputError(f"the run {folder} names no file of data; name one to evaluate on")
        check_not_moved(settings, folder, "name a file to evaluate on")
        self.use_settings(settings)
        seed = from_plain(TrainConfig, table_of(settings, "train"), "run.toml [train]").seed
        train_data, valid_data = read_parts(self.format, self.config, None, None, seed)
        if not is_same_data(settings, now := marks(train_data, valid_data)):
            raise InputError(f"{changed_data(settings, now, folder)}; name a file to evaluate on")
        self.valid_data = valid_data

    def _examples_of(self, data: Data[Any] | None) -> list[Any]:
        """Return the examples of a file or list, or the held-out ones; raises InputError when there are none."""
        if isinstance(data, (str, Path)):
            return read_and_say(self.format, str(data), self.config)
        if data is None and not self.valid_data and self._run is not None:
            self.load_held_out(self._run)
        examples = self.valid_data if data is None else checked(self.format, data)
        if not examples:
            what = "there are no held-out examples" if data is None else "there are no examples in the list"
            raise InputError(f"{what}: name a file to evaluate on")
        return list(examples)

    def _needs_data(self) -> list[Any]:
        """Return the examples to train on; raises InputError when there are none."""
        if self.train_data is None:
            raise InputError(f"this model has no data to train on: make it with {type(self).__name__}.from_data")
        return self.train_data


def read_parts(
    form: Format[Example, Any],
    config: DataConfig,
    data: Sequence[Example] | None,
    valid: Sequence[Example] | None,
    seed: int,
) -> Parts[Example]:
    """Return the examples to train on and those held out, from the files of a config where no lists are given.

    Where fewer can be held out than the config asks for, that is said on stderr.
    """
    generated = form.generate(config, seed) if data is None else None
    if generated is not None:
        return generated
    if data is None and not config.data:
        raise InputError("there is no data: give a file or a list of examples")
    examples = read_and_say(form, config.data, config) if data is None else list(data)
    if not examples:
        raise InputError("training needs at least one example, got none")
    if valid is not None:
        return examples, list(valid)
    if config.valid:
        return examples, read_and_say(form, config.valid, config)
    if config.valid_fraction == 0:
        return examples, []
    kept, held_out = split_by_group(form.groups(examples), config.valid_fraction, seed)
    say_held_out(len(held_out), len(examples), config.valid_fraction, form.together)
    return [examples[i] for i in kept], [examples[i] for i in held_out]


def say_held_out(held_out: int, count: int, fraction: float, together: str) -> None:
    """Say where fewer examples are held out than a fraction of them, because of what stays together."""
    wanted = round(fraction * count)
    if not wanted:
        say(
            f"none of the {amount(count, 'examples')} is held out: valid_fraction={fraction:g} of them is less than one"
        )
    elif held_out < wanted:
        say(f"{held_out:,} of {amount(count, 'examples')} held out, not {wanted:,}: {together} stay on one side")


def read_and_say(form: Format[Example, Any], path: str, config: DataConfig) -> list[Example]:
    """Return the examples of a file, and say on stderr what was understood of it."""
    examples = form.read(path, config)
    say(summary(form, path, examples))
    return examples


def summary(form: Format[Example, Any], name: str, examples: Sequence[Example]) -> str:
    """Return one line about what was understood of some examples, which people know by a name, and what was left out."""
    report = examples.report() if isinstance(examples, Examples) else amount(len(examples), "examples")
    return f"{name}: {'; '.join(filter(None, [report, form.describe(examples)]))}"


def checked(form: Format[Example, Any], examples: Sequence[Example]) -> Sequence[Example]:
    """Return examples as a list; raises InputError for one that has another form."""
    if not isinstance(examples, Examples):
        examples = list(examples)
    for number, example in enumerate(examples):
        if not form.accepts(example):
            raise InputError(f"example {number} is {repr(example)[:80]}, expected {form.form}")
    return examples
