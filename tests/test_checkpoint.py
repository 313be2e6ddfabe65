"""Weights of a model of one's own, and all that a loop of one's own needs to go on, in one file."""

import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import numformer as nf
from numformer import InputError, nn, ops, random


class Own(nn.Module):
    """A model of one's own whose output layer has the weights of its embedding."""

    def __init__(self, d_model=8):
        self.embedding = nn.Embedding(11, d_model)
        self.attention = nn.MultiHeadAttention(d_model, 2)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(d_model, 11)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        x = self.embedding(tokens)
        x = x + self.dropout(self.attention(x, causal=True)[0])
        return self.head(ops.tanh(x))


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


# Weights


def test_the_weights_of_a_model_of_ones_own_come_back_and_its_ties_stay(tmp_path):
    model, other = Own().eval(), Own().eval()
    nf.save_weights(model, tmp_path / "own.safetensors")
    nf.load_weights(other, tmp_path / "own.safetensors")
    tokens = np.array([[1, 2, 3]])
    np.testing.assert_array_equal(other(tokens).data, model(tokens).data)
    assert other.head.weight is other.embedding.weight
    assert same(load_file(tmp_path / "own.safetensors"), model.state_dict())


def test_a_file_of_other_weights_is_refused_with_every_name_and_changes_nothing(tmp_path):
    model = Own()
    arrays = model.state_dict()
    arrays["head.bias"], arrays["more"] = np.zeros(3, np.float32), np.zeros(1, np.float32)
    del arrays["attention.out_proj.bias"]
    save_file(arrays, tmp_path / "other.safetensors")
    before = model.state_dict()
    with pytest.raises(InputError, match=r"other\.safetensors: the weights do not fit Own: missing: .*") as caught:
        nf.load_weights(model, tmp_path / "other.safetensors")
    for part in ("attention.out_proj.bias", "unexpected: more", "head.bias (got [3], expected [11])"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert same(model.state_dict(), before)


@pytest.mark.parametrize("content", [None, b"", b"no weights"])
def test_a_file_that_is_missing_or_damaged_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "own.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"own\.safetensors"):
        nf.load_weights(Own(), tmp_path / "own.safetensors")


@pytest.mark.parametrize("save", [nf.save_weights, lambda model, path: nf.save_checkpoint(path, model=model)])
def test_no_other_file_is_written_over(save, tmp_path):
    (tmp_path / "model.py").write_text("mine")
    with pytest.raises(InputError, match=r"file that ends in \.safetensors, got .*model\.py"):
        save(Own(), tmp_path / "model.py")
    assert (tmp_path / "model.py").read_text() == "mine"


def test_a_crash_while_writing_leaves_the_weights_that_were_there(tmp_path, monkeypatch):
    file = tmp_path / "own.safetensors"
    nf.save_weights(Own(), file)
    before = file.read_bytes()

    def crash(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        nf.save_weights(Own(), file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


# Loops


class Loop:
    """A loop of one's own, with all that a user may have in it."""

    def __init__(self, seed=0):
        self.seed = seed
        ids = np.random.default_rng(0).integers(0, 11, (12, 5))
        self.loader = nf.DataLoader(nf.TensorDataset(ids[:, :-1], ids[:, 1:]), batch_size=4, shuffle=True, seed=7)
        self.model = Own()
        self.optimizer = nf.optim.AdamW(
            nf.optim.parameter_groups(self.model, [{"pattern": "embedding", "lr": 1e-3, "weight_decay": 0.0}]), lr=1e-2
        )
        schedule = nf.optim.ScheduleConfig(schedule="cosine", warmup_steps=4)
        self.scheduler = nf.optim.LRScheduler(self.optimizer, schedule, total_steps=30)
        self.step, self.losses = 0, []

    def run_epoch(self):
        for inputs, targets in self.loader:
            self.step += 1
            with random.use(random.Stream(self.seed, self.step)):
                loss = nf.CrossEntropyLoss()(self.model(inputs), targets)
            self.optimizer.zero_grad()
            loss.backward()
            nf.optim.clip_grad_norm(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.scheduler.step()
            self.losses.append(loss.item())

    @property
    def parts(self):
        return {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}

    def save(self, path):
        numbers = {"step": self.step, "epoch": self.loader.epoch, "losses": self.losses}
        nf.save_checkpoint(path, **self.parts, **numbers)

    def resume(self, path):
        numbers = nf.load_checkpoint(path, **self.parts)
        self.step, self.loader.epoch, self.losses = (numbers[name] for name in ("step", "epoch", "losses"))


@pytest.mark.parametrize("gradual", [False, True])
def test_a_loop_resumes_to_the_same_bits(tmp_path, gradual):
    file = tmp_path / "loop.safetensors"
    loop, other = Loop(), Loop()
    for each in (loop, other):
        if gradual:
            each.model.freeze("attention")
    for _ in range(2):
        loop.run_epoch()
    loop.save(file)
    other.resume(file)
    for each in (loop, other):
        each.model.unfreeze()
        for _ in range(2):
            each.run_epoch()
    assert same(other.model.state_dict(), loop.model.state_dict())
    assert same(other.optimizer.state_dict(), loop.optimizer.state_dict())
    assert other.losses == loop.losses
    assert len(loop.losses) == other.step == 12


def test_a_part_may_be_loaded_alone(tmp_path):
    loop, model = Loop(), Own()
    loop.save(tmp_path / "loop.safetensors")
    assert nf.load_checkpoint(tmp_path / "loop.safetensors", model=model) == {"step": 0, "epoch": 0, "losses": []}
    assert same(model.state_dict(), loop.model.state_dict())


def test_numbers_texts_and_lists_of_them_come_back_as_they_were(tmp_path):
    values = {"step": 3, "rate": 0.1 + 0.2, "name": "größe", "best": None, "history": [1, [2.5, True]], "at": {"a": 1}}
    nf.save_checkpoint(
        tmp_path / "a.safetensors", model=nn.ReLU(), **values, of_numpy=np.float32(0.5), many=np.arange(3)
    )
    found = nf.load_checkpoint(tmp_path / "a.safetensors", model=nn.ReLU())
    assert found == values | {"of_numpy": 0.5, "many": [0, 1, 2]}


def test_what_cannot_be_a_part_is_refused_and_the_file_stays(tmp_path):
    file = tmp_path / "loop.safetensors"
    nf.save_checkpoint(file, step=3)
    before = file.read_bytes()

    class Odd:
        def state_dict(self):
            return {"name": "text"}

        def load_state_dict(self, state):
            pass

    for part, message in [
        (object(), "has a state_dict, or is a number, a text, or a list or dict of such: got a object"),
        (nf.Tensor([1.0]), "got a Tensor"),
        (Odd(), "the state of part holds no array of numbers under 'name'"),
    ]:
        with pytest.raises(InputError, match=message):
            nf.save_checkpoint(file, part=part)
    assert file.read_bytes() == before


def test_a_checkpoint_that_does_not_fit_says_which_part(tmp_path):
    file, loop = tmp_path / "loop.safetensors", Loop()
    loop.save(file)
    with pytest.raises(InputError, match="has no part 'modell'; it has model, optimizer, scheduler"):
        nf.load_checkpoint(file, modell=loop.model)
    with pytest.raises(InputError, match=r"loop\.safetensors: model: the weights do not fit Own: of the wrong shape"):
        nf.load_checkpoint(file, model=Own(d_model=4))
    with pytest.raises(InputError, match=r"optimizer: this optimizer state does not belong to SGD on this model"):
        nf.load_checkpoint(file, optimizer=nf.optim.SGD(Own().parameters()))
    with pytest.raises(InputError, match="step has no state to load"):
        nf.load_checkpoint(file, step=0)
    nf.save_weights(loop.model, file)
    with pytest.raises(InputError, match="was not written by save_checkpoint"):
        nf.load_checkpoint(file, model=loop.model)
