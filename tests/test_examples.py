"""Every example runs from beginning to end, with a hundredth of its steps; the first steps run as they are."""

import ast
import re
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from numformer.autograd import OPS

FOLDER = Path(__file__).parent.parent / "examples"
EXAMPLES, FIRST_STEPS = sorted(FOLDER.glob("*.py")), sorted(FOLDER.glob("first_steps/*.py"))
TOPICS = {name: f"The {name} statement is executed once.\n>>> x = [{name!r}, 42]\n" * 60 for name in ("class", "with")}
WHAT_FIRST_STEPS_SHOW = {
    "every_layer": [
        r"EncoderLayer: \(2, 5, 16\) -> \(2, 5, 16\)",
        "identity: .* (100|9[5-9])% of",
        "reverse: .* (100|9[5-9])%",
    ],
    "translate_bytes": [
        r"a coffee, please -> einen Kaffee, bitte +\(",
        r"target so far \(1, 4\)  logits \(1, 4, 260\)",
    ],
    "network": [
        r"4 heads with weights \(2, 4, 5, 5\), which add up to 1.000",
        r"Block: \(2, 5, 16\) -> \(2, 5, 16\) and back",
        *(
            f"{loss} with {activation}: 0.* -> 0.0"
            for loss, activation in (
                ("CrossEntropyLoss", "ReLU"),
                ("BCEWithLogitsLoss", "SiLU"),
                ("L1Loss", "GELU"),
                ("MSELoss", "LeakyReLU"),
                ("MSELoss", "Tanh"),
                ("MSELoss", "Sigmoid"),
            )
        ),
    ],
    "tasks": [
        r"classification: logits \(8, 3\)",
        r"sequence_labeling: logits \(8, 12, 3\)",
        r"generation: logits \(8, 9, 100\)",
        r"question_answering: logits \(8, 2, 12\)",
    ],
    "shakespeare": [
        r"output \(2, 10, 32\) weights \(2, 4, 10, 10\)",
        r"without weights: \(2, 10, 32\) None",
        "a heat map of [0-9]+ bytes",
        r"logits of the encoder-decoder \(1, 7, ",
    ],
}
every_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
every_first_step = pytest.mark.parametrize("path", FIRST_STEPS, ids=lambda path: path.stem)


@pytest.fixture
def small_world(tmp_path, monkeypatch):
    """Work in an empty folder on one thread, with a shorter text than Python's and a list of ops that may grow."""
    monkeypatch.setattr("pydoc_data.topics.topics", TOPICS)
    monkeypatch.setenv("NUMFORMER_CACHE", str(tmp_path / "cache"))
    known = set(OPS)
    monkeypatch.setattr("numformer.autograd.decorator.OPS", dict(OPS))  # where `@op` writes
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with threadpool_limits(1, "blas"):
        yield tmp_path / "here"
    assert set(OPS) == known, "an example has changed what ops all tests see"


@every_example
def test_an_example_runs_and_writes_what_it_says(path, small_world, capsys):
    code = path.read_text(encoding="utf-8")
    fewer = re.sub(r"steps=(\d+)", lambda m: f"steps={int(m[1]) // 100}", code)
    exec(compile(fewer, str(path), "exec"), {})
    assert capsys.readouterr().out
    written = [*small_world.glob("runs/*"), *(entry for entry in small_world.iterdir() if entry.name != "runs")]
    assert [str(entry.relative_to(small_world)) for entry in written] == re.findall(r"writes (runs/\w+)", code)


@every_first_step
def test_first_steps_run_to_their_end_and_leave_nothing_behind(path, small_world, capsys):
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), {})
    printed = capsys.readouterr().out
    for pattern in WHAT_FIRST_STEPS_SHOW[path.stem]:
        assert re.search(pattern, printed), f"{pattern!r} is not in:\n{printed}"
    assert list(small_world.iterdir()) == []


@pytest.mark.parametrize("path", [*EXAMPLES, *FIRST_STEPS], ids=lambda path: path.stem)
def test_an_example_says_how_long_it_takes(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert re.search(r"Takes\s[a-z\s]+(second|minute)", docstring)
