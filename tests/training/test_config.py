import dataclasses
import re
from collections.abc import Sequence
from typing import get_type_hints

import pytest

from numformer import InputError, Parameter
from numformer.optim import GroupSettings, ParameterGroup, ScheduleConfig
from numformer.training import FitSettings, OptimConfig, OptimSettings, TrainConfig, TrainSettings


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
        **{"threads": 0, "recompute": False, "precision": "float32"},
    }
    assert dataclasses.asdict(OptimConfig()) == {
        **{"optimizer": "adamw", "lr": 1e-3, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1},
        **{"momentum": 0.9, "clip_norm": 1.0, "schedule": "constant", "warmup_steps": 0, "min_lr_ratio": 0.0},
        "groups": (),
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
