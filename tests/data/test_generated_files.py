"""Files that are generated and damaged: read with a report that adds up, or refused in one sentence; nothing is glued.

`python benchmarks/files.py` checks thousands of them; here are a few of each kind.
"""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "files.py"
EACH = 40


def load():
    spec = importlib.util.spec_from_file_location("generated_files", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


files = load()


@pytest.mark.parametrize("name", files.KINDS)
def test_rows_add_up_and_none_are_glued_whatever_the_file(name, tmp_path):
    outcomes = {seed: files.check(files.KINDS[name], seed, tmp_path, measure=False) for seed in range(EACH)}
    assert {seed: outcome.fault for seed, outcome in outcomes.items() if outcome.fault} == {}
    assert {outcome.result for outcome in outcomes.values()} >= {"left out", "refused"}, "the files are too tame"
