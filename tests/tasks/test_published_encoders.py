"""Tasks that start from folders of published encoders, with a tokenizer of BERT beside the weights."""

import json

import numpy as np
import pytest

from numformer import Classifier, QuestionAnswerer, Regressor, Tagger, load
from numformer.data.squad import Question
from numformer.data.tagged.conll import TaggedSentence
from numformer.models import BertConfig, DistilBertConfig, RobertaConfig, build_model
from numformer.models.build import build_backbone
from numformer.ops.loss import IGNORE
from numformer.pretrained import save_model
from numformer.tasks.shared.text_pairs import encode_texts
from numformer.tasks.tagging.objective import encode_sentences
from numformer.tokenizers import SubwordTokenizer

pytest.importorskip("tokenizers", reason="subword tokenizers need the package tokenizers")

TEXTS = ["the cat sat", "a dog ran", "the cat ran", "a dog sat"] * 4
DATA = {
    Classifier: [(text, text.split()[1]) for text in TEXTS],
    Regressor: [(text, float("cat" in text)) for text in TEXTS],
    Tagger: [TaggedSentence(text.split(), ["D", "N", "V"]) for text in TEXTS],
    QuestionAnswerer: [
        Question(str(i), "who", text, ((text.split()[1], text.index(text.split()[1])),)) for i, text in enumerate(TEXTS)
    ],
}
SIZES = {"d_model": 16, "num_heads": 2, "d_ff": 32, "num_layers": 1, "max_seq_len": 16, "dropout": 0.1}


@pytest.fixture(scope="module")
def tokenizer():
    return SubwordTokenizer.train("wordpiece", TEXTS, 60, lowercase=True)


def make_sentence_encoder(tokenizer):
    return build_model(BertConfig(**SIZES, vocab_size=tokenizer.vocab_size), "embed", normalize=True)


def make_masked_roberta(tokenizer):
    config = RobertaConfig(**SIZES, vocab_size=tokenizer.vocab_size, pad_id=tokenizer.pad_id)
    return build_model(config, "mlm")


def make_bare_distilbert(tokenizer):
    return build_backbone(DistilBertConfig(**SIZES, vocab_size=tokenizer.vocab_size))


@pytest.mark.parametrize("task", DATA, ids=lambda task: task.name)
@pytest.mark.parametrize("make", [make_sentence_encoder, make_masked_roberta, make_bare_distilbert])
def test_a_task_starts_from_the_weights_the_tokenizer_and_the_dropout_of_a_folder(task, make, tokenizer, tmp_path):
    start = make(tokenizer)
    save_model(start, tmp_path)
    tokenizer.save(tmp_path)
    made = task.from_data(DATA[task], pretrained=str(tmp_path), valid_fraction=0.0)
    table = made.model.backbone.embeddings.token_embedding.weight.data
    np.testing.assert_array_equal(table, start.backbone.embeddings.token_embedding.weight.data)
    assert made.model.config == start.config
    assert getattr(made.model, "pooling", "mean") == "mean"
    assert made.tokenizer.encode("The CAT").tolist() == tokenizer.encode("the cat").tolist()
    first = made.fit(steps=1, lr=1e-2, batch_size=8).loss
    assert made.fit(steps=40, lr=1e-2, batch_size=8).loss < 0.7 * first


def with_frame(tokenizer, before, after):
    """Return the tokenizer with what its tokenizer.json puts around a text, as those of others have it."""
    content, names = json.loads(tokenizer.content), {"B": before, "E": after}
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            *([{"SpecialToken": {"id": "B", "type_id": 0}}] if before else []),
            {"Sequence": {"id": "A", "type_id": 0}},
            *([{"SpecialToken": {"id": "E", "type_id": 0}}] if after else []),
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {n: {"id": n, "ids": ids, "tokens": ["x"] * len(ids)} for n, ids in names.items() if ids},
    }
    return SubwordTokenizer(json.dumps(content))


@pytest.mark.parametrize(("before", "after"), [([1], [2]), ([1], []), ([], [])])
def test_around_a_text_and_a_sentence_stands_what_the_tokenizer_file_says(before, after, tokenizer, tmp_path):
    framed, ids = with_frame(tokenizer, before, after), tokenizer.encode("the cat sat").tolist()
    (text,) = encode_texts(framed, ["the cat sat"], make_sentence_encoder(tokenizer))
    assert text.tokens.tolist() == [*before, *ids, *after]
    save_model(build_model(BertConfig(**SIZES, vocab_size=60), "tag", labels=["D", "N", "V"]), tmp_path)
    framed.save(tmp_path)
    tagger = load(tmp_path)
    logits = tagger.model([[*before, *ids, *after]]).data[0, len(before) :]
    starts = [len(tokenizer.encode("the cat sat"[:at])) for at in (0, 3, 7)]
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert tagger.predict(["the cat sat"])[0]["scores"] == pytest.approx(chances[starts].max(-1), rel=1e-5)
    labels = tagger.sequences("the cat sat", None).tokens[""]
    assert labels[: len(before)] + labels[len(labels) - len(after) :] == ["<bos>"] * len(before) + ["<eos>"] * len(
        after
    )
    assert len(labels) == len(before) + len(ids) + len(after)


def test_a_long_sentence_is_tagged_in_pieces_with_a_frame_each(tokenizer, tmp_path):
    save_model(build_model(BertConfig(**SIZES, vocab_size=60), "tag", labels=["D", "N", "V"]), tmp_path)
    with_frame(tokenizer, [1], [2]).save(tmp_path)
    tagger, words = load(tmp_path), ["cat", "dog", "sat"] * 20
    pieces = encode_sentences(tagger.tokenizer, [TaggedSentence(words, ["N", "N", "V"] * 20)], tagger.model.labels, 16)
    assert {(len(ids) <= 16, ids[0], ids[-1], tags[0], tags[-1]) for ids, tags in pieces} == {
        (True, 1, 2, IGNORE, IGNORE)
    }
    targets = np.concatenate([tags for _, tags in pieces])
    assert targets[targets != IGNORE].tolist() == [1, 1, 2] * 20
    (found,) = tagger.predict([words])
    rows = np.concatenate([tagger.model(ids[None]).data[0][tags != IGNORE] for ids, tags in pieces])
    assert found["tags"] == [tagger.model.labels[number] for number in rows.argmax(-1)]


@pytest.mark.parametrize("make", [make_masked_roberta, make_bare_distilbert])
def test_a_fine_tuned_folder_is_one_of_its_architecture_and_opens_as_its_task(make, tokenizer, tmp_path):
    save_model(make(tokenizer), tmp_path)
    tokenizer.save(tmp_path)
    made = Classifier.from_data(DATA[Classifier], pretrained=str(tmp_path), valid_fraction=0.0, pooling="first")
    made.fit(steps=2, lr=1e-3, batch_size=8)
    made.save(tmp_path / "tuned")
    keys = json.loads((tmp_path / "tuned" / "config.json").read_text())
    assert keys["architectures"][0] in ("RobertaForSequenceClassification", "DistilBertForSequenceClassification")
    again = load(tmp_path / "tuned")
    assert again.predict(["the cat sat"]) == made.predict(["the cat sat"])


def test_between_a_question_and_its_context_roberta_reads_two_end_tokens_and_the_others_one(tokenizer, tmp_path):
    for folder, make, count in (("a", make_masked_roberta, 2), ("b", make_bare_distilbert, 1)):
        save_model(make(tokenizer), tmp_path / folder)
        tokenizer.save(tmp_path / folder)
        made = QuestionAnswerer.from_data(DATA[QuestionAnswerer], pretrained=str(tmp_path / folder), valid_fraction=0.0)
        sequences = made.sequences("the cat", "a dog")
        (the, cat), (a, dog) = tokenizer.encode("the cat"), tokenizer.encode("a dog")
        bos, eos = tokenizer.bos_id, tokenizer.eos_id
        assert sequences.inputs[0].tolist() == [[bos, the, cat, *[eos] * count, a, dog, eos]]
        assert sequences.tokens[""] == ["<bos>", "the", "cat", *["<eos>"] * count, "a", "dog", "<eos>"]
