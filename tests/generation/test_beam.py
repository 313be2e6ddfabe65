import numpy as np
import pytest

from numformer import GPT, InputError
from numformer.autograd import no_grad
from numformer.generation import Session
from numformer.generation.beam import BeamConfig, Hypothesis, beam_search, search
from numformer.models import Transformer, TransformerConfig

PAD, BOS, EOS, VOCAB = 0, 1, 2, 5
PENALTIES = [0.0, 0.6, 1.0, 2.0, -1.0]
LENGTHS = [5, 2, 4]
every_penalty = pytest.mark.parametrize("penalty", PENALTIES)
several_models = pytest.mark.parametrize("seed", [0, 3])


class FunctionSession:
    """A session whose next logits are a function of the ids; notes the number of sequences of each step."""

    num_tokens = 10

    def __init__(self, function, *sequences):
        self.function, self.sequences = function, dict(enumerate(map(list, sequences)))
        self.rows = []

    def logits(self):
        self.rows.append(len(self.sequences))
        return {slot: np.array(self.function(ids)) for slot, ids in self.sequences.items()}

    def tokens(self, slot):
        return list(self.sequences[slot])

    def append(self, slot, token):
        self.sequences[slot].append(token)

    def fork(self, slot):
        twin = next(number for number in range(10**6) if number not in self.sequences)
        self.sequences[twin] = list(self.sequences[slot])
        return twin

    def retire(self, slot):
        del self.sequences[slot]

    def search(self, limit, config, eos_id=EOS):
        slots = list(self.sequences)
        found = search(self, slots, [limit] * len(slots), config, eos_id=eos_id)
        assert not self.sequences  # all that the search used is free afterwards
        return found


def by_last_token(table):
    return lambda ids: np.asarray(table)[ids[-1]]


def log_softmax(logits):
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def reference(next_logits, limit, config, eos_id=EOS, vocab_size=None):
    """Beam search in its simplest form, for one row: no cache, no batch, never an early end."""
    beam, finished = [([], 0.0)], []
    for length in range(1, limit + 1):
        extended = [
            ([*ids, token], total + log_probability)
            for ids, total in beam
            for token, log_probability in enumerate(log_softmax(next_logits(ids)[:vocab_size]))
        ]
        best, beam = sorted(extended, key=lambda pair: -pair[1]), []
        for rank, (ids, total) in enumerate(best):
            if ids[-1] == eos_id or length == limit:
                new = ids[:-1] if ids[-1] == eos_id else ids
                if rank < config.num_beams:
                    finished.append(Hypothesis(new, total / length**config.length_penalty, total))
            elif len(beam) < config.num_beams:
                beam.append((ids, total))
    return sorted(finished, key=lambda h: -h.score)[: config.num_return]


def assert_same(found, expected, atol=1e-9):
    assert [h.ids for h in found] == [h.ids for h in expected]
    np.testing.assert_allclose([h.score for h in found], [h.score for h in expected], atol=atol)
    np.testing.assert_allclose([h.log_probability for h in found], [h.log_probability for h in expected], atol=atol)


@pytest.fixture
def make(randomise):
    """Encoder-decoders with random weights; `sharpness` scales their logits."""

    def make(seed=0, sharpness=0.5):
        sizes = {"d_model": 8, "num_heads": 2, "d_ff": 12, "num_encoder_layers": 1, "num_decoder_layers": 2}
        vocabulary = {"src_vocab_size": VOCAB, "tgt_vocab_size": VOCAB, "max_seq_len": 12}
        model = randomise(Transformer(TransformerConfig(**sizes, **vocabulary, dropout=0.0)), seed=seed).eval()
        model.decoder.norm.weight.data *= sharpness
        model.decoder.norm.bias.data *= sharpness
        return model

    return make


@pytest.fixture
def gpt(randomise):
    model = randomise(GPT(vocab_size=VOCAB, d_model=8, num_heads=2, num_layers=2, d_ff=12, max_seq_len=8)).eval()
    model.norm.weight.data *= 0.5
    return model


@pytest.fixture
def src():
    ids = np.random.default_rng(0).integers(3, VOCAB, (3, 5))
    ids[np.arange(5) >= np.array(LENGTHS)[:, None]] = PAD
    return ids


def translate(model, src, limit, eos_id=EOS, vocab_size=None, **settings):
    sources, prompts = [row[row != PAD] for row in src], [[BOS]] * len(src)
    config = BeamConfig(**settings)
    return beam_search(model, prompts, limit, config, sources=sources, eos_id=eos_id, vocab_size=vocab_size)


def next_logits_of(model, row):
    """Return the function from new ids to the next logits for one source, run alone, unpadded and without a cache."""
    row, known = row[row != PAD][None], {}

    def next_logits(ids):
        if tuple(ids) not in known:
            with no_grad():
                known[tuple(ids)] = model(row, np.array([[BOS, *ids]])).data[0, -1]
        return known[tuple(ids)]

    return next_logits


def all_hypotheses(next_logits, limit, penalty):
    """Every sequence that ends within the limit or reaches it, best first."""
    found, open_ = [], [([], 0.0)]
    for length in range(1, limit + 1):
        prefixes, open_ = open_, []
        for ids, total in prefixes:
            for token, log_probability in enumerate(log_softmax(next_logits(ids))):
                new, score = [*ids, token], total + log_probability
                if token == EOS or length == limit:
                    new = ids if token == EOS else new
                    found.append(Hypothesis(new, score / length**penalty, score))
                else:
                    open_.append((new, score))
    return sorted(found, key=lambda h: -h.score)


# Against greedy, exhaustive and reference search


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sharpness", [0.2, 1.0])
def test_one_beam_is_greedy_decoding(seed, sharpness, make, src):
    model = make(seed, sharpness)
    for row, found in zip(src, translate(model, src, 8, num_beams=1), strict=True):
        ids, next_logits = [], next_logits_of(model, row)
        while len(ids) < 8 and (token := int(next_logits(ids).argmax())) != EOS:
            ids.append(token)
        assert [h.ids for h in found] == [ids]


@every_penalty
@several_models
def test_a_beam_wide_enough_finds_all_sequences_in_order(seed, penalty, make, src):
    model = make(seed)
    expected = all_hypotheses(next_logits_of(model, src[1]), 4, penalty)
    found = translate(model, src[1:2, :2], 4, num_beams=400, num_return=400, length_penalty=penalty)[0]
    assert len(found) == 1 + 4 + 16 + 64 * 5
    assert_same(found, expected)
    for number in (1, 3):
        few = translate(model, src[1:2, :2], 4, num_beams=400, num_return=number, length_penalty=penalty)[0]
        assert_same(few, expected[:number])


@every_penalty
@pytest.mark.parametrize("num_beams", [1, 2, 4])
def test_the_search_is_the_reference_search(num_beams, penalty, make, src):
    model, settings = make(num_beams, 0.3), {"num_beams": num_beams, "length_penalty": penalty}
    for row, found in zip(src, translate(model, src, 6, num_return=num_beams, **settings), strict=True):
        assert_same(found, reference(next_logits_of(model, row), 6, BeamConfig(num_return=num_beams, **settings)))
        assert_same(translate(model, row[row != PAD][None], 6, **settings)[0], found[:1])


@every_penalty
def test_with_early_stopping_never_ending_early_changes_no_result(penalty):
    ended_early = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        tables = rng.standard_normal((10, 6, 6)) * rng.uniform(0.3, 8.0)
        tables[..., EOS] += 3.0 * rng.standard_normal((10, 1))  # some steps make the end likely, others rule it out

        def logits(ids, tables=tables):
            return tables[len(ids), ids[-1]]

        num_beams, limit = int(rng.integers(1, 6)), int(rng.integers(1, 10))
        num_return = int(rng.integers(1, num_beams + 1))
        config = BeamConfig(num_beams=num_beams, num_return=num_return, length_penalty=penalty, early_stopping="never")
        session = FunctionSession(logits, [BOS])
        found = session.search(limit, config)[0]
        assert_same(found, reference(lambda ids, logits=logits: logits([BOS, *ids]), limit, config))
        ended_early += len(session.rows) < limit
    assert ended_early > 10


@pytest.mark.parametrize(
    ("penalty", "table", "ids", "score"),
    [  # rows: after 0, after the start, after the end, after 3
        (1.0, [[1, 0, 0, 0], [0, 0, 0.7, 0.3], [0, 0, 1, 0], [0, 0, 0, 1]], [3] * 5, np.log(0.3) / 5),
        (-1.0, [[1, 0, 0, 0], [0.45, 0, 0.05, 0.5], [0, 0, 1, 0], [0.1, 0, 0.9, 0]], [3], np.log(0.5 * 0.9) * 2),
    ],
)
def test_the_search_goes_on_while_a_longer_hypothesis_can_still_win(penalty, table, ids, score):
    with np.errstate(divide="ignore"):
        session = FunctionSession(by_last_token(np.log(table)), [BOS])
    found = session.search(5, BeamConfig(num_beams=3, length_penalty=penalty, early_stopping="never"))[0][0]
    assert found.ids == ids
    assert found.score == pytest.approx(score)


def test_the_search_ends_when_nothing_can_come_before_the_results():
    table = np.zeros((VOCAB, VOCAB))
    table[:, EOS] = 50.0
    for early_stopping in (False, True, "never"):
        session = FunctionSession(by_last_token(table), [BOS])  # three beams: a search ends with three hypotheses
        config = BeamConfig(num_beams=3, num_return=3, early_stopping=early_stopping, length_penalty=0.0)
        assert len(session.search(100, config)[0]) == 3
        assert len(session.rows) == 2


# Scores


@every_penalty
def test_scores_are_teacher_forced_log_probabilities_over_a_power_of_the_length(penalty, make, src):
    limit, lengths = 6, set()
    for seed in range(2):
        model = make(seed, 0.3)
        rows = translate(model, src, limit, num_beams=4, num_return=4, length_penalty=penalty)
        for row, found in zip(src, rows, strict=True):
            for hypothesis in found:
                ids, ended = hypothesis.ids, len(hypothesis.ids) < limit
                tokens = [*ids, EOS] if ended else ids
                with no_grad():
                    logits = model(row[row != PAD][None], np.array([[BOS, *tokens[:-1]]])).data[0]
                total = sum(log_softmax(step)[token] for step, token in zip(logits, tokens, strict=True))
                assert EOS not in ids
                assert hypothesis.log_probability == pytest.approx(total, abs=1e-9)
                assert hypothesis.score == pytest.approx(total / len(tokens) ** penalty, abs=1e-9)
                lengths.add(len(tokens))
    assert len(lengths) >= (3 if penalty < 2 else 1)  # a large penalty favours the longest


@pytest.mark.parametrize(
    ("penalty", "ids", "scores"),
    [
        (0.0, [[], [3], [3, 0]], [np.log(0.4), np.log(0.36), np.log(0.24)]),
        (1.0, [[3], [3, 0], []], [np.log(0.36) / 2, np.log(0.24) / 2, np.log(0.4)]),
        (2.0, [[3], [3, 0], []], [np.log(0.36) / 4, np.log(0.24) / 4, np.log(0.4)]),
        (-1.0, [[], [3], [3, 0]], [np.log(0.4), np.log(0.36) * 2, np.log(0.24) * 2]),
    ],
)
def test_scores_by_hand(penalty, ids, scores):
    """The end token (2) counts in the length: [3] and the end are two tokens, as are [3, 0] at the limit."""
    with np.errstate(divide="ignore"):
        table = np.log([[0, 0, 1, 0], [0, 0, 0.4, 0.6], [0, 0, 1, 0], [0.4, 0, 0.6, 0]])
    config = BeamConfig(num_beams=3, num_return=3, length_penalty=penalty)
    found = FunctionSession(by_last_token(table), [BOS]).search(2, config)[0]
    assert [h.ids for h in found] == ids
    np.testing.assert_allclose([h.score for h in found], scores)


@every_penalty
@several_models
def test_results_come_best_first_and_none_twice(seed, penalty, make, src):
    for found in translate(make(seed), src, 6, num_beams=5, num_return=5, length_penalty=penalty):
        scores = [h.score for h in found]
        assert scores == sorted(scores, reverse=True)
        assert len({tuple(h.ids) for h in found}) == len(found) == 5


# Batches


@every_penalty
def test_a_batch_is_its_rows_one_by_one(penalty, make, src):
    model, settings = make(sharpness=0.3), {"num_beams": 3, "num_return": 3, "length_penalty": penalty}
    together = translate(model, src, 7, **settings)
    for row, length, found in zip(src, LENGTHS, together, strict=True):
        assert_same(found, translate(model, row[None, :length], 7, **settings)[0])


def test_float32_batches_give_the_ids_of_their_rows(make, src):
    model = make(sharpness=0.3).astype(np.float32)
    together = translate(model, src, 7, num_beams=3, num_return=3)
    for row, length, found in zip(src, LENGTHS, together, strict=True):
        assert_same(found, translate(model, row[None, :length], 7, num_beams=3, num_return=3)[0], atol=1e-5)


@pytest.mark.parametrize("limits", [[6, 1, 3], [0, 4, 0], [2, 0, 5], [0, 0, 0], [1, 1, 1]], ids=str)
def test_each_row_has_a_limit_of_its_own(limits, make, src):
    model, settings = make(sharpness=0.3), {"num_beams": 3, "num_return": 2}
    rows = translate(model, src, limits, **settings)
    for row, limit, found in zip(src, limits, rows, strict=True):
        assert_same(found, reference(next_logits_of(model, row), limit, BeamConfig(**settings)))
        assert all(len(h.ids) <= limit for h in found)
        assert len(found) == (2 if limit else 0)


def test_a_row_that_is_done_costs_nothing_more():
    table = np.zeros((VOCAB, VOCAB))
    table[3, EOS] = 50.0
    session = FunctionSession(lambda ids: table[ids[0]], [3], [BOS])
    session.search(4, BeamConfig(num_beams=2))
    assert session.rows == [2, 4, 2, 2]


# The end token, the vocabulary, extreme logits


def test_without_an_end_token_every_result_has_the_full_length(make, src):
    model, config = make(), BeamConfig(num_beams=3, num_return=3)
    for row, found in zip(src, translate(model, src, 5, eos_id=None, num_beams=3, num_return=3), strict=True):
        assert [len(h.ids) for h in found] == [5, 5, 5]
        assert_same(found, reference(next_logits_of(model, row), 5, config, eos_id=None))


@pytest.mark.parametrize("vocab_size", [3, 4])
def test_ids_from_vocab_size_on_are_never_chosen_and_count_nothing(vocab_size, make, src):
    model, settings = make(sharpness=0.3), {"num_beams": 3, "num_return": 3}
    free = translate(model, src, 5, **settings)
    assert any(max(h.ids, default=0) >= vocab_size for found in free for h in found)
    for row, found in zip(src, translate(model, src, 5, vocab_size=vocab_size, **settings), strict=True):
        assert all(max(h.ids, default=0) < vocab_size for h in found)
        expected = reference(next_logits_of(model, row), 5, BeamConfig(**settings), vocab_size=vocab_size)
        assert_same(found, expected)


def test_a_token_of_no_probability_is_never_chosen_even_when_beams_are_left_over():
    table = np.full((3, 3), -np.inf)
    table[BOS, EOS] = table[BOS, BOS] = 0.0
    found = FunctionSession(by_last_token(table), [BOS]).search(2, BeamConfig(num_beams=9, num_return=9))[0]
    assert sorted(h.ids for h in found) == [[], [BOS], [BOS, BOS]]


def test_logits_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match="logits are not numbers"):
        FunctionSession(by_last_token(np.full((3, 3), np.nan)), [BOS]).search(2, BeamConfig())


def test_huge_logits_give_finite_scores():
    table = np.random.default_rng(0).choice([-1e4, 0.0, 1e4], (VOCAB, VOCAB))
    found = FunctionSession(by_last_token(table), [BOS]).search(4, BeamConfig(num_return=4), eos_id=None)[0]
    assert all(np.isfinite(h.score) and h.log_probability <= 0.0 for h in found)


# Language models


@pytest.mark.parametrize("use_cache", [True, False])
@every_penalty
def test_language_models_continue_prompts_of_unequal_length(use_cache, penalty, gpt):
    prompts = [[3], [4, 1, 3, 3], [1, 4, 0, 3, 4, 1, 3], [3, 4]]  # the third outgrows the context of 8
    config = BeamConfig(num_beams=3, num_return=3, length_penalty=penalty)
    session = Session(gpt, 12, sliding=True, use_cache=use_cache)
    rows = search(session, [session.admit(prompt) for prompt in prompts], [5] * 4, config, eos_id=EOS)
    assert session.active == []
    for found, again in zip(beam_search(gpt, prompts, 5, config, eos_id=EOS), rows, strict=True):
        assert_same(found, again, atol=1e-6)
    for prompt, found in zip(prompts, rows, strict=True):

        def next_logits(ids, prompt=prompt):
            alone = Session(gpt, 1, sliding=True, use_cache=False)
            alone.admit(prompt + ids)
            return alone.logits()[0]

        assert_same(found, reference(next_logits, 5, config))


def test_a_search_changes_neither_the_model_nor_what_it_is_given(gpt):
    prompts = [[3], [4, 1]]
    before = gpt.state_dict()
    first, again = (beam_search(gpt, prompts, 4, BeamConfig(), eos_id=EOS) for _ in range(2))
    assert first == again
    assert prompts == [[3], [4, 1]]
    assert all(np.array_equal(value, before[name]) for name, value in gpt.state_dict().items())


def test_no_prompts_have_no_continuations(gpt):
    assert beam_search(gpt, [], 4, BeamConfig()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 0}, "num_beams must be at least 1, got 0"),
        ({"num_beams": 2, "num_return": 3}, "num_return must be from 1 to num_beams=2, got 3"),
        ({"num_return": 0}, "num_return must be from 1 to num_beams=4, got 0"),
        ({"num_beams": 2.5}, "num_beams must be a whole number, got 2.5"),
        ({"length_penalty": float("nan")}, "length_penalty must be a number from -10 to 10, got nan"),
        ({"length_penalty": float("inf")}, "length_penalty must be a number from -10 to 10, got inf"),
        ({"length_penalty": 1000}, "length_penalty must be a number from -10 to 10, got 1000"),
        ({"length_penalty": -1000.0}, "length_penalty must be a number from -10 to 10, got -1000.0"),
        ({"length_penalty": "long"}, "length_penalty must be a number from -10 to 10, got 'long'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        BeamConfig(**settings)


@pytest.mark.parametrize("penalty", [-10.0, 10.0])
def test_the_largest_penalties_give_finite_scores_that_order_by_length(penalty):
    table = np.zeros((VOCAB, VOCAB))
    table[:, EOS] = 1.0
    config = BeamConfig(num_beams=4, num_return=4, length_penalty=penalty)
    found = FunctionSession(by_last_token(table), [BOS]).search(3000, config)[0]
    assert all(np.isfinite(h.score) for h in found)
    lengths = [len(h.ids) for h in found]
    assert lengths == sorted(lengths, reverse=penalty > 0)


def test_a_misspelt_setting_is_refused_with_the_one_that_may_be_meant():
    with pytest.raises(InputError, match=r"unknown setting beams; known are .*; did you mean num_beams\?$"):
        BeamConfig(beams=2)
