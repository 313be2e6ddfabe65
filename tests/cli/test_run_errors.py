"""Runs that cannot be continued, started from, measured or asked: one sentence, status 2, nothing changed."""

import shutil

import pytest

TASKS = ["mlm", "seq2seq", "summarise", "classify", "tag", "qa"]


@pytest.fixture
def copy_of(examples, runs_of_tasks):
    """Copy the run of a task into the folder of the test; its data may lie there too."""

    def copy(task):
        shutil.copytree(runs_of_tasks(task), examples / "copy")
        return examples / "copy"

    return copy


# Starting from another model.


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", "there is no folder nowhere"),
        ("text.txt", "text.txt is a file that is no model"),
        ("reviews", "there is no reviews/config.json"),
    ],
)
def test_a_folder_without_a_model_is_refused(train_task, refused, task, folder, message):
    words = ["--no-answer"] if task == "qa" else []
    refused(lambda: train_task(task, *words, **{"from": folder}), message)


@pytest.mark.parametrize(
    ("task", "base", "message"),
    [
        ("seq2seq", "mlm", " holds a MaskedLM; this task starts from an encoder-decoder"),
        ("seq2seq", "classify", " holds a SequenceClassifier; this task starts from an encoder-decoder"),
        ("mlm", "seq2seq", " holds a Transformer; mlm needs a MaskedLM"),
        ("mlm", "classify", " holds a SequenceClassifier; mlm needs a MaskedLM"),
        ("lm", "mlm", " holds a MaskedLM; lm needs a CausalModel"),
        *[
            (task, "seq2seq", " holds a Transformer; this task starts from a model that takes a head")
            for task in TASKS[3:]
        ],
    ],
)
def test_a_model_of_another_kind_is_refused(train_task, runs_of_tasks, numformer, refused, task, base, message):
    words = ["--no-answer"] if task == "qa" else []
    if task == "lm":
        call = lambda: numformer("train", "lm", "--data=text.txt", f"--from={runs_of_tasks(base)}")  # noqa: E731
    else:
        call = lambda: train_task(task, *words, **{"from": runs_of_tasks(base)})  # noqa: E731
    refused(call, message)


@pytest.mark.parametrize("task", ["mlm", "classify"])
def test_the_shape_comes_from_the_model_that_training_starts_from(train_task, runs_of_tasks, refused, task):
    options = {"from": runs_of_tasks("mlm"), "model__d_model": 32}
    refused(lambda: train_task(task, **options), "leave out the model's settings")


def test_a_damaged_model_is_refused(train_task, copy_of, refused):
    (copy_of("mlm") / "best" / "model.safetensors").write_bytes(b"damaged")
    message = "copy/best/model.safetensors is damaged or not a safetensors"
    refused(lambda: train_task("classify", **{"from": "copy"}), message)


# Continuing.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data=reviews.tsv"], "cannot resume: the data of copy has changed since the run began"),
        (["--model.d-model=32"], "cannot resume: d_model is 32, but the run has 16"),
        (["--vocab-size=400"], "cannot resume: vocab_size is 400, but the run has 300"),
        (["--pooling=first"], "cannot resume: pooling is 'first', but the run has 'mean'"),
        (["--class-weights"], "cannot resume: class_weights is True, but the run has False"),
        (["--freeze=backbone"], "cannot resume: freeze is ['backbone'], but the run has []"),
        (["--valid-fraction=0.3"], "cannot resume: valid_fraction is 0.3, but the run has 0.1"),
        (["--optim.weight-decay=0.5"], "cannot resume: weight_decay is 0.5, but the run has 0.1"),
        (["--train.batch-size=8"], "cannot resume: batch_size is 8, but the run has 4"),
        (["--train.steps=-1"], "steps must be at least 0, got -1"),
        (["--config=copy/run.toml"], "--resume takes its options from the run: leave out --config"),
        (["--overwrite"], "--resume continues the run and --overwrite replaces it: choose one"),
        (["--data=nowhere.csv"], "could not read nowhere.csv: No such file"),
    ],
)
def test_another_run_is_not_continued(copy_of, numformer, refused, words, message):
    copy_of("classify")
    refused(lambda: numformer("train", "classify", "--resume", "--out=copy", *words), message)


@pytest.mark.parametrize(("task", "data"), [("classify", "reviews.csv"), ("tag", "ner.conll"), ("mlm", "text.txt")])
def test_a_run_whose_data_has_changed_is_not_continued_or_measured(
    examples, train_task, numformer, refused, task, data
):
    train_task(task)
    text = (examples / data).read_text()
    (examples / data).write_text(text.replace("Ann", "Tom", 1))
    refused(lambda: numformer("train", task, "--resume", "--out=run"), "changed since the run began")
    refused(lambda: numformer("evaluate", "run"), "changed since the run began; name a ")
    (examples / data).unlink()
    refused(lambda: numformer("evaluate", "run"), data)


@pytest.mark.parametrize("task", ["mlm", "tag", "lm"])
def test_the_run_of_another_task_is_not_continued(copy_of, numformer, refused, task):
    copy_of("classify")
    refused(
        lambda: numformer("train", task, "--resume", "--out=copy"),
        f"copy/run.toml is for the task 'classify', not {task}",
    )


def test_a_run_is_not_replaced_without_being_asked_which_is_said_before_any_work(train_task, copy_of, refused):
    copy_of("classify")
    refused(
        lambda: train_task("tag", out="copy", data="nowhere.conll"),
        "the run copy exists: continue it with --resume or replace it with --overwrite",
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('task = "classify"', "task = [", "copy/run.toml cannot be read as TOML"),
        ("freeze = []", "freeze = 3", "copy/run.toml: freeze must be str, got 3"),
        ('encoding = "utf-8"', "encoding = 8", "copy/run.toml: encoding must be str, got 8"),
        (
            "[train]",
            "[training]",
            "copy/run.toml: unknown setting training; known are class_weights, config, coordinator, data",
        ),
    ],
)
def test_settings_that_someone_has_broken_are_named(copy_of, numformer, refused, old, new, message):
    file = copy_of("classify") / "run.toml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    refused(lambda: numformer("train", "classify", "--resume", "--out=copy"), message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 0", 'seed = "x"', "run.toml [train]: seed must be int, got 'x'"),
        ('encoding = "utf-8"', "encoding = 8", "run.toml: encoding must be str, got 8"),
    ],
)
def test_settings_that_someone_has_broken_are_named_when_they_are_used(copy_of, numformer, refused, old, new, message):
    file = copy_of("classify") / "run.toml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    refused(lambda: numformer("evaluate", "copy"), message)


# Measuring.


@pytest.mark.parametrize(
    ("task", "data", "message"),
    [
        ("mlm", "reviews", "could not read reviews: Is a directory"),
        ("mlm", "nowhere.txt", "there is no file nowhere.txt"),
        ("seq2seq", "text.txt", "text.txt, line 1: got 1 column, expected 2"),
        ("seq2seq", "news.jsonl", "news.jsonl, line 1: there is no 'source'"),
        ("summarise", "pairs.jsonl", "pairs.jsonl, line 1: there is no 'document'"),
        (
            "classify",
            "ner.conll",
            "labelled texts come in a .csv, .tsv, .jsonl or .json file or a folder, got ner.conll",
        ),
        ("classify", "news.jsonl", "news.jsonl, line 1: there is no column 'text' for the text"),
        (
            "classify",
            "strange.csv",
            "none of the labels is known to the model: it has 2: neg, pos, and the data 'odd' (1), 'strange' (1)",
        ),
        ("tag", "reviews.csv", "reviews.csv, line 1: got 1 column, expected 4 with spaces between"),
        ("tag", "ud.conllu", "none of the tags is known to the model: it has 2: B-PER, O, and the data 'PROPN'"),
        ("qa", "reviews.csv", "reviews.csv, line 1: not valid JSON"),
        ("qa", "news.jsonl", "news.jsonl, line 1: there are no 'paragraphs', 'qas' or 'question'"),
        *[(task, "void.tsv", "void.tsv is empty") for task in TASKS],
    ],
)
def test_data_of_another_format_is_refused(examples, runs_of_tasks, numformer, refused, task, data, message):
    (examples / "strange.csv").write_text("text,label\nhello,odd\nbye,strange\n")
    (examples / "void.tsv").touch()
    refused(lambda: numformer("evaluate", runs_of_tasks(task), "--data", data), message)


@pytest.mark.parametrize(
    ("task", "words", "message"),
    [
        ("classify", ["--confusion-matrix=reviews"], "a picture is written to a file that ends in .png, got reviews"),
        ("classify", ["--confusion-matrix=text.txt/m.png"], "could not write text.txt/m.png"),
        ("seq2seq", ["--length-penalty=nan"], "length_penalty must be a number from -10 to 10, got nan"),
        ("seq2seq", ["--num-beams=0"], "num_beams must be at least 1, got 0"),
        ("seq2seq", ["--max-examples=0"], "max_examples must be at least 1, got 0"),
        ("seq2seq", ["--max-examples=-1"], "max_examples must be at least 1, got -1"),
        ("mlm", ["--max-windows=0"], "max_windows must be at least 1, got 0"),
    ],
)
def test_wrong_options_of_evaluate_are_refused(examples, runs_of_tasks, numformer, refused, task, words, message):
    refused(lambda: numformer("evaluate", runs_of_tasks(task), *words), message)


@pytest.mark.parametrize("task", TASKS)
def test_a_model_without_a_run_asks_for_data(here, runs_of_tasks, numformer, refused, task):
    shutil.copytree(runs_of_tasks(task) / "best", here / "model")
    refused(lambda: numformer("evaluate", "model"), "model does not say what it was trained on: it has no run.toml")


# Asking.


@pytest.mark.parametrize(
    ("task", "words", "message"),
    [
        ("classify", ["a", "--input=text.txt"], "give texts as arguments or with --input, not both"),
        ("classify", ["--input=nowhere"], "could not read nowhere: No such file or directory"),
        ("classify", ["--input=reviews"], "could not read reviews: Is a directory"),
        ("classify", ["--input=void.txt"], "void.txt is empty"),
        ("classify", ["--input=latin.txt"], "latin.txt, line 2: byte 0xe9 is not utf-8 text"),
        ("mlm", ["Ann"], "a text to fill in needs [MASK] in it, got 'Ann'"),
        ("mlm", ["[MASK]" + 40 * "a"], "a text of 43 tokens does not fit max_seq_len=32"),
        ("mlm", ["[MASK]", "--top-k=0"], "top_k must be at least 1, got 0"),
        ("mlm", ["[MASK]", "--top-k=-1"], "top_k must be at least 1, got -1"),
        ("seq2seq", ["a", "--num-beams=0"], "num_beams must be at least 1, got 0"),
        ("seq2seq", ["a", "--num-return=5"], "num_return must be from 1 to num_beams=4, got 5"),
        ("seq2seq", ["a", "--length-penalty=inf"], "length_penalty must be a number from -10 to 10, got inf"),
        ("seq2seq", ["a", "--max-new-tokens=-1"], "max_new_tokens must be a whole number of at least 1, got -1"),
        ("seq2seq", ["a", "--max-new-tokens=0"], "max_new_tokens must be a whole number of at least 1, got 0"),
        ("qa", ["Who?"], "questions need the text to find the answers in: --context TEXT, or --input TABLE with the"),
        ("qa", ["Who?", "--context=void.txt"], "void.txt is empty"),
        ("qa", ["Who?", "--context=latin.txt"], "latin.txt, line 2: byte 0xe9 is not utf-8 text"),
        (
            "qa",
            ["--input=text.txt"],
            "questions need the text to find the answers in: --context TEXT, or --input TABLE",
        ),
        ("qa", ["--input=keys.jsonl"], "keys.jsonl, line 1: there is no column 'context' (the columns are 'question')"),
        ("qa", ["--input=list.json"], "list.json, item 1: expected a JSON object, got an integer"),
    ],
)
def test_wrong_input_of_predict_is_refused(asked, runs_of_tasks, numformer, refused, task, words, message):
    refused(lambda: numformer("predict", runs_of_tasks(task), *words), message)


@pytest.fixture
def asked(examples):
    (examples / "void.txt").touch()
    (examples / "latin.txt").write_bytes(b"one\ncaf\xe9\n")
    (examples / "keys.jsonl").write_text('{"question": "Who?"}\n')
    (examples / "list.json").write_text('[1, {"question": "Who?", "context": "a"}]')


def test_standard_input_that_is_not_utf8_is_refused(here, runs_of_tasks, numformer, refused, stdin):
    stdin(b"one\ncaf\xe9\n")
    message = "standard input, line 2: byte 0xe9 is not utf-8 text; name what it is with --encoding"
    refused(lambda: numformer("predict", runs_of_tasks("classify")), message)


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("predict", ["a"], "holds a language model: use numformer generate"),
        ("predict", [], "holds a language model: use numformer generate"),
        ("translate", ["a"], "holds a language model: use numformer generate"),
    ],
)
def test_a_language_model_is_asked_otherwise(here, finished_run, numformer, refused, stdin, command, words, message):
    stdin(b"never read")
    refused(lambda: numformer(command, finished_run, *words), message)


@pytest.mark.parametrize("task", ["mlm", "classify", "tag", "qa"])
def test_only_pairs_are_translated(here, runs_of_tasks, numformer, refused, task):
    refused(
        lambda: numformer("translate", runs_of_tasks(task), "a"),
        f"translate needs a seq2seq model; the task of {runs_of_tasks(task)} is {task}",
    )


@pytest.mark.parametrize("task", TASKS)
def test_only_language_models_go_on_with_a_prompt(here, runs_of_tasks, numformer, refused, task):
    use = "translate or predict" if task in ("seq2seq", "summarise") else "predict"
    message = f"generate needs a language model; the task of {runs_of_tasks(task)} is {task}: use numformer {use}"
    refused(lambda: numformer("generate", runs_of_tasks(task)), message)


@pytest.mark.parametrize("command", ["predict", "evaluate", "info"])
@pytest.mark.parametrize("name", ["best/model.safetensors", "best/config.json", "best/tokenizer.json"])
@pytest.mark.parametrize("task", ["seq2seq", "classify"])
def test_a_damaged_file_of_a_run_is_named(copy_of, numformer, refused, stdin, command, name, task):
    stdin(b"")
    file = copy_of(task) / name
    file.write_bytes(file.read_bytes()[:20])
    refused(lambda: numformer(command, "copy"), f"copy/{name}")


@pytest.mark.parametrize("command", ["predict", "evaluate", "info"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("task", ["seq2seq", "classify"])
def test_a_file_that_the_last_weights_lack_is_named(copy_of, numformer, refused, stdin, command, name, task):
    stdin(b"")
    (copy_of(task) / name).unlink()
    refused(lambda: numformer(command, "copy", "--last"), f"copy/{name}")
