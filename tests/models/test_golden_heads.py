"""BERT, GPT-2, Llama and their heads beside transformers; tests/golden/README.md names the keys."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from numformer import gradients
from numformer.models.disk import from_disk, names_of
from numformer.pretrained import load_model, save_model

CASES = [
    *(("bert", head) for head in ("MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering")),
    *(("gpt2_heads", head) for head in ("SequenceClassification", "TokenClassification", "QuestionAnswering")),
    *(("llama", head) for head in ("CausalLM", "SequenceClassification", "TokenClassification", "QuestionAnswering")),
]
FAMILIES = {"bert": ("bert", "Bert"), "gpt2_heads": ("gpt2", "GPT2"), "llama": ("llama", "Llama")}
every_case = pytest.mark.parametrize(("file", "head"), CASES, ids=["-".join(case) for case in CASES])


class Golden:
    """One head's part of a file."""

    def __init__(self, file, head):
        with safe_open(Path(__file__).parents[1] / "golden" / f"{file}.safetensors", "np") as opened:
            config = json.loads(opened.metadata()["config"])
            self.arrays = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        kind, family = FAMILIES[file]
        self.head, self.names, self.differentiated = head, config[head]["names"], config[head]["differentiated"]
        self.keys = config["config"] | {"model_type": kind, "architectures": [f"{family}For{head}"]}
        if head.endswith("Classification"):
            self.keys["id2label"] = {str(label): f"LABEL_{label}" for label in range(5)}
        self.tokens = self.arrays["tokens"].astype(np.int64)
        self.mask = self.tokens > 0
        self.masks = [] if head == "CausalLM" else [self.mask]  # padding on the right is seen by nobody
        self.segments = [self.arrays["segments"].astype(np.int64)] if (file, head[0]) == ("bert", "Q") else []

    def __getitem__(self, name):
        return self.arrays[f"{self.head}.{name}"]

    def weights(self):
        """Return the weights as they are on disk."""
        own = f"{self.head}.weight."
        found = {name.removeprefix("weight."): a for name, a in self.arrays.items() if name.startswith("weight.")}
        found |= {name.removeprefix(own): a for name, a in self.arrays.items() if name.startswith(own)}
        return {name: found[name] for name in self.differentiated}

    def gradients(self):
        """Return the gradients, which lie end to end in the order of their names."""
        found, at = {}, 0
        for name, weight in sorted(self.weights().items()):
            found[name] = self["grad"][at : at + weight.size].reshape(weight.shape)
            at += weight.size
        assert at == len(self["grad"])
        return found

    def model(self, in_memory, dtype=np.float64):
        model = from_disk(self.keys, "golden")
        assert {names_of(model).to_disk(name) for name, _ in model.named_parameters()} == self.weights().keys()
        model.load_state_dict(in_memory(model, self.weights()))
        return model.astype(dtype).eval()

    def real(self, logits):
        """Return the logits of real tokens."""
        if logits.ndim == 2:
            return logits
        return logits.swapaxes(1, 2)[self.mask] if self.head == "QuestionAnswering" else logits[self.mask]


def assert_close(ours, golden, tolerance, name, scale=1e-3):
    error = abs(ours - golden).max() / max(abs(golden).max(), scale)
    assert error <= tolerance, f"{name} is off by {error:.2g}"


@every_case
def test_names_are_those_of_hugging_face(file, head, tmp_path, in_memory):
    golden = Golden(file, head)
    save_model(golden.model(in_memory, np.float32), tmp_path)
    with safe_open(tmp_path / "model.safetensors", "np") as saved:
        assert sorted(saved.keys()) == golden.names
    assert json.loads((tmp_path / "config.json").read_text()).items() >= golden.keys.items()


@every_case
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-6), (np.float32, 5e-5)])
def test_logits_and_every_gradient_are_those_of_transformers(file, head, dtype, tolerance, in_memory):
    golden = Golden(file, head)
    model = golden.model(in_memory, dtype)
    logits = model(golden.tokens, *golden.masks, *golden.segments)
    assert_close(golden.real(logits.data), golden.real(golden["logits"]), tolerance, "the logits")
    own = dict(model.named_parameters())
    expected = in_memory(model, golden.gradients())
    assert own.keys() == expected.keys()
    scale = 0.01 * max(abs(grad).max() for grad in expected.values())  # that of a key bias is zero but for rounding
    for name, ours in zip(own, gradients(logits, list(own.values()), golden["dlogits"]), strict=True):
        assert_close(ours, expected[name], tolerance, name, scale)


@every_case
def test_a_folder_that_transformers_wrote_gives_its_logits(file, head, tmp_path):
    golden = Golden(file, head)
    (tmp_path / "config.json").write_text(json.dumps(golden.keys))
    save_file({name: golden.weights()[name] for name in golden.names}, tmp_path / "model.safetensors")
    logits = load_model(tmp_path)(golden.tokens, *golden.masks, *golden.segments).data
    assert_close(golden.real(logits), golden.real(golden["logits"]), 1e-5, "the logits")
