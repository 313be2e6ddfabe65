"""Sessions whose requests have rules, tell alternatives, and take over what others have read."""

import numpy as np
import pytest

from numformer import GPT, InputError, Llama
from numformer.autograd import no_grad
from numformer.generation import SamplingConfig, Session, generate, score
from numformer.generation.window import window_start
from numformer.models import Transformer, TransformerConfig

CONTEXT, VOCAB = 8, 13
RULES = {
    "repetition": {"repetition_penalty": 1.8},
    "frequency": {"frequency_penalty": 0.7},
    "presence": {"presence_penalty": 1.5},
    "bigrams": {"no_repeat_ngram_size": 2},
    "words": {"bad_words": [[3], [1, 2], [5, 4]]},
    "bias": {"logit_bias": {2: 1.0, 6: -3.0}},
    "shortest": {"min_new_tokens": 11},
}
every_rule = pytest.mark.parametrize("rule", RULES)


@pytest.fixture(params=["gpt", "llama"])
def model(request, randomise):
    sizes = {"vocab_size": VOCAB, "d_model": 16, "num_heads": 2, "num_layers": 2, "max_seq_len": CONTEXT}
    made = GPT(**sizes) if request.param == "gpt" else Llama(**sizes, d_ff=24)
    return randomise(made).astype(np.float32).eval()


@pytest.fixture
def translator(randomise):
    sizes = {"d_model": 8, "num_heads": 2, "d_ff": 12, "num_encoder_layers": 1, "num_decoder_layers": 1}
    vocabulary = {"src_vocab_size": VOCAB, "tgt_vocab_size": VOCAB, "max_seq_len": CONTEXT}
    return randomise(Transformer(TransformerConfig(**sizes, **vocabulary, dropout=0.0))).eval()


def prompts(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCAB, length).tolist() for length in lengths]


def spied(model):
    """Return the list that will hold the shape of every input of the model."""
    shapes = []
    forward = model.forward
    model.forward = lambda tokens, **settings: (shapes.append(np.shape(tokens)), forward(tokens, **settings))[1]
    return shapes


def run(session):
    """Step until all requests have ended; return the new ids of every slot."""
    written = {slot: [] for slot in session.active}
    while session.active:
        for step in session.step():
            written[step.slot].append(step.id)
    return written


# Rules


@every_rule
@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_with_each_rule_the_cache_changes_nothing_past_the_context(rule, temperature, model):
    settings = {"temperature": temperature, "stop_ids": [7], **RULES[rule]}
    found = [generate(model, prompts(1, 5, 12), 3 * CONTEXT, use_cache=use, **settings) for use in (True, False)]
    assert [row.tolist() for row in found[0]] == [row.tolist() for row in found[1]]


@every_rule
def test_with_each_rule_a_row_of_a_ragged_batch_is_what_it_is_alone(rule, model):
    given, settings = prompts(1, 5, 12, 3), {"temperature": 0.0, "stop_ids": [7], **RULES[rule]}
    together = generate(model, given, 12, **settings)
    alone = [generate(model, [prompt], 12, **settings)[0].tolist() for prompt in given]
    assert [row.tolist() for row in together] == alone


def test_a_seeded_request_does_not_depend_on_the_others(model):
    config = SamplingConfig(temperature=3.0, frequency_penalty=0.3, no_repeat_ngram_size=2)
    session, alone = Session(model, 3, sliding=True), Session(model, 1, sliding=True)
    session.admit([1, 2, 3], SamplingConfig(temperature=5.0, repetition_penalty=2.0), seed=9, max_new_tokens=12)
    session.step()
    slot = session.admit([4, 5], config, seed=6, max_new_tokens=10)
    session.admit([6], SamplingConfig(temperature=0.0, bad_words=[[1]]), max_new_tokens=3)
    alone.admit([4, 5], config, seed=6, max_new_tokens=10)
    assert run(session)[slot] == run(alone)[0]


def test_each_row_may_have_end_tokens_of_its_own(model):
    given = prompts(3, 3)
    given[1] = given[0]
    first = int(generate(model, given, 1, temperature=0.0)[0][-1])
    rows = generate(model, given, 6, temperature=0.0, stop_ids=[[first, 1], []])
    assert [len(row) for row in rows] == [4, 9]
    assert rows.ended == ["stop", "length"]
    with pytest.raises(InputError, match="stop_ids must be a list of token ids, or such a list for each of 2 rows"):
        generate(model, given, 6, stop_ids=[[1]])


def test_a_function_of_ones_own_chooses_the_tokens(model):
    def next_even(ids, logits):
        logits[:] = -np.inf
        logits[(ids[-1] + 2) % VOCAB] = 0.0
        return logits

    assert generate(model, [[1], [2, 4]], 4, processors=[next_even]).numpy(0).tolist() == [
        [1, 3, 5, 7, 9, 0],
        [2, 4, 6, 8, 10, 12],
    ]


def test_rules_that_leave_no_token_are_said(model):
    session = Session(model, 2)
    session.admit([1, 2], SamplingConfig(logit_bias=dict.fromkeys(range(VOCAB), -np.inf)))
    with pytest.raises(InputError, match="slot 0: the rules of generation leave no token to choose"):
        session.step()
    with pytest.raises(InputError, match="leave no token to choose"):
        generate(model, [[1, 2]], 30, no_repeat_ngram_size=1)


# Log-probabilities


def test_log_probabilities_and_alternatives_are_those_of_the_log_softmax(model):
    """They are the model's own, whatever the rules."""
    found = generate(model, prompts(2, 3), 5, num_alternatives=4, temperature=2.0, repetition_penalty=3.0, seed=1)
    for row, prompt, own, others in zip(found, prompts(2, 3), found.log_probabilities, found.alternatives, strict=True):
        with no_grad():
            logits = model(row[None]).data[0].astype(np.float64)
        expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        for number, (log_probability, alternatives) in enumerate(zip(own, others, strict=True)):
            at = len(prompt) + number
            row_of = expected[at - 1]
            assert log_probability == pytest.approx(row_of[row[at]], abs=1e-5)
            assert [token for token, _ in alternatives] == np.argsort(-row_of)[:4].tolist()
            np.testing.assert_allclose([p for _, p in alternatives], np.sort(row_of)[::-1][:4], atol=1e-5)


def test_alternatives_are_told_to_those_who_ask(model):
    session = Session(model, 2)
    session.admit([1], num_alternatives=VOCAB + 5)
    session.admit([2])
    first, second = session.step()
    assert len(first.alternatives) == VOCAB
    assert sum(np.exp(p) for _, p in first.alternatives) == pytest.approx(1.0)
    assert second.alternatives == ()
    with pytest.raises(InputError, match="num_alternatives must be a whole number of at least 0, got -1"):
        Session(model, 1).admit([1], num_alternatives=-1)


@pytest.mark.parametrize("length", [1, 2, 8, 9, 13, 30, 150])
def test_the_score_of_a_prompt_is_what_a_session_without_a_cache_gives_its_tokens(length, model):
    (ids,) = prompts(length, seed=length)
    expected = []
    with no_grad():
        for at in range(1, length):
            logits = model(np.array([ids[window_start(at, CONTEXT) : at]])).data[0, -1].astype(np.float64)
            expected.append(logits[ids[at]] - np.log(np.exp(logits).sum()))
    np.testing.assert_allclose(score(model, [ids])[0], expected, atol=1e-5)


def test_what_was_generated_has_the_scores_that_it_was_given(model):
    found = generate(model, prompts(3), 20, temperature=2.0)
    np.testing.assert_allclose(score(model, found)[0][2:], found.log_probabilities[0], atol=1e-5)


def test_scores_of_wrong_prompts_are_refused(model):
    with pytest.raises(InputError, match=r"a list of one token id or more, got an array of shape \(0,\)"):
        score(model, [[]])
    with pytest.raises(InputError, match="token ids run from"):
        score(model, [[1, VOCAB]])


# What a slot has read, for the next turn


@pytest.mark.parametrize("sliding", [True, False])
@pytest.mark.parametrize("lengths", [(2, 3, 2), (1, 1, 1), (3, 1, 4), (7, 9, 20)])
def test_a_prompt_that_takes_a_slot_over_gives_what_it_gives_alone(lengths, sliding, model):
    if not sliding and sum(lengths) > CONTEXT:
        lengths = (2, 2, 1)
    session, ids, slot = Session(model, 2, sliding=sliding), [], None
    other = session.admit([5, 5], keep=True)
    for turn, length in enumerate(lengths):
        ids = ids + prompts(length, seed=turn)[0]
        slot = session.admit(ids, SamplingConfig(temperature=0.0), max_new_tokens=1, keep=True, reuse=slot)
        logits = session.logits()[slot]
        alone = Session(model, 1, sliding=sliding, use_cache=False)
        alone.admit(ids)
        np.testing.assert_allclose(logits, alone.logits()[0], atol=1e-4)
        session.retire(other)  # rows move
        other = session.admit([5, 5], keep=True)


@pytest.mark.parametrize("new", [[1, 2, 3, 4, 5], [1, 2, 9], [1, 2, 3], [1], [7, 8], [1, 2, 3, 4]])
def test_what_a_taken_slot_does_not_share_is_forgotten(new, model):
    session, alone = Session(model, 1), Session(model, 1, use_cache=False)
    session.admit([1, 2, 3, 4], keep=True)
    session.logits()
    assert session.admit(new, reuse=0) == 0
    alone.admit(new)
    for _ in range(3):
        np.testing.assert_allclose(session.logits()[0], alone.logits()[0], atol=1e-4)
        for each in (session, alone):
            each.append(0, 6)
    assert session.tokens(0) == [*new, 6, 6, 6]


def test_a_shared_beginning_is_not_read_again(model):
    session, shapes = Session(model, 2), spied(model)
    slot = session.admit([1, 2, 3], SamplingConfig(temperature=0.0), max_new_tokens=2, keep=True)
    run(session)
    before = session.tokens(slot)
    session.admit([*before, 5, 6], reuse=slot)
    session.step()
    assert shapes == [(1, 3), (1, 1), (1, 2)]


def test_a_slot_tells_what_the_model_has_yet_to_read(model):
    session = Session(model, 1)
    slot = session.admit([1, 2, 3, 4], keep=True)
    assert session.num_unread(slot) == 4
    session.logits()
    assert session.num_unread(slot) == 0
    session.admit([1, 2, 3, 5, 6], keep=True, reuse=slot)
    assert session.num_unread(slot) == 2
    session.logits()
    session.admit([1, 2, 3, 5, 6], reuse=slot)
    assert session.num_unread(slot) == 1  # for its logits


def test_a_prompt_that_takes_over_a_window_that_has_moved_is_read_anew(model):
    session, alone = Session(model, 1, sliding=True), Session(model, 1, use_cache=False)
    slot = session.admit(prompts(CONTEXT + 3)[0], keep=True)
    session.logits()
    new = session.tokens(slot)[:3]
    session.admit(new, reuse=slot)
    alone.admit(new)
    np.testing.assert_allclose(session.logits()[slot], alone.logits()[0], atol=1e-4)


def test_an_ended_request_keeps_its_slot_until_it_is_retired_or_taken(model):
    session = Session(model, 1)
    slot = session.admit([1, 2], max_new_tokens=1, keep=True)
    assert session.step()[0].ended == "length"
    assert session.active == []
    assert session.step() == []
    assert session.logits() == {}
    with pytest.raises(InputError, match="all 1 slots of the session are in use"):
        session.admit([3])
    with pytest.raises(InputError, match="the request in slot 0 has ended: admit another prompt with reuse=0"):
        session.append(slot, 1)
    session.retire(slot)
    assert session.admit([3]) == 0


def test_many_requests_share_one_beginning_by_forks(model):
    session, shapes = Session(model, 4), spied(model)
    base = session.admit([1, 2, 3, 4], keep=True)
    session.logits()
    slots = [session.admit([1, 2, 3, 4, token], reuse=session.fork(base)) for token in (5, 6, 7)]
    found = session.logits()
    assert sum(rows * length for rows, length in shapes) == 4 + 3
    for slot, token in zip(slots, (5, 6, 7), strict=True):
        alone = Session(model, 1, use_cache=False)
        alone.admit([1, 2, 3, 4, token])
        np.testing.assert_allclose(found[slot], alone.logits()[0], atol=1e-4)


@pytest.mark.parametrize("source", [[3, 4, 5], [3, 4], [8, 8, 8, 8]])
def test_a_target_goes_on_for_the_same_source_and_begins_anew_for_another(source, translator):
    session, alone = Session(translator, 2), Session(translator, 1, use_cache=False)
    slot = session.admit([1, 6], source=[3, 4, 5], keep=True)
    session.logits()
    session.admit([1, 6, 7], source=source, reuse=slot)
    alone.admit([1, 6, 7], source=source)
    np.testing.assert_allclose(session.logits()[slot], alone.logits()[0], atol=1e-9)


def test_a_wrong_slot_or_prompt_takes_nothing_over(model):
    session = Session(model, 2)
    slot = session.admit([1, 2, 3])
    before = session.logits()[slot]
    for prompt, reuse in (([1, 2], 1), ([], slot), ([VOCAB], slot)):
        with pytest.raises(InputError):
            session.admit(prompt, reuse=reuse)
    np.testing.assert_array_equal(session.logits()[slot], before)


# Encoder-decoders


def test_an_encoder_decoder_writes_with_the_same_settings(translator):
    sources, begun = [[3, 4, 5], [6, 7]], [[1], [1]]
    settings = {"temperature": 0.0, "no_repeat_ngram_size": 1, "bad_words": [[3]], "stop_ids": [2]}
    found = [generate(translator, begun, 6, sources=sources, use_cache=use, **settings) for use in (True, False)]
    assert [row.tolist() for row in found[0]] == [row.tolist() for row in found[1]]
    for row in found[0]:
        assert len(set(row.tolist())) == len(row)
        assert 3 not in row
    with pytest.raises(InputError, match="needs a source for every prompt; got 2 prompts, 1 sources"):
        generate(translator, begun, 6, sources=sources[:1])
