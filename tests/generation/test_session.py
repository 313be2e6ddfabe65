"""Sessions of a language model: requests that come, go and fork while others run."""

import numpy as np
import pytest

from numformer import GPT, InputError, random
from numformer.autograd import no_grad
from numformer.generation import SamplingConfig, Session, generate
from numformer.generation.window import window_start

CONTEXT, VOCAB = 8, 13


@pytest.fixture
def model(randomise):
    """A GPT with weights of order 1, in float32, so that different tokens have clearly different logits."""
    model = GPT(vocab_size=VOCAB, d_model=16, num_heads=2, num_layers=2, max_seq_len=CONTEXT, dropout=0.2)
    return randomise(model).astype(np.float32).eval()


def prompts(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCAB, length).tolist() for length in lengths]


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1.0, abs(np.asarray(expected)).max()))


def spied(model):
    """Return the list that will hold the shape of every input of the model."""
    shapes = []
    forward = model.forward
    model.forward = lambda tokens, **settings: (shapes.append(tokens.shape), forward(tokens, **settings))[1]
    return shapes


# Logits


PROMPTS = [prompts(1), prompts(5), prompts(3, 3, 3, 3), prompts(1, 4, 2, 7), prompts(8, 2, 11, 30), prompts(20)]


@pytest.mark.parametrize("given", PROMPTS, ids=lambda rows: "-".join(str(len(row)) for row in rows))
def test_cached_logits_are_the_uncached_ones_for_every_prefix(model, given):
    rng = np.random.default_rng(1)
    plain, cached = (Session(model, len(given), sliding=True, use_cache=use) for use in (False, True))
    for prompt in given:
        assert plain.admit(prompt) == cached.admit(prompt)
    for _ in range(3 * CONTEXT):
        expected = plain.logits()
        found = cached.logits()
        for slot, logits in expected.items():
            assert_close(found[slot], logits)
            token = int(rng.integers(0, VOCAB))
            plain.append(slot, token)
            cached.append(slot, token)


def test_the_uncached_logits_are_the_models(model):
    session = Session(model, 2, sliding=True, use_cache=False)
    slots = {session.admit(prompt): prompt for prompt in prompts(5, 21)}
    for slot, prompt in slots.items():
        with no_grad():
            expected = model(np.array([prompt[window_start(len(prompt), CONTEXT) :]])).data[0, -1]
        assert_close(session.logits()[slot], expected)


@pytest.mark.parametrize("use_cache", [True, False])
def test_rows_are_what_each_row_gives_alone(model, use_cache):
    given = prompts(1, 4, 2, 12)
    together = Session(model, 4, sliding=True, use_cache=use_cache)
    alone = [Session(model, 1, sliding=True, use_cache=False) for _ in given]
    for prompt, session in zip(given, alone, strict=True):
        together.admit(prompt)
        session.admit(prompt)
    for step in range(2 * CONTEXT):
        found = together.logits()
        for slot, session in enumerate(alone):
            assert_close(found[slot], session.logits()[0])
            together.append(slot, step % VOCAB)
            session.append(0, step % VOCAB)


def test_logits_that_are_there_cost_nothing(model):
    session, shapes = Session(model, 3), spied(model)
    for prompt in prompts(2, 3):
        session.admit(prompt)
    first = session.logits()
    again = session.logits()
    assert shapes == [(2, 3)]
    assert all(first[slot] is not None and (first[slot] == again[slot]).all() for slot in (0, 1))


def test_only_requests_with_something_new_are_run(model):
    session, plain = (Session(model, 5, use_cache=use) for use in (True, False))
    for each in (session, plain):
        for prompt in prompts(2, 3, 1, 2):
            each.admit(prompt)
        each.logits()
        for slot, tokens in ((1, [4]), (3, [5, 6])):
            for token in tokens:
                each.append(slot, token)
        each.admit([7, 8])
    shapes = spied(model)
    found = session.logits()
    assert shapes == [(1, 1), (1, 2), (1, 2)]
    for slot, logits in plain.logits().items():
        assert_close(found[slot], logits)


def test_rows_with_several_new_tokens_are_read_each_alone(model):
    """Padded to one length, the first of these two would outgrow the context."""
    session, plain = (Session(model, 2, use_cache=use) for use in (True, False))
    for each in (session, plain):
        slots = [each.admit(prompt) for prompt in (prompts(6)[0], [5])]
        each.logits()
        for slot, tokens in zip(slots, ([3, 4], [6, 7, 8, 9, 1]), strict=True):
            for token in tokens:
                each.append(slot, token)
    for slot, logits in plain.logits().items():
        assert_close(session.logits()[slot], logits)


def test_float32_models_have_float32_logits(model):
    session = Session(model, 1)
    session.admit([1, 2])
    assert session.logits()[0].dtype == np.float32


def test_ids_from_vocab_size_on_have_no_logits(model):
    session = Session(model, 1, vocab_size=5)
    session.admit([12, 2])
    assert session.logits()[0].shape == (5,)


# Requests that come and go


REQUESTS = [  # prompt, settings, most new tokens, stop tokens, seed
    (prompts(2)[0], SamplingConfig(temperature=3.0), 6, (), 1),
    (prompts(7)[0], SamplingConfig(temperature=0.0), 1, (), 2),
    (prompts(1)[0], SamplingConfig(temperature=5.0, top_k=4), 7, (3, 4, 5), 3),
    (prompts(4)[0], SamplingConfig(temperature=2.0, repetition_penalty=1.4), 4, (), 4),
    (prompts(3)[0], SamplingConfig(top_p=0.9), 20, (), 5),
    (prompts(5)[0], SamplingConfig(temperature=9.0), 3, (0, 1, 2), 6),
    (prompts(2, seed=8)[0], SamplingConfig(temperature=4.0, min_p=0.02), 5, (), 7),
]


def admit(session, request):
    prompt, settings, most, stops, seed = request
    return session.admit(prompt, settings, max_new_tokens=most, stop_ids=stops, seed=seed)


def alone(model, request, **options):
    """Return the ids, their log-probabilities and the end of a request that has a session to itself."""
    session = Session(model, 1, **options)
    admit(session, request)
    steps = []
    while session.active:
        steps += session.step()
    return [step.id for step in steps], [step.log_probability for step in steps], steps[-1].ended


@pytest.mark.parametrize("sliding", [True, False])
@pytest.mark.parametrize("num_slots", [1, 2, 3, 7])
def test_each_request_gets_what_it_gets_alone_while_others_come_and_go(model, num_slots, sliding):
    session, waiting = Session(model, num_slots, sliding=sliding), list(enumerate(REQUESTS))
    of_slot, found, ended = {}, {n: [] for n, _ in waiting}, {}
    while waiting or session.active:
        while waiting and len(session.active) < num_slots:
            number, request = waiting.pop(0)
            of_slot[admit(session, request)] = number
        for step in session.step():
            found[of_slot[step.slot]].append(step)
            if step.ended:
                ended[of_slot[step.slot]] = step.ended
    for number, request in enumerate(REQUESTS):
        ids, log_probabilities, end = alone(model, request, sliding=sliding, use_cache=False)
        assert [step.id for step in found[number]] == ids
        np.testing.assert_allclose([step.log_probability for step in found[number]], log_probabilities, atol=1e-4)
        assert ended[number] == end
    assert set(ended.values()) == ({"length", "stop"} if sliding else {"length", "stop", "context"})


def test_a_request_that_is_retired_leaves_the_others_as_they_are(model):
    session = Session(model, 4)
    slots = [admit(session, REQUESTS[n]) for n in (0, 2, 3)]
    found = {slot: [] for slot in slots}
    for step in (session.step, lambda: session.retire(slots[0]) or [], session.step, session.step):
        for each in step():
            found[each.slot].append(each.id)
    assert len(found[slots[0]]) == 1
    for slot, number in ((slots[1], 2), (slots[2], 3)):
        assert found[slot] == alone(model, REQUESTS[number])[0][: len(found[slot])]
    assert slots[0] not in session.active


def test_a_slot_is_filled_again_while_others_run(model):
    session, shapes = Session(model, 2), spied(model)
    first, second = admit(session, REQUESTS[0]), admit(session, REQUESTS[1])
    steps = session.step()
    assert [step.ended for step in steps] == [None, "length"]
    assert session.active == [first]
    assert admit(session, REQUESTS[3]) == second
    session.step()
    assert shapes == [(2, 7), (1, 1), (1, 4)]
    session.step()
    assert shapes[3:] == [(2, 1)]


def test_prompts_admitted_together_are_read_together(model):
    session, shapes = Session(model, 9), spied(model)
    for prompt in prompts(1, 1, 1):
        session.admit(prompt)
    session.step()
    for prompt in prompts(2, 5, 1):
        session.admit(prompt)
    session.step()
    session.step()
    assert shapes == [(3, 1), (3, 1), (3, 5), (6, 1)]


def test_a_finished_slot_costs_nothing(model):
    session, shapes = Session(model, 8), spied(model)
    for most in (1, 2, 3, 4, 4, 3, 2, 1):
        session.admit([1, 2], max_new_tokens=most)
    while session.active:
        session.step()
    assert shapes == [(8, 2), (6, 1), (4, 1), (2, 1)]


def test_a_request_ends_with_its_context(model):
    session = Session(model, 1)
    session.admit(prompts(6)[0])
    steps = [session.step()[0] for _ in range(3)]
    assert [step.ended for step in steps] == [None, None, "context"]
    assert session.active == []


def test_a_stop_token_that_is_the_last_allowed_is_a_stop(model):
    session = Session(model, 1)
    session.admit([1], max_new_tokens=1, stop_ids=range(VOCAB))
    assert session.step()[0].ended == "stop"


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_sliding_session_goes_on_past_the_context(model, use_cache):
    session = Session(model, 1, sliding=True, use_cache=use_cache)
    session.admit(prompts(21)[0], SamplingConfig(temperature=2.0), max_new_tokens=30, seed=random.generator(3, 0))
    found = [session.step()[0].id for _ in range(30)]
    row = generate(model, prompts(21), 30, temperature=2.0, use_cache=not use_cache, seed=3)[0]
    assert found == row[21:].tolist()


def test_a_generator_may_be_given_instead_of_a_seed(model):
    session, generator = Session(model, 2), np.random.default_rng(5)
    settings = SamplingConfig(temperature=5.0)
    session.admit([1], settings, seed=generator)
    session.admit([1], settings, seed=np.random.default_rng(5))
    for _ in range(4):
        first, second = session.step()
        assert first.id == second.id
    expected = np.random.default_rng(5)
    expected.random(4)
    assert generator.random() == expected.random()


# Refusals, after which everything is as it was


def state_of(session):
    return [(slot, session.tokens(slot)) for slot in session.active]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (([],), "a prompt needs at least one token"),
        (([1] * (CONTEXT + 1),), f"a prompt of {CONTEXT + 1} tokens does not fit max_seq_len={CONTEXT}"),
        (([VOCAB],), f"token ids run from {VOCAB} to {VOCAB}, but the vocabulary has {VOCAB} tokens"),
        (([-1],), "token ids run from -1"),
        (([[1]],), r"a prompt must be a list of token ids, got int64 of shape \(1, 1\)"),
        (([0.5],), "a prompt must be a list of token ids, got float64"),
        (([1], None, 0), "max_new_tokens must be a whole number of at least 1, got 0"),
        (([1], None, 2.5), "max_new_tokens must be a whole number of at least 1, got 2.5"),
        (([1], None, None, -1), "seed must be a whole number of at least 0, got -1"),
        (([1], None, None, "x"), "seed must be a whole number of at least 0, got 'x'"),
    ],
)
def test_what_cannot_be_admitted_changes_nothing(model, request_, message):
    prompt, settings, most, seed = (*request_, None, None, 0)[:4] if len(request_) < 4 else request_
    session, untouched = Session(model, 3), Session(model, 3)
    for each in (session, untouched):
        each.admit([1, 2, 3], SamplingConfig(temperature=5.0), seed=4)
        each.step()
    before = state_of(session)
    with pytest.raises(InputError, match=message):
        session.admit(prompt, settings, max_new_tokens=most, seed=seed)
    assert state_of(session) == before
    assert session.step() == untouched.step()


def test_a_language_model_takes_no_source(model):
    with pytest.raises(InputError, match="GPT takes no source"):
        Session(model, 1).admit([1], source=[1])


def test_a_full_session_changes_nothing(model):
    session, untouched = Session(model, 2), Session(model, 2)
    for each in (session, untouched):
        for request in (REQUESTS[0], REQUESTS[2]):
            admit(each, request)
        each.step()
    before = state_of(session)
    for refused in (lambda: session.admit([1]), lambda: session.fork(0)):
        with pytest.raises(InputError, match="all 2 slots of the session are in use: retire one first"):
            refused()
    assert state_of(session) == before
    assert session.step() == untouched.step()


@pytest.mark.parametrize("token", [-1, VOCAB])
def test_a_token_outside_the_vocabulary_is_not_appended(model, token):
    session = Session(model, 1)
    session.admit([1])
    with pytest.raises(InputError, match=f"got the token {token}, but the vocabulary has {VOCAB} tokens"):
        session.append(0, token)
    assert session.tokens(0) == [1]


def test_a_full_context_takes_no_more_tokens(model):
    session = Session(model, 1)
    session.admit([1] * (CONTEXT - 1))
    session.append(0, 2)
    with pytest.raises(InputError, match=f"slot 0 holds {CONTEXT} tokens, as many as the model can read"):
        session.append(0, 2)
    assert session.tokens(0) == [1] * (CONTEXT - 1) + [2]


@pytest.mark.parametrize("slot", [-1, 1, 3])
def test_slots_that_are_not_in_use_are_named(model, slot):
    session = Session(model, 3)
    for _ in range(3):
        session.admit([1])
    session.retire(1)
    for wrong in (session.retire, session.fork, session.tokens, lambda slot: session.append(slot, 1)):
        with pytest.raises(InputError, match=rf"slot {slot} is not in use; those in use are \[0, 2\]"):
            wrong(slot)


@pytest.mark.parametrize("num_slots", [0, -1, 1.5])
def test_a_session_has_slots(model, num_slots):
    with pytest.raises(InputError, match=f"num_slots must be a whole number of at least 1, got {num_slots}"):
        Session(model, num_slots)


@pytest.mark.parametrize("bad", [[np.nan] + [0] * 12, [np.inf] + [0] * 12, [-np.inf] * 13], ids=["nan", "inf", "none"])
def test_logits_that_are_no_numbers_are_refused_before_anything_is_drawn(model, bad):
    session, generator = Session(model, 2), np.random.default_rng(0)
    for _ in range(2):
        session.admit([1], seed=generator)
    session.logits()[1][:] = bad
    with pytest.raises(InputError, match=r"the logits of slot 1 are NaN, \+inf or all -inf, so there is no token to"):
        session.step()
    assert generator.random() == np.random.default_rng(0).random()
    assert session.tokens(0) == [1]


def test_what_was_returned_may_be_changed(model):
    session = Session(model, 1)
    session.admit([1])
    session.tokens(0).append(7)
    assert session.tokens(0) == [1]


# Forks


FORKS = [  # of each step: slots to retire, slots to fork
    ((), (0, 1)),
    ((0,), (1, 1)),
    ((1, 3), ()),
    ((), (2, 0)),
    ((0, 2), (4, 4)),
]


@pytest.mark.parametrize("lengths", [(3, 3), (1, 4), (7, 2), (12, 8)], ids=str)
def test_forks_are_sequences_of_their_own(model, lengths):
    cached, plain = (Session(model, 6, sliding=True, use_cache=use) for use in (True, False))
    for prompt in prompts(*lengths):
        assert cached.admit(prompt) == plain.admit(prompt)
    rng = np.random.default_rng(0)
    for retired, forked in [*FORKS, *[((), ())] * CONTEXT]:
        for slot, logits in plain.logits().items():
            assert_close(cached.logits()[slot], logits)
        for slot in retired:
            cached.retire(slot)
            plain.retire(slot)
        for slot in forked:
            assert cached.fork(slot) == plain.fork(slot)
        for slot in plain.active:
            token = int(rng.integers(0, VOCAB))
            cached.append(slot, token)
            plain.append(slot, token)
        assert state_of(cached) == state_of(plain)


@pytest.mark.parametrize("when", ["admitted", "read", "stepped"])
def test_a_fork_costs_no_pass_of_its_own_and_draws_the_same(model, when):
    session = Session(model, 2)
    session.admit([1, 2], SamplingConfig(temperature=5.0), seed=3, max_new_tokens=5)
    if when == "read":
        session.logits()
    elif when == "stepped":
        session.step()
        session.logits()
    shapes = spied(model)
    twin = session.fork(0)
    session.logits()
    assert shapes == ([(2, 2)] if when == "admitted" else [])
    while session.active:
        first, second = session.step()
        assert (first.slot, second.slot) == (0, twin)
        assert first[1:] == second[1:]


# The model


def test_the_mode_of_the_model_stays_and_nothing_is_dropped_or_recorded(model):
    model.train()
    model.layers[1].eval()
    before = {name: module.training for name, module in model.named_modules()}
    session, plain = Session(model, 1), Session(model, 1, use_cache=False)
    for each in (session, plain):
        each.admit([1, 2, 3])
    assert_close(session.logits()[0], plain.logits()[0])
    assert {name: module.training for name, module in model.named_modules()} == before
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_error_in_the_model_leaves_the_session_usable(model):
    session, untouched = Session(model, 2), Session(model, 2)
    for each in (session, untouched):
        each.admit([1, 2, 3])
        each.step()
        each.admit([4, 5])
    forward, calls = model.forward, []

    def fail(*args, **settings):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return forward(*args, **settings)

    model.forward = fail
    with pytest.raises(KeyboardInterrupt):
        session.step()
    model.forward = forward
    for _ in range(3):
        assert [step.id for step in session.step()] == [step.id for step in untouched.step()]
