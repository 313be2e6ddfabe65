from concurrent.futures import ThreadPoolExecutor
from typing import get_type_hints

import numpy as np
import pytest

from numformer import GPT, InputError
from numformer.autograd import Tensor, no_grad
from numformer.generation import SamplingConfig, generate
from numformer.generation.generate import SamplingSettings

CONTEXT, VOCAB = 8, 13


@pytest.fixture
def model(randomise):
    """A GPT with weights of order 1, in float32, so that different tokens have clearly different logits."""
    model = GPT(vocab_size=VOCAB, d_model=16, num_heads=2, num_layers=2, max_seq_len=CONTEXT, dropout=0.2)
    return randomise(model).astype(np.float32).eval()


def prompts(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCAB, length).tolist() for length in lengths]


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.0}, {"top_k": 3, "repetition_penalty": 1.5}])
def test_the_cache_changes_no_token(model, settings):
    given = prompts(1, 4, 2)
    cached, plain = (generate(model, given, 30, seed=5, use_cache=use, **settings) for use in (True, False))
    for a, b in zip(cached, plain, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_row_is_the_same_whatever_the_other_rows_are(model):
    first = generate(model, prompts(3, 4), 20, seed=2)[0]
    np.testing.assert_array_equal(generate(model, prompts(3), 20, seed=2)[0], first)


def test_every_row_is_sampled_on_its_own(model):
    rows = generate(model, prompts(3) * 4, 20, temperature=5.0)
    assert len({tuple(row) for row in rows}) == 4


def test_the_seed_decides_the_text(model):
    texts = [generate(model, prompts(3), 20, seed=seed, temperature=5.0)[0].tolist() for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_greedy_takes_the_most_probable_token(model):
    with no_grad():
        expected = model(np.array(prompts(4))).data[0, -1].argmax()
    assert generate(model, prompts(4), 1, temperature=0.0)[0][-1] == expected


def test_results_begin_with_the_prompts_and_have_the_new_tokens(model):
    given = prompts(1, 5, 12)
    for prompt, row in zip(given, generate(model, given, 4), strict=True):
        assert row[: len(prompt)].tolist() == prompt
        assert len(row) == len(prompt) + 4


def test_each_row_stops_at_its_own_stop_token(model):
    given = prompts(2, 2, 2, 2, 2, 2)
    free = generate(model, given, 25, temperature=5.0)
    stopped = generate(model, given, 25, temperature=5.0, stop_ids=(0, 1))
    lengths = set()
    for whole, cut in zip(free, stopped, strict=True):
        ends = [i + 1 for i in range(2, len(whole)) if whole[i] in (0, 1)]
        np.testing.assert_array_equal(cut, whole[: min(ends, default=len(whole))])
        lengths.add(len(cut))
    assert len(lengths) > 2


def test_the_result_says_why_each_row_ended(model):
    def on_token(row, token):
        return row == 1

    rows = generate(model, prompts(2, 2, 2), 30, temperature=5.0, stop_ids=(0, 1, 2, 3), on_token=on_token)
    assert rows.ended[1] == ("stop" if rows[1][-1] < 4 else "callback")
    assert len(rows[1]) == 3
    for row in (0, 2):
        assert rows.ended[row] == ("stop" if rows[row][-1] < 4 else "length")
    assert generate(model, prompts(2), 0).ended == ["length"]
    assert generate(model, prompts(2), 3).ended == ["length"]


def test_a_stop_token_that_a_callback_ends_too_is_a_stop(model):
    assert generate(model, prompts(2), 5, stop_ids=range(VOCAB), on_token=lambda row, token: True).ended == ["stop"]


@pytest.mark.parametrize("vocab_size", [None, 9])
def test_log_probabilities_are_the_models_own(model, vocab_size):
    settings = {"temperature": 3.0, "top_k": 4, "repetition_penalty": 1.5, "vocab_size": vocab_size}
    rows = generate(model, prompts(1, 3), 4, **settings)
    for row, prompt, found in zip(rows, prompts(1, 3), rows.log_probabilities, strict=True):
        with no_grad():
            logits = model(row[None, :-1]).data[0, :, :vocab_size].astype(np.float64)
        expected = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        at = np.arange(len(prompt) - 1, len(row) - 1)
        np.testing.assert_allclose(found, expected[at, row[at + 1]], atol=1e-4)


def test_the_result_is_a_sequence_of_arrays_and_one_padded_array(model):
    rows = generate(model, prompts(1, 3), 4)
    assert len(rows) == 2
    assert [len(row) for row in rows] == [5, 7]
    np.testing.assert_array_equal(rows[-1], rows[1])
    assert [len(row) for row in rows[1:]] == [7]
    padded = rows.numpy()
    assert padded.shape == (2, 7)
    assert padded.dtype == np.int64
    np.testing.assert_array_equal(padded[0], [*rows[0], 0, 0])
    np.testing.assert_array_equal(rows.numpy(pad_id=9)[0], [*rows[0], 9, 9])
    assert repr(rows) == "Generation(2 rows of [5, 7] tokens, ended by ['length', 'length'])"


@pytest.mark.parametrize("kind", [np.array, Tensor, lambda rows: [Tensor(row) for row in rows], list, tuple])
def test_prompts_are_arrays_tensors_and_lists(model, kind):
    expected = generate(model, prompts(3, 3), 5, seed=1).numpy()
    np.testing.assert_array_equal(generate(model, kind(prompts(3, 3)), 5, seed=1).numpy(), expected)


def test_the_models_method_takes_what_pages_show(model):
    start = Tensor(np.array(prompts(3, 3)))
    found = model.generate(start_tokens=start, max_new_tokens=5, temperature=0.5)
    np.testing.assert_array_equal(found.numpy(), generate(model, prompts(3, 3), 5, temperature=0.5).numpy())


def test_settings_come_one_by_one_or_together(model):
    one_by_one = generate(model, prompts(3), 9, temperature=0.5, top_k=3)
    together = generate(model, prompts(3), 9, sampling=SamplingConfig(temperature=0.5, top_k=3))
    np.testing.assert_array_equal(one_by_one.numpy(), together.numpy())
    with pytest.raises(InputError, match="give sampling or its fields, not both; got sampling and top_k"):
        generate(model, prompts(3), 9, sampling=SamplingConfig(), top_k=3)
    assert get_type_hints(SamplingSettings) == get_type_hints(SamplingConfig)


def test_parts_in_different_modes_stay_in_them(model):
    model.train()
    model.layers[0].eval()
    before = {name: module.training for name, module in model.named_modules()}
    generate(model, prompts(3), 3)
    assert {name: module.training for name, module in model.named_modules()} == before


def test_two_threads_generate_from_one_model_at_once(model):
    expected = [generate(model, prompts(3, 5), 60, seed=seed).numpy() for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda seed: generate(model, prompts(3, 5), 60, seed=seed).numpy(), range(4)))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_thread_may_train_the_model_while_another_generates(model):
    model.train()
    expected = generate(model, prompts(3), 100).numpy()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lambda: generate(model, prompts(3), 100).numpy())
        while not future.done():
            assert model(np.array(prompts(3))).requires_grad
        np.testing.assert_array_equal(future.result(), expected)


def test_on_token_hears_every_token_and_may_end_a_row(model):
    heard = {0: [], 1: []}

    def on_token(row, token):
        heard[row].append(token)
        return row == 0 and len(heard[0]) == 3

    rows = generate(model, prompts(2, 3), 10, on_token=on_token)
    assert heard == {0: rows[0][2:].tolist(), 1: rows[1][3:].tolist()}
    assert [len(heard[0]), len(heard[1])] == [3, 10]


def test_ids_from_vocab_size_on_are_never_chosen(model):
    rows = generate(model, prompts(2) * 4, 40, temperature=20.0, vocab_size=3)
    assert {int(token) for row in rows for token in row[2:]} == {0, 1, 2}


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_what_it_was_even_after_an_error(model, training):
    model.train(training)
    generate(model, prompts(2), 2)
    assert {module.training for _, module in model.named_modules()} == {training}
    with pytest.raises(InputError):
        generate(model, [[VOCAB]], 2)
    assert model.training is training


def test_dropout_is_off_while_generating(model):
    model.train()
    rows = [generate(model, prompts(3), 20)[0].tolist() for _ in range(3)]
    assert rows[0] == rows[1] == rows[2]


def test_no_gradients_are_recorded(model):
    generate(model, prompts(3), 3)
    assert all(p.grad is None for p in model.parameters())


def test_no_new_tokens_return_the_prompts(model):
    assert [row.tolist() for row in generate(model, prompts(2, 3), 0)] == prompts(2, 3)


def test_the_model_method_takes_an_array(model):
    rows = model.generate(np.array(prompts(3, 3)), 2, seed=1)
    for a, b in zip(rows, generate(model, prompts(3, 3), 2, seed=1), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        ([], {}, "at least one prompt"),
        ([[]], {}, "at least one token in every prompt"),
        ([[1], []], {}, "at least one token in every prompt"),
        ([[1]], {"max_new_tokens": -1}, "max_new_tokens must be a whole number of at least 0, got -1"),
        ([[1]], {"seed": -3}, "seed must be a whole number of at least 0, got -3"),
        ([[1]], {"max_new_tokens": 2.5}, "max_new_tokens must be a whole number of at least 0, got 2.5"),
        ([[1]], {"temperature": -1.0}, "temperature"),
        ([[1]], {"temprature": 1.0}, "unknown setting temprature; known are bad_words, .*; did you mean temperature"),
        ([1, 2], {}, "a prompt must be a list of token ids"),
        ([[1.5]], {}, "a prompt must be a list of token ids"),
        ([[VOCAB]], {}, f"token ids run from {VOCAB}"),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(model, given, settings, message):
    with pytest.raises(InputError, match=message):
        generate(model, given, **settings)


def spied(model):
    """Return the list that will hold the shape of every input of the model."""
    shapes = []
    forward = model.forward
    model.forward = lambda tokens, **settings: (shapes.append(tokens.shape), forward(tokens, **settings))[1]
    return shapes


def test_after_the_prompt_the_model_sees_one_new_token_at_a_time(model):
    shapes = spied(model)
    generate(model, prompts(2, 3), 5)
    assert shapes == [(2, 3), *[(2, 1)] * 4]


def test_rows_that_have_ended_cost_nothing(model):
    shapes = spied(model)
    rows = generate(model, prompts(2, 3, 2, 3), 7, on_token=lambda row, token: row == 1)
    assert [len(row) for row in rows] == [9, 4, 9, 10]
    assert shapes[1] == (3, 1)
    shapes.clear()
    generate(model, prompts(2, 2, 2, 2), 6, temperature=5.0, stop_ids=range(5))
    running = [rows for rows, length in shapes]
    assert running == sorted(running, reverse=True)
    assert running[-1] < 4


def test_the_cost_of_a_token_does_not_grow_with_the_text(model):
    shapes = spied(model)
    generate(model, prompts(1), 400)
    positions = [rows * length for rows, length in shapes]
    half = len(positions) // 2
    assert sum(positions[:half]) == pytest.approx(sum(positions[half:]), rel=0.1)
    assert sum(positions) < 3 * 400
