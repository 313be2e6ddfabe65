"""Every page of the docs can be followed from top to bottom in an empty folder; the tests take fewer steps."""

import re
import shlex
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from numformer.cli.main import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = ROOT / "src" / "numformer"
EXCERPT = re.compile(
    r"^```py\n(.*?)^```", re.DOTALL | re.MULTILINE
)  # of the code as it stands, with ... where lines are left out
SNIPPET = re.compile(r"^```(python|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def a_small_world(tmp_path, monkeypatch):
    """An empty working folder, the known text cut short, and one thread, on which small models are quickest."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "pydoc_data.topics.topics", {"topic": "The statement is executed when the class is made.\n" * 200}
    )
    monkeypatch.setenv("NUMFORMER_CACHE", str(tmp_path / "cache"))
    with threadpool_limits(1, "blas"):
        yield


def run_python(code, name, names):
    exec(compile(re.sub(r"\bsteps=\d+", "steps=3", code), name, "exec"), names)


def run_shell(code, name, names):
    for line in code.splitlines():
        words = shlex.split(re.sub(r"--train.steps (\d+)", lambda m: f"--train.steps {int(m[1]) // 100}", line))
        short = ["--sample", "5"] if words[1:3] == ["train", "lm"] else []
        assert main([*words[1:], *short]) == 0, f"{name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_snippets_of_a_page_run_one_after_the_other(page):
    names = {}  # what a snippet makes, the next ones use
    for number, (language, code) in enumerate(SNIPPET.findall(page.read_text(encoding="utf-8")), 1):
        {"python": run_python, "sh": run_shell}[language](code, f"{page.name}, snippet {number}", names)


def test_excerpts_stand_in_the_code_as_they_are_shown():
    def stripped(text):
        return "\n".join(line.strip() for line in text.strip().splitlines())

    files = [stripped(path.read_text(encoding="utf-8")) for path in CODE.rglob("*.py")]
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    pieces = [stripped(piece) for found in EXCERPT.findall(text) for piece in re.split(r"(?m)^(?:\.\.\.|# .*)$", found)]
    assert any(pieces)
    assert [piece for piece in pieces if not any(piece in file for file in files)] == []
