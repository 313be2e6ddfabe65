"""Values and gradients as PyTorch computed them; tests/golden/README.md names the keys."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from numformer import Tensor, gradients
from numformer.autograd import OPS

with safe_open(Path(__file__).parents[1] / "golden" / "ops.safetensors", "np") as file:
    SETTINGS = json.loads(file.metadata()["config"])
    ARRAYS = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

ORDER = ("x", "weight", "bias", "logits", "targets", "q", "k", "v", "mask", "positions")


def run(case, dtype):
    """Return {name: (ours, golden)} for the output and every gradient."""
    op = OPS[max((name for name in OPS if case.startswith(name)), key=len)]
    inputs = {name: ARRAYS[f"{case}.{name}"] for name in ORDER if f"{case}.{name}" in ARRAYS}
    if "logits" in inputs:
        inputs = {
            "logits": inputs["logits"].reshape(-1, inputs["logits"].shape[-1]),
            "targets": inputs["targets"].ravel(),
        }
    leaves = {name: Tensor(a.astype(dtype), requires_grad=True) for name, a in inputs.items() if a.dtype.kind == "f"}
    out = op(*(leaves.get(name, array) for name, array in inputs.items()), **SETTINGS[case])
    found = gradients(out, list(leaves.values()), ARRAYS[f"{case}.dout"])
    results = {"out": out.data} | {f"d{name}": grad for name, grad in zip(leaves, found, strict=True)}
    return {name: (ours, ARRAYS[f"{case}.{name}"].reshape(ours.shape)) for name, ours in results.items()}


def assert_close(results, tolerance):
    for name, (ours, golden) in results.items():
        error = abs(ours - golden).max() / abs(golden).max()
        assert error <= tolerance, f"{name} is off by {error:.2g}"


@pytest.mark.parametrize("case", SETTINGS)
def test_value_and_gradients_in_float64(case):
    assert_close(run(case, np.float64), 1e-9 if "large" in case else 1e-12)


@pytest.mark.parametrize("case", [case for case in SETTINGS if "large" not in case])
def test_value_and_gradients_in_float32(case):
    assert_close(run(case, np.float32), 1e-5)
