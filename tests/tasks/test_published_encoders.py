"""Tasks that start from folders of published encoders, with a tokenizer of BERT beside the weights."""

import json

import numpy as np
import pytest

from numformer import Classifier, QuestionAnswerer, Regressor, Tagger, load
from numformer.data.squad import Question
from numformer.data.tagged.conll import TaggedSentence
from numformer.models import BertConfig, DistilBertConfig, RobertaConfig, build_model
from numformer.models.build import build_backbone
from numformer.pretrained import save_model
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
