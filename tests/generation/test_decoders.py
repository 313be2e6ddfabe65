import numpy as np
import pytest

from numformer import GPT, InputError
from numformer.autograd import no_grad
from numformer.generation import generate
from numformer.generation.decoder import CachedDecoder, PlainDecoder, window_start

CONTEXT, VOCAB = 8, 13


@pytest.fixture
def model(randomise):
    """A GPT with weights of order 1, in float32, so that different tokens have clearly different logits."""
    model = GPT(vocab_size=VOCAB, d_model=16, num_heads=2, num_layers=2, max_seq_len=CONTEXT, dropout=0.2)
    return randomise(model).astype(np.float32).eval()


def prompts(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCAB, length).tolist() for length in lengths]


PROMPTS = [prompts(1), prompts(5), prompts(3, 3, 3, 3), prompts(1, 4, 2, 7), prompts(8, 2, 11, 30), prompts(20)]


@pytest.mark.parametrize("given", PROMPTS, ids=lambda rows: "-".join(str(len(row)) for row in rows))
def test_cached_logits_are_the_uncached_ones_for_every_prefix(model, given):
    rng = np.random.default_rng(1)
    with no_grad():
        plain, cached = PlainDecoder(model, given), CachedDecoder(model, given)
        for _ in range(3 * CONTEXT):
            expected = plain.next_logits()
            np.testing.assert_allclose(cached.next_logits(), expected, atol=1e-5 * max(1.0, abs(expected).max()))
            ids = rng.integers(0, VOCAB, len(given))
            plain.append(ids)
            cached.append(ids)


@pytest.mark.parametrize("use_cache", [True, False])
def test_rows_are_what_each_row_gives_alone(model, use_cache):
    given = prompts(1, 4, 2, 12)
    together = (CachedDecoder if use_cache else PlainDecoder)(model, given)
    alone = [PlainDecoder(model, [row]) for row in given]
    with no_grad():
        for step in range(2 * CONTEXT):
            expected = np.concatenate([decoder.next_logits() for decoder in alone])
            np.testing.assert_allclose(together.next_logits(), expected, atol=1e-5 * max(1.0, abs(expected).max()))
            ids = np.full(len(given), step % VOCAB)
            for decoder in (together, *alone):
                decoder.append(ids[: len(decoder.sequences)])


@pytest.mark.parametrize(
    ("length", "start"), [(1, 0), (8, 0), (9, 4), (12, 4), (13, 8), (16, 8), (17, 12), (100, 92), (101, 96)]
)
def test_half_a_context_is_dropped_when_a_sequence_outgrows_it(length, start):
    assert window_start(length, 8) == start


@pytest.mark.parametrize("context", [1, 2, 3, 7, 8])
def test_the_window_never_outgrows_the_context_nor_gets_empty(context):
    for length in range(1, 50):
        assert max(1, context - context // 2) <= length - window_start(length, context) + (length < context) * context
        assert 1 <= length - window_start(length, context) <= context


def test_past_the_context_the_logits_are_those_of_the_window_alone(model):
    tokens = prompts(21)[0]
    with no_grad():
        logits = CachedDecoder(model, [tokens]).next_logits()
        window = model(np.array([tokens[window_start(21, CONTEXT) :]])).data[0, -1]
    np.testing.assert_allclose(logits[0], window, atol=1e-5 * abs(window).max())


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
        ([[1]], {"max_new_tokens": -1}, "max_new_tokens must be at least 0, got -1"),
        ([[1]], {"seed": -3}, "seed must be at least 0, got -3"),
        ([[1]], {"temperature": -1.0}, "temperature"),
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


def test_the_cost_of_a_token_does_not_grow_with_the_text(model):
    shapes = spied(model)
    generate(model, prompts(1), 400)
    positions = [rows * length for rows, length in shapes]
    half = len(positions) // 2
    assert sum(positions[:half]) == pytest.approx(sum(positions[half:]), rel=0.1)
    assert sum(positions) < 3 * 400
