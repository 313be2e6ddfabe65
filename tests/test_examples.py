"""Every example runs from beginning to end, with a hundredth of its steps."""

import ast
import re
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from numformer import autograd as tape

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
TOPICS = {name: f"The {name} statement is executed once.\n>>> x = [{name!r}, 42]\n" * 60 for name in ("class", "with")}
every_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


@pytest.fixture
def small_world(tmp_path, monkeypatch):
    """Work in an empty folder on one thread, with a shorter text than Python's and a list of ops that may grow."""
    monkeypatch.setattr("pydoc_data.topics.topics", TOPICS)
    monkeypatch.setenv("NUMFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tape, "OPS", dict(tape.OPS))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with threadpool_limits(1, "blas"):
        yield tmp_path / "here"


@every_example
def test_an_example_runs_and_writes_what_it_says(path, small_world, capsys):
    code = path.read_text(encoding="utf-8")
    fewer = re.sub(r"steps=(\d+)", lambda m: f"steps={int(m[1]) // 100}", code)
    exec(compile(fewer, str(path), "exec"), {})
    assert capsys.readouterr().out
    written = [*small_world.glob("runs/*"), *(entry for entry in small_world.iterdir() if entry.name != "runs")]
    assert [str(entry.relative_to(small_world)) for entry in written] == re.findall(r"writes (runs/\w+)", code)


@every_example
def test_an_example_says_how_long_it_takes(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert re.search(r"Takes\s[a-z\s]+(second|minute)", docstring)
