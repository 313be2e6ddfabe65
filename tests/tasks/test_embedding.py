"""Vectors of texts: the same for any batch, whatever model they come from, and what is most similar to a text."""

import numpy as np
import pytest

from numformer import Classifier, Embedder, InputError, LanguageModel, Translator, load
from numformer.autograd import inference
from numformer.models import BertConfig, DistilBertConfig, RobertaConfig, build_model
from numformer.models.build import build_backbone
from numformer.pretrained import save_model
from numformer.tasks.shared.encoding import framed
from numformer.tokenizers import CharacterTokenizer

SIZES = {"d_model": 16, "num_heads": 2, "d_ff": 32, "num_layers": 2, "max_seq_len": 16}
TOKENIZER = CharacterTokenizer("abcdefghijklmnopqrstuvwxyz ", special_tokens=True)
TEXTS = ["the cat sat", "", "a", "a dog ran far", "the cats", "  ", "a dog", "the cat sat"]


def make(**settings):
    model = build_model(BertConfig(**SIZES, vocab_size=TOKENIZER.vocab_size), "embed", seed=1, **settings)
    return Embedder(model.eval(), TOKENIZER)


@pytest.fixture(scope="module")
def embedder():
    return make(normalize=True)


def one_by_one(embedder, texts):
    """Return the vectors of texts that the model reads alone and without padding."""
    with inference():
        return np.concatenate([embedder.model(ids[None]).data for ids in framed(TOKENIZER, texts, 16)])


# Vectors


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
@pytest.mark.parametrize("vector", ["mean", "cls", "max"])
def test_every_batch_size_gives_the_vectors_of_the_texts_alone_in_their_order(vector, batch_size):
    embedder = make(vector=vector)
    found = embedder.encode(TEXTS, batch_size=batch_size)
    assert (found.shape, found.dtype) == ((8, 16), np.float32)
    np.testing.assert_allclose(found, one_by_one(embedder, TEXTS), rtol=1e-5, atol=1e-6)


def test_a_blank_text_has_the_vector_of_the_tokens_around_a_text(embedder):
    with inference():
        expected = embedder.model(np.array([[TOKENIZER.bos_id, TOKENIZER.eos_id]])).data
    np.testing.assert_allclose(embedder.encode([""]), expected, rtol=1e-5)


def test_no_texts_have_no_vectors(embedder):
    found = embedder.encode([])
    assert (found.shape, found.dtype) == ((0, 16), np.float32)


def test_texts_are_cut_to_the_length_that_the_folder_says_which_is_said_once(capsys):
    embedder = make(max_seq_len=5)
    found = embedder.encode(["abcdef", "ab", "abc", "abcd"], batch_size=1)
    assert capsys.readouterr().err == "2 of 4 texts cut to max_seq_len=5 tokens\n"
    np.testing.assert_allclose(found[0], found[2], rtol=1e-5)


@pytest.mark.parametrize(
    ("texts", "settings", "message"),
    [
        ("one text", {}, "expected a list of texts, got the text 'one text': put it in brackets"),
        (["a", None], {}, "got None as number 1"),
        (["a"], {"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        (["a"], {"batch_size": 2.5}, "batch_size must be a whole number of at least 1, got 2.5"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(embedder, texts, settings, message):
    with pytest.raises(InputError, match=message):
        embedder.encode(texts, **settings)


def test_a_stream_gives_the_same_vectors_and_says_once_how_many_texts_were_cut(embedder, capsys):
    texts = [*TEXTS, "x" * 20] * 3
    streamed = np.stack(list(embedder.stream(text or None for text in texts)))
    assert capsys.readouterr().err == "3 of 27 texts cut to max_seq_len=16 tokens\n"
    np.testing.assert_allclose(streamed, embedder.encode(texts), rtol=1e-5, atol=1e-6)


# Where they come from


@pytest.mark.parametrize("config", [BertConfig, RobertaConfig, DistilBertConfig])
def test_every_encoder_without_a_head_gives_the_mean_of_its_positions(tmp_path, config, capsys):
    backbone = build_backbone(config(**SIZES, vocab_size=TOKENIZER.vocab_size, pad_id=TOKENIZER.pad_id), seed=3)
    save_model(backbone, tmp_path)
    TOKENIZER.save(tmp_path)
    embedder = Embedder.load(tmp_path)
    assert capsys.readouterr().err.count("they are the mean of the positions") == 1
    with inference():
        rows = framed(TOKENIZER, TEXTS, 16)
        expected = [backbone.eval().encode(ids[None]).data[0].mean(axis=0) for ids in rows]
    np.testing.assert_allclose(embedder.encode(TEXTS), expected, rtol=1e-5, atol=1e-6)


def test_a_run_of_another_task_gives_vectors_of_its_encoder(tmp_path, capsys):
    task = Classifier.from_data([("a cat", "x"), ("a dog", "y")] * 3, valid_fraction=0.0, **SIZES)
    task.fit(steps=1, out=tmp_path / "run", progress=False)
    embedder = Embedder.load(tmp_path / "run")
    assert "a SequenceClassifier says nothing of vectors of texts" in capsys.readouterr().err
    ids = framed(task.tokenizer, ["a cat"], 16)
    with inference():
        expected = task.model.backbone.encode(ids).data[0].mean(axis=0)
    np.testing.assert_allclose(embedder.encode(["a cat"])[0], expected, rtol=1e-5, atol=1e-6)


def test_a_saved_embedder_comes_back_the_same_where_another_task_was_saved_before(tmp_path, embedder):
    Classifier.from_data([("a cat", "x"), ("a dog", "y")] * 3, valid_fraction=0.0, **SIZES).save(tmp_path)
    (tmp_path / "task.toml").write_text('task = "classify"\n')
    embedder.save(tmp_path)
    assert not (tmp_path / "task.toml").exists()
    again = load(tmp_path)
    assert type(again) is Embedder
    np.testing.assert_array_equal(again.encode(TEXTS), embedder.encode(TEXTS))
    assert repr(again).endswith("vectors the mean of the positions, of length 1; texts of up to 16 tokens)")


def test_models_that_do_not_look_both_ways_are_refused(tmp_path):
    both = {"num_encoder_layers": 1, "num_decoder_layers": 1}
    sizes = {name: size for name, size in SIZES.items() if name != "num_layers"}
    LanguageModel.from_text("the cat\n" * 20, **SIZES).save(tmp_path / "lm")
    Translator.from_data([("a", "b")] * 3, valid_fraction=0.0, **sizes, **both).save(tmp_path / "translator")
    for name, model in (("lm", "GPT"), ("translator", "Transformer")):
        with pytest.raises(InputError, match=f"holds a {model}, but Embedder needs an encoder that looks both ways"):
            Embedder.load(tmp_path / name)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path, embedder):
    save_model(embedder.model, tmp_path)
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        Embedder.load(tmp_path)


def test_an_embedder_is_not_trained(embedder):
    with pytest.raises(InputError, match="an Embedder is not trained"):
        embedder.fit(steps=1)


# What is similar


def test_the_most_similar_texts_come_first_and_blank_ones_never(embedder, capsys):
    found = embedder.similar("the cat sat", TEXTS, top=3)
    assert capsys.readouterr().err == "2 of 8 texts left out: blank\n"
    assert {(each["text"], each["index"]) for each in found[:2]} == {("the cat sat", 0), ("the cat sat", 7)}
    assert [each["score"] for each in found[:2]] == pytest.approx([1.0, 1.0], abs=1e-5)
    assert found[2]["score"] < 0.999
    assert len(embedder.similar("the cat sat", TEXTS, top=100)) == 6


def test_scores_are_cosines_whatever_the_length_of_the_vectors():
    embedder = make()
    vectors = embedder.encode(TEXTS)
    query = embedder.encode(["a cat"])[0]
    expected = vectors @ query / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(query))
    for scale in (1, 7):
        found = embedder.similar("a cat", TEXTS, vectors=scale * vectors, top=8)
        scores = [each["score"] for each in found]
        np.testing.assert_allclose(scores, [expected[each["index"]] for each in found], rtol=1e-5)
        assert scores == sorted(scores, reverse=True)


def test_given_vectors_take_the_place_of_those_of_the_texts(embedder):
    turned = np.roll(embedder.encode(TEXTS), 1, axis=0)
    assert embedder.similar("a dog", TEXTS, vectors=turned, top=1)[0]["index"] == TEXTS.index("a dog") + 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": " "}, "the query must be a text, got ' '"),
        ({"query": ["a"]}, "the query must be a text"),
        ({"texts": []}, "there are no texts to compare the query with"),
        ({"top": 0}, "top must be a whole number of at least 1, got 0"),
        ({"vectors": [[1.0]]}, "vectors: expected an array of NumPy, got a list"),
        ({"vectors": np.ones((2, 16), np.float32)}, r"are float32 \[3, 16\] with this model, got float32 \[2, 16\]"),
        ({"vectors": np.ones((3, 8), np.float32)}, r"are float32 \[3, 16\] with this model, got float32 \[3, 8\]"),
        ({"vectors": np.ones((3, 16), np.int64)}, r"got int64 \[3, 16\]"),
        ({"vectors": np.full((3, 16), np.nan, np.float32)}, "vector 0 has values that are no finite numbers"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused(embedder, changes, message):
    with pytest.raises(InputError, match=message):
        embedder.similar(**({"query": "a", "texts": ["a", "b", "c"]} | changes))
