"""What a type checker knows of the tasks: keywords are the fields of the configs, and misuse in a user's file is found."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_type_hints

import pytest

import numformer
from numformer.generation import BeamConfig, Processor
from numformer.generation.beam import BeamSettings
from numformer.models import BertConfig, GPTConfig, TransformerConfig
from numformer.tasks import task_classes
from numformer.tasks.shared import settings
from numformer.tasks.shared.example_task import ExampleTask
from numformer.tasks.shared.format import DataConfig
from numformer.tasks.shared.text_task import TextTask
from numformer.tasks.translation.search import SearchOptions, SearchSettings

SYNONYM = "max_len"  # which every model's config takes
PARAMETERS = {"data", "valid", "tokenizer"}  # of from_data itself
EXAMPLE_TASKS = [task for task in task_classes() if issubclass(task, ExampleTask)]
TEXT_TASKS = [task for task in task_classes() if issubclass(task, TextTask)]


def fields_of(config):
    hints = get_type_hints(config)
    return {field.name: hints[field.name] for field in dataclasses.fields(config)}


def as_keywords(fields):
    """Return types as keywords have them: a field of several names takes any sequence of them, or a single one."""
    return {name: str | Sequence[str] if kind == tuple[str, ...] else kind for name, kind in fields.items()}


def without_synonym(keywords):
    return {name: kind for name, kind in keywords.items() if name != SYNONYM}


@pytest.mark.parametrize(
    ("keywords", "config"),
    [
        (settings.DecoderSettings, GPTConfig),
        (settings.EncoderSettings, BertConfig),
        (settings.EncoderDecoderSettings, TransformerConfig),
        (BeamSettings, BeamConfig),
    ],
)
def test_keywords_are_the_fields_of_a_config_with_their_types(keywords, config):
    assert without_synonym(get_type_hints(keywords)) == fields_of(config)


def test_keywords_of_all_data_are_the_fields_but_for_those_that_are_parameters():
    expected = {name: kind for name, kind in fields_of(DataConfig).items() if name not in PARAMETERS}
    assert get_type_hints(settings.DataSettings) == as_keywords(expected)


@pytest.mark.parametrize("task", EXAMPLE_TASKS, ids=lambda task: task.name)
def test_keywords_of_a_task_are_the_fields_of_its_two_configs(task):
    keywords = get_type_hints(task.from_data, include_extras=True)["settings"].__args__[0]
    own, shape = fields_of(task.data_config), fields_of(type(task.model_config))
    expected = {name: kind for name, kind in (shape | own).items() if name not in PARAMETERS}
    assert without_synonym(get_type_hints(keywords)) == as_keywords(expected)


@pytest.mark.parametrize("task", TEXT_TASKS, ids=lambda task: task.name)
def test_keywords_of_a_task_on_a_text_are_the_fields_of_its_models_config(task):
    keywords = get_type_hints(task.from_text, include_extras=True)["settings"].__args__[0]
    shape, own = fields_of(type(task.model_config)), fields_of(task.data_config)
    for name in ("pad_id", "num_segments"):  # the tokenizer says the one, and a text has one segment
        shape.pop(name, None)
    found = without_synonym(get_type_hints(keywords))
    if task.name == "lm":  # whose keywords hold its data config too
        shape |= {name: found[name] for name in ("tokenizer", "valid", "pretrained", "freeze", "seed", "config")}
        shape |= {name: kind for name, kind in own.items() if name not in (*shape, "data")}
    assert found == shape


def test_keywords_of_translate_are_those_of_predict():
    found = get_type_hints(SearchSettings)
    assert found.pop("progress") is bool
    assert found.pop("processors") == Sequence[Processor]
    assert found.pop("beam") == BeamConfig | None
    assert found == fields_of(SearchOptions) | {"bad_words": fields_of(BeamConfig)["bad_words"]}  # ids too, in Python


USER = """\
import numformer as nf

task = nf.Classifier.from_data([("a good film", "good"), ("a bad one", "bad")], d_model=32, pooling="first")
result = task.fit(steps=3, lr=1e-3, out="runs/mine")
label: str = task.predict(["a film"])[0]["label"]
bleu: float = nf.Translator.from_data("pairs.tsv").evaluate(num_beams=2)["bleu"]
price: float = nf.Regressor.from_data([("a chair", 80)]).predict(["a chair"])[0]["value"]
opened = nf.load("runs/mine")

task.fit(stepz=3)  # error: call-arg
task.fit(steps="3")  # error: arg-type
nf.Classifier.from_data("reviews.csv", poling="first")  # error: call-arg
nf.Classifier.from_data("reviews.csv", d_model="wide")  # error: arg-type
nf.Regressor.from_data([("a chair", "80")])  # error: list-item
nf.LanguageModel.from_text("book.txt", d_modle=3)  # error: call-arg
nf.LanguageModel.from_text("book.txt", pad_id=3)  # error: call-arg
task.predict("a film", top_k=3)  # error: call-arg
number: int = task.predict(["a film"])[0]["label"]  # error: assignment
task.predict(["a film"])[0]["labels"]  # error: typeddict-item
nf.Translator.load("runs/fra").translate(["Hello."], beams=3)  # error: call-arg
nf.Clasifier  # error: attr-defined
"""


@pytest.mark.timeout(300)
def test_a_type_checker_finds_misuse_in_a_users_file(tmp_path):
    """Only the user's file is checked strictly; mypy reads the package as it is installed."""
    (tmp_path / "mine.py").write_text(USER)
    words = ["--strict", "--follow-imports=silent", "--no-error-summary", "--no-color-output", "--show-error-codes"]
    cache = Path(numformer.__file__).parents[2] / ".mypy_cache"
    result = subprocess.run(
        [sys.executable, "-m", "mypy", *words, f"--cache-dir={cache}", "mine.py"],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(Path(numformer.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    found = [
        (int(line.split(":")[1]), line.rpartition("[")[2][:-1])
        for line in result.stdout.splitlines()
        if ": error:" in line
    ]
    expected = [
        (number, line.rpartition("# error: ")[2])
        for number, line in enumerate(USER.splitlines(), 1)
        if "# error" in line
    ]
    assert found == expected, result.stdout + result.stderr
