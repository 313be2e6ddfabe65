"""One line before training says what was read of each file, and of data given as lists when they are trained on."""

import json

import pytest

from numformer import Classifier, LanguageModel, MaskedLanguageModel, QuestionAnswerer, Regressor, Tagger, Translator
from numformer._notices import amount, shortened
from numformer.data.files.examples import Examples
from numformer.data.squad import Question
from numformer.data.tagged.conll import TaggedSentence
from numformer.tasks.shared.format import counted

SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 16}
PAIR = {"d_model": 16, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 1, "max_seq_len": 16}
FAST = {"steps": 1, "batch_size": 4, "shards": 1}
REVIEWS = [("a good film", "pos"), ("a bad film", "neg"), ("good", "pos"), ("one", "pos")]


def lines(capsys):
    return capsys.readouterr().err.splitlines()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "name", "content", "line"),
    [
        (
            Classifier,
            "a.csv",
            "text,label\ngood,pos\nbad,neg\n,neg\nfine,pos\n",
            "a.csv: 4 rows; 1 left out (1 blank text, first at line 4); 2 labels: pos (2), neg (1); once only: neg",
        ),
        (
            Regressor,
            "a.csv",
            "text,value\na chair,80\na table,160.5\n",
            "a.csv: 2 rows; numbers from 80 to 160.5, mean 120.25",
        ),
        (
            Translator,
            "a.tsv",
            "Hello.\tBonjour.\nOne of them\tun\n",
            "a.tsv: 2 rows; sources of 8 characters on average, targets of 5; the first: Hello. → Bonjour.",
        ),
        (
            Tagger,
            "a.conll",
            "Ann B-PER\nsees O\nit O\n\nBen B-PER\n",
            "a.conll: 2 sentences; 4 words; 2 tags: B-PER (2), O (2); entities in BIO",
        ),
    ],
)
def test_a_file_is_told_in_one_line(kind, name, content, line, here, capsys):
    (here / name).write_text(content)
    settings = (PAIR if kind is Translator else SMALL) | {"tokenizer": "characters", "valid_fraction": 0.0}
    task = kind.from_data(name, **settings)
    assert lines(capsys) == [line]
    task.fit(progress=False, **FAST)
    assert lines(capsys) == []
    task.evaluate(name)
    assert lines(capsys) == [line]


def test_the_held_out_file_is_told_in_a_line_too(here, capsys):
    (here / "a.csv").write_text("text,label\ngood,pos\nbad,neg\nfine,pos\n")
    (here / "b.csv").write_text("text,label\nfine,pos\n")
    Classifier.from_data("a.csv", valid="b.csv", **SMALL)
    assert [line.split("; ")[0] for line in lines(capsys)] == ["a.csv: 3 rows", "b.csv: 1 row"]


def test_questions_are_told_with_their_contexts(here, capsys):
    answers = {"text": ["Ann"], "answer_start": [0]}
    rows = [{"question": "Who?", "context": "Ann came.", "answers": answers}] * 2
    rows += [{"question": "Why?", "context": "Ann came again.", "answers": {"text": [], "answer_start": []}}]
    (here / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    QuestionAnswerer.from_data("a.jsonl", no_answer=True, valid_fraction=0.0, **SMALL)
    assert lines(capsys) == [
        "a.jsonl: 3 questions; 2 contexts of 12 characters on average; 2 with an answer, 1 without"
    ]


def test_lists_are_told_when_they_are_trained_on_with_progress(capsys):
    task = Classifier.from_data(REVIEWS, valid=REVIEWS[:1], **SMALL)
    assert lines(capsys) == []
    task.fit(progress=False, **FAST)
    assert lines(capsys) == []
    task.fit(**FAST)
    assert lines(capsys)[:3] == [
        "data: 4 examples; 2 labels: pos (3), neg (1); once only: neg",
        "valid: 1 example; 1 label: pos (1)",
        f"{amount(task.model.num_parameters(), 'parameters')}, 4 examples to train on (an epoch is 1 step), 1 held out",
    ]


def test_examples_that_a_reader_returned_keep_their_report(capsys):
    data = Examples(REVIEWS)
    data.leave_out("blank text", "reviews.csv, line 7")
    Classifier.from_data(data, valid_fraction=0.0, **SMALL).fit(**FAST)
    assert lines(capsys)[0].startswith("data: 5 rows; 1 left out (1 blank text, first at line 7); 2 labels: ")


@pytest.mark.parametrize("kind", [LanguageModel, MaskedLanguageModel])
def test_a_text_is_told_with_its_tokens_and_what_is_held_out(kind, here, capsys):
    (here / "a.txt").write_text("one two thé\n" * 10 + "end")
    task = kind.from_text("a.txt", **SMALL)
    size = f"{here / 'a.txt'}: 123 characters in 11 lines; 123 tokens (CharacterTokenizer with a vocabulary of "
    size = size.replace(f"{here}/", "")
    (line,) = lines(capsys)
    assert line == f"{size}{task.tokenizer.vocab_size}); held out: the last 13"
    kind.from_text("a.txt", valid="a.txt", **SMALL)
    assert lines(capsys)[0].endswith("; held out: the 123 tokens of a.txt")
    task.evaluate("a.txt")
    assert lines(capsys) == [f"{size}{task.tokenizer.vocab_size})"]


def test_a_text_that_is_given_itself_is_told_when_it_is_trained_on_with_progress(capsys):
    task = LanguageModel.from_text("one two\n" * 9, valid_fraction=0.01, **SMALL)
    assert lines(capsys) == []
    task.fit(**FAST)
    assert lines(capsys)[0] == (
        "data: 72 characters in 9 lines; 72 tokens (CharacterTokenizer with a vocabulary of 7); "
        "held out: none, for valid_fraction=0.01 of them is less than two"
    )


def test_a_held_out_part_that_stays_empty_is_explained(capsys):
    Classifier.from_data(REVIEWS, **SMALL)
    assert lines(capsys) == ["none of the 4 examples is held out: valid_fraction=0.1 of them is less than one"]


def test_a_held_out_part_that_stays_small_for_its_groups_is_explained(capsys):
    asked = [Question(f"{i}", "Who?", f"Ann came {i // 8}", (("Ann", 0),)) for i in range(20)]
    task = QuestionAnswerer.from_data(asked, valid_fraction=0.3, **SMALL)
    assert len(task.valid_data) == 4
    assert lines(capsys) == ["4 of 20 examples held out, not 6: questions about one context stay on one side"]


def test_more_held_out_examples_than_are_measured_are_told(capsys):
    Classifier.from_data(REVIEWS, valid=REVIEWS, **SMALL).fit(eval_examples=3, **FAST)
    assert "4 held out (of which 3 are measured)" in capsys.readouterr().err


def test_ten_labels_are_named_and_the_others_counted():
    values = [f"label {i:02}" for i in range(12) for _ in range(20 - i)]
    named = ", ".join(f"label {i:02} ({20 - i})" for i in range(10))
    assert counted("labels", values) == f"12 labels: {named}, …"


def test_a_long_label_is_shortened_to_a_line():
    assert counted("labels", ["a  film\nthat is much too long to be a label"] * 2) == (
        "1 label: a film that is much too long… (2)"
    )


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["Pos", "pos"], "nearly the same: Pos, pos"),
        (["sci-fi", "Sci Fi", "sci_fi", "drama"], "nearly the same: Sci Fi, sci-fi, sci_fi"),
        (["good", "good."], "nearly the same: good, good."),
        (["A", "a", "B", "b"], "nearly the same: A, a / B, b"),
        (["1", "-1", "+1", "C", "C++", "A", "A-"], None),
        ([".", ",", "''", "PRP", "PRP$"], None),
        (["B-PER", "I-PER", "O"], None),
    ],
)
def test_labels_that_look_like_one_are_said(labels, said):
    found = counted("labels", labels * 2).split("; ")
    assert found[1:] == ([] if said is None else [said])


def test_labels_that_occur_once_are_said_unless_all_do():
    assert counted("labels", [*"aab", "c"]).split("; ")[1:] == ["once only: b, c"]
    assert counted("labels", "abc").split("; ")[1:] == []


def test_one_thing_is_no_plural():
    assert [amount(count, "target tokens") for count in (0, 1, 5452)] == [
        "0 target tokens",
        "1 target token",
        "5,452 target tokens",
    ]


def test_a_text_is_shortened_to_its_beginning_on_one_line():
    assert shortened("a\n b") == "a b"
    assert shortened("日" * 50, 5) == "日日日日…"


def test_the_words_of_a_tagged_list_are_counted(capsys):
    data = [TaggedSentence(["Ann"], ["N"]), TaggedSentence(["Ben", "sat"], ["N", "V"])]
    Tagger.from_data(data, valid_fraction=0.0, **SMALL).fit(**FAST)
    assert lines(capsys)[0] == "data: 2 examples; 3 words; 2 tags: N (2), V (1); once only: V"
