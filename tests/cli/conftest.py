from types import SimpleNamespace

import numpy as np
import pytest

from numformer.cli.main import main

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
    """Check that a command fails with one line on stderr, leaving every file as it was."""

    def check(call, message):
        before = snapshot(here)
        result = call()
        assert result.status == 2, result
        assert result.out == ""
        assert result.err.startswith("numformer: ")
        assert result.err.count("\n") == 1
        assert message in result.err
        assert snapshot(here) == before

    return check
