"""Sessions through which requests of all lengths come, go and fork at random: cached, they are what they are uncached."""

import numpy as np
import pytest

from numformer import GPT, InputError, Transformer, TransformerConfig, intervene
from numformer.generation import SamplingConfig, Session, beam_search
from numformer.models import Bert, BertConfig, Llama, SequenceClassifier

SIZES = {"d_model": 16, "num_heads": 2, "max_seq_len": 10}


def make(kind):
    if kind == "gpt":
        return GPT(vocab_size=11, num_layers=2, **SIZES)
    if kind == "llama":
        return Llama(vocab_size=11, num_layers=2, num_kv_heads=1, **SIZES)
    layers = {"num_encoder_layers": 1, "num_decoder_layers": 2}
    return Transformer(TransformerConfig(src_vocab_size=11, tgt_vocab_size=11, **layers, **SIZES))


@pytest.mark.parametrize("kind", ["gpt", "llama", "transformer"])
@pytest.mark.parametrize("seed", range(12))
def test_whatever_comes_and_goes_the_cache_changes_nothing(kind, seed, randomise):
    model, rng = randomise(make(kind)).eval(), np.random.default_rng(seed)
    sessions = [Session(model, 4, use_cache=use, sliding=bool(seed % 2)) for use in (True, False)]
    for _ in range(40):
        active = sessions[0].active
        full = [slot for slot in active if not seed % 2 and len(sessions[0].tokens(slot)) >= 10]
        action = rng.choice(["admit", "retire", "fork", "append", "append", "append"])
        if full:
            [session.retire(full[0]) for session in sessions]
        elif action == "admit" and len(active) < 4:
            prompt = rng.integers(0, 11, rng.integers(1, 7))
            source = rng.integers(1, 11, rng.integers(1, 10)) if kind == "transformer" else None
            [session.admit(prompt, source=source) for session in sessions]
        elif action == "retire" and active:
            slot = int(rng.choice(active))
            [session.retire(slot) for session in sessions]
        elif action == "fork" and active and len(active) < 4:
            slot = int(rng.choice(active))
            assert len({session.fork(slot) for session in sessions}) == 1
        elif active:
            cached, plain = (session.logits() for session in sessions)
            assert cached.keys() == plain.keys()
            for slot in cached:
                np.testing.assert_allclose(cached[slot], plain[slot], atol=1e-9)
                token = int(rng.integers(0, 11))
                [session.append(slot, token) for session in sessions]


@pytest.mark.parametrize("kind", ["gpt", "transformer"])
def test_an_exception_on_the_way_leaves_the_session_as_it_was(kind, randomise):
    model = randomise(make(kind)).eval()
    source = [4, 2, 3] if kind == "transformer" else None
    cached, plain = (Session(model, 2, use_cache=use) for use in (True, False))
    for session in (cached, plain):
        session.admit([1, 2, 3], source=source)
        session.admit([5], source=source)
    name = "decoder.norm" if kind == "transformer" else "norm"

    def fail(x):
        raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt), intervene(model, {name: fail}):
            cached.logits()
        for slot, logits in plain.logits().items():
            np.testing.assert_allclose(cached.logits()[slot], logits, atol=1e-9)
        [session.append(slot, 7) for session in (cached, plain) for slot in (0, 1)]


def test_a_fork_draws_what_its_origin_draws_though_a_generator_was_given(randomise):
    session = Session(randomise(make("gpt")).eval(), 2)
    session.admit([1, 2], SamplingConfig(temperature=2.0), seed=np.random.default_rng(3))
    session.fork(0)
    for _ in range(4):
        first, second = session.step()
        assert first.id == second.id


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocab_size": 0}, r"vocab_size must be from 1 to the model's 11 tokens, got 0"),
        ({"vocab_size": -3}, r"vocab_size must be from 1 to the model's 11 tokens, got -3"),
        ({"vocab_size": 12}, r"vocab_size must be from 1 to the model's 11 tokens, got 12"),
    ],
)
def test_a_vocabulary_that_the_model_has_not_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Session(make("gpt"), 2, **settings)


def test_a_model_that_does_not_write_is_refused():
    with pytest.raises(InputError, match="a Bert does not write tokens one by one"):
        Session(Bert(BertConfig(vocab_size=9)), 2)


def test_what_is_no_token_is_refused():
    session = Session(make("gpt"), 2)
    with pytest.raises(InputError, match="stop_ids must be a list of token ids, got 5"):
        session.admit([1], stop_ids=5)
    session.admit([1])
    with pytest.raises(InputError, match=r"got the token 1\.7"):
        session.append(0, 1.7)


def test_a_limit_may_be_a_number_of_numpy():
    model = make("gpt").eval()
    from numformer import BeamConfig

    found = beam_search(model, [[1, 2]], np.int64(3), BeamConfig(num_beams=2))
    assert found == beam_search(model, [[1, 2]], 3, BeamConfig(num_beams=2))


def test_a_head_that_cannot_be_made_leaves_the_model_whole():
    model = make("llama")
    with pytest.raises(InputError, match="at least one label"):
        SequenceClassifier(model, [])
    assert model([[1, 2]]).shape == (1, 2, 11)


def test_settings_that_are_no_config_are_refused_and_leave_the_others_alone():
    session = Session(make("gpt").eval(), 2)
    session.admit([1])
    with pytest.raises(InputError, match="the settings of a request are a SamplingConfig, got"):
        session.admit([2], {"temperature": 0})
    assert [step.slot for step in session.step()] == [0]


def test_labels_are_given_once():
    with pytest.raises(InputError, match="each label is given once"):
        SequenceClassifier(make("gpt"), ["a", "a"])
