"""The tokens that transformers chooses under each rule and each kind of search; tests/golden/README.md names the keys."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from numformer.generation import BeamConfig, SamplingConfig, beam_search, generate
from numformer.models.disk import from_disk

FILE = Path(__file__).parents[1] / "golden" / "generation.safetensors"
with safe_open(FILE, "np") as opened:
    CONFIG = json.loads(opened.metadata()["config"])
    ARRAYS = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
MODELS = ("gpt2", "llama")
BEAMS = [name for name in CONFIG["cases"] if name.startswith("beams")]
GREEDY = [name for name in CONFIG["cases"] if not name.startswith("beams")]


@pytest.fixture(scope="module", params=MODELS)
def model_type(request):
    return request.param


@pytest.fixture(scope="module")
def model(model_type, in_memory):
    weights = {
        name.removeprefix(f"{model_type}.weight."): value
        for name, value in ARRAYS.items()
        if name.startswith(f"{model_type}.weight.")
    }
    model = from_disk(CONFIG[model_type]["keys"], "golden")
    model.load_state_dict(in_memory(model, weights))
    return model.astype(np.float32).eval()


def case(name):
    """Return the settings, the end tokens and the number of new tokens of a case."""
    settings = dict(CONFIG["cases"][name])
    if "logit_bias" in settings:
        settings["logit_bias"] = {int(token): value for token, value in settings["logit_bias"].items()}
    return settings, np.atleast_1d(settings.pop("end")).tolist(), settings.pop("max_new_tokens")


def expected_ids(model_type, name):
    return [row[row >= 0].tolist() for row in ARRAYS[f"{model_type}.{name}"]]


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("name", GREEDY)
def test_the_most_probable_tokens_under_each_rule_are_those_of_transformers(name, use_cache, model, model_type):
    settings, ends, max_new_tokens = case(name)
    sampling, prompts = SamplingConfig(temperature=0, **settings), CONFIG[model_type]["prompts"]
    found = generate(model, prompts, max_new_tokens, sampling=sampling, stop_ids=ends, use_cache=use_cache)
    new = [row[len(prompt) :].tolist() for row, prompt in zip(found, prompts, strict=True)]
    assert new == expected_ids(model_type, name)


@pytest.mark.parametrize("name", BEAMS)
def test_every_result_of_a_beam_search_is_that_of_transformers(name, model, model_type):
    settings, ends, max_new_tokens = case(name)
    found = beam_search(model, CONFIG[model_type]["prompts"], max_new_tokens, BeamConfig(**settings), eos_id=ends)
    expected = [ids[:-1] if ids[-1] in ends else ids for ids in expected_ids(model_type, name)]
    assert [hypothesis.ids for row in found for hypothesis in row] == expected


@pytest.mark.parametrize("name", ["beams_False_1", "beams_bigrams"])
def test_a_prompt_finds_alone_what_it_finds_among_others(name, model, model_type):
    settings, ends, max_new_tokens = case(name)
    config, prompts = BeamConfig(**settings), CONFIG[model_type]["prompts"]
    together = beam_search(model, prompts, max_new_tokens, config, eos_id=ends)
    alone = [beam_search(model, [prompt], max_new_tokens, config, eos_id=ends)[0] for prompt in prompts]
    assert [[h.ids for h in row] for row in together] == [[h.ids for h in row] for row in alone]
