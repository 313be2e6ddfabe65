"""Sessions of an encoder-decoder: targets that come, go and fork, as beams do, each with a source of its own."""

import numpy as np
import pytest

from numformer import InputError
from numformer.autograd import no_grad
from numformer.generation import SamplingConfig, Session
from numformer.models import Transformer, TransformerConfig

VOCAB, PAD, BOS, STEPS = 9, 0, 1, 6
SOURCES = [[4, 2, 7, 7, 3], [5, 8], [2, 6, 3, 4], [8, 7, 2]]


@pytest.fixture(params=["sinusoidal", "learned"])
def model(randomise, request):
    sizes = {"d_model": 8, "num_heads": 2, "d_ff": 12, "num_encoder_layers": 2, "num_decoder_layers": 2}
    vocabulary = {"src_vocab_size": VOCAB, "tgt_vocab_size": VOCAB}
    config = TransformerConfig(**sizes, **vocabulary, max_seq_len=8, dropout=0.3, positions=request.param)
    return randomise(Transformer(config)).eval()


def expected_logits(model, source, ids):
    with no_grad():
        return model(np.array([source]), np.array([ids])).data[0, -1]


def check(model, session, sources):
    """Compare the logits of every slot with those of its source and target alone, unpadded and without a cache."""
    for slot, logits in session.logits().items():
        np.testing.assert_allclose(logits, expected_logits(model, sources[slot], session.tokens(slot)), atol=1e-11)


# Slots retired and forked after each step: all at once, one to two, many of one, more and fewer than before.
CHANGES = [((), ()), ((3,), (0,)), ((0, 1), (2, 2, 2)), ((), (3,)), ((2, 4, 0), (1,)), ((1,), ())]


def test_the_logits_are_the_uncached_ones_whichever_slots_are_kept(model):
    session, sources, rng = Session(model, 8), {}, np.random.default_rng(0)
    for source in SOURCES:
        sources[session.admit([BOS], source=source)] = source
    for retired, forked in CHANGES:
        check(model, session, sources)
        for slot in retired:
            session.retire(slot)
        for slot in forked:
            if slot in session.active:
                sources[session.fork(slot)] = sources[slot]
        for slot in session.active:
            session.append(slot, int(rng.integers(2, VOCAB)))
    assert len(session.tokens(session.active[0])) == 1 + STEPS


def test_targets_are_admitted_while_others_run_with_longer_and_shorter_sources(model):
    session, sources, rng = Session(model, 6), {}, np.random.default_rng(0)
    for arriving in ([[5, 8]], [[4, 2, 7, 7, 3, 2, 8], [3]], [], [[2, 6, 3]]):
        for source in arriving:
            sources[session.admit([BOS, 4][: 1 + len(source) % 2], source=source)] = source
        check(model, session, sources)
        for slot in session.active:
            session.append(slot, int(rng.integers(2, VOCAB)))
        if len(arriving) == 2:
            session.retire(0)
    check(model, session, sources)


def test_a_row_that_a_longer_source_made_room_for_still_holds_its_source(model):
    """A fork into the place of a twin copies no source: it must be there although the memory has grown since."""
    session, sources = Session(model, 4), {}
    for source in SOURCES[1:3]:
        sources[session.admit([BOS], source=source)] = source
    check(model, session, sources)
    for twin in [session.fork(1) for _ in range(2)]:
        session.retire(twin)
    sources[2] = [7] * 8
    assert session.admit([BOS], source=sources[2]) == 2
    check(model, session, sources)
    sources[3] = sources[1]
    assert session.fork(1) == 3
    for slot in session.active:
        session.append(slot, 5)
    check(model, session, sources)


def test_without_a_cache_the_logits_are_the_models_too(model):
    session = Session(model, 2, use_cache=False)
    sources = {session.admit([BOS, 3], source=source): source for source in SOURCES[:2]}
    check(model, session, sources)


def test_targets_past_the_context_go_on_when_they_slide(model):
    cached, plain = (Session(model, 2, sliding=True, use_cache=use) for use in (True, False))
    for session in (cached, plain):
        for source in SOURCES[:2]:
            session.admit([BOS], source=source)
    for step in range(12):
        for slot, logits in plain.logits().items():
            np.testing.assert_allclose(cached.logits()[slot], logits, atol=1e-11)
            for session in (cached, plain):
                session.append(slot, 2 + step % 5)


def test_sampled_targets_end_by_themselves(model):
    session = Session(model, 2)
    for source in SOURCES[:2]:
        session.admit([BOS], SamplingConfig(temperature=2.0), source=source, stop_ids=(2,), max_new_tokens=5)
    steps = []
    while session.active:
        steps += session.step()
    assert {step.ended for step in steps} <= {None, "stop", "length"}


def test_the_source_is_encoded_and_projected_once(model, monkeypatch):
    calls = {"encode": 0, "project": 0}

    def count(owner, what):
        original = owner.forward
        monkeypatch.setattr(
            owner, "forward", lambda *a, **s: (calls.update({what: calls[what] + 1}), original(*a, **s))[1]
        )

    count(model.encoder, "encode")
    count(model.decoder.layers[1].cross_attn.v_proj, "project")
    session = Session(model, 6)
    for source in SOURCES:
        session.admit([BOS], source=source)
    for _ in range(STEPS):
        for slot in session.logits():
            session.append(slot, 3)
        session.retire(session.active[-1])
        session.fork(session.active[0])
    assert calls == {"encode": 1, "project": 1}


def test_after_the_first_token_the_decoder_sees_one_new_token_at_a_time(model, monkeypatch):
    shapes, decode = [], model.decode
    monkeypatch.setattr(model, "decode", lambda tgt, *a, **s: (shapes.append(tgt.shape), decode(tgt, *a, **s))[1])
    session = Session(model, 4)
    for source in SOURCES:
        session.admit([BOS], source=source)
    for _ in range(3):
        for slot in session.logits():
            session.append(slot, 3)
    assert shapes == [(4, 1)] * 3


def test_another_padding_token_is_hidden(model, randomise):
    other = randomise(Transformer(TransformerConfig(**{**vars(model.config), "pad_id": 8}))).eval()
    sources = [[2, 7, 3], [5, 7, 4, 2, 6]]
    expected, found = Session(model, 2), Session(other, 2)
    for session in (expected, found):
        for source in sources:
            session.admit([BOS], source=source)
    for slot, logits in expected.logits().items():
        np.testing.assert_allclose(found.logits()[slot], logits, atol=1e-11)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "Transformer needs the source that it writes from"),
        ([], "a source needs at least one token"),
        ([3] * 9, "a source of 9 tokens does not fit max_seq_len=8"),
        ([VOCAB], f"the vocabulary has {VOCAB} tokens"),
        ([[3]], "a source must be a list of token ids"),
    ],
)
def test_sources_that_the_model_cannot_read_are_refused(model, source, message):
    session = Session(model, 1)
    with pytest.raises(InputError, match=message):
        session.admit([BOS], source=source)
    assert session.active == []
