"""Features that meet: each works alone elsewhere, here two work together."""

import os
import tracemalloc

import numpy as np
import pytest

import numformer as nf
from numformer import gradients, ops
from numformer.cli.main import main
from numformer.errors import InputError
from numformer.training.metrics import read_metrics

TEXT = "the cat sat on the mat. a dog ran to the owl.\n" * 60
SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 2, "max_seq_len": 8}
QUICK = {"steps": 4, "batch_size": 8, "shards": 2, "eval_every": 2, "eval_examples": 8, "progress": False}


def make(text=TEXT, **settings):
    return nf.LanguageModel.from_text(text, **SMALL | settings)


@pytest.mark.parametrize("settings", [{"recompute": True}, {"accumulation": 2}, {"threads": 1}], ids=str)
@pytest.mark.parametrize("kind", ["characters", "bytes"])
def test_a_model_trained_in_any_way_generates_the_same_with_and_without_cache(settings, kind):
    lm = make(tokenizer=kind, dropout=0.1)
    lm.fit(**QUICK | settings)
    prompt = [lm.tokenizer.encode("the cat")]
    cached, plain = (lm.model.generate(prompt, 20, temperature=0.0, use_cache=use)[0] for use in (True, False))
    np.testing.assert_array_equal(cached, plain)


def test_without_held_out_text_weights_that_are_no_numbers_are_never_kept(tmp_path):
    make(valid_fraction=0.0).fit(**QUICK, out=tmp_path / "run")
    kept = (tmp_path / "run" / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="became"):
        make(valid_fraction=0.0).fit(**QUICK | {"steps": 5}, lr=1e39, out=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == kept


def test_a_run_from_python_is_repeated_from_its_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    make(tmp_path / "text.txt", seed=7).fit(**QUICK, out="first")
    assert main(["train", "lm", "--config", "first/run.toml", "--out", "second", "--sample", "0"]) == 0
    first, second = (tmp_path / name / "model.safetensors" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_one_seed_decides_the_weights_and_the_order_of_the_data():
    with pytest.raises(InputError, match="seed is 3, but the model was made with seed=7"):
        make(seed=7).fit(**QUICK, seed=3)


def test_the_default_shards_do_not_depend_on_the_threads_and_a_resumed_run_keeps_its_own(tmp_path, monkeypatch):
    settings = QUICK | {"shards": 0, "threads": 1, "out": tmp_path / "run"}
    monkeypatch.setattr("numformer.training.config.num_cores", lambda: 4)
    make().fit(**settings)
    monkeypatch.setattr("numformer.training.config.num_cores", lambda: 1)
    assert make().fit(**settings | {"steps": 6, "threads": 2}, resume=True).step == 6


def test_a_run_that_stops_for_want_of_improvement_leaves_its_best_weights():
    lm = make()
    result = lm.fit(**QUICK | {"steps": 400, "eval_every": 1}, patience=3, lr=0.3)
    assert result.stopped == "no improvement"
    assert lm.evaluate(max_windows=8)["loss"] == pytest.approx(result.best_loss)


def test_evaluating_a_run_refuses_another_text_than_it_was_trained_on(tmp_path, capsys):
    (tmp_path / "text.txt").write_text(TEXT)
    make(tmp_path / "text.txt").fit(**QUICK, out=tmp_path / "run")
    (tmp_path / "text.txt").write_text(TEXT.replace("cat", "tac"))
    assert main(["evaluate", str(tmp_path / "run")]) == 2
    assert "has changed since the run began" in capsys.readouterr().err


def test_clearing_up_after_a_killed_run_leaves_other_files_alone(tmp_path):
    make().fit(**QUICK, out=tmp_path / "run")
    for name in (".mine.tmp", ".notes.12.tmp", ".run.toml.12.tmp", "state/.checkpoint.safetensors.7.tmp"):
        (tmp_path / "run" / name).write_text("")
    make().fit(**QUICK | {"steps": 5}, out=tmp_path / "run", resume=True)
    assert sorted(path.name for path in (tmp_path / "run").rglob("*.tmp")) == [".mine.tmp", ".notes.12.tmp"]


def test_overwriting_with_a_text_that_cannot_be_named_destroys_nothing(tmp_path):
    make().fit(**QUICK, out=tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    odd = tmp_path / os.fsdecode(b"text\xff.txt")
    odd.write_text(TEXT)
    with pytest.raises(InputError, match="not valid Unicode"):
        make(odd).fit(**QUICK, out=tmp_path / "run", overwrite=True)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("line", ["{}", "3", '{"step": "x"}'])
def test_a_record_that_no_run_has_written_is_named(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 1 is damaged: "):
        read_metrics(tmp_path / "metrics.jsonl")


def test_memory_does_not_grow_from_step_to_step():
    lm = make(dropout=0.1)
    tracemalloc.start()
    lm.fit(**QUICK | {"steps": 20, "eval_every": 5})
    after_20 = tracemalloc.get_traced_memory()[0]
    lm.fit(**QUICK | {"steps": 60, "eval_every": 5})
    growth = tracemalloc.get_traced_memory()[0] - after_20
    tracemalloc.stop()
    assert growth < 400_000  # keeping the graph of every step would take 7 MB


def test_keywords_count_as_inputs_of_backward():
    rng = np.random.default_rng(0)
    attention = nf.nn.MultiHeadAttention(8, 2)
    x, dy = rng.standard_normal((2, 1, 4, 8), dtype=np.float32)
    attention(x)
    whole = attention.backward(dy)
    attention(x, key=x, value=x)
    np.testing.assert_allclose(sum(attention.backward(dy)), whole, atol=1e-6)


def test_a_wanted_result_hides_no_way_to_what_it_was_computed_from():
    x = nf.Tensor(np.arange(4.0), requires_grad=True)
    a, b = ops.split(x, sections=2)
    da, dx = gradients((a * b * b).sum(), [a, x])
    np.testing.assert_array_equal(da, [4.0, 9.0])
    np.testing.assert_array_equal(dx, [4.0, 9.0, 0.0, 6.0])


@pytest.mark.parametrize("other", [np.arange(3), np.array(8.0), np.bool_(True), np.float64(2.0)], ids=repr)
def test_whole_numbers_and_scalars_leave_float32_as_it_is(other):
    x = nf.Tensor(np.ones(3, np.float32), requires_grad=True)
    for result in (x + other, x * other, other - x):
        assert result.dtype == np.float32


def test_a_float64_tensor_enters_a_float32_layer_as_float32():
    layer = nf.nn.Linear(4, 4)
    layer(nf.Tensor(np.ones((2, 4)))).sum().backward()
    assert layer.weight.grad.dtype == np.float32


def test_a_parameter_outside_the_graph_does_not_decay_in_a_run():
    lm = make()
    unused = lm.model.unused = nf.Parameter.full((2, 2), 1.0)
    lm.fit(**QUICK)
    np.testing.assert_array_equal(unused.data, np.ones((2, 2)))


def test_lists_are_taken_where_arrays_are():
    loss = nf.CrossEntropyLoss()(nf.nn.Embedding(5, 5)([1, 2]), [0, 1])
    assert loss.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.cross_entropy(np.ones((1, 2)), np.array([0]), reduction="none"), "reduction must be mean or sum"),
        (lambda: ops.cross_entropy(np.ones((1, 2)), np.array([0]), label_smoothing=3.0), "label_smoothing must be"),
        (lambda: ops.gelu(np.ones(2), approximate="sigmoid"), "approximate must be none or tanh"),
        (lambda: nf.nn.MultiHeadAttention(8, 2, num_kv_heads=0), "num_kv_heads=0 does not divide"),
        (lambda: make().model.generate([[1.7]]), "a prompt must be a list of token ids"),
        (lambda: make().model.generate([1, 2, 3]), "a prompt must be a list of token ids"),
        (lambda: make().fit(optimizer="lion"), "unknown optimizer 'lion'"),
        (lambda: nf.GPT(vocab_size=5, seed=-1), "a seed must be at least 0"),
        (lambda: nf.SamplingConfig(top_k=2.5), "top_k=2.5"),
        (lambda: nf.TensorDataset([[1, 2], [3]]), "rows of one length"),
        (lambda: nf.LanguageModel.from_text("a" * 5000), "there is no file"),
        (lambda: make(config=nf.GPTConfig()), "not both"),
    ],
)
def test_what_cannot_be_meant_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
