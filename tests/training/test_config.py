import dataclasses
import re
from collections.abc import Sequence
from typing import get_type_hints

import numpy as np
import pytest

from numformer import InputError, Parameter
from numformer.optim import GroupSettings, ParameterGroup, ScheduleConfig
from numformer.training import FitSettings, OptimConfig, OptimSettings, TrainConfig, TrainSettings
from numformer.training.settings import sort_settings


@pytest.mark.parametrize(("config", "settings"), [(TrainConfig, TrainSettings), (OptimConfig, OptimSettings)])
def test_the_keywords_of_fit_are_the_fields_of_the_configs_with_their_types(config, settings):
    fields, keywords = get_type_hints(config), get_type_hints(settings)
    expected = {field.name: fields[field.name] for field in dataclasses.fields(config)}
    if config is OptimConfig:
        expected["groups"] = Sequence[ParameterGroup | GroupSettings]  # dicts become objects in the config
    assert keywords == expected


def test_defaults_are_as_they_were():
    """They decide what a run computes."""
    assert dataclasses.asdict(TrainConfig()) == {
        **{"steps": 2000, "batch_size": None, "batch_tokens": None, "accumulation": 1, "label_smoothing": 0.0},
        **{"eval_every": 250, "eval_examples": 2000, "patience": 0, "log_every": 10, "seed": 0, "shards": 0},
        **{"threads": 0, "recompute": False, "precision": "float32", "backend": "numpy", "mesh": ""},
    }
    assert dataclasses.asdict(OptimConfig()) == {
        **{"optimizer": "adamw", "lr": 1e-3, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1},
        **{"momentum": 0.9, "clip_norm": 1.0, "schedule": "constant", "warmup_steps": 0, "min_lr_ratio": 0.0},
        **{"groups": (), "layer_decay": 1.0},
    }
    assert TrainConfig().max_sequences == 32


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_an_optimizer_is_built_with_every_setting_of_its_own(optimizer):
    settings = {"lr": 0.3, "betas": (0.1, 0.2), "eps": 0.5, "weight_decay": 0.7, "momentum": 0.6}
    built = OptimConfig(optimizer=optimizer, **settings).build([Parameter([[1.0]])])
    own = {"lr", "weight_decay"} | ({"momentum"} if optimizer == "sgd" else {"betas", "eps"})
    assert {name: getattr(built, name) for name in settings if hasattr(built, name)} == {n: settings[n] for n in own}


@pytest.mark.parametrize("config", [TrainConfig, OptimConfig, ScheduleConfig])
def test_a_misspelt_setting_of_a_config_is_the_same_error_as_one_of_fit(config, make_lm):
    with pytest.raises(InputError, match=r"^unknown setting stepz; known are ") as of_config:
        config(stepz=3)
    with pytest.raises(InputError, match=r"^unknown setting stepz; known are ") as of_fit:
        make_lm().fit(stepz=3)
    assert "\n" not in str(of_config.value) + str(of_fit.value)
    assert {field.name for field in dataclasses.fields(config)} <= set(re.findall(r"\w+", str(of_config.value)))


def test_fit_takes_the_keywords_of_both():
    assert get_type_hints(FitSettings) == get_type_hints(TrainSettings) | get_type_hints(OptimSettings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": "1e-3"}, "fit: lr must be float, got '1e-3'"),
        ({"steps": "3"}, "fit: steps must be int, got '3'"),
        ({"betas": 0.9}, "fit: betas must be a list of 2, got 0.9"),
        ({"betas": (0.9, "x")}, "fit: betas must be float, got 'x'"),
        ({"label_smoothing": None}, "fit: label_smoothing must be float, got None"),
        ({"recompute": "yes"}, "fit: recompute must be bool, got 'yes'"),
    ],
    ids=str,
)
def test_a_setting_of_the_wrong_kind_is_one_sentence(settings, message):
    with pytest.raises(InputError) as caught:
        sort_settings(TrainConfig(), OptimConfig(), settings)
    assert str(caught.value) == message


def test_numbers_of_numpy_are_settings_too():
    given = {"lr": np.float32(0.5), "steps": np.int64(3), "betas": (0.5, 0.75), "batch_size": None}
    train, optim = sort_settings(TrainConfig(), OptimConfig(), given)
    assert (train.steps, train.batch_size, optim.lr, optim.betas) == (3, None, 0.5, (0.5, 0.75))


@pytest.mark.parametrize("lr", ["1e-3", None, True])
def test_an_optimizer_takes_numbers_alone(lr):
    with pytest.raises(InputError, match=r"^lr must be a number, got "):
        OptimConfig(lr=lr).build([Parameter(np.zeros(2, np.float32))])
