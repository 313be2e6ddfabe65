import json

import numpy as np
import pytest

from numformer import InputError, QuestionAnswerer
from numformer.data.squad import Question
from numformer.tasks.question_answering.objective import QAObjective
from numformer.tasks.question_answering.windows import make_windows
from numformer.tokenizers import ByteTokenizer, CharacterTokenizer, SubwordTokenizer, WordTokenizer

SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 24, "dropout": 0.0, "vocab_size": 300}
FAST = {"lr": 1e-2, "batch_size": 16, "shards": 1, "progress": False}
FILLERS = ["ba", "do", "ki", "lu", "me"]
CONTEXT = "Zoë’s café: 北京 opened in 1999, on the old 🚋 line; it closed\nin 2003 – a pity."
LETTERS = CharacterTokenizer.from_text(CONTEXT + "?", special_tokens=True)


def question(number, before, after, seed=0):
    """Return a question whose answer is the only number in the context, at a given place."""
    rng = np.random.default_rng((seed, number, before, after))
    words = [*rng.choice(FILLERS, before), str(rng.integers(10, 99)), *rng.choice(FILLERS, after)]
    context = " ".join(words)
    return Question(f"q{number}", "which ?", context, ((words[before], context.index(words[before])),))


def questions(count=60, longest=20):
    rng = np.random.default_rng(0)
    return [question(i, *rng.integers(0, longest, 2).tolist()) for i in range(count)]


class Scripted:
    """In the place of a model: scores of starts and ends by token id, 0 for the others; counts its windows."""

    def __init__(self, starts, ends, max_seq_len=24, nothing=0.0):
        self.starts, self.ends, self.nothing, self.windows, self.training = starts, ends, nothing, 0, False
        self.config = type("Config", (), {"max_seq_len": max_seq_len})
        self.backbone = type("Backbone", (), {"separators": 1})

    def __call__(self, tokens, mask, segments):
        self.windows += len(tokens)
        scores = np.zeros((len(tokens), 2, tokens.shape[1]), np.float32)
        for row, table in ((0, self.starts), (1, self.ends)):
            for token, score in table.items():
                scores[:, row][tokens == token] = score
        scores[:, :, 0] = self.nothing
        return np.where(mask[:, None], scores, -1e9)

    def eval(self):
        return self

    def train(self, mode):
        return self


def scripted(starts, ends, max_seq_len=24, nothing=0.0, **settings):
    def ids(table):
        return {int(LETTERS.encode(character)[0]): score for character, score in table.items()}

    task = QuestionAnswerer(Scripted(ids(starts), ids(ends), max_seq_len, nothing), LETTERS)
    task.config = QuestionAnswerer.data_config(**settings)
    return task


@pytest.fixture(scope="module")
def answerer():
    task = QuestionAnswerer.from_data(questions(), stride=5, valid_fraction=0.2, **SMALL)
    task.fit(steps=120, **FAST)
    return task


def test_answers_are_learned_and_found_in_the_last_of_many_windows(answerer):
    asked = [question(number, 150 - number, number, seed=1) for number in (0, 1, 4, 9, 70, 149, 150)]
    assert len(make_windows(answerer.tokenizer, 0, asked[0], 24, 5).windows) > 20
    found = answerer.predict(asked)
    assert [each["answer"] for each in found] == [q.answers[0][0] for q in asked]
    assert [each["start"] for each in found] == [q.answers[0][1] for q in asked]
    scores = answerer.evaluate(asked)
    assert scores == {"exact_match": 100.0, "f1": 100.0, "total": 7}
    assert answerer.evaluate()["exact_match"] == 100.0


@pytest.mark.parametrize(
    "tokenizer",
    [LETTERS, ByteTokenizer(), WordTokenizer.train([CONTEXT], 100), SubwordTokenizer.train("bpe", CONTEXT, 300)],
    ids=["characters", "bytes", "words", "bpe"],
)
def test_an_answer_is_the_piece_of_the_context_it_says_it_is(tokenizer):
    task = QuestionAnswerer.from_data(questions(5), tokenizer=tokenizer, stride=6, **SMALL | {"vocab_size": 400})
    asked = [(f"{number}?", context) for number, context in enumerate([CONTEXT, CONTEXT[::-1], "北", CONTEXT * 3])]
    for (_, context), found in zip(asked, task.predict(asked), strict=True):
        assert found["answer"] == context[found["start"] : found["end"]] != ""
        assert 0.0 < found["score"] < 1.0


def test_the_best_answer_of_all_windows_is_taken_wherever_it_is():
    for character in "Zo北🚋9;–y":
        task = scripted({character: 5.0}, {character: 5.0}, stride=7)
        (found,) = task.predict([("a?", CONTEXT)])
        assert found["answer"] == character
        assert found["start"] == CONTEXT.index(character)
        assert task.model.windows > 5


@pytest.mark.parametrize("stride", [1, 19, 20, 1000])
def test_no_stride_leaves_a_gap(stride):
    for character in "Z北🚋;–y":
        (found,) = scripted({character: 5.0}, {character: 5.0}, stride=stride).predict([("a?", CONTEXT)])
        assert found["answer"] == character


def test_a_question_as_long_as_the_window_is_cut():
    (found,) = scripted({"北": 5.0}, {"北": 5.0}, stride=4).predict([("a?" * 30, CONTEXT)])
    assert found["answer"] == "北"


def test_an_answer_never_ends_before_it_starts_nor_lies_in_the_question():
    task = scripted({"京": 9.0, "?": 50.0}, {"北": 9.0, "?": 50.0}, max_seq_len=200)
    (found,) = task.predict([("??", CONTEXT)])
    assert found["end"] > found["start"]
    assert "?" not in found["answer"]
    assert found["answer"].startswith("京") != found["answer"].endswith("北")


@pytest.mark.parametrize("most", [1, 3, 6])
def test_an_answer_has_at_most_so_many_tokens(most):
    task = scripted({"Z": 5.0}, {":": 5.0, "o": 4.0, "’": 3.0, "Z": -1.0}, max_seq_len=200, max_answer_len=most)
    (found,) = task.predict([("a?", CONTEXT)])
    assert found["answer"] == {1: ":", 3: "Zo", 6: "Zo"}[most]
    (free,) = scripted({"Z": 5.0}, {":": 5.0}, max_seq_len=200).predict([("a?", CONTEXT)])
    assert free["answer"] == "Zoë’s café:"


@pytest.mark.parametrize(("nothing", "no_answer", "expected"), [
    (0.0, True, "北"), (6.0, True, ""), (0.0, False, "北"), (6.0, False, "北"),
])  # fmt: skip
def test_without_an_answer_there_is_none_only_when_that_is_asked_for(nothing, no_answer, expected):
    task = scripted({"北": 5.0}, {"北": 4.0}, nothing=nothing, no_answer=no_answer, stride=9)
    (found,) = task.predict([("a?", CONTEXT)])
    assert found["answer"] == expected
    assert (found["start"], found["end"]) == ((CONTEXT.index("北"), CONTEXT.index("北") + 1) if expected else (0, 0))
    assert found["score"] == pytest.approx(1 / (1 + np.exp(2 * nothing - 9.0)))


@pytest.mark.parametrize("context", ["", " ", "\n"])
def test_a_context_without_words_has_no_answer(answerer, context):
    found, other = answerer.predict([("which ?", context), ("which ?", "ba 12 do")])
    assert (found["answer"], found["start"], found["end"], found["score"]) == ("", 0, 0, pytest.approx(0.0))
    assert other["answer"] == "12"


def test_results_come_in_the_order_of_the_questions_and_as_each_alone(answerer):
    asked = [(q.question, q.context) for q in questions(40, longest=40)]
    together = answerer.predict(asked)
    for pair, found in zip(asked, together, strict=True):
        (alone,) = answerer.predict([pair])
        assert {**found, "score": 0} == {**alone, "score": 0}
        assert found["score"] == pytest.approx(alone["score"], rel=1e-3)
    assert answerer.predict([]) == []


def test_exact_match_and_f1_are_those_one_would_count_by_hand():
    task = scripted({"北": 9.0}, {"京": 9.0}, max_seq_len=200)
    asked = [
        Question("a", "a?", CONTEXT, (("北京", 12),)),
        Question("b", "a?", CONTEXT, (("1999", 25), ("北京", 12))),
        Question("c", "a?", CONTEXT, (("北京 opened", 12),)),
        Question("d", "a?", CONTEXT, (), impossible=True),
    ]
    assert task.evaluate(asked) == {"exact_match": 50.0, "f1": pytest.approx(100 * (2 + 4 / 5) / 4), "total": 4}


def test_questions_of_one_id_are_all_counted():
    task = scripted({"北": 9.0}, {"京": 9.0}, max_seq_len=200)
    asked = [Question("", "a?", CONTEXT, ((answer, CONTEXT.index(answer)),)) for answer in ("1999", "北京")]
    assert task.evaluate(asked) == {"exact_match": 50.0, "f1": 50.0, "total": 2}


def test_questions_without_an_answer_are_learned():
    def ask(number):
        asked = question(number, 3, 3)
        if number % 2:
            return Question(asked.id, asked.question, asked.context.replace(asked.answers[0][0], "ba"), (), True)
        return asked

    task = QuestionAnswerer.from_data([ask(i) for i in range(40)], no_answer=True, valid_fraction=0.2, **SMALL)
    task.fit(steps=100, **FAST)
    assert task.evaluate()["exact_match"] == 100.0
    assert {found["answer"] == "" for found in task.predict([ask(i) for i in range(40, 60)])} == {True, False}


def test_all_questions_of_a_context_are_on_one_side_of_the_split():
    asked = [Question(f"{q.id} {i}", f"{i} ?", q.context, q.answers) for q in questions(20) for i in range(3)]
    task = QuestionAnswerer.from_data(asked, valid_fraction=0.3, **SMALL)
    assert task.valid_data
    assert not {q.context for q in task.train_data} & {q.context for q in task.valid_data}


def test_a_file_of_squad_is_read_and_what_is_of_no_use_counted(tmp_path, capsys):
    rows = [
        '{"id": "1", "question": "which ?", "answers": [{"text": "12", "answer_start": 3}]}',
        '{"id": "2", "question": "which ?", "answers": [{"text": "12", "answer_start": 4}]}',
        '{"id": "3", "question": "which ?", "answers": [], "is_impossible": true}',
    ]
    paragraphs = f'[{{"context": "ba 12 do", "qas": [{", ".join(rows)}]}}]'
    (tmp_path / "squad.json").write_text(f'{{"data": [{{"paragraphs": {paragraphs}}}]}}')
    task = QuestionAnswerer.from_data(tmp_path / "squad.json", valid_fraction=0.0, **SMALL)
    assert [q.id for q in task.train_data] == ["1"]
    err = capsys.readouterr().err
    left_out = "1 misplaced answer, first at data[0].paragraphs[0].qas[1]; 1 without an answer, while no_answer is off"
    assert f"squad.json: 3 questions; 2 left out ({left_out}, first at data[0].paragraphs[0].qas[2]); " in err
    assert err.endswith("; 1 context of 8 characters on average; 1 with an answer, 0 without\n")
    task = QuestionAnswerer.from_data(tmp_path / "squad.json", no_answer=True, valid_fraction=0.0, **SMALL)
    assert [q.id for q in task.train_data] == ["1", "3"]


def test_label_smoothing_and_padding_train_together():
    task = QuestionAnswerer.from_data(questions(), stride=5, valid_fraction=0.2, **SMALL)
    result = task.fit(steps=3, label_smoothing=0.1, **FAST)
    assert 0.0 < result.loss < 10.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda task: QuestionAnswerer.from_data(questions(5), stride=0, **SMALL).fit(steps=1), "stride must be"),
        (
            lambda task: scripted({}, {}, max_answer_len=0).predict([("a?", CONTEXT)]),
            "max_answer_len must be at least 1",
        ),
        (lambda task: task.evaluate([]), "no examples in the list"),
        (lambda task: task.predict("which ?"), "a list of texts"),
        (lambda task: QuestionAnswerer.from_data([("a ?", "b", "b")]), "example 0 is .*, expected a Question"),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(answerer, make, message):
    with pytest.raises(InputError, match=message) as caught:
        make(answerer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [1, 4, 7, 10])
def test_the_generated_task_has_as_many_questions_as_are_asked_for(count):
    config = QuestionAnswerer.data_config(data="toy:key-value", toy_examples=count)
    train, held_out = QuestionAnswerer.format.generate(config, 0)
    assert len(train) == count
    assert not {q.context for q in train} & {q.context for q in held_out}


@pytest.mark.parametrize("given", [("Who?",), "Who?", ("Who?", 3), None])
def test_what_is_no_question_with_its_context_is_named(given):
    with pytest.raises(InputError, match=r"question 0 is .*, expected a question and its context"):
        scripted({}, {}).predict([given])


def test_questions_may_be_asked_about_one_context():
    task = scripted({}, {})
    pairs = [("Who?", "Ann came."), ("Where?", "Ann came.")]
    assert task.predict(["Who?", "Where?"], context="Ann came.") == task.predict(pairs)


def test_a_file_in_another_encoding_is_read(tmp_path):
    answer = {"text": "Zoë", "answer_start": 0}
    qa = {"id": "1", "question": "Who?", "answers": [answer]}
    text = json.dumps({"data": [{"paragraphs": [{"context": "Zoë came.", "qas": [qa]}]}]}, ensure_ascii=False)
    (tmp_path / "latin.json").write_bytes(text.encode("latin-1"))
    config = QuestionAnswerer.data_config(encoding="latin-1")
    assert QuestionAnswerer.format.read(str(tmp_path / "latin.json"), config)[0].answers == (("Zoë", 0),)


@pytest.mark.parametrize("answers", ["Ann", (("Bob", 0),), (("Ann",),), (("Ann", 3),)])
def test_a_question_whose_answer_is_no_piece_of_its_context_is_named(answers):
    wrong = Question("1", "Who?", "Ann came.", answers)
    with pytest.raises(
        InputError, match=r"example 1 is Question.*expected a Question whose answers stand in its context"
    ):
        QuestionAnswerer.from_data([*questions(1), wrong])


# What cannot be learned is left out and said


def windows_to_train_on(asked, capsys, **settings):
    """Return how many windows each question has in training, and the lines that are said of the questions."""
    given = {"tokenizer": LETTERS, "valid_fraction": 0.0} | SMALL | settings
    task = QuestionAnswerer.from_data(asked, **given)
    capsys.readouterr()
    numbers = [window.question for window in task.objective(task.train_config).examples]
    return [numbers.count(number) for number in range(len(asked))], capsys.readouterr().err.splitlines()


def about(answer, context=CONTEXT):
    return Question(answer, "a?", context, ((answer, context.index(answer)),))


def test_an_answer_longer_than_a_window_is_left_out_of_training_and_said(capsys):
    asked = [about("北京"), about(CONTEXT[3:30])]
    counts, lines = windows_to_train_on(asked, capsys, stride=4)
    assert (counts[0] > 0, counts[1]) == (True, 0)
    assert lines == [
        "1 of 2 training questions left out: no window of max_seq_len=24 tokens, stride=4 apart, holds the whole answer"
    ]


def test_an_answer_across_windows_is_left_out_of_training_and_said(capsys):
    room = 24 - len("<bos>a?<eos><eos>".replace("<bos>", "b").replace("<eos>", "e"))
    asked = [about(CONTEXT[room - 2 : room + 2]), about(CONTEXT[:4])]
    counts, lines = windows_to_train_on(asked, capsys, stride=room)
    assert (counts[0], counts[1] > 0, len(lines)) == (0, True, 1)
    counts, lines = windows_to_train_on(asked, capsys, stride=room - 4)
    assert (counts[0] > 0, lines) == (True, [])


def test_an_answer_that_no_token_has_a_part_of_is_left_out_of_training(capsys):
    class WithoutNumbers(CharacterTokenizer):
        def encode_spans(self, text):
            ids, spans = super().encode_spans(text)
            kept = [not character.isdigit() for character in text]
            return ids[kept], spans[kept]

    tokenizer = WithoutNumbers(LETTERS.characters, special_tokens=True)
    counts, lines = windows_to_train_on([about("1999"), about("Zo")], capsys, tokenizer=tokenizer)
    assert (counts[0], len(lines)) == (0, 1)


def test_a_question_without_an_answer_is_trained_on_only_where_that_is_asked_for(capsys):
    asked = [about("北京"), Question("2", "a?", CONTEXT, (), impossible=True), Question("3", "a?", CONTEXT, ())]
    counts, lines = windows_to_train_on(asked, capsys)
    assert counts[1:] == [0, 0]
    assert lines == ["2 of 3 training questions left out: without an answer, while no_answer is off"]
    counts, lines = windows_to_train_on(asked, capsys, no_answer=True)
    assert (min(counts) > 0, lines) == (True, [])


@pytest.mark.parametrize(
    ("answer", "count"), [("199", 1), ("999", 1), ("Zo", 1), ("1999", 0), ("in 1999,", 0), ("café", 0)]
)
def test_an_answer_that_begins_or_ends_inside_a_token_is_said(answer, count, capsys):
    tokenizer = WordTokenizer.train([CONTEXT], 100)
    _, lines = windows_to_train_on([about(answer), about("北京")], capsys, tokenizer=tokenizer, max_seq_len=64)
    expected = "1 of 2 training answers beginning or ending inside a token: the target is the whole token"
    assert lines == [expected] * count


def test_answers_that_cannot_be_predicted_for_their_length_are_said(capsys):
    _, lines = windows_to_train_on([about("北京"), about("1999")], capsys, max_answer_len=3)
    assert lines == ["1 of 2 training answers over max_answer_len=3 tokens: they cannot be predicted"]
    assert windows_to_train_on([about("北京"), about("1999")], capsys, max_answer_len=4)[1] == []


def test_a_question_over_half_the_context_is_said_in_training_prediction_and_attention(capsys):
    long = Question("1", "a?" * 7, CONTEXT, (("Zo", 0),))
    assert windows_to_train_on([long, about("Zo")], capsys)[1] == [
        "1 of 2 training questions cut to 12 tokens, half of max_seq_len=24"
    ]
    scripted({}, {}).predict([("a?" * 7, CONTEXT), ("a?" * 6, CONTEXT), ("a?" * 50, CONTEXT)])
    assert capsys.readouterr().err == "2 of 3 questions cut to 12 tokens, half of max_seq_len=24\n"
    task = QuestionAnswerer.from_data([about("Zo")], tokenizer=LETTERS, valid_fraction=0.0, **SMALL)
    capsys.readouterr()
    task.attention("a?" * 7, CONTEXT[:30])
    assert capsys.readouterr().err == (
        "1 of 1 question cut to 12 tokens, half of max_seq_len=24\nthe first of 4 windows of the context is looked at\n"
    )


def test_an_answer_that_was_not_learned_counts_as_wrong_when_measured():
    task = scripted({"Z": 9.0}, {"o": 9.0})
    assert task.evaluate([about("Zo"), about(CONTEXT[3:40])]) == {"exact_match": 50.0, "f1": 50.0, "total": 2}


def test_held_out_questions_that_cannot_be_learned_are_said_and_training_goes_on(capsys):
    task = QuestionAnswerer.from_data([about("北京")], valid=[about(CONTEXT[3:40])], tokenizer=LETTERS, **SMALL)
    result = task.fit(steps=1, **FAST)
    assert "1 of 1 held-out question left out: no window" in capsys.readouterr().err
    assert result.val_loss is None


def test_training_without_a_question_that_can_be_learned_is_refused():
    task = QuestionAnswerer.from_data([about(CONTEXT[3:40])], tokenizer=LETTERS, valid_fraction=0.0, **SMALL)
    with pytest.raises(InputError, match="no question is left to train on: raise max_seq_len"):
        task.fit(steps=1, **FAST)


def test_a_file_without_an_answer_is_refused_unless_that_is_asked_for(tmp_path):
    row = {"id": "1", "question": "which ?", "context": "ba 12 do", "answers": {"text": [], "answer_start": []}}
    (tmp_path / "squad.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match=r"holds no question with an answer \(1 question; 1 left out \(1 without"):
        QuestionAnswerer.from_data(tmp_path / "squad.jsonl", **SMALL)
    task = QuestionAnswerer.from_data(tmp_path / "squad.jsonl", no_answer=True, valid_fraction=0.0, **SMALL)
    assert task.train_data[0].impossible


def test_the_best_step_is_that_with_most_positions_right_not_that_with_the_lowest_loss(monkeypatch):
    questions = [
        Question(str(i), "who?", f"it was {name} then {i}", ((name, 7),)) for i, name in enumerate("abcdefgh" * 3)
    ]
    task = QuestionAnswerer.from_data(questions, d_model=16, num_heads=2, num_layers=1, vocab_size=200)
    figures = iter([{"loss": 1.0, "positions": 0.2}, {"loss": 2.0, "positions": 0.5}, {"loss": 3.0, "positions": 0.4}])
    monkeypatch.setattr(QAObjective, "evaluate", lambda self, workers: next(figures))
    result = task.fit(steps=3, eval_every=1, batch_size=4, progress=False)
    assert (result.best_step, result.criterion) == (2, "positions")


def test_positions_are_counted_in_the_windows_that_have_an_answer():
    objective = object.__new__(QAObjective)
    targets = np.array([[2, 3], [0, 0], [1, 1]])
    logits = np.zeros((3, 2, 5))
    for row, (start, end) in enumerate([(2, 4), (0, 0), (1, 1)]):
        logits[row, 0, start] = logits[row, 1, end] = 1.0
    assert (objective.num_correct(logits, targets), objective.num_scored(targets)) == (3, 4)
