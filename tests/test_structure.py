"""Rules about the code itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import numformer

PACKAGE = Path(numformer.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
every_file = pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])


def imported(path):
    """Return the modules that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def imports_any(path, *packages):
    return [name for name in imported(path) if any(f"{name}.".startswith(f"{package}.") for package in packages)]


@every_file
def test_files_stay_readable(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 400


@every_file
def test_nothing_is_pickled(path):
    assert imports_any(path, "pickle", "marshal", "shelve", "dill", "joblib") == []


@every_file
def test_dependencies_point_one_way(path):
    layers = ["ops", "nn", "models", "tasks", "cli"]
    folder = path.relative_to(PACKAGE).parts[0]
    above = layers[layers.index(folder) + 1 :] if folder in layers else []
    assert imports_any(path, *(f"numformer.{layer}" for layer in above)) == []


@pytest.mark.parametrize("folder", ["nn", "models"])
def test_layers_and_models_leave_arithmetic_to_the_ops(folder):
    for path in (PACKAGE / folder).glob("*.py"):
        assert imports_any(path, "numpy", "jax") == [], path


def test_importing_numformer_imports_no_slow_or_optional_library():
    slow = {"rich", "tyro", "matplotlib", "tokenizers", "pooch", "safetensors", "jax", "torch"}
    slow |= {"sacrebleu", "seqeval", "rouge_score", "sklearn", "numformer.tasks.shared"}
    code = f"import sys, numformer; print(*sorted({slow!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
