"""The decoder-only architectures, the encoders and their heads beside transformers; tests/golden/README.md names the keys."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from numformer import Tensor, gradients, no_grad
from numformer.generation import Session
from numformer.models.disk import from_disk, names_of
from numformer.pretrained import load_model, save_model

FOLDER = Path(__file__).parents[1] / "golden"
DECODERS = ("llama_family", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "gpt_neox")
ENCODERS = ("bert_family", "roberta", "distilbert")
FILES = DECODERS + ENCODERS


def cases_in(file):
    with safe_open(FOLDER / f"{file}.safetensors", "np") as opened:
        return json.loads(opened.metadata()["config"])


CASES = [(file, case) for file in FILES for case in cases_in(file)]
LANGUAGE_MODELS = [pair for pair in CASES if not pair[1][0].isupper()]
every_case = pytest.mark.parametrize(("file", "case"), CASES, ids=["-".join(pair) for pair in CASES])
every_language_model = pytest.mark.parametrize(
    ("file", "case"), LANGUAGE_MODELS, ids=["-".join(pair) for pair in LANGUAGE_MODELS]
)


class Golden:
    """One model of a file."""

    def __init__(self, file, case):
        with safe_open(FOLDER / f"{file}.safetensors", "np") as opened:
            config = json.loads(opened.metadata()["config"])[case]
            self.tokens = opened.get_tensor("tokens").astype(np.int64)
            names = [name for name in opened.keys() if name.startswith(f"{case}.")]  # noqa: SIM118
            arrays = {name.removeprefix(f"{case}."): opened.get_tensor(name) for name in names}
        self.keys, self.differentiated = config["keys"], config["differentiated"]
        self.weights = {name.removeprefix("weight."): a for name, a in arrays.items() if name.startswith("weight.")}
        self.arrays, self.mask, self.case = arrays, self.tokens > 0, case

    @property
    def masks(self):
        if not self.case[0].isupper():
            return {}  # padding on the right is seen by nobody
        segments = {"segments": self.arrays["segments"].astype(np.int64)} if "segments" in self.arrays else {}
        return {"mask": self.mask} | segments

    def gradients(self):
        """Return the gradients, which lie end to end in the order of their names in memory there."""
        found, at = {}, 0
        for name in self.differentiated:
            there = name.replace("lm_head", "embed_out") if "embed_out.weight" in self.weights else name
            weight = self.weights[there]
            found[there] = self.arrays["grad"][at : at + weight.size].reshape(weight.shape)
            at += weight.size
        assert at == len(self.arrays["grad"])
        return found

    def model(self, in_memory, dtype=np.float64):
        model = from_disk(self.keys, "golden")
        assert {names_of(model).to_disk(name) for name, _ in model.named_parameters()} == self.weights.keys()
        model.load_state_dict(in_memory(model, self.weights))
        return model.astype(dtype).eval()

    def real(self, logits):
        """Return the logits of real tokens."""
        if logits.ndim == 2:
            return logits
        return logits.swapaxes(1, 2)[self.mask] if self.case.startswith("QuestionAnswering") else logits[self.mask]


def assert_close(ours, golden, tolerance, name, scale=1e-3):
    error = abs(ours - golden).max() / max(abs(golden).max(), scale)
    assert error <= tolerance, f"{name} is off by {error:.2g}"


@every_case
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 2e-6), (np.float32, 1e-4)])
def test_logits_and_every_gradient_are_those_of_transformers(file, case, dtype, tolerance, in_memory):
    golden = Golden(file, case)
    model = golden.model(in_memory, dtype)
    logits = model(golden.tokens, **golden.masks)
    assert_close(golden.real(logits.data), golden.real(golden.arrays["logits"]), tolerance, "the logits")
    own, expected = dict(model.named_parameters()), in_memory(model, golden.gradients())
    assert own.keys() == expected.keys()
    scale = 0.01 * max(abs(grad).max() for grad in expected.values())
    for name, ours in zip(own, gradients(logits, list(own.values()), golden.arrays["dlogits"]), strict=True):
        assert_close(ours, expected[name], 5 * tolerance, name, scale)


@every_case
def test_a_folder_that_transformers_wrote_is_loaded_and_written_again_as_it_was(file, case, tmp_path):
    golden = Golden(file, case)
    (tmp_path / "config.json").write_text(json.dumps(golden.keys))
    save_file(golden.weights, tmp_path / "model.safetensors")
    model = load_model(tmp_path)
    logits = model(golden.tokens, **golden.masks).data
    assert_close(golden.real(logits), golden.real(golden.arrays["logits"]), 1e-4, "the logits")
    save_model(model, tmp_path / "again")
    again, written = load_model(tmp_path / "again"), load_file(tmp_path / "again" / "model.safetensors")
    assert written.keys() == golden.weights.keys()
    for name, value in golden.weights.items():
        np.testing.assert_array_equal(written[name], value)
    assert again.config == model.config
    np.testing.assert_array_equal(again(golden.tokens, **golden.masks).data, logits)


# What transformers need not be told again: it has these values where a file leaves the key out
LEFT_OUT = {
    *("head_dim", "rotary_emb_base", "rope_theta", "rope_local_base_freq", "rope_scaling", "mlp_bias", "rotary_pct"),
    *("attention_bias", "use_bidirectional_attention", "attn_logit_softcapping", "final_logit_softcapping"),
    "position_embedding_type",
}


@every_case
def test_the_keys_of_a_config_are_written_as_transformers_writes_them(file, case):
    golden = Golden(file, case)
    model = from_disk(golden.keys, "golden")
    written = json.loads(json.dumps(model.config.to_disk()))
    differing = {name for name, value in written.items() if (golden.keys.get(name, value) or None) != (value or None)}
    assert differing <= {"dtype", "max_window_layers"}  # there it is the type of the numbers, and a key of no effect
    assert set(written) - set(golden.keys) <= LEFT_OUT


# Generation: windows of 1 and 3 positions, contexts of 16


@every_language_model
@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_ids_are_those_of_transformers_up_to_the_end_of_the_context(file, case, use_cache, in_memory):
    golden = Golden(file, case)
    expected = golden.arrays["greedy"]
    prompts = golden.tokens[:, :3].tolist()
    found = golden.model(in_memory).generate(prompts, expected.shape[1] - 3, temperature=0.0, use_cache=use_cache)
    assert [list(row) for row in found] == expected.tolist()


@every_language_model
def test_cached_logits_are_the_uncached_ones_in_rows_of_unequal_length(file, case, in_memory):
    golden = Golden(file, case)
    model = golden.model(in_memory)
    tokens, lengths = golden.arrays["greedy"].astype(np.int64), [9, 2, 5]
    cache = model.make_cache(3)
    with no_grad():
        model(tokens[:, :9], cache=cache)
        cache.lengths[:] = lengths  # what was stored after a row's end is written over
        for step in (2, 1, 4):
            new = np.array([row[length : length + step] for row, length in zip(tokens, lengths, strict=True)])
            found = model(new, cache=cache).data
            for row, length in enumerate(lengths):
                alone = model(tokens[row : row + 1, : length + step]).data[0, -step:]
                np.testing.assert_allclose(found[row], alone, rtol=1e-9, atol=1e-9)
            lengths = [length + step for length in lengths]


@every_language_model
def test_a_session_goes_on_past_the_context_as_without_a_cache(file, case, in_memory):
    model = Golden(file, case).model(in_memory)
    written = []
    for use_cache in (True, False):
        session = Session(model, 2, sliding=True, use_cache=use_cache)
        for prompt in ([1, 2, 3, 4, 5, 6, 7], [5]):
            session.admit(prompt, max_new_tokens=25, seed=3)
        written.append([(step.slot, step.id) for _ in range(25) for step in session.step()])
    assert written[0] == written[1]
    assert len(written[0]) == 50


@every_language_model
def test_what_comes_later_changes_no_earlier_logits(file, case, in_memory):
    model = Golden(file, case).model(in_memory)
    tokens = np.arange(15)[None] % 17
    before = model(tokens).data
    tokens[:, 9] += 1
    after = model(tokens).data
    np.testing.assert_allclose(after[:, :9], before[:, :9], rtol=1e-12)
    assert (after[:, 9] != before[:, 9]).any()


def script(name):
    """Return the module that made files."""
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("golden_script", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(FOLDER))


@pytest.mark.parametrize("file", FILES)
def test_transformers_reads_what_is_saved(file):
    for package in ("torch", "transformers"):
        pytest.importorskip(package, reason=f"{package} is not installed; tests/golden/README.md has the last result")
    maker = script("make_golden_architectures" if file in DECODERS else "make_golden_encoders")
    found = list(maker.check_transformers_reads_ours(file.removesuffix("_family")))
    assert max(found) < 1e-4


def test_the_type_of_logits_is_that_of_the_weights(in_memory):
    logits = Golden("gemma2", "plain").model(in_memory, np.float32)(np.array([[1, 2, 3]]))
    assert isinstance(logits, Tensor)
    assert logits.dtype == np.float32
