"""Names of models in commands, and `numformer models`."""

import hashlib
import shutil

import pytest

from numformer.pretrained import fetching
from numformer.pretrained.names import KNOWN, KnownModel
from numformer.tasks import LanguageModel


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMFORMER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def tiny(finished_run, cache, monkeypatch):
    """Make the finished run a known model, which a fetch that asks no network brings."""
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in finished_run.glob("*.json")}
    monkeypatch.setitem(KNOWN, "tiny", KnownModel("tiny", "a test", "MIT", 5_400, "tiny-model", "1", "tiny", files))
    monkeypatch.setattr(fetching, "_download", lambda model, own, on_progress: on_progress(2_500))
    monkeypatch.setattr(fetching, "_take_out", lambda model, own: shutil.copytree(finished_run, own / "model"))


def test_models_lists_what_is_known_with_size_and_licence(numformer):
    result = numformer("models")
    assert result.status == 0
    lines = {line.split()[0]: line for line in result.out.splitlines()}
    assert lines.keys() == {"smollm2-135m-instruct", "all-minilm-l6-v2"}
    for line in lines.values():
        assert "Apache-2.0" in line
        assert "not fetched" in line
    assert "98 MB" in lines["smollm2-135m-instruct"]


def test_fetch_says_what_comes_and_prints_the_place_which_models_then_shows(numformer, cache, tiny):
    result = numformer("models", "fetch", "tiny")
    assert (result.status, result.out) == (0, f"{cache / 'tiny'}\n")
    assert result.err == "fetching tiny, 5 kB, as tiny-model 1\n"
    assert str(cache / "tiny") in numformer("models").out
    again = numformer("models", "fetch", "tiny")
    assert (again.out, again.err) == (result.out, "")


def test_on_a_terminal_a_line_grows_and_goes(numformer, tiny, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert numformer("models", "fetch", "tiny").err == "\r\033[Ktiny: 2 kB of about 5 kB\r\033[K"


def test_an_unknown_name_is_refused(numformer, refused):
    refused(
        lambda: numformer("models", "fetch", "no"), "there is no model named 'no' (known are smollm2-135m-instruct,"
    )


def test_every_command_that_takes_a_run_takes_a_name(here, numformer, tiny):
    before = numformer("generate", "tiny", "--prompt", "the")
    assert (before.status, "models fetch tiny" in before.err) == (2, True)
    numformer("models", "fetch", "tiny")
    for words in (
        ("generate", "tiny", "--prompt", "the", "--max-new-tokens", "5"),
        ("info", "tiny"),
        ("evaluate", "tiny", "--data", "text.txt"),
        ("attention", "tiny", "the", "--out", "a.png"),
        ("train", "lm", "--data", "text.txt", "--from", "tiny", "--out", "next", "--train.steps", "1", "--sample", "0"),
    ):
        assert numformer(*words).status == 0, words
    assert 'pretrained = "tiny"' in (here / "next" / "run.toml").read_text()
    assert type(LanguageModel.load("tiny")) is LanguageModel


@pytest.mark.parametrize("command", ["info", "generate", "evaluate", "attention"])
def test_a_name_that_is_none_says_what_is_known(numformer, refused, command):
    words = {"attention": ["text", "--out", "a.png"], "generate": ["--prompt", "a"]}.get(command, [])
    refused(
        lambda: numformer(command, "smollm", *words), "there is no folder smollm, and no model of that name (known are"
    )


def test_data_of_a_model_that_is_no_run_has_to_be_named(here, numformer, refused, tiny):
    numformer("models", "fetch", "tiny")
    (here / "cache" / "models" / "tiny" / "run.toml").unlink()
    refused(lambda: numformer("evaluate", "tiny"), "does not say what it was trained on")
