"""Forty steps that PyTorch recorded, replayed two ways; see tests/golden/README.md."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from numformer import GPT, CrossEntropyLoss, GPTConfig
from numformer.optim import AdamW, clip_grad_norm
from numformer.tasks.language_model import LanguageModelObjective
from numformer.training import TrainConfig
from numformer.training.step import TrainStep
from numformer.training.workers import Workers

GOLDEN = Path(__file__).parents[1] / "golden" / "curve.safetensors"


@pytest.fixture
def recorded():
    with safe_open(GOLDEN, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return arrays, json.loads(file.metadata()["config"])


@pytest.fixture
def model(recorded, in_memory):
    arrays, config = recorded
    model = GPT(GPTConfig.from_disk(config["model"]))
    model.load_state_dict(in_memory(model, arrays, "first."))
    return model


def adamw(model, recipe):
    settings = {name: recipe[name] for name in ("lr", "betas", "eps", "weight_decay")}
    return AdamW(model.parameters(), **settings)


def batches(arrays, context):
    data = arrays["data"].astype(np.int64)
    for offsets in arrays["offsets"]:
        windows = data[offsets[:, None] + np.arange(context + 1)]
        yield windows[:, :-1], windows[:, 1:]


def check(model, arrays, losses, norms, last):
    np.testing.assert_allclose(losses, arrays["loss"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(norms, arrays["grad_norm"], rtol=1e-4)
    for name, expected in last.items():
        np.testing.assert_allclose(model.state_dict()[name], expected, atol=2e-5, rtol=0, err_msg=name)


def test_a_loop_written_by_hand_follows_the_recorded_curve(recorded, model, in_memory):
    arrays, config = recorded
    recipe, loss_function = config["recipe"], CrossEntropyLoss()
    optimizer = adamw(model, recipe)
    losses, norms = [], []
    for inputs, targets in batches(arrays, recipe["context"]):
        loss = loss_function(model(inputs).reshape(-1, 65), targets.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        norms.append(clip_grad_norm(model.parameters(), recipe["clip"]))
        optimizer.step()
        losses.append(loss.item())
    check(model, arrays, losses, norms, in_memory(model, arrays, "last."))


@pytest.mark.parametrize(("pieces", "threads"), [(1, 1), (3, 2)])
def test_the_trainers_step_follows_the_recorded_curve(recorded, model, in_memory, pieces, threads):
    arrays, config = recorded
    recipe = config["recipe"]
    given = list(batches(arrays, recipe["context"]))

    class Recorded(LanguageModelObjective):
        def batch(self, step):
            return given[step - 1]

    task = Recorded(model, None, arrays["data"], None, TrainConfig())
    optimizer = adamw(model, recipe)
    with Workers(threads) as workers:
        results = [
            TrainStep(task, optimizer, workers, seed=0, shards=pieces, clip_norm=recipe["clip"])(step)
            for step in range(1, recipe["steps"] + 1)
        ]
    check(model, arrays, [r.loss for r in results], [r.grad_norm for r in results], in_memory(model, arrays, "last."))
