"""Decoders whose rows are reordered, taken twice and dropped on the way, as beams are."""

import numpy as np
import pytest

from numformer import GPT
from numformer.autograd import no_grad
from numformer.generation.decoder import CachedDecoder, PlainDecoder
from numformer.generation.seq2seq import Seq2SeqDecoder
from numformer.models import Transformer, TransformerConfig

VOCAB, PAD, BOS, STEPS = 9, 0, 1, 6
LENGTHS = [5, 2, 4, 3]
# Rows kept after each step: every one, reordered, some twice, some dropped, more and fewer than before.
SELECTIONS = [[0, 1, 2, 3], [3, 1, 0, 2], [1, 1, 0, 3, 3, 2], [5, 5, 0, 1], [2, 0], [1, 1, 1]]


@pytest.fixture
def model(randomise):
    sizes = {"d_model": 8, "num_heads": 2, "d_ff": 12, "num_encoder_layers": 2, "num_decoder_layers": 2}
    vocabulary = {"src_vocab_size": VOCAB, "tgt_vocab_size": VOCAB}
    return randomise(Transformer(TransformerConfig(**sizes, **vocabulary, max_seq_len=8, dropout=0.3))).eval()


@pytest.fixture
def src():
    ids = np.random.default_rng(0).integers(2, VOCAB, (4, 5))
    ids[np.arange(5) >= np.array(LENGTHS)[:, None]] = PAD
    return ids


def next_ids(step, count):
    return np.random.default_rng(step).integers(2, VOCAB, count)


def test_the_logits_are_the_uncached_ones_whichever_rows_are_kept(model, src):
    with no_grad():
        decoder, sources = Seq2SeqDecoder(model, src, BOS, STEPS), np.arange(4)
        for step, rows in enumerate(SELECTIONS):
            expected = [
                model(src[[source], : LENGTHS[source]], np.array([ids])).data[0, -1]
                for source, ids in zip(sources, decoder.sequences, strict=True)
            ]
            np.testing.assert_allclose(decoder.next_logits(), expected, atol=1e-11)
            decoder.select(np.array(rows))
            decoder.append(next_ids(step, len(rows)))
            sources = sources[rows]
    assert len(decoder.sequences[0]) == 1 + STEPS


def test_rows_may_be_chosen_before_the_first_step(model, src):
    with no_grad():
        whole, part = (Seq2SeqDecoder(model, src, BOS, STEPS) for _ in range(2))
        part.select(np.array([2, 0]))
        np.testing.assert_allclose(part.next_logits(), whole.next_logits()[[2, 0]], atol=1e-12)


def test_no_rows_at_all_may_be_kept(model, src):
    with no_grad():
        decoder = Seq2SeqDecoder(model, src, BOS, STEPS)
        decoder.select(np.array([], np.intp))
    assert decoder.sequences == []


def test_a_row_taken_twice_becomes_two_sequences(model, src):
    with no_grad():
        decoder = Seq2SeqDecoder(model, src, BOS, STEPS)
        decoder.next_logits()
        decoder.select(np.array([1, 1]))
        decoder.append(np.array([3, 4]))
    assert decoder.sequences == [[BOS, 3], [BOS, 4]]


def test_the_source_is_encoded_and_projected_once(model, src, monkeypatch):
    calls = {"encode": 0, "project": 0}

    def count(owner, name, what):
        original = getattr(owner, name)

        def counted(*args, **settings):
            calls[what] += 1
            return original(*args, **settings)

        monkeypatch.setattr(owner, name, counted)

    count(model.encoder, "forward", "encode")
    count(model.decoder.layers[1].cross_attn.v_proj, "forward", "project")
    with no_grad():
        decoder = Seq2SeqDecoder(model, src, BOS, STEPS)
        for step, rows in enumerate(SELECTIONS):
            decoder.next_logits()
            decoder.select(np.array(rows))
            decoder.append(next_ids(step, len(rows)))
    assert calls == {"encode": 1, "project": 1}


def test_beams_that_stay_with_their_sources_copy_nothing_of_them(model, src):
    with no_grad():
        decoder = Seq2SeqDecoder(model, src[:2], BOS, STEPS)
        decoder.next_logits()
        decoder.select(np.array([0, 0, 1, 1, 1]))
        memory, (keys, values) = decoder.memory, decoder.cache.cross[0].kept
        decoder.select(np.array([1, 0, 4, 2, 2]))
    assert decoder.memory is memory
    assert decoder.cache.cross[0].kept[0] is keys
    assert decoder.cache.cross[0].kept[1] is values


def test_after_the_first_token_the_decoder_sees_one_new_token_at_a_time(model, src, monkeypatch):
    shapes, decode = [], model.decode
    monkeypatch.setattr(model, "decode", lambda tgt, *a, **s: (shapes.append(tgt.shape), decode(tgt, *a, **s))[1])
    with no_grad():
        decoder = Seq2SeqDecoder(model, src, BOS, 3)
        for step in range(3):
            decoder.next_logits()
            decoder.append(next_ids(step, 4))
    assert shapes == [(4, 1)] * 3


def test_another_padding_token_is_hidden(model, src, randomise):
    other = randomise(Transformer(TransformerConfig(**{**vars(model.config), "pad_id": 8}))).eval()
    with no_grad():
        expected = Seq2SeqDecoder(model, np.where(src == 8, 7, src), BOS, STEPS).next_logits()
        found = Seq2SeqDecoder(other, np.where(src == 8, 7, np.where(src == PAD, 8, src)), BOS, STEPS).next_logits()
    np.testing.assert_allclose(found, expected, atol=1e-11)


def test_float32_models_keep_a_float32_cache(src):
    sizes = {"d_model": 8, "num_heads": 2, "src_vocab_size": VOCAB, "tgt_vocab_size": VOCAB}
    with no_grad():
        decoder = Seq2SeqDecoder(Transformer(TransformerConfig(**sizes)).eval(), src, BOS, STEPS)
        assert decoder.next_logits().dtype == np.float32
    assert decoder.cache.keys.dtype == decoder.cache.cross[0].kept[0].dtype == np.float32


@pytest.mark.parametrize("lengths", [(3, 3, 3, 3), (1, 4, 2, 7)], ids=str)  # the last outgrows the context
def test_rows_of_a_language_model_can_be_reordered_too(lengths, randomise):
    gpt = randomise(GPT(vocab_size=VOCAB, d_model=8, num_heads=2, num_layers=2, d_ff=12, max_seq_len=8)).eval()
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, VOCAB, length).tolist() for length in lengths]
    with no_grad():
        plain, cached = PlainDecoder(gpt, prompts), CachedDecoder(gpt, prompts)
        for step, rows in enumerate([*SELECTIONS, [0, 2, 1, 1], [3, 0, 2], [2, 1, 0, 0]]):
            np.testing.assert_allclose(cached.next_logits(), plain.next_logits(), atol=1e-11)
            for decoder in (plain, cached):
                decoder.select(np.array(rows))
                decoder.append(next_ids(step, len(rows)))
            assert cached.sequences == plain.sequences
