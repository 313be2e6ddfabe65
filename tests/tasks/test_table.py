"""The table of tasks: what the rest of numformer asks instead of knowing tasks by name."""

import pytest

import numformer as nf
from numformer import tasks
from numformer._names import TASK_WORDS
from numformer.tasks.shared.task import Task

SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 16}


def test_every_task_is_found_under_its_own_name():
    assert {name: tasks.task_class(name).name for name in tasks.TABLE} == {name: name for name in tasks.TABLE}
    assert all(issubclass(each, Task) for each in tasks.task_classes())


def test_every_word_for_a_task_leads_to_one_of_the_table():
    assert set(TASK_WORDS) == set(tasks.TABLE)


def test_the_class_of_every_task_is_public():
    for row in tasks.TABLE.values():
        assert row.class_name in tasks.__all__
        assert getattr(nf, row.class_name).__name__ == row.class_name
        assert row.class_name in nf.__all__


@pytest.mark.parametrize("module", [nf, tasks])
def test_a_misspelt_name_is_no_attribute(module):
    with pytest.raises(AttributeError, match="has no attribute 'Clasifier'"):
        module.Clasifier  # noqa: B018


def test_load_gives_the_task_with_its_model_and_its_tokenizer(tmp_path):
    made = nf.Classifier.from_data([("a b", "x"), ("c d", "y")], valid_fraction=0.0, **SMALL)
    made.save(tmp_path)
    task = nf.load(tmp_path)
    assert type(task) is nf.Classifier
    assert task.model.labels == ["x", "y"]
    assert task.tokenizer.encode("a b").tolist() == made.tokenizer.encode("a b").tolist()
    assert tasks.load_task is tasks.load


def test_the_task_that_a_folder_names_is_taken_where_it_has_such_models(tmp_path):
    nf.Classifier.from_data([("a b", "x"), ("c d", "y")], valid_fraction=0.0, **SMALL).save(tmp_path)
    for name in ("tag", "nothing"):
        (tmp_path / "task.toml").write_text(f'task = "{name}"\n')
        assert type(nf.load(tmp_path)) is nf.Classifier


USED = {  # what a user of a task asks of it
    *(
        "from_text",
        "from_data",
        "from_config",
        "fit",
        "predict",
        "translate",
        "summarise",
        "generate",
        "evaluate",
        "stream",
        "encode",
        "similar",
        "width",
    ),
    *("attention", "save", "load", "label_names", "details"),
    *("model", "tokenizer", "config", "source", "seed", "train_data", "valid_data", "train_tokens", "valid_tokens"),
    *("train_examples", "valid_examples", "template", "defaults", "end_ids", "score", "reads_pairs"),
}
WRITTEN = {  # what a task of one's own may say or do in another way
    *(
        "name",
        "model_class",
        "needs",
        "model_config",
        "data_config",
        "train_config",
        "optim_config",
        "format",
        "inputs",
    ),
    *("predict_options", "evaluate_options", "attention_options", "reading", "second_text", "special_tokens"),
    *(
        "build",
        "objective",
        "sequences",
        "compare",
        "fits",
        "resumed_tokenizer",
        "use_settings",
        "use_folder",
        "load_tokenizer",
        "tokenizer_of",
        "of_training",
        "load_held_out",
        "blank_prediction",
        "columns",
        "columns_without_header",
        "in_words",
        "input_columns",
        "table_columns",
        "takes_words",
    ),
}


@pytest.mark.parametrize("name", [*tasks.TABLE, "embed"])
def test_a_task_has_no_public_name_that_nobody_uses(name):
    shown = {each for each in dir(tasks.task_class(name)) if not each.startswith("_")}
    assert shown - USED - WRITTEN == set()
