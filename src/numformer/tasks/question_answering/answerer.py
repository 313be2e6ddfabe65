"""Question answering: a question and a text in, the piece of the text that answers it out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypedDict, Unpack

import numpy as np

from numformer._notices import say
from numformer.data.squad import Question
from numformer.data.tables.writer import check_table
from numformer.errors import InputError
from numformer.metrics import exact_match, squad_scores
from numformer.models import BertConfig, SpanClassifier
from numformer.tasks.question_answering.format import QAConfig, QASettings, QuestionFormat
from numformer.tasks.question_answering.limits import learnable, say_cut_questions
from numformer.tasks.question_answering.objective import QAObjective, collate_windows
from numformer.tasks.question_answering.windows import ReadQuestion, Window, best_span, make_windows
from numformer.tasks.shared.attention import Sequences, token_labels, with_frame
from numformer.tasks.shared.encoding import pad_id, special_row
from numformer.tasks.shared.example_task import Data, ExampleTask
from numformer.tasks.shared.mistakes import MistakeOptions, places_of, write_mistakes
from numformer.tasks.shared.prediction import as_list, run_batches, values
from numformer.tasks.shared.start import backbone_of
from numformer.tokenizers import Tokenizer
from numformer.training import OptimConfig, TrainConfig

Span = tuple[float, int, int]  # the score of an answer, and the characters of the context that it is


@dataclass(frozen=True, kw_only=True)
class ContextOptions:
    """What questions are asked about."""

    context: str | None = None
    """The text to find the answers in, or a file that holds it."""


class Answer(TypedDict):
    """The answer to a question, the characters of the context that it stands at, and its probability."""

    question: str
    answer: str
    start: int
    end: int
    score: float


class QuestionAnswerer(ExampleTask):
    """A model that finds answers in texts: `predict([("Who wrote it?", "It was written by Ann.")])`.

    An example is a Question. Contexts longer than the model sees are read in windows.
    """

    name = "qa"
    format = QuestionFormat()
    model_class = SpanClassifier
    data_config = QAConfig
    model_config = BertConfig(max_seq_len=192)
    train_config: ClassVar[TrainConfig] = TrainConfig(steps=2000, eval_every=250)
    optim_config: ClassVar[OptimConfig] = OptimConfig(lr=1e-3, schedule="cosine", warmup_steps=200)
    predict_options = ContextOptions
    attention_options = ContextOptions
    reading = ("encoding",)
    second_text = "context"
    evaluate_options = MistakeOptions
    inputs = ("question", "context")
    columns = ("answer", "start", "end", "score")

    model: SpanClassifier
    tokenizer: Tokenizer
    config: QAConfig

    @classmethod
    def from_data(
        cls,
        data: Data[Question],
        *,
        valid: Data[Question] | None = None,
        config: QAConfig | None = None,
        model: BertConfig | None = None,
        tokenizer: str | Path | Tokenizer | None = None,
        seed: int = 0,
        **settings: Unpack[QASettings],
    ) -> Self:
        """Make an untrained model for a file, or a list of questions.

        `settings` are fields of QAConfig (such as stride, vocab_size, pretrained) and of BertConfig (such as d_model),
        unless `config` and `model` give those whole. `tokenizer` is a kind, a folder, or an object.
        Raises InputError when the data is missing, malformed or too little.
        """
        return cls._from_data(data, valid, config, model, tokenizer, seed, settings)

    @classmethod
    def build(
        cls,
        config: QAConfig,
        model: BertConfig,
        base: Any,
        examples: Sequence[Question],
        labels: list[str],
        seed: int,
    ) -> SpanClassifier:
        """Return a model for spans; one that is pretrained for them goes on as it is."""
        if isinstance(base, SpanClassifier):
            return base
        return SpanClassifier(backbone_of(config, model, seed, base), seed=seed)

    def objective(self, train: TrainConfig) -> QAObjective:
        """Return what to train on."""
        examples = self._learnable(self._needs_data(), "training")
        valid = self._learnable(self.valid_data, "held-out")
        if not examples:
            raise InputError(
                "no question is left to train on: raise max_seq_len, or take those without an answer (no_answer)"
            )
        return QAObjective(self.model, self.tokenizer, examples, valid, train)

    def predict(
        self,
        questions: Sequence[Question | tuple[str, str]] | Sequence[str],
        *,
        context: str | None = None,
        progress: bool = False,
    ) -> list[Answer]:
        """Return for every question (a Question, or a question and its context) the best answer.

        With `context`, the questions are texts about that one. An answer comes with the characters of the context it stands
        at, and a score: the probability that it is the answer, and not that there is none. With `no_answer` in the config,
        an answer below one half is none: "".
        """
        given = as_list(questions)
        pairs = given if context is None else [(question, context) for question in given]
        asked = [_as_question(number, pair) for number, pair in enumerate(pairs)]
        read = self._read(asked)
        say_cut_questions(read, self.model.config.max_seq_len)
        windows = [window for each in read for window in each.windows]
        found = run_batches([window.tokens for window in windows], self._spans_of(windows), progress)
        best: dict[int, Span] = {}
        for window, (score, start, end) in zip(windows, found, strict=True):
            if window.question not in best or score > best[window.question][0]:
                best[window.question] = (score, start, end)
        return [self._answer(question, *best[number]) for number, question in enumerate(asked)]

    def input_columns(self) -> tuple[str, ...]:
        """Return the column of the question in a table."""
        return ("question",)

    def in_words(self, prediction: Mapping[str, Any]) -> str:
        """Return the answer with its score, or that there is none."""
        return f"{prediction['answer'] or 'no answer'} {prediction['score']:.2f}"

    def evaluate(self, data: Data[Question] | None = None, *, errors: str | Path | None = None) -> dict[str, Any]:
        """Return exact match and F1 (percent) on a file, a list, or the held-out questions.

        With `errors` writes the questions that get an answer which is not an exact match into that .csv, .tsv or .jsonl
        file, with the right answers and " | " between them.
        """
        check_table(errors)
        questions = self._examples_of(data)
        answers = self.predict(questions, progress=True)
        predictions = {str(i): answer["answer"] for i, answer in enumerate(answers)}  # ids may repeat in a list
        if errors is not None:
            wrong = [
                {
                    "place": place,
                    "question": question.question,
                    "context": question.context,
                    "gold": " | ".join(dict.fromkeys(text for text, _ in question.answers)),
                    "predicted": answer["answer"],
                    "score": answer["score"],
                }
                for place, question, answer in zip(places_of(questions), questions, answers, strict=True)
                if not exact_match(answer["answer"], [text for text, _ in question.answers])
            ]
            write_mistakes(errors, ("place", "question", "context", "gold", "predicted", "score"), wrong)
        return squad_scores(predictions, {str(i): [text for text, _ in q.answers] for i, q in enumerate(questions)})

    def sequences(self, text: str, second: str | None) -> Sequences:
        """Return the tokens of a question and of the first window of its context."""
        if second is None:
            raise InputError("looking at attention takes the context of the question too")
        (read,) = self._read([Question("", text, second, ())])
        say_cut_questions([read], self.model.config.max_seq_len)
        if len(read.windows) > 1:
            say(f"the first of {len(read.windows):,} windows of the context is looked at")
        window = read.windows[0]
        more = (self.model.backbone.separators - 1) * len(special_row(self.tokenizer, "eos_id", window.tokens))
        asked = with_frame(self.tokenizer, token_labels(self.tokenizer, text), window.start - more) + ["<eos>"] * more
        told = [second[start:end] for start, end in window.spans]
        labels = [*asked, *told, *["<eos>"] * (len(window.tokens) - len(asked) - len(told))]
        tokens, mask, segments = collate_windows([window], pad_id(self.tokenizer))
        return Sequences((tokens, mask, segments), {"": labels})

    def _learnable(self, questions: Sequence[Question], part: str) -> list[Window]:
        return learnable(questions, self._read(questions), self.config, self.model.config.max_seq_len, part)

    def _read(self, questions: Sequence[Question]) -> list[ReadQuestion]:
        longest = self.model.config.max_seq_len
        if self.config.max_answer_len < 1:  # said before training too
            raise InputError(f"max_answer_len must be at least 1, got {self.config.max_answer_len}")
        stride, separators = self.config.stride, self.model.backbone.separators
        return [make_windows(self.tokenizer, i, q, longest, stride, separators) for i, q in enumerate(questions)]

    def _spans_of(self, windows: Sequence[Window]) -> Callable[[list[int]], list[Span]]:
        """Return what finds the best span of some windows, as its score and characters."""
        longest = self.config.max_answer_len

        def work(numbers: list[int]) -> list[Span]:
            chosen = [windows[number] for number in numbers]
            scores = values(self.model(*collate_windows(chosen, pad_id(self.tokenizer))))
            return [_characters(row, window, longest) for row, window in zip(scores, chosen, strict=True)]

        return work

    def _answer(self, question: Question, score: float, start: int, end: int) -> Answer:
        chance = 1.0 / (1.0 + math.exp(-max(min(score, 500.0), -500.0)))
        if (self.config.no_answer and score <= 0.0) or start == end:
            start = end = 0
        answer = question.context[start:end]
        return {"question": question.question, "answer": answer, "start": start, "end": end, "score": chance}


def _as_question(number: int, given: Any) -> Question:
    if isinstance(given, Question):
        return given
    if not isinstance(given, (tuple, list)) or len(given) != 2 or not all(isinstance(text, str) for text in given):
        raise InputError(f"question {number} is {repr(given)[:80]}, expected a question and its context")
    return Question(str(number), given[0], given[1], ())


def _characters(scores: np.ndarray, window: Window, max_answer_len: int) -> Span:
    """Return the best span of a window as its score and the characters of the context; nothing where there are none."""
    if not len(window.spans):
        return -math.inf, 0, 0
    score, first, last = best_span(scores, window.start, len(window.spans), max_answer_len)
    return score, int(window.spans[first, 0]), int(window.spans[last, 1])
