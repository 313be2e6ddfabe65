"""Every snippet of the README and the docs runs, with fewer steps."""

import re
import shlex
from pathlib import Path

import pytest

from numformer.cli.main import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def snippets(language):
    return [
        pytest.param(code, id=f"{page.name}-{number}")
        for page in PAGES
        for number, code in enumerate(
            re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        )
    ]


@pytest.fixture(autouse=True)
def a_small_world(tmp_path, monkeypatch):
    """An empty working folder, and the known text cut short so that evaluations are quick."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "pydoc_data.topics.topics", {"topic": "The statement is executed when the class is made.\n" * 200}
    )
    monkeypatch.setenv("NUMFORMER_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("code", snippets("python"))
def test_python_snippets_run(code):
    exec(compile(re.sub(r"steps=\d+", "steps=3", code), "snippet", "exec"), {})


@pytest.mark.parametrize("code", snippets("sh"))
def test_shell_snippets_run(code):
    for line in code.splitlines():
        words = shlex.split(re.sub(r"--train.steps (\d+)", lambda m: f"--train.steps {int(m[1]) // 100}", line))
        assert main([*words[1:], *(["--sample", "5"] if words[1] == "train" else [])]) == 0, line
