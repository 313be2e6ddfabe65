"""Write generation.safetensors: the tokens that transformers chooses under each rule of generation and each kind of search.

Run: python tests/golden/make_golden_generation.py     (any Python with torch, transformers and numformer itself)

A random GPT-2 and a random Llama continue several prompts, each alone, with every setting of SETTINGS. `config` holds
their prompts, the keys of their config.json, and for each case the settings under the names of numformer and the end tokens;
`<model>.<case>` are the new ids [R N], filled up with -1: for every prompt so many rows as results were asked for.
"""

import numpy as np
import torch
import transformers
from make_golden import Arrays, save
from make_golden_architectures import GENERAL, saved
from make_golden_models import compact, randomise

VOCAB, CONTEXT, NEW, END = 24, 40, 28, 2
COMMON = {"vocab_size": VOCAB, **GENERAL}
MODELS = {
    "gpt2": {"n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": CONTEXT, "n_inner": 24},
    "llama": {
        **{"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2},
        **{"intermediate_size": 24, "max_position_embeddings": CONTEXT, "tie_word_embeddings": False},
    },
}
SHARPNESS, SEEDS = 0.3, (21, 39)  # these models tell the three kinds of early stopping apart
RARE = {"end": 15}
EARLY, PENALTIES = (False, True, "never"), (-1.0, 0.0, 0.6, 1.0, 2.0)
BEAMS = {"num_beams": 4, "num_return": 4}
SETTINGS: dict[str, dict] = {
    "greedy": {},
    "greedy_long": RARE,
    "repetition": {**RARE, "repetition_penalty": 1.7},
    "repetition_rewarded": {**RARE, "repetition_penalty": 0.8},
    "bigrams": {**RARE, "no_repeat_ngram_size": 2},
    "trigrams": {**RARE, "no_repeat_ngram_size": 3},
    "single": {**RARE, "no_repeat_ngram_size": 1, "max_new_tokens": 9},
    "bad_words": {**RARE, "bad_words": [[5], [1, 2], [11, 9], [2, 1], [16], [11, 6, 11], [15]]},
    "bias": {**RARE, "logit_bias": {3: 0.4, 8: -4.0, 1: -0.5, 11: -0.3}},
    "shortest": {"min_new_tokens": 9},
    "two_ends": {"end": [END, 9, 14]},
    "two_ends_shortest": {"end": [END, 9, 14], "min_new_tokens": 4},
    "all": {
        **{"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "bad_words": [[6], [1, 3]], "min_new_tokens": 5},
        **{"logit_bias": {END: 3.0, 4: -2.0}, "end": [END, 9]},
    },
    **{
        f"beams_{early}_{penalty:g}": {**BEAMS, "early_stopping": early, "length_penalty": penalty}
        for early in EARLY
        for penalty in PENALTIES
    },
    "beams_best": {"num_beams": 3},
    "beams_wide": {"num_beams": 7, "num_return": 3, "end": [END, 9]},
    "beams_repetition": {**BEAMS, "repetition_penalty": 1.5},
    "beams_bigrams": {**BEAMS, "no_repeat_ngram_size": 2, "early_stopping": True},
    "beams_bad_words": {**BEAMS, "bad_words": [[5], [7, 9], [16]], "early_stopping": "never"},
    "beams_bias": {**BEAMS, "logit_bias": {3: 1.5, 8: -4.0}},
    "beams_shortest": {**BEAMS, "min_new_tokens": 7},
    "beams_two_ends": {**BEAMS, "end": [END, 9, 14], "min_new_tokens": 2},
}


def theirs(settings: dict) -> dict:
    """The settings under the names of transformers."""
    named = {"num_return": "num_return_sequences", "bad_words": "bad_words_ids", "end": "eos_token_id"}
    found = {named.get(name, name): value for name, value in settings.items() if name != "logit_bias"}
    if "logit_bias" in settings:
        found["sequence_bias"] = [[[token], float(value)] for token, value in settings["logit_bias"].items()]
    return {"eos_token_id": END, "max_new_tokens": NEW, **found}


def new_ids(model: torch.nn.Module, prompts: list[list[int]], settings: dict) -> np.ndarray:
    """The new ids of every result, up to and with the first end token, filled up with -1."""
    ends = theirs(settings)["eos_token_id"]
    rows = []
    for prompt in prompts:
        given = torch.tensor([prompt])
        found = model.generate(
            given, attention_mask=torch.ones_like(given), do_sample=False, pad_token_id=0, **theirs(settings)
        )
        for row in found[:, len(prompt) :].tolist():
            stop = next((i + 1 for i, token in enumerate(row) if token in np.atleast_1d(ends)), len(row))
            rows.append(row[:stop] + [-1] * (NEW - stop))
    return np.array(rows)


def make_generation() -> None:
    arrays: Arrays = {}
    config: dict[str, dict] = {"cases": {n: {"end": END, "max_new_tokens": NEW, **s} for n, s in SETTINGS.items()}}
    for (model_type, sizes), seed in zip(MODELS.items(), SEEDS, strict=True):
        rng = np.random.default_rng(seed)
        prompts = [rng.integers(3, VOCAB, length).tolist() for length in (4, 1, 9, 6)]
        hf_config = transformers.AutoConfig.for_model(model_type, **COMMON, **sizes)
        model = randomise(transformers.AutoModelForCausalLM.from_config(hf_config), rng).float().eval()
        with torch.no_grad():  # less sure of the next token, so that hypotheses end early and late
            for weight in (model.transformer.ln_f if model_type == "gpt2" else model.model.norm).parameters():
                weight *= SHARPNESS
        keys, weights = saved(model)
        config[model_type] = {"keys": keys, "prompts": prompts}
        arrays |= {f"{model_type}.weight.{name}": value for name, value in weights.items()}
        for name, settings in SETTINGS.items():
            arrays[f"{model_type}.{name}"] = new_ids(model, prompts, settings)
        early = [np.stack([arrays[f"{model_type}.beams_{e}_{p:g}"] for p in PENALTIES]) for e in EARLY]
        assert not np.array_equal(early[0], early[1])
        assert not np.array_equal(early[0], early[2])
    save("generation", compact(arrays), config)


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    make_generation()
