"""Several sequences side by side in one row: each gives what it gives alone."""

import numpy as np
import pytest

from numformer import GPT, GPTConfig, InputError, gradients
from numformer.models import (
    Gemma2Config,
    Gemma3Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Qwen3Config,
    build_model,
)

SIZES = {"vocab_size": 11, "d_model": 8, "num_heads": 2, "num_layers": 2, "d_ff": 12, "max_seq_len": 12}
CONFIGS = {
    "gpt2": GPTConfig(**SIZES),
    "llama": LlamaConfig(**SIZES),
    "mistral": MistralConfig(**SIZES, sliding_window=3),
    "qwen3": Qwen3Config(**SIZES),
    "gemma2": Gemma2Config(**SIZES, sliding_window=3),
    "gemma3": Gemma3Config(**SIZES, sliding_window=3),
    "gpt_neox": GPTNeoXConfig(**SIZES, rotary_pct=0.5),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
LENGTHS = (5, 4, 1)


@pytest.fixture
def sequences():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 11, length) for length in LENGTHS]


@pytest.fixture
def row(sequences):
    numbers = np.concatenate([np.full(len(each), number) for number, each in enumerate(sequences)])
    return np.concatenate(sequences)[None], numbers[None]


def randomised(model):
    rng = np.random.default_rng(5)
    for parameter in model.parameters():
        parameter.data = (rng.standard_normal(parameter.shape) * 0.5).astype(np.float32)
    return model.eval()


@every_config
def test_a_packed_sequence_has_the_logits_that_it_has_alone(config, sequences, row):
    model = randomised(build_model(config, "lm"))
    tokens, segments = row
    packed = np.split(model(tokens, segments=segments).data[0], np.cumsum(LENGTHS)[:-1])
    for found, sequence in zip(packed, sequences, strict=True):
        np.testing.assert_allclose(found, model(sequence[None]).data[0], rtol=1e-4, atol=1e-4)


@every_config
def test_the_gradients_of_a_packed_row_are_those_of_its_sequences(config, sequences, row):
    model = randomised(build_model(config, "lm")).astype(np.float64)
    parameters = list(model.parameters())
    tokens, segments = row
    packed = gradients((model(tokens, segments=segments) ** 2).sum(), parameters)
    alone = [gradients((model(each[None]) ** 2).sum(), parameters) for each in sequences]
    for found, parts in zip(packed, zip(*alone, strict=True), strict=True):
        np.testing.assert_allclose(found, sum(part for part in parts if part is not None), rtol=1e-6, atol=1e-8)


@every_config
def test_logits_at_some_places_are_those_of_the_whole(config, row):
    model = randomised(build_model(config, "lm"))
    tokens, segments = row
    whole = model(tokens, segments=segments).data.reshape(-1, 11)
    at = np.array([0, 3, 9])
    np.testing.assert_allclose(model(tokens, segments=segments, at=at).data, whole[at], rtol=1e-5, atol=1e-6)


def test_segments_and_a_mask_of_padding_do_not_go_together(row):
    tokens, segments = row
    with pytest.raises(InputError, match="segments of a row go together with neither"):
        GPT(**SIZES).encode(tokens, np.ones_like(tokens), segments=segments)
