import json

import numpy as np
import pytest

from numformer import GPT, InputError, LanguageModel, Tensor
from numformer.ops.loss import IGNORE
from numformer.tasks.language_model.format import Piece
from numformer.tasks.language_model.packing import encode_examples
from numformer.tasks.language_model.scores import Question, choice_scores, read_questions, row_of, strided_windows

TEXT = "the cat sat on the mat.\nthe dog sat on the hat.\n" * 8
SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 8}


@pytest.fixture(scope="module")
def lm():
    lm = LanguageModel.from_text(TEXT, **SMALL)
    rng = np.random.default_rng(0)
    for parameter in lm.model.parameters():
        parameter.data = (rng.standard_normal(parameter.shape) * 0.3).astype(np.float32)
    return lm


def log_probs(lm, ids):
    logits = lm.model(np.array(ids)[None]).data[0].astype(np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def write(folder, *rows):
    path = folder / "questions.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


# Texts


@pytest.mark.parametrize(("count", "stride"), [(20, 3), (20, 8), (21, 1), (9, 4), (2, 5), (8, 8)])
def test_every_token_but_the_first_is_predicted_once(count, stride):
    tokens = np.arange(count)
    found = [target for _, targets in strided_windows(tokens, 8, stride) for target in targets[0] if target != IGNORE]
    assert found == list(range(1, count))


def test_a_token_is_predicted_from_as_many_as_the_stride_leaves():
    windows = list(strided_windows(np.arange(20), 8, 3))
    assert windows[0][0].tolist() == [[*range(8)]]
    assert windows[1][0].tolist() == [[*range(3, 11)]]
    assert windows[1][1].tolist() == [[IGNORE] * 5 + [9, 10, 11]]


def test_strided_loss_is_the_mean_of_the_tokens_of_its_windows(lm):
    ids, total = lm.tokenizer.encode(TEXT), 0.0
    for inputs, targets in strided_windows(np.array(ids), 8, 3):
        found = log_probs(lm, inputs[0])
        total -= sum(found[i, target] for i, target in enumerate(targets[0]) if target != IGNORE)
    scores = lm.evaluate(TEXT, stride=3)
    assert scores["tokens"] == len(ids) - 1
    assert scores["loss"] == pytest.approx(total / (len(ids) - 1), rel=1e-5)
    assert scores["perplexity"] == pytest.approx(np.exp(scores["loss"]))


def test_a_stride_of_the_context_length_measures_as_without_one(lm):
    assert lm.evaluate(TEXT, stride=8)["loss"] == pytest.approx(lm.evaluate(TEXT)["loss"], rel=1e-5)


@pytest.mark.parametrize("stride", [0, 9])
def test_a_stride_out_of_range_is_refused(stride, lm):
    with pytest.raises(InputError, match=f"stride must be 1 to 8.*, got {stride}"):
        lm.evaluate(TEXT, stride=stride)


# Questions


def test_the_likeliest_answer_is_chosen_by_sum_and_by_mean(lm):
    questions = [
        Question("the ", ("cat", "mat.", "dog s"), 0),
        Question("the dog ", ("sat", "on"), 1),  # longer than the context with its answer
        Question("", ("the", "hat"), 1),
    ]
    chosen = []
    for question in questions:
        sums = []
        for choice in question.choices:
            prompt = lm.tokenizer.encode(question.prompt).tolist() or [0]
            ids = [*prompt, *lm.tokenizer.encode(choice).tolist()][-9:]
            found = log_probs(lm, ids[:-1])
            each = [found[i - 1, ids[i]] for i in range(len(ids) - len(choice), len(ids))]
            sums.append((sum(each), sum(each) / len(each)))
        chosen.append([int(np.argmax([pair[k] for pair in sums])) for k in (0, 1)])
    right = np.mean([[each == q.answer for each in own] for own, q in zip(chosen, questions, strict=True)], axis=0)
    scores = choice_scores(lm.model, lm.tokenizer, questions, 8)
    assert (scores["accuracy"], scores["normalised_accuracy"]) == tuple(right)
    assert scores["questions"] == 3


class Prefixing:
    """Characters, with a space before a text, as SentencePiece has it."""

    vocab_size, begin_ids = 128, [1]

    def encode(self, text):
        return [ord(character) for character in f" {text}"]


def test_an_answer_is_scored_as_the_end_of_one_text_that_begins_as_a_prompt_does():
    seen = []

    def model(tokens):
        seen.append(tokens.tolist())
        return Tensor(np.zeros((*tokens.shape, 128), np.float32))

    choice_scores(model, Prefixing(), [Question("ab", (" c", " d"), 0)], 16)
    assert seen == [[[1, *b" ab "], [1, *b" ab "]]]


def test_a_trained_model_answers_what_it_has_read(tmp_path):
    lm = LanguageModel.from_text("q: cat a: purrs\nq: dog a: barks\n" * 30, **SMALL | {"max_seq_len": 32})
    lm.fit(steps=80, lr=1e-2, batch_size=8, progress=False)
    path = write(
        tmp_path,
        {"prompt": "q: cat a: ", "choices": ["purrs", "barks"], "answer": 0},
        {"context": "q: dog a: ", "choices": ["purrs", "barks"], "answer": "barks"},
    )
    assert lm.evaluate(path) == {"accuracy": 1.0, "normalised_accuracy": 1.0, "questions": 2}


class Beginning:
    """Bytes, with a space before every text as llama's pieces have it, and a beginning token."""

    vocab_size, begin_ids = 300, (299,)

    def encode(self, text):
        return [32, *text.encode()]

    def decode(self, ids):
        return bytes(ids[1:]).decode()


def test_texts_begin_as_the_tokenizer_says_and_an_answer_goes_on_from_its_prompt():
    lm, ids = LanguageModel(GPT(**SMALL | {"vocab_size": 300, "max_seq_len": 32}), Beginning()), [299, *b" it is\nso"]
    scores = lm.evaluate("it is\nso", stride=32)
    assert (scores["tokens"], scores["loss"]) == (9, pytest.approx(-lm.score(["it is\nso"])[0].mean()))
    assert row_of(lm.tokenizer, Question("it is", ("\nso", "\nno"), 0), "\nso")[0].tolist() == ids
    (example,) = encode_examples([(Piece("it is", False), Piece("\nso", True))], lm.tokenizer, 32, None)
    assert (example.ids.tolist(), example.counts.tolist()) == (ids, [False] * 7 + [True] * 3)
    (text,) = encode_examples([(Piece("it is\nso", True),)], lm.tokenizer, 32, None)
    assert text.ids.tolist() == ids


def test_windows_are_not_for_questions(lm, tmp_path):
    path = write(tmp_path, {"prompt": "the ", "choices": ["cat", "dog"], "answer": 0})
    with pytest.raises(InputError, match="stride and max_windows are for a text, not for examples or questions"):
        lm.evaluate(path, stride=4)


def test_prompts_of_which_the_end_is_seen_are_counted(lm, capsys):
    choice_scores(lm.model, lm.tokenizer, [Question("the dog sat ", ("on", "sat"), 0)], 8)
    assert "2 of 2 answers seen after the last 8 tokens alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"choices": ["a", "b"], "answer": 0}, "line 1: there is no 'prompt'"),
        ({"prompt": "q", "choices": ["a"], "answer": 0}, "line 1: choices must be a list of at least 2 texts"),
        ({"prompt": "q", "choices": "ab", "answer": 0}, "line 1: choices must be a list of at least 2 texts, got text"),
        ({"prompt": "q", "choices": ["a", 2], "answer": 0}, "line 1: the choice must be text, got an integer"),
        ({"prompt": "q", "choices": ["a", "b"], "answer": 2}, "line 1: the answer must be one of the choices"),
        ({"prompt": "q", "choices": ["a", "b"], "answer": "c"}, "line 1: the answer must be one of the choices"),
        ({"prompt": "q", "choices": ["a", "b"]}, "line 1: there is no 'answer'"),
    ],
)
def test_a_malformed_question_is_an_error_with_its_line(row, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_questions(write(tmp_path, row))
