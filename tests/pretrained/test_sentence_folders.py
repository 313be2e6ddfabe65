"""Folders of sentence encoders, and published folders that hold more or less than a model has."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from numformer import Classifier, Embedder, InputError, build_model, load
from numformer.models import BertConfig, SentenceEncoder, SequenceClassifier
from numformer.pretrained import load_model, save_model
from numformer.tasks.shared.encoding import framed
from numformer.tokenizers import CharacterTokenizer

CONFIG = BertConfig(vocab_size=11, d_model=8, num_heads=2, d_ff=12, num_layers=1, max_seq_len=7)
TOKENS, MASK = np.array([[2, 3, 4, 5], [6, 7, 0, 0]]), np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
GOLDEN = Path(__file__).parents[1] / "golden" / "minilm.safetensors"


def saved(folder, **settings):
    model = build_model(CONFIG, "embed", seed=1, **settings).eval()
    save_model(model, folder)
    return model


# Vectors


@pytest.mark.parametrize("vector", ["mean", "cls", "max"])
def test_a_vector_is_made_of_the_real_positions_alone(vector):
    model = build_model(CONFIG, "embed", vector=vector).eval()
    x = model.backbone.encode(TOKENS, MASK).data
    rows = [x[0], x[1, :2]]
    expected = {"mean": [r.mean(0) for r in rows], "cls": [r[0] for r in rows], "max": [r.max(0) for r in rows]}
    np.testing.assert_allclose(model(TOKENS, MASK).data, expected[vector], rtol=1e-5, atol=1e-6)


def test_a_normalised_vector_has_length_1_and_the_direction_of_the_other():
    plain, unit = (build_model(CONFIG, "embed", normalize=n, seed=2).eval()(TOKENS, MASK).data for n in (False, True))
    np.testing.assert_allclose(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"vector": "sum"}, "unknown vector 'sum': choose mean, cls, max"), ({"max_seq_len": 8}, "from 1 to 7, got 8")],
)
def test_settings_of_vectors_that_cannot_be_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        build_model(CONFIG, "embed", **settings)


# Folders


def test_a_classifier_saved_over_a_sentence_encoder_keeps_its_head(tmp_path):
    saved(tmp_path)
    save_model(build_model(CONFIG, "classify", labels=["a", "b"]), tmp_path)
    assert type(load_model(tmp_path)) is SequenceClassifier


@pytest.mark.parametrize(("vector", "normalize"), [("mean", True), ("cls", False), ("max", True)])
def test_a_saved_sentence_encoder_comes_back_the_same(tmp_path, vector, normalize):
    model = saved(tmp_path, vector=vector, normalize=normalize, max_seq_len=5)
    again = load_model(tmp_path)
    assert (again.vector, again.normalize, again.max_seq_len) == (vector, normalize, 5)
    np.testing.assert_array_equal(again(TOKENS, MASK).data, model(TOKENS, MASK).data)
    steps = [step["path"] for step in json.loads((tmp_path / "modules.json").read_text())]
    assert steps == ["", "1_Pooling", "2_Normalize"][: 2 + normalize]


def test_the_steps_of_a_folder_say_more_than_the_class_it_was_trained_as(tmp_path):
    model = saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["BertForMaskedLM"]}))
    assert isinstance(load_model(tmp_path), SentenceEncoder)
    np.testing.assert_array_equal(load_model(tmp_path)(TOKENS, MASK).data, model(TOKENS, MASK).data)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", "{", "cannot be read as JSON"),
        ("modules.json", "{}", "holds dict, expected a list"),
        ("modules.json", '[{"type": "sentence_transformers.models.Dense"}]', "the step 'Dense' is not supported"),
        ("modules.json", "[3]", "the step '' is not supported"),
        (
            "1_Pooling/config.json",
            '{"pooling_mode_weightedmean_tokens": true}',
            "pooling_mode_weightedmean_tokens is not",
        ),
        ("1_Pooling/config.json", "{}", "the pooling none is not supported"),
        ("1_Pooling/config.json", "[]", "holds list, expected a dict"),
        (
            "1_Pooling/config.json",
            '{"include_prompt": false}',
            r"leaves prompts out \(include_prompt\) is not supported",
        ),
        ("sentence_bert_config.json", '{"max_seq_length": 99}', "from 1 to 7, got 99"),
    ],
)
def test_a_damaged_or_unknown_step_is_refused_with_its_file(tmp_path, file, content, message):
    saved(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=message):
        load_model(tmp_path)


def test_a_folder_opens_as_an_embedder_with_its_settings(tmp_path):
    saved(tmp_path, vector="cls", normalize=True, max_seq_len=5)
    CharacterTokenizer("abc", special_tokens=True).save(tmp_path)
    task = load(tmp_path)
    assert type(task) is Embedder
    assert (task.model.vector, task.model.normalize, task.model.max_seq_len) == ("cls", True, 5)


def test_an_encoder_in_a_folder_of_its_own_is_named_with_the_way_out(tmp_path):
    saved(tmp_path)
    steps = json.loads((tmp_path / "modules.json").read_text())
    steps[0]["path"] = "0_Transformer"
    (tmp_path / "modules.json").write_text(json.dumps(steps))
    load_model(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(
        InputError, match="has its encoder in 0_Transformer, as older folders do: copy what is there into"
    ):
        load_model(tmp_path)


PROMPTS = {"prompts": {"query": "ask: ", "none": ""}, "default_prompt_name": "query", "similarity_fn_name": "cosine"}


def embedder_in(folder, prompts=None, **settings):
    """Return the embedder of a folder, and what gives the vectors of texts as they are."""
    plain = Embedder(saved(folder, **settings), CharacterTokenizer("abks: ", special_tokens=True))
    plain.save(folder)
    if prompts is not None:
        (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    plain.model.lower_case = False
    return load(folder), plain


def test_texts_are_read_in_lower_case_where_the_folder_says_so_and_when_it_is_saved_again(tmp_path):
    embedder, plain = embedder_in(tmp_path / "a", lower_case=True)
    embedder.save(tmp_path / "b")
    for each in (embedder, load(tmp_path / "b")):
        np.testing.assert_array_equal(each.encode(["AB", "b"]), plain.encode(["ab", "b"]))
        assert "texts in lower case" in each.details()["vectors"]


def test_the_prompt_of_a_folder_comes_before_every_text_and_is_saved_again(tmp_path):
    embedder, plain = embedder_in(tmp_path / "a", PROMPTS)
    embedder.save(tmp_path / "b")
    for each in (embedder, load(tmp_path / "b")):
        np.testing.assert_array_equal(each.encode(["ab"]), plain.encode(["ask: ab"]))
        assert each.details()["prompts"] == "query, none; 'ask: ' before every text"
    assert json.loads((tmp_path / "b" / "config_sentence_transformers.json").read_text()) == PROMPTS


def test_prompts_without_a_default_are_named_and_put_before_no_text(tmp_path):
    embedder, plain = embedder_in(tmp_path, PROMPTS | {"default_prompt_name": None})
    np.testing.assert_array_equal(embedder.encode(["ab"]), plain.encode(["ab"]))
    assert embedder.details()["prompts"] == "query, none; put there by you alone"


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"prompts": {"query": 3}}, "prompts must be texts by their names"),
        ({"prompts": ["x"]}, "prompts must be texts by their names"),
        ({"default_prompt_name": "query"}, "default_prompt_name is 'query', of which there is no prompt"),
        ([], "holds list, expected a dict"),
    ],
)
def test_prompts_that_are_none_are_refused_with_their_file(tmp_path, prompts, message):
    with pytest.raises(InputError, match=rf"config_sentence_transformers\.json.*{message}"):
        embedder_in(tmp_path, prompts)


def test_a_task_that_starts_from_an_encoder_of_lower_case_says_that_it_reads_texts_as_they_are(tmp_path, capsys):
    embedder_in(tmp_path, lower_case=True)
    Classifier.from_data([("ab", "x"), ("b", "y")] * 3, pretrained=str(tmp_path))
    assert "makes vectors of texts in lower case; here they are read as they are" in capsys.readouterr().err


# What published files hold besides


def rewritten(folder, change):
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors")


POOLER = {"pooler.dense.weight": np.full((8, 8), 0.1, np.float32), "pooler.dense.bias": np.ones(8, np.float32)}


def test_a_pooler_is_kept_for_what_starts_from_the_folder_and_saved_again(tmp_path):
    model = saved(tmp_path)
    rewritten(tmp_path, lambda weights: weights | POOLER | {"embeddings.position_ids": np.arange(7)[None]})
    loaded = load_model(tmp_path)
    np.testing.assert_array_equal(loaded(TOKENS, MASK).data, model(TOKENS, MASK).data)
    save_model(loaded, tmp_path / "again")
    assert POOLER.keys() <= load_file(tmp_path / "again" / "model.safetensors").keys()
    classifier = SequenceClassifier(load_model(tmp_path / "again").backbone, 2, pooling="first")
    np.testing.assert_array_equal(classifier.backbone.pooler.weight.data, POOLER["pooler.dense.weight"])


def test_weights_of_another_head_are_left_out_and_said(tmp_path, capsys):
    model = saved(tmp_path)
    rewritten(tmp_path, lambda weights: weights | {"cls.seq_relationship.bias": np.ones(2, np.float32)})
    np.testing.assert_array_equal(load_model(tmp_path)(TOKENS, MASK).data, model(TOKENS, MASK).data)
    assert "left out, for SentenceEncoder has no place for them: cls.seq_relationship.bias" in capsys.readouterr().err


def test_an_array_that_is_no_known_extra_is_still_refused(tmp_path):
    saved(tmp_path)
    rewritten(tmp_path, lambda weights: weights | {"pooler2.weight": np.ones(3, np.float32)})
    with pytest.raises(InputError, match=r"unexpected: pooler2\.weight"):
        load_model(tmp_path)


# The real one


def test_minilm_gives_the_ids_and_vectors_of_transformers(minilm_folder, capsys):
    pytest.importorskip("tokenizers", reason="its tokenizer needs the package tokenizers")
    with safe_open(GOLDEN, "np") as file:
        texts = json.loads(json.loads(file.metadata()["config"])["texts"])
        expected, ids = file.get_tensor("vectors"), file.get_tensor("ids")
    embedder = load(minilm_folder)
    assert np.concatenate(framed(embedder.tokenizer, texts, 256)).tolist() == ids.tolist()
    capsys.readouterr()
    assert abs(embedder.encode(texts) - expected).max() < 1e-5
    assert capsys.readouterr().err == "1 of 14 texts cut to max_seq_len=256 tokens\n"
