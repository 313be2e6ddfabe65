"""What does not fit the context is cut between tokens and whole characters, counted, and said once a call."""

import numpy as np
import pytest

from numformer import ByteTokenizer, Classifier, LanguageModel, MaskedLanguageModel, Regressor, Tagger, Translator
from numformer.tasks.shared.encoding import cut, framed
from numformer.tokenizers import CharacterTokenizer, SubwordTokenizer

SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 8, "dropout": 0.0}
PAIR = {"d_model": 16, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 1, "max_seq_len": 8}
FAST = {"steps": 1, "batch_size": 4, "shards": 1, "progress": False}
SHORT, LONG = "ab cd", "ab cd ef gh"  # of 5 and of 11 characters, where 6 stand between the begin and the end token
TEXTS = [SHORT, LONG, SHORT, LONG[:6], LONG[:7]]


def lines(capsys):
    return capsys.readouterr().err.splitlines()


def make(kind, examples, **settings):
    shape = PAIR if kind is Translator else SMALL
    return kind.from_data(examples, **{"tokenizer": "characters", "valid_fraction": 0.0} | shape | settings)


@pytest.fixture(scope="module")
def tasks():
    return {
        Classifier: make(Classifier, [(SHORT, "a"), (LONG, "b")]),
        Regressor: make(Regressor, [(SHORT, 1.0), (LONG, 2.0)]),
        Translator: make(Translator, [(SHORT, "a"), (LONG, "b")]),
    }


@pytest.mark.parametrize(
    ("kind", "texts", "things"),
    [(Classifier, TEXTS, "texts"), (Regressor, TEXTS, "texts"), (Translator, [*TEXTS[:4], LONG[:8]], "sources")],
)
def test_a_prediction_says_how_many_texts_it_cuts(tasks, kind, texts, things, capsys):
    tasks[kind].predict(texts)
    assert lines(capsys) == [f"2 of 5 {things} cut to max_seq_len=8 tokens"]
    tasks[kind].predict([SHORT, LONG[:6]])
    assert lines(capsys) == []


@pytest.mark.parametrize(
    ("kind", "labels", "things"),
    [(Classifier, "ab", "texts"), (Regressor, (1, 2), "texts"), (Translator, "ab", "sources")],
)
def test_a_measurement_says_once_how_many_texts_it_cuts(tasks, kind, labels, things, capsys):
    tasks[kind].evaluate([(SHORT, labels[0]), (LONG, labels[1]), (LONG, labels[0])])
    assert lines(capsys) == [f"2 of 3 {things} cut to max_seq_len=8 tokens"]


@pytest.mark.parametrize(
    ("kind", "labels", "things"),
    [(Classifier, "ab", "text"), (Regressor, (1, 2), "text"), (Translator, "ab", "source")],
)
def test_training_says_how_many_texts_it_cuts_of_each_part(kind, labels, things, capsys):
    examples = [(SHORT, labels[0]), (LONG, labels[1]), (LONG + "c", labels[0])]
    task = make(kind, examples, valid=[(LONG, labels[0])])
    capsys.readouterr()
    task.fit(**FAST)
    assert lines(capsys) == [
        f"2 of 3 training {things}s cut to max_seq_len=8 tokens",
        f"1 of 1 held-out {things} cut to max_seq_len=8 tokens",
    ]


def test_looking_at_the_attention_of_a_text_says_that_it_is_cut(tasks, capsys):
    tasks[Classifier].attention(LONG)
    tasks[Regressor].attention(LONG)
    assert lines(capsys) == ["1 of 1 text cut to max_seq_len=8 tokens"] * 2
    tasks[Translator].attention(LONG)
    assert lines(capsys) == ["1 of 1 source cut to max_seq_len=8 tokens"]
    tasks[Translator].attention(LONG, LONG)
    assert lines(capsys) == [f"1 of 1 {side} cut to max_seq_len=8 tokens" for side in ("source", "target")]
    tagger = Tagger(tasks[Classifier].model, tasks[Classifier].tokenizer)
    tagger.attention(LONG)
    assert lines(capsys) == ["1 of 1 sentence cut to max_seq_len=8 tokens"]
    masked = MaskedLanguageModel.from_text(f"{LONG}\n" * 9, **SMALL)
    capsys.readouterr()
    masked.attention(LONG)
    assert lines(capsys) == ["1 of 1 text cut to max_seq_len=8 tokens"]


def test_a_prompt_that_the_model_does_not_see_whole_is_said(capsys):
    task = LanguageModel.from_text("abcdefghijklmnop\n" * 9, **SMALL)
    capsys.readouterr()
    task.generate("abcdefghijklmnop"[:13], 1)
    assert lines(capsys) == ["of the prompt's 13 tokens the model sees the last 5: max_seq_len=8"]
    assert task.generate("abcdefghijklm", 2) == task.generate("ijklm", 2)
    capsys.readouterr()
    task.generate("abcdefgh", 1)
    assert lines(capsys) == []


@pytest.mark.parametrize(("text", "room", "kept"), [
    ("aé", 3, "aé"), ("aé", 2, "a"), ("a北b", 4, "a北"), ("a北b", 3, "a"), ("a北b", 2, "a"), ("🚋🚋", 7, "🚋"), ("🚋", 3, ""),
])  # fmt: skip
def test_bytes_are_cut_between_characters(text, room, kept):
    tokenizer = ByteTokenizer()
    assert tokenizer.decode(cut(tokenizer, text, tokenizer.encode(text), room)) == kept


def test_pieces_of_words_are_cut_between_characters():
    tokenizer = SubwordTokenizer.train("bpe", ["ab ab"], 262)
    ids = tokenizer.encode("ab 北ab")
    kept = [tokenizer.decode(cut(tokenizer, "ab 北ab", ids, room)) for room in range(len(ids) + 1)]
    assert "ab 北" in [text.strip() for text in kept]
    assert all("\ufffd" not in text for text in kept)


def test_a_tokenizer_without_spans_is_cut_between_tokens():
    class Plain:
        vocab_size = 300

        def encode(self, text):
            return list(text.encode())

        def decode(self, ids):
            return bytes(ids).decode()

    assert cut(Plain(), "a北", np.array(Plain().encode("a北")), 2).tolist() == [97, 229]


def test_a_cut_text_stays_between_the_begin_and_the_end_token():
    tokenizer = CharacterTokenizer("abcdefgh ", special_tokens=True)
    (ids,) = framed(tokenizer, [LONG], 8)
    assert ids.tolist() == [tokenizer.bos_id, *tokenizer.encode(LONG[:6]).tolist(), tokenizer.eos_id]
