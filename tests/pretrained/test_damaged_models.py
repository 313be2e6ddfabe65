"""Models that were damaged at random: opened, or refused in one sentence, within bounds of time and memory.

`python benchmarks/model_files.py` checks thousands of them; here are some hundreds.
"""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "model_files.py"
EACH = 100


def load():
    spec = importlib.util.spec_from_file_location("model_files", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


model_files = load()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return model_files.make_folders(tmp_path_factory.mktemp("models"))


def test_the_models_open_before_they_are_damaged(folders):
    for folder in folders:
        assert model_files.nf.load(folder).tokenizer.vocab_size <= 30


@pytest.mark.parametrize("part", range(3))
def test_a_damaged_model_is_opened_or_refused_in_a_sentence(folders, part):
    outcomes = {
        seed: model_files.check(folders, seed, measure=part == 0) for seed in range(part * EACH, (part + 1) * EACH)
    }
    assert {seed: outcome for seed, outcome in outcomes.items() if outcome.fault} == {}
    assert {outcome.result for outcome in outcomes.values()} == {"opened", "refused"}, "the damage is too tame"
