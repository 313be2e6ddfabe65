"""Training under JAX: the curves of NumPy, but for rounding, and the same run folders."""

import json
import sys

import numpy as np
import pytest

import numformer as nf
from numformer import InputError
from numformer.cli.main import main
from numformer.data.squad import Question
from numformer.data.tagged.conll import TaggedSentence
from numformer.nn.lora import add_lora, linear_layers

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")

from numformer.jax.batches import padded  # noqa: E402
from numformer.jax.rules import numbers_of, update_all  # noqa: E402

SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 16, "dropout": 0.0}
PAIR = {
    "d_model": 16,
    "num_heads": 2,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
    "max_seq_len": 16,
    "dropout": 0.0,
}
FAST = {"steps": 4, "batch_size": 6, "shards": 1, "eval_every": 4, "progress": False, "lr": 1e-2}
TEXT = "one two three four five six seven\n" * 9
NAMES = ["Ann", "Ben came", "Cleo came late", "Dora", "Emil was late again", "Fay came"]
TASKS = ["lm", "packed lm", "mlm", "classify", "regress", "tag", "seq2seq", "qa"]


def make(kind, folder=None, **settings):
    small = (PAIR if kind == "seq2seq" else SMALL) | settings
    if kind == "packed lm":
        path = folder / "examples.jsonl"
        path.write_text("".join(json.dumps({"prompt": name, "completion": name[::-1]}) + "\n" for name in NAMES))
        return nf.LanguageModel.from_text(path, tokenizer="bytes", **small | {"max_seq_len": 48})
    if kind in ("lm", "mlm"):
        return {"lm": nf.LanguageModel, "mlm": nf.MaskedLanguageModel}[kind].from_text(TEXT, **small)
    task, examples = {
        "classify": (nf.Classifier, [(name, name[0]) for name in NAMES]),
        "regress": (nf.Regressor, [(name, float(len(name))) for name in NAMES]),
        "tag": (nf.Tagger, [TaggedSentence(name.split(), [word[0] for word in name.split()]) for name in NAMES]),
        "seq2seq": (nf.Translator, [(name, name[::-1]) for name in NAMES]),
        "qa": (nf.QuestionAnswerer, [Question(name, "who", f"{name} it is", ((name, 0),)) for name in NAMES]),
    }[kind]
    return task.from_data(examples, valid=examples[:3], tokenizer="characters", **small)


def lines_of(task, **settings):
    """Fit, and return the figures of every step."""
    lines = []
    task.fit(**FAST | settings, on_step=lambda line: lines.append(line) and False)
    return lines


def curve(task, **settings):
    """Fit, and return the losses and the norms of the gradient of every step."""
    return np.array([[line["loss"], line["grad_norm"]] for line in lines_of(task, **settings)])


def weights_of(task):
    return task.model.state_dict()


# The same training as NumPy's


@pytest.mark.parametrize("kind", TASKS)
def test_every_task_has_the_losses_and_the_evaluations_of_numpy(kind, tmp_path):
    smoothing = {} if kind == "regress" else {"label_smoothing": 0.1}
    numpy, found = (lines_of(make(kind, tmp_path), backend=backend, **smoothing) for backend in ("numpy", "jax"))
    assert "val_loss" in found[-1]
    for ours, theirs in zip(found, numpy, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - {"tokens_per_s", "seconds", "best"}:
            assert ours[name] == pytest.approx(theirs[name], rel=2e-4), name


@pytest.mark.parametrize("kind", ["lm", "tag"])
def test_held_out_data_is_measured_by_compiled_functions_without_dropout(kind, monkeypatch, capsys):
    task = make(kind, dropout=0.5)
    monkeypatch.setattr(type(task.model), "forward", fails_in_numpy(type(task.model).forward))
    found = lines_of(task, backend="jax", steps=1, progress=True)[-1]["val_loss"]
    monkeypatch.undo()
    assert ", and evaluations for " in capsys.readouterr().err
    assert found == pytest.approx(task.evaluate()["loss"], rel=1e-5)


def fails_in_numpy(forward):
    """Return a forward pass that refuses tokens of NumPy."""

    def guarded(self, tokens, *args, **kwargs):
        assert not isinstance(tokens, np.ndarray), "NumPy was asked"
        return forward(self, tokens, *args, **kwargs)

    return guarded


@pytest.mark.parametrize(
    "settings", [{"accumulation": 2}, {"recompute": True}, {"layer_decay": 0.5}, {"optimizer": "sgd"}], ids=str
)
def test_ways_to_train_have_the_losses_of_numpy(settings):
    settings |= {"schedule": "cosine", "warmup_steps": 1, "clip_norm": 0.5}
    numpy, found = (curve(make("classify"), backend=backend, **settings) for backend in ("numpy", "jax"))
    np.testing.assert_allclose(found, numpy, rtol=2e-4)


@pytest.mark.parametrize("rule", [nf.optim.Adam, nf.optim.AdamW, nf.optim.SGD])
def test_a_rule_is_the_same_step_by_step(rule):
    draw = np.random.default_rng(0)
    model = nf.nn.Linear(4, 3)
    settings = {"momentum": 0.9} if rule is nf.optim.SGD else {"betas": (0.8, 0.95)}
    optimizer = rule(model.parameters(), lr=0.1, weight_decay=0.2, **settings)
    weights = [jax.numpy.array(p.data) for p in optimizer.parameters]
    slots = [{slot: jax.numpy.zeros(p.shape) for slot in optimizer.slots} for p in optimizer.parameters]
    for _ in range(5):
        grads = [draw.standard_normal(p.shape, dtype=np.float32) for p in optimizer.parameters]
        numbers = numbers_of(optimizer, [True, True])
        weights, slots = zip(*update_all(optimizer, weights, grads, slots, numbers), strict=True)
        optimizer.gather(grads, out=optimizer.gradient)
        optimizer.update()
        for found, parameter in zip(weights, optimizer.parameters, strict=True):
            np.testing.assert_allclose(found, parameter.data, rtol=1e-6, atol=1e-7)


def test_a_run_that_changes_its_backend_goes_on_as_it_would_have(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    settings = FAST | {"log_every": 1}

    def losses(name, backends):
        for number, backend in enumerate(backends):
            task = nf.LanguageModel.from_text(tmp_path / "text.txt", **SMALL)
            steps = 2 * (number + 1)
            task.fit(**settings | {"steps": steps}, backend=backend, out=tmp_path / name, resume=number > 0)
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]

    mixed = losses("mixed", ["numpy", "jax", "numpy", "jax"])
    assert len(mixed) == 8
    np.testing.assert_allclose(mixed, losses("numpy", ["numpy"] * 4), rtol=2e-4)


def test_a_run_of_bfloat16_goes_on_in_numpy_with_another_precision(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    lm = nf.LanguageModel.from_text(tmp_path / "text.txt", **SMALL)
    lm.fit(**FAST, backend="jax", precision="bfloat16", out=tmp_path / "run")
    with pytest.raises(InputError, match=r"choose float32 \(--train.precision float32\)$"):
        lm.fit(**FAST, precision="bfloat16", out=tmp_path / "run", resume=True)
    result = lm.fit(**FAST | {"steps": 8}, precision="float32", out=tmp_path / "run", resume=True)
    assert result.new_steps == 4
    assert 'precision = "bfloat16"' in (tmp_path / "run" / "run.toml").read_text()  # what it had before


# What is trained


def test_what_is_frozen_keeps_every_bit_and_the_rest_learns():
    task = make("classify")
    before = weights_of(task)
    task.fit(**FAST, backend="jax", groups=[{"pattern": "backbone.*embedding*", "freeze": True}])
    frozen = [name for name in before if "embedding" in name]
    assert frozen
    for name, value in weights_of(task).items():
        assert np.array_equal(value, before[name]) == (name in frozen), name


def test_of_a_model_with_adapters_these_alone_learn():
    numpy, found = make("classify"), make("classify")
    for task in (numpy, found):
        names = [name for name in linear_layers(task.model) if "feed_forward" in name]
        add_lora(task.model, names, rank=2, scale=1.0)
    before = weights_of(found)
    np.testing.assert_allclose(curve(found, backend="jax"), curve(numpy), rtol=2e-4)
    changed = {name for name, value in weights_of(found).items() if not np.array_equal(value, before[name])}
    assert changed
    assert all("lora" in name for name in changed)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_parameter_that_the_loss_does_not_read_does_not_decay(precision):
    task = make("classify")
    task.model.idle = nf.nn.Linear(3, 3)
    before = task.model.idle.weight.data.copy()
    task.fit(**FAST, backend="jax", weight_decay=0.5, precision=precision)
    np.testing.assert_array_equal(task.model.idle.weight.data, before)


def assign(model, state):
    for name, parameter in model.named_parameters():
        parameter.data = state[name].copy()


@pytest.mark.parametrize("give", [nf.nn.Module.load_state_dict, assign])
def test_weights_that_are_given_between_two_steps_are_those_that_learn(give):
    task = make("classify")
    start, losses = weights_of(task), []

    def back_to_the_start(line):
        losses.append(line["loss"])
        give(task.model, start)

    task.fit(**FAST, backend="jax", on_step=back_to_the_start)
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)  # 6 examples are all there are


def test_frozen_weights_that_change_between_two_steps_count():
    def losses(backend):
        task, found = make("classify"), []
        task.model.freeze("backbone.embeddings")
        table = task.model.backbone.embeddings.token_embedding.weight

        def halve(line):
            found.append(line["loss"])
            table.data[...] *= 0.5
            table.mark_changed()

        task.fit(**FAST, backend=backend, on_step=halve)
        return found

    np.testing.assert_allclose(losses("jax"), losses("numpy"), rtol=2e-4)


# Dropout


def test_two_steps_draw_different_masks_and_a_run_again_the_same():
    def losses(seed):
        return curve(make("classify", dropout=0.5, seed=seed), backend="jax", lr=0.0, seed=seed)[:, 0]

    first = losses(0)
    assert len(set(first.tolist())) == len(first)
    np.testing.assert_array_equal(losses(0), first)
    assert not np.isclose(losses(1), first).any()


def test_recomputation_draws_the_same_masks():
    plain, recomputed = (
        curve(make("classify", dropout=0.5), backend="jax", recompute=wanted) for wanted in (False, True)
    )
    np.testing.assert_allclose(recomputed, plain, rtol=1e-5)


# Precision


def test_bfloat16_learns_as_float32_does_and_keeps_weights_in_float32():
    task = make("lm")
    found, expected = curve(task, backend="jax", precision="bfloat16"), curve(make("lm"), backend="jax")
    assert {value.dtype for value in weights_of(task).values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=0.02)
    assert not np.array_equal(found, expected)


# Shapes


def test_batches_of_many_lengths_compile_few_steps(capsys):
    draw = np.random.default_rng(0)
    pairs = [("a" * n, "b" * m) for n, m in draw.integers(1, 15, (300, 2))]
    task = nf.Translator.from_data(pairs, valid_fraction=0.0, tokenizer="characters", **PAIR)
    objective = task.objective(nf.TrainConfig(batch_tokens=100))
    batches = [objective.batch(step) for step in range(1, len(objective.batches) + 1)]
    padded_batches = [padded(batch, objective.fills, longest=16) for batch in batches]
    assert len({tuple(array.shape for array in batch) for batch in batches}) > 20
    assert len({tuple(array.shape for array in batch) for batch in padded_batches}) <= 10
    task.fit(**FAST | {"steps": 1, "progress": True}, backend="jax")
    said = capsys.readouterr().err
    assert "JAX on 1 device (cpu): a step is compiled first" in said
    assert "JAX compiled steps for 1 shape of batches\n" in said


@pytest.mark.parametrize("kind", ["classify", "regress", "tag", "seq2seq", "qa", "packed lm"])
def test_padding_changes_no_loss(kind, tmp_path):
    train = nf.TrainConfig(batch_size=5, label_smoothing=0.0 if kind == "regress" else 0.1)
    objective = make(kind, tmp_path, max_seq_len=40).objective(train)
    batch = objective.batch(1)
    longer = padded(batch, objective.fills, longest=48 if kind == "packed lm" else 40, multiple=7)
    assert len(longer[0]) > len(batch[0])
    assert longer[0].shape[1] > batch[0].shape[1]
    np.testing.assert_allclose(objective.loss_sum(*longer).item(), objective.loss_sum(*batch).item(), rtol=1e-5)


@pytest.mark.parametrize(("count", "most", "expected"), [(1, None, 8), (9, None, 12), (13, None, 16), (17, 20, 20)])
def test_lengths_are_rounded_up_and_never_over_the_longest(count, most, expected):
    tokens, _ = padded([np.ones((2, count), int), np.zeros(2)], [0], longest=most)
    assert tokens.shape == (8, expected)


def test_few_long_sequences_are_not_made_many():
    found = [len(padded([np.ones((rows, 65), int), np.zeros(rows)], [0])[0]) for rows in (1, 2, 3, 4, 5, 9)]
    assert found == [1, 2, 4, 4, 8, 12]


# What goes wrong


def test_a_loss_that_is_no_number_leaves_the_last_weights():
    task = make("classify")
    with pytest.raises(InputError, match="try a learning rate below"):
        task.fit(**FAST | {"lr": 1e30, "steps": 9, "clip_norm": 0.0}, backend="jax")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"backend": "torch"}, "unknown backend 'torch': choose numpy or jax"),
        (
            {"backend": "jax", "precision": "float16-storage"},
            "the backend jax computes with precision float32 or bfloat16",
        ),
        (
            {"precision": "bfloat16"},
            "the backend numpy computes with precision float32 or float16-storage, got bfloat16",
        ),
        ({"backend": "jax", "loss": nf.CrossEntropyLoss()}, "a loss of one's own is computed by NumPy alone"),
    ],
    ids=str,
)
def test_what_a_backend_cannot_do_is_said_in_one_sentence(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        make("classify").fit(**FAST | settings)


def test_backend_and_mesh_have_short_names_on_the_command_line(tmp_path, capsys):
    (tmp_path / "text.txt").write_text(TEXT)
    command = ["train", "lm", "--data", str(tmp_path / "text.txt"), "--out", str(tmp_path / "run")]
    assert main([*command, "--backend", "jax", "--mesh=rows=2"]) == 2
    assert "a mesh has the axes data, fsdp, model" in capsys.readouterr().err


def test_without_jax_the_way_to_it_is_said_before_anything_is_written(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("numformer.jax")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(InputError, match=r"need the package jax, 0.10 or newer: pip install 'numformer\[jax\]'"):
        make("classify").fit(**FAST, backend="jax", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
