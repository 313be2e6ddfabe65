import dataclasses
from typing import get_type_hints

import pytest

from numformer.training import FitSettings, OptimConfig, OptimSettings, TrainConfig, TrainSettings


@pytest.mark.parametrize(("config", "settings"), [(TrainConfig, TrainSettings), (OptimConfig, OptimSettings)])
def test_the_keywords_of_fit_are_the_fields_of_the_configs_with_their_types(config, settings):
    fields, keywords = get_type_hints(config), get_type_hints(settings)
    assert keywords == {field.name: fields[field.name] for field in dataclasses.fields(config)}


def test_fit_takes_the_keywords_of_both():
    assert get_type_hints(FitSettings) == get_type_hints(TrainSettings) | get_type_hints(OptimSettings)
