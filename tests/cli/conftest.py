import contextlib
import csv
import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from numformer.cli.main import main
from numformer.tasks.shared import task

SMALL = {
    **{"model.d-model": 16, "model.num-heads": 2, "model.num-layers": 1, "model.max-seq-len": 8},
    **{"train.steps": 4, "train.batch-size": 4, "train.shards": 2, "train.eval-every": 2, "sample": 0},
}


def patterned(sentences=100):
    rng = np.random.default_rng(0)
    return "".join(
        f"the {rng.choice(['cat', 'dog'])} sat on the {rng.choice(['mat', 'hat'])}.\n" for _ in range(sentences)
    )


def contents(folder):
    """Return every file and folder below with its bytes."""
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def snapshot():
    return contents


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Run the test in a folder of its own, with a text in it."""
    (tmp_path / "text.txt").write_text(patterned())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def numformer(capsys):
    """Run a command in this process: `numformer("info", "run")` -> status, out, err."""

    def call(*words):
        try:
            status = main([str(word) for word in words])
        except SystemExit as stop:  # --help
            status = stop.code or 0
        return SimpleNamespace(status=status, **capsys.readouterr()._asdict())

    return call


@pytest.fixture
def train(numformer):
    """Run `train lm` on the text with small settings; `None` leaves an option out."""

    def call(*words, **options):
        options = (
            SMALL
            | {"data": "text.txt", "out": "run"}
            | {k.replace("__", ".").replace("_", "-"): v for k, v in options.items()}
        )
        given = [f"--{name}={value}" for name, value in options.items() if value is not None]
        return numformer("train", "lm", *given, *words)

    return call


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """Train once for all tests that only read."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "text.txt").write_text(patterned())
    words = [f"--{name}={value}" for name, value in SMALL.items()]
    assert main(["train", "lm", f"--data={folder / 'text.txt'}", f"--out={folder / 'run'}", *words]) == 0
    return folder / "run"


@pytest.fixture
def refused(snapshot, here):
    """Check that a command fails with one line on stderr after what was said of the data, leaving every file as it was."""

    def check(call, message):
        before = snapshot(here)
        result = call()
        assert result.status == 2, result
        assert result.out == ""
        *said, error = result.err.splitlines()
        assert error.startswith("numformer: ")
        assert not any(line.startswith("numformer: ") for line in said)
        assert message in error
        assert snapshot(here) == before

    return check


# The other tasks.

TINY = {"d-model": 16, "num-heads": 2, "max-seq-len": 32}
LAYERS = {"num-layers": 1}
BOTH_LAYERS = {"num-encoder-layers": 1, "num-decoder-layers": 1}
FEW_STEPS = {"steps": 4, "eval-every": 2, "shards": 2, "batch-size": 4}
DATA_OF = {
    **{"mlm": "text.txt", "seq2seq": "pairs.tsv", "summarise": "news.jsonl", "classify": "reviews.csv"},
    "regress": "prices.csv",
    **{"tag": "ner.conll", "qa": "squad.json"},
}


def write_examples(folder):
    """Write data of every task in every format it reads: the same 24 sentences, with Zoë, quotes and line breaks."""
    names, verbs, things = ("Ann", "Bob", "Zoë", "Tom"), ("sees", "likes", "knows"), ("the cat", "a film")
    sentences = [f"{name} {verb} {thing}." for name in names for verb in verbs for thing in things]
    labelled = [(sentence, "pos" if "likes" in sentence else "neg") for sentence in sentences]

    def write(name, text):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="")

    def json_lines(rows):
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    write("text.txt", "\n".join(sentences * 4) + "\n")
    write("pairs.tsv", "".join(f"{s}\t{s.upper()}\r\n" for s in sentences))
    write("pairs.jsonl", json_lines({"source": s, "target": s.upper()} for s in sentences))
    write("news.jsonl", json_lines({"document": f"{s}\nSo it is.", "summary": s} for s in sentences))
    table = io.StringIO(newline="")
    csv.writer(table).writerows([("text", "label"), *((f'{s}\nHe said: "yes, {s}"', label) for s, label in labelled)])
    write("reviews.csv", table.getvalue())
    write("reviews.tsv", "label\ttext\n" + "".join(f"{label}\t{s}\n" for s, label in labelled))
    write("reviews.jsonl", json_lines({"text": s, "label": label} for s, label in labelled))
    prices = [(sentence, round(0.37 * len(sentence), 2)) for sentence in sentences]
    write("prices.csv", "text,value\n" + "".join(f"{s},{price}\n" for s, price in prices))
    write("prices.tsv", "value\ttext\n" + "".join(f"{price}\t{s}\n" for s, price in prices))
    write("prices.jsonl", json_lines({"text": s, "value": price} for s, price in prices))
    for number, (sentence, label) in enumerate(labelled):
        write(f"reviews/{label}/{number:02}.txt", f"{sentence}\nTwo lines.")
    for label in ("neg", "pos"):
        write(f"polarity/rt.{label}", "".join(f"{s}\n" for s, its in labelled if its == label))
    words = [sentence.replace(".", " .").split() for sentence in sentences]
    ner = [[f"{word} {'B-PER' if word in names else 'O'}\n" for word in each] for each in words]
    write("ner.conll", "-DOCSTART- O\n\n" + "\n".join("".join(rows) for rows in ner))
    write("ud.conllu", "\n".join(_conllu(each, names) for each in words))
    paragraphs = [
        {
            "context": f"{s} So it is.",
            "qas": [
                {"id": f"who {s}", "question": "Who?", "answers": [{"text": s.split()[0], "answer_start": 0}]},
                {"id": f"why {s}", "question": "Why?", "answers": [], "is_impossible": True},
            ],
        }
        for s in sentences
    ]
    write("squad.json", json.dumps({"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}))


def _conllu(words, names):
    """Return a sentence whose first two words are one token on the page."""
    rows = [f"# text = {' '.join(words)}", f"1-2\t{''.join(words[:2])}" + 8 * "\t_"]
    for number, word in enumerate(words, 1):
        tag, ner = ("PROPN", "NER=B-PER") if word in names else ("PUNCT" if word == "." else "X", "_")
        rows.append(f"{number}\t{word}\t_\t{tag}\t{tag[0]}\t_\t_\t_\t_\t{ner}")
    return "\n".join(rows) + "\n"


def task_words(name, **options):
    """Return the words of `train TASK` with small settings; `None` leaves an option out."""
    layers = BOTH_LAYERS if name in ("seq2seq", "summarise") else LAYERS
    given = {"data": DATA_OF[name], "out": "run"} | ({} if name == "mlm" else {"vocab-size": 300})
    given |= {f"model.{key}": value for key, value in (TINY | layers).items()}
    given |= {f"train.{key}": value for key, value in FEW_STEPS.items()}
    given |= {key.replace("__", ".").replace("_", "-"): value for key, value in options.items()}
    return ["train", name, *(f"--{key}={value}" for key, value in given.items() if value is not None)]


SHAPELESS = {f"model__{name.replace('-', '_')}": None for name in (*TINY, *LAYERS, *BOTH_LAYERS)} | {"vocab_size": None}


@pytest.fixture
def examples(here, monkeypatch):
    """Write the data of every task into the folder of the test; drawing curves would take most of the time."""
    monkeypatch.setattr(task, "draw_curves", lambda lines, path, unit: path.write_bytes(b""))
    write_examples(here)
    return here


@pytest.fixture
def train_task(examples, numformer):
    """Run `train TASK` with small settings; with --from they leave out the shape of the model and its tokenizer."""

    def call(name, *words, **options):
        shape = SHAPELESS if "from" in options else {}
        return numformer(*task_words(name, **(shape | options)), *words)

    return call


@pytest.fixture(scope="session")
def runs_of_tasks(tmp_path_factory):
    """Return the run of a task, trained when it is first asked for, for tests that only read it."""
    folder = tmp_path_factory.mktemp("tasks")
    write_examples(folder)

    def run_of(name):
        if not (folder / name).exists():
            with contextlib.redirect_stderr(io.StringIO()):
                words = task_words(name, data=folder / DATA_OF[name], out=folder / name, train__eval_every=4)
                assert main(words) == 0  # measured once, at the end: the last weights are the best
        return folder / name

    return run_of


@pytest.fixture
def stdin(monkeypatch):
    """Put bytes on standard input."""
    return lambda data: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
