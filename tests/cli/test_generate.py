"""The settings of generation as options of `generate`, `predict` and `translate`."""

import json

import pytest

from numformer import load


@pytest.fixture
def generate(finished_run, numformer):
    def call(*words):
        return numformer("generate", finished_run, "--prompt", "the", "--max-new-tokens", 15, *words)

    return call


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (["--repetition-penalty", 1.7, "--temperature", 0], {"repetition_penalty": 1.7, "temperature": 0.0}),
        (["--frequency-penalty", 2, "--presence-penalty=0.5"], {"frequency_penalty": 2.0, "presence_penalty": 0.5}),
        (["--no-repeat-ngram-size", 2, "--seed", 3], {"no_repeat_ngram_size": 2, "seed": 3}),
        (["--bad-words", "t", "he"], {"bad_words": ("t", "he")}),
        (["--logit-bias", 3, 9.5, 4, "-inf"], {"logit_bias": {3: 9.5, 4: float("-inf")}}),
        (["--num-beams", 3], {"num_beams": 3}),
        (
            ["--num-beams", 3, "--length-penalty=2", "--early-stopping", "never"],
            {"num_beams": 3, "length_penalty": 2.0, "early_stopping": "never"},
        ),
        (["--num-beams", 2, "--early-stopping", "True"], {"num_beams": 2, "early_stopping": True}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_options_are_the_settings_of_the_library(words, settings, generate, finished_run):
    assert generate(*words).out == "the" + load(finished_run).generate("the", 15, **settings) + "\n"


def test_the_samples_of_a_search_are_its_best(generate, finished_run):
    texts = load(finished_run).generate("the", 15, num_beams=3, num_samples=2)
    out = generate("--num-beams", 3, "--num-samples", 2).out
    assert [part.partition("\n")[2].strip() for part in out.split("--- sample ")[1:]] == [
        f"the{text}".strip() for text in texts
    ]


def test_an_option_that_is_given_goes_before_what_the_folder_says_even_with_its_default(numformer, here, finished_run):
    task = load(finished_run)
    task.save("model")
    (here / "model" / "generation_config.json").write_text(json.dumps({"do_sample": False}))
    words = ["generate", "model", "--prompt", "the", "--max-new-tokens", 15]
    assert numformer(*words).out == f"the{task.generate('the', 15, temperature=0.0)}\n"
    assert numformer(*words, "--temperature", 1).out == f"the{task.generate('the', 15)}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-beams", 3, "--top-k", 2], "top_k is for drawing tokens, not with num_beams=3"),
        (["--length-penalty", 2], "length_penalty is for num_beams above 1"),
        (["--no-repeat-ngrams", 2], "unrecognized options: --no-repeat-ngrams (did you mean --no-repeat-ngram-size?)"),
        (["--early-stopping", "soon", "--num-beams", 2], "early-stopping"),
        (["--logit-bias", 900, 1], "logit_bias and bad_words name the token 900, but the vocabulary has"),
        (["--no-repeat-ngram-size", 1, "--max-new-tokens", 500], "the rules of generation leave no token to choose"),
        (["--min-new-tokens", -1], "got min_new_tokens=-1, expected a whole number of at least 0"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(words, message, generate):
    result = generate(*words)
    assert result.status == 2
    assert message in result.err.splitlines()[-1]


@pytest.mark.parametrize("command", ["predict", "translate"])
def test_predictions_of_texts_take_the_same_options(command, runs_of_tasks, numformer):
    run = runs_of_tasks("seq2seq")
    words = ["--num-beams", 3, "--no-repeat-ngram-size", 2, "--bad-words", "a", "--early-stopping", "never"]
    settings = {"num_beams": 3, "no_repeat_ngram_size": 2, "bad_words": ("a",), "early_stopping": "never"}
    (expected,) = load(run).predict(["Ann"], max_new_tokens=6, **settings)
    out = numformer(command, run, "Ann", "--max-new-tokens", 6, *words).out.strip()
    assert (json.loads(out)["target"] if command == "predict" else out) == expected["target"]
    assert "a" not in expected["target"]


@pytest.mark.parametrize("command", ["generate", "predict", "translate"])
def test_help_says_the_rules(command, numformer):
    out = numformer(command, "--help").out
    for option in ("--repetition-penalty", "--no-repeat-ngram-size", "--bad-words", "--logit-bias", "--early-stopping"):
        assert option in out


def test_a_model_that_runs_under_jax_writes_the_same(generate, finished_run):
    pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")
    found, expected = (generate("--seed", 2, "--backend", kind) for kind in ("jax", "numpy"))
    assert (found.status, found.out) == (0, expected.out)


def test_an_unknown_backend_is_one_sentence(generate):
    found = generate("--backend", "torch")
    assert found.status == 2
    assert "torch" in found.err
    assert "numpy" in found.err
