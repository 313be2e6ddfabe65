"""Generation under JAX: the tokens of NumPy, by programs that are compiled for few shapes."""

import gc
import json
import os
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from numformer import GPT, Chat, InputError, LanguageModel, Summariser, Translator, load
from numformer.generation import BeamConfig, SamplingConfig, Session, beam_search, generate
from numformer.models.build import build_model
from numformer.models.registry import ARCHITECTURES

from .test_models import config_of

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")

WRITERS = [(name, each.task) for name, each in ARCHITECTURES.items() if each.task in ("lm", "seq2seq")]
PROMPTS, SOURCES = [[3, 4, 5], [6], [7, 8, 9, 10, 2]], [[4, 5], [6, 7, 8], [9]]
STORIES = Path(os.environ.get("NUMFORMER_DATA", "../shared/data")) / "ckpt" / "stories260K"


@pytest.fixture
def gpt(randomise):
    """A GPT in float32 with weights of order 1, so that different tokens have clearly different logits."""
    return randomise(GPT(vocab_size=11, d_model=16, num_heads=2, num_layers=2, max_seq_len=24)).astype(np.float32)


def written(model, backend, **settings):
    return [row.tolist() for row in generate(model, PROMPTS, 12, backend=backend, **settings)]


# The same tokens


@pytest.mark.parametrize(("name", "task"), WRITERS, ids=[name for name, _ in WRITERS])
def test_every_architecture_writes_what_it_writes_in_numpy(name, task, randomise):
    """Prompts of several lengths, over the end of the context; greedily, so that every logit has its say."""
    model = randomise(build_model(config_of(name), task)).astype(np.float32)
    sources = SOURCES if task == "seq2seq" else None
    found, expected = (written(model, kind, sources=sources, temperature=0.0) for kind in ("jax", "numpy"))
    assert found == expected


def test_a_buffer_that_changes_between_two_answers_counts(randomise):
    model = randomise(build_model(config_of("bart"), "seq2seq")).astype(np.float32)
    settings = {"sources": SOURCES, "temperature": 0.0}
    before = written(model, "jax", **settings)
    state = model.state_dict()
    state["logits_bias"][0, 7] = 1e3
    model.load_state_dict(state)
    found, expected = (written(model, kind, **settings) for kind in ("jax", "numpy"))
    assert found == expected != before


def test_the_same_seed_draws_the_same_tokens(gpt):
    settings = {"temperature": 0.9, "top_k": 5, "seed": 3}
    assert written(gpt, "jax", **settings) == written(gpt, "numpy", **settings)


def test_a_search_finds_the_same_targets(randomise):
    """Beams fork rows, with the sources that they hold."""
    model = randomise(build_model(config_of("t5"), "seq2seq")).astype(np.float32)
    found, expected = (
        beam_search(model, [[0]] * 3, 6, BeamConfig(num_beams=3), sources=SOURCES, eos_id=1, backend=kind)
        for kind in ("jax", "numpy")
    )
    assert [[h.ids for h in row] for row in found] == [[h.ids for h in row] for row in expected]
    np.testing.assert_allclose(found[0][0].score, expected[0][0].score, rtol=1e-5)


def test_requests_come_and_go_as_in_numpy(gpt):
    """Slots are left, taken again, forked, and continued by several tokens, some up to the end of the context."""

    def logits_of(session):
        seen = []
        session.admit(PROMPTS[0], max_new_tokens=2)
        kept = session.admit(PROMPTS[2], keep=True)
        session.step(), session.step()
        twin = session.fork(kept)
        for token in (1, 2, 3):
            session.append(twin, token)
        session.admit([1] * 23)
        for _ in range(2):
            seen += session.logits().values()
            for slot in session.active:
                session.step() if len(session.tokens(slot)) == 24 else session.append(slot, 4)
        reused = session.admit([*session.tokens(kept)[:6], 9, 8], reuse=kept)
        assert session.num_unread(reused) == 2
        return [*seen, *session.logits().values()]

    found, expected = (logits_of(Session(gpt, 4, backend=kind)) for kind in ("jax", "numpy"))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_cache_grows_when_a_row_outgrows_it(randomise):
    model = randomise(GPT(vocab_size=11, d_model=8, num_heads=1, num_layers=1, max_seq_len=600)).astype(np.float32)
    prompt = np.random.default_rng(0).integers(0, 11, 254).tolist()
    found, expected = (generate(model, [prompt], 6, temperature=0.0, backend=kind)[0] for kind in ("jax", "numpy"))
    assert found.tolist() == expected.tolist()


# What is compiled, and for how long it is kept


def test_prompts_of_many_lengths_are_few_programs():
    class Counted(GPT):
        num_traced = 0

        def logits(self, x):
            Counted.num_traced += 1
            return super().logits(x)

    model = Counted(vocab_size=11, d_model=8, num_heads=1, num_layers=1, max_seq_len=100)
    for length in range(1, 60, 5):
        generate(model, [[1] * length], 2, backend="jax")
    # A step, and prompts of up to 16, 32 and 64 tokens, which are traced a first time for the shapes of the cache.
    assert Counted.num_traced <= 1 + 2 * 3


def test_weights_that_have_changed_are_taken_over(gpt):
    before = written(gpt, "jax", temperature=0.0)
    gpt.token_embedding.weight.data[...] = gpt.token_embedding.weight.data[::-1].copy()
    gpt.token_embedding.weight.mark_changed()
    assert written(gpt, "jax", temperature=0.0) == written(gpt, "numpy", temperature=0.0) != before


def test_what_was_compiled_does_not_keep_a_model_alive():
    model = GPT(vocab_size=11, d_model=8, num_heads=1, num_layers=1)
    generate(model, [[1]], 2, backend="jax")
    seen = weakref.ref(model)
    del model
    gc.collect()
    assert seen() is None


# What cannot be asked for


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "torch"}, "backend must be numpy or jax, got 'torch'"),
        ({"backend": "jax", "use_cache": False}, "use_cache=False is for the backend numpy, got 'jax'"),
    ],
)
def test_a_backend_that_cannot_do_it_is_one_sentence(gpt, settings, message):
    with pytest.raises(InputError, match=message):
        Session(gpt, 1, **settings)


def test_without_jax_the_way_to_it_is_said_by_whatever_writes(monkeypatch, gpt, chat_folder):
    lm, folder = LanguageModel.from_text("the cat sat on the mat.\n" * 20), chat_folder()
    for name in [name for name in sys.modules if name.startswith("numformer.jax")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jax", None)
    for write in (
        lambda: Session(gpt, 1, backend="jax"),
        lambda: beam_search(gpt, [[1]], 2, BeamConfig(num_beams=2), backend="jax"),
        lambda: lm.generate("the", 2, backend="jax"),
        lambda: Chat.load(folder, backend="jax"),
    ):
        with pytest.raises(InputError, match=r"need the package jax, 0.10 or newer: pip install 'numformer\[jax\]'$"):
            write()


def test_an_id_outside_the_vocabulary_is_refused_before_it_is_read(gpt):
    with pytest.raises(InputError, match="11"):
        Session(gpt, 1, backend="jax").admit([11])


# Tasks, and models of others


def test_a_task_writes_the_same_text():
    lm = LanguageModel.from_text("the cat sat on the mat.\n" * 20)
    found, expected = (lm.generate("the", 20, seed=1, backend=kind) for kind in ("jax", "numpy"))
    assert found == expected


def test_a_chat_gives_the_same_answers(chat_folder):
    folder = chat_folder()

    def answers(backend):
        chat = Chat.load(folder, max_new_tokens=8, seed=1, backend=backend)
        return [chat.say("The cat"), chat.say("sat"), chat.say_again()]

    assert answers("jax") == answers("numpy")


SMALL = {"tokenizer": "characters", "d_model": 16, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 1}


@pytest.mark.parametrize("task", [Translator, Summariser])
def test_the_same_targets_are_found_and_measured(task, randomise):
    texts = ["one", "two", "", "three four", "five"]
    translator = task.from_data([(text, text[::-1]) for text in texts if text] * 5, max_seq_len=24, **SMALL)
    randomise(translator.model).astype(np.float32)

    def of(backend):
        found = translator.predict(texts, max_new_tokens=6, num_beams=2, backend=backend)
        scores = translator.evaluate([("one", "eno")], num_beams=1, backend=backend)
        return [each["target"] for each in found], [each["score"] for each in found], scores

    (found, scores, measured), expected = of("jax"), of("numpy")
    assert (found, measured) == (expected[0], expected[2])
    assert len(set(found)) > 2
    np.testing.assert_allclose(scores, expected[1], rtol=1e-5)


def test_a_published_model_writes_what_transformers_writes():
    if not STORIES.exists():
        pytest.skip(f"there is no {STORIES}: NUMFORMER_DATA names the folder of test data")
    expected = json.loads((STORIES / "expected.json").read_text())["greedy_from_bos"]["ids"]
    found = generate(load(STORIES).model, [expected[:1]], len(expected) - 1, temperature=0.0, backend="jax")
    assert found[0].tolist() == expected


@pytest.fixture
def optimised():
    """Compile as usual, for what runs long enough to be worth it."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def test_smollm2_answers_as_it_does_in_transformers(smollm2_file, smollm2_says, optimised):
    ids, expected = smollm2_says["chat_prompt_ids"], smollm2_says["greedy"]["ids"]
    session = Session(load(smollm2_file).model, 1, backend="jax")
    session.admit(ids, SamplingConfig(temperature=0.0), max_new_tokens=len(expected))
    assert [session.step()[0].id for _ in expected] == expected
