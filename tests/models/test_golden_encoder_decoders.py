"""T5 and BART beside transformers; tests/golden/README.md names the keys."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from numformer import BeamConfig, gradients, no_grad
from numformer.generation import Session, beam_search
from numformer.models.disk import from_disk, names_of
from numformer.nn.stack import set_recompute
from numformer.pretrained import load_model, save_model

FOLDER = Path(__file__).parents[1] / "golden"
FILES = ("t5", "bart")


def cases_in(file):
    with safe_open(FOLDER / f"{file}.safetensors", "np") as opened:
        return json.loads(opened.metadata()["config"])


CASES = [(file, case) for file in FILES for case in cases_in(file)]
every_case = pytest.mark.parametrize(("file", "case"), CASES, ids=["-".join(pair) for pair in CASES])


class Golden:
    """One model of a file."""

    def __init__(self, file, case):
        with safe_open(FOLDER / f"{file}.safetensors", "np") as opened:
            config = json.loads(opened.metadata()["config"])[case]
            self.src, self.tgt = (opened.get_tensor(name).astype(np.int64) for name in ("src", "tgt"))
            names = [name for name in opened.keys() if name.startswith(f"{case}.")]  # noqa: SIM118
            self.arrays = {name.removeprefix(f"{case}."): opened.get_tensor(name) for name in names}
        self.keys, self.differentiated = config["keys"], config["differentiated"]
        self.weights = {n.removeprefix("weight."): a for n, a in self.arrays.items() if n.startswith("weight.")}
        self.real = self.tgt > 0

    def gradients(self):
        """Return the gradients, which lie end to end in the order of their names there."""
        found, at = {}, 0
        for name in self.differentiated:
            weight = self.weights[name]
            found[name] = self.arrays["grad"][at : at + weight.size].reshape(weight.shape)
            at += weight.size
        assert at == len(self.arrays["grad"])
        return found

    def model(self, dtype=np.float64):
        model = from_disk(self.keys, "golden")
        names, own = names_of(model), dict(model.named_state())
        assert {names.to_disk(name) for name in own} == self.weights.keys()
        model.load_state_dict({name: self.weights[names.to_disk(name)] for name in own})
        return model.astype(dtype).eval()

    def sources(self):
        return [row[row > 0].tolist() for row in self.src]


def assert_close(ours, golden, tolerance, name, scale=1e-3):
    error = abs(ours - golden).max() / max(abs(golden).max(), scale)
    assert error <= tolerance, f"{name} is off by {error:.2g}"


@every_case
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 2e-6), (np.float32, 1e-4)])
@pytest.mark.parametrize("again", [False, True])
def test_logits_and_every_gradient_are_those_of_transformers(file, case, dtype, tolerance, again):
    golden = Golden(file, case)
    model = golden.model(dtype)
    set_recompute(model, again)
    logits = model(golden.src, golden.tgt)
    assert_close(logits.data[golden.real], golden.arrays["logits"][golden.real], tolerance, "the logits")
    own, names = dict(model.named_parameters()), names_of(model)
    expected = golden.gradients()
    assert {names.to_disk(name) for name in own} == expected.keys()
    scale = 0.01 * max(abs(grad).max() for grad in expected.values())
    for name, ours in zip(own, gradients(logits, list(own.values()), golden.arrays["dlogits"]), strict=True):
        assert_close(ours, expected[names.to_disk(name)], 5 * tolerance, name, scale)


@every_case
def test_a_folder_that_transformers_wrote_is_loaded_and_written_again_as_it_was(file, case, tmp_path):
    golden = Golden(file, case)
    (tmp_path / "config.json").write_text(json.dumps(golden.keys))
    save_file(golden.weights, tmp_path / "model.safetensors")
    model = load_model(tmp_path)
    logits = model(golden.src, golden.tgt).data
    assert_close(logits[golden.real], golden.arrays["logits"][golden.real], 1e-4, "the logits")
    save_model(model, tmp_path / "again")
    again, written = load_model(tmp_path / "again"), load_file(tmp_path / "again" / "model.safetensors")
    assert written.keys() == golden.weights.keys()
    for name, value in golden.weights.items():
        np.testing.assert_array_equal(written[name], value)
    assert again.config == model.config
    np.testing.assert_array_equal(again(golden.src, golden.tgt).data, logits)


@every_case
def test_the_keys_of_a_config_are_written_as_transformers_writes_them(file, case):
    golden = Golden(file, case)
    written = json.loads(json.dumps(from_disk(golden.keys, "golden").config.to_disk()))
    differing = {name for name, value in written.items() if (golden.keys.get(name, value) or None) != (value or None)}
    # There dtype is the type of the numbers, and a tied T5 is told from an untied one by scale_decoder_outputs alone.
    assert differing <= {"dtype", "tie_word_embeddings", "attention_dropout", "activation_dropout"}
    assert set(written) <= set(golden.keys) | {"d_kv", "n_positions"}


@every_case
def test_tables_that_stand_in_a_file_a_second_time_are_passed_over(file, case, tmp_path):
    golden = Golden(file, case)
    prefix = "model." if file == "bart" else ""
    table = golden.weights[f"{prefix}shared.weight"]
    copies = {f"{prefix}{side}.embed_tokens.weight": table for side in ("encoder", "decoder")}
    (tmp_path / "config.json").write_text(json.dumps(golden.keys))
    save_file({"lm_head.weight": table, **copies, **golden.weights}, tmp_path / "model.safetensors")
    logits = load_model(tmp_path)(golden.src, golden.tgt).data
    assert_close(logits[golden.real], golden.arrays["logits"][golden.real], 1e-4, "the logits")


# Generation


@every_case
@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_ids_are_those_of_transformers_up_to_the_end_of_the_context(file, case, use_cache):
    golden = Golden(file, case)
    model, expected = golden.model(), golden.arrays["greedy"]
    session = Session(model, len(expected), use_cache=use_cache)
    start = model.config.start_id
    for source in golden.sources():
        session.admit([start], source=source, max_new_tokens=expected.shape[1] - 1)
    rows = [[start] for _ in expected]
    while session.active:
        for slot, logits in session.logits().items():  # the likeliest at every step
            rows[slot].append(int(logits.argmax()))
            if len(rows[slot]) < expected.shape[1]:
                session.append(slot, rows[slot][-1])
            else:
                session.retire(slot)
    assert rows == expected.tolist()


@every_case
def test_beams_are_those_of_transformers(file, case):
    golden = Golden(file, case)
    model, expected = golden.model(), golden.arrays["beams"]
    start, beams = model.config.start_id, BeamConfig(num_beams=3, num_return=2)
    prompts = [[start]] * len(expected)
    found = beam_search(model, prompts, expected.shape[2] - 1, beams, sources=golden.sources())
    assert [[[start, *each.ids] for each in row] for row in found] == expected.tolist()


@every_case
def test_cached_logits_are_the_uncached_ones_in_rows_of_unequal_length(file, case):
    golden = Golden(file, case)
    model = golden.model()
    tokens, lengths, mask = golden.arrays["greedy"].astype(np.int64), [9, 2, 5], golden.src > 0
    cache = model.make_cache(3)
    with no_grad():
        memory = model.encode(golden.src, mask)
        cache.set_sources(mask)
        model.decode(tokens[:, :9], memory, mask, cache=cache)
        cache.lengths[:] = lengths  # what was stored after a row's end is written over
        for step in (2, 1, 4):
            new = np.array([row[length : length + step] for row, length in zip(tokens, lengths, strict=True)])
            found = model.decode(new, None, mask, cache=cache).data
            for row, length in enumerate(lengths):
                alone = model(golden.src[row : row + 1], tokens[row : row + 1, : length + step]).data[0, -step:]
                np.testing.assert_allclose(found[row], alone, rtol=1e-9, atol=1e-9)
            lengths = [length + step for length in lengths]


@every_case
def test_what_comes_later_changes_no_earlier_logits(file, case):
    golden = Golden(file, case)
    model, tokens = golden.model(), np.arange(12)[None] % 17
    before = model(golden.src[:1], tokens).data
    tokens[:, 7] += 1
    after = model(golden.src[:1], tokens).data
    np.testing.assert_allclose(after[:, :7], before[:, :7], rtol=1e-12)
    assert (after[:, 7] != before[:, 7]).any()


@pytest.mark.parametrize("file", FILES)
def test_transformers_reads_what_is_saved(file):
    for package in ("torch", "transformers"):
        pytest.importorskip(package, reason=f"{package} is not installed; tests/golden/README.md has the last result")
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("golden_script", FOLDER / "make_golden_encoder_decoders.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    assert max(module.check_transformers_reads_ours(file)) < 1e-4
