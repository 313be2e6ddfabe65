"""`fit(loss=…)`: a loss of one's own in place of the task's, in training and validation."""

import numpy as np
import pytest

import numformer as nf
from numformer import InputError, ops
from numformer.cli.main import main
from numformer.data.squad import Question
from numformer.data.tagged.conll import TaggedSentence
from numformer.nn import MSELoss

SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 16, "dropout": 0.1}
PAIR = {"d_model": 16, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 1, "max_seq_len": 16}
FAST = {"steps": 3, "batch_size": 6, "shards": 2, "eval_every": 3, "progress": False}
TEXT = "one two three four five six seven\n" * 9
NAMES = ["Ann", "Ben came", "Cleo came late", "Dora", "Emil was late again", "Fay came"]


def make(kind):
    if kind in (nf.LanguageModel, nf.MaskedLanguageModel):
        return kind.from_text(TEXT, **SMALL)
    examples = {
        nf.Classifier: [(name, name[0]) for name in NAMES],
        nf.Regressor: [(name, float(len(name))) for name in NAMES],
        nf.Tagger: [TaggedSentence(name.split(), [word[0] for word in name.split()]) for name in NAMES],
        nf.Translator: [(name, name[::-1]) for name in NAMES],
        nf.QuestionAnswerer: [Question(name, "who", f"{name} it is", ((name, 0),)) for name in NAMES],
    }[kind]
    shape = PAIR if kind is nf.Translator else SMALL
    return kind.from_data(examples, valid=examples[:3], tokenizer="characters", **shape)


TASKS = [
    *(nf.LanguageModel, nf.MaskedLanguageModel, nf.Classifier, nf.Regressor, nf.Tagger, nf.Translator),
    nf.QuestionAnswerer,
]


@pytest.mark.parametrize("kind", TASKS)
def test_the_usual_loss_given_as_ones_own_gives_the_usual_training(kind):
    usual, own = make(kind), make(kind)
    plain = {} if kind is nf.Regressor else {"label_smoothing": 0.0}
    settings = FAST | {"optimizer": "sgd", "lr": 0.1}  # Adam would make much of what is rounding alone
    expected = usual.fit(**settings, **plain)
    found = own.fit(loss=MSELoss() if kind is nf.Regressor else nf.CrossEntropyLoss(), **settings)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    assert found.val_loss == pytest.approx(expected.val_loss, rel=1e-5)
    for name, value in usual.model.state_dict().items():
        np.testing.assert_allclose(own.model.state_dict()[name], value, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", TASKS)
def test_a_loss_gets_flat_outputs_and_the_targets_that_count(kind):
    shapes = []

    def loss(outputs, targets):
        shapes.append((outputs.ndim, outputs.shape[0], targets.shape, (targets == -100).sum()))
        return (outputs * outputs).mean() if outputs.ndim == 1 else nf.CrossEntropyLoss()(outputs, targets)

    make(kind).fit(loss=loss, **FAST | {"threads": 1})
    for ndim, count, shape, left_out in shapes:
        assert (ndim, (count,), left_out) == (1 if kind is nf.Regressor else 2, shape, 0)


def test_shards_of_unequal_size_weigh_by_their_targets():
    """Halving the loss halves its gradient, whatever the shards: the mean is over all targets of the batch."""

    def half(outputs, targets):
        return nf.CrossEntropyLoss()(outputs, targets) * 0.5

    norms = {}
    for shards in (1, 2, 3):
        seen = []
        settings = FAST | {"shards": shards, "steps": 1, "optimizer": "sgd", "clip_norm": 0.0}
        task = nf.Tagger.from_data(make(nf.Tagger).train_data, valid_fraction=0.0, **SMALL | {"dropout": 0.0})
        task.fit(loss=half, on_step=seen.append, **settings)
        norms[shards] = seen[0]["grad_norm"]
    usual = []
    task = nf.Tagger.from_data(make(nf.Tagger).train_data, valid_fraction=0.0, **SMALL | {"dropout": 0.0})
    task.fit(on_step=usual.append, **FAST | {"steps": 1, "optimizer": "sgd", "clip_norm": 0.0})
    assert list(norms.values()) == pytest.approx([usual[0]["grad_norm"] / 2] * 3, rel=1e-4)


def test_a_focal_loss_learns():
    def focal(logits, targets):
        chosen = ops.log_softmax(logits)[np.arange(len(targets)), targets]
        chances = ops.softmax(logits)[np.arange(len(targets)), targets]
        return ((1.0 - chances) * (1.0 - chances) * chosen * -1.0).mean()

    task = make(nf.Classifier)
    task.fit(loss=focal, **FAST | {"steps": 60, "lr": 1e-2})
    assert task.evaluate()["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            lambda outputs, targets: 0.5,
            "loss must return the mean over its targets, a Tensor with one number; got a float",
        ),
        (lambda outputs, targets: outputs.sum(axis=-1), r"a Tensor with one number; got a Tensor \[\d\]"),
        ("focal", "loss must be a function of outputs and targets, got 'focal'"),
    ],
)
def test_what_is_no_loss_is_refused_in_a_sentence(loss, message):
    with pytest.raises(InputError, match=message) as caught:
        make(nf.Classifier).fit(loss=loss, **FAST)
    assert "\n" not in str(caught.value)


def test_settings_of_the_usual_loss_are_refused_beside_ones_own():
    loss = nf.CrossEntropyLoss()
    with pytest.raises(InputError, match="class_weights and label_smoothing belong to the usual loss"):
        make(nf.Classifier).fit(loss=loss, label_smoothing=0.1, **FAST)
    weighted = nf.Classifier.from_data(
        [(name, name[0]) for name in NAMES], class_weights=True, valid_fraction=0.0, **SMALL
    )
    with pytest.raises(InputError, match="class_weights and label_smoothing belong to the usual loss"):
        weighted.fit(loss=loss, **FAST)


def focal(logits, targets):
    return nf.CrossEntropyLoss()(logits, targets)


def test_a_run_is_resumed_with_the_loss_it_began_with(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"{name},{name[0]}\n" for name in NAMES))

    def task():
        return nf.Classifier.from_data("a.csv", valid_fraction=0.0, **SMALL)

    task().fit(loss=focal, out="run", **FAST)
    assert 'loss = "focal"' in (tmp_path / "run" / "run.toml").read_text()
    longer = FAST | {"steps": 5, "out": "run", "resume": True}
    with pytest.raises(InputError, match="cannot resume: the loss of the run is focal, got the usual one: fit takes"):
        task().fit(**longer)
    with pytest.raises(InputError, match="the loss of the run is focal, got CrossEntropyLoss"):
        task().fit(loss=nf.CrossEntropyLoss(), **longer)
    assert task().fit(loss=focal, **longer).step == 5
    assert nf.load("run").predict(["Ann"])[0]["text"] == "Ann"

    capsys.readouterr()
    for words in (["--out", "run", "--resume"], ["--config", "run/run.toml", "--out", "again"]):
        assert main(["train", "classify", *words]) == 2
        assert (
            "run.toml is of a run with the loss 'focal', which only Python's fit(loss=…) takes"
            in capsys.readouterr().err
        )


def test_a_run_with_the_usual_loss_is_not_resumed_with_another(tmp_path):
    task = make(nf.Classifier)
    task.fit(out=tmp_path / "run", **FAST)
    with pytest.raises(InputError, match="cannot resume: the loss of the run is the usual one, got focal"):
        make(nf.Classifier).fit(loss=focal, out=tmp_path / "run", resume=True, **FAST | {"steps": 5})
