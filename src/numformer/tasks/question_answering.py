"""Question answering: a question and a text in, the piece of the text that answers it out."""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from numformer import ops
from numformer.autograd import Tensor
from numformer.data.squad import Question, read_squad
from numformer.data.toy import make_key_value_questions
from numformer.errors import InputError
from numformer.metrics import squad_scores
from numformer.models import BertConfig, SpanClassifier
from numformer.tasks.attention import Sequences, token_labels, with_frame
from numformer.tasks.context_windows import Window, best_span, make_windows
from numformer.tasks.data_config import DataConfig
from numformer.tasks.encoding import pad_id, padded
from numformer.tasks.example_task import ExampleTask, backbone_of
from numformer.tasks.inference import as_list, run_batches, values
from numformer.tasks.objective import Batch, ExamplesObjective
from numformer.training import OptimConfig, TrainConfig

TOY = "toy:key-value"
TOY_HELD_OUT = 500
TOY_PAIRS = (2, 5, 10, 20, 40)  # of keys and values in a context of the training data; the last are held out: 120 words


@dataclass(frozen=True, kw_only=True)
class QAConfig(DataConfig):
    """Questions about contexts, in the JSON of SQuAD."""

    data: str = ""
    """File to train on, or toy:key-value for generated questions about long lists."""
    stride: int = 64
    """Tokens between the beginnings of the windows that a long context is cut into."""
    max_answer_len: int = 30
    """Most tokens of an answer."""
    no_answer: bool = False
    """Train on questions without an answer too, and let the model give none."""
    toy_examples: int = 20_000
    """Number of training questions of toy:key-value."""


class QAObjective(ExamplesObjective):
    """Windows, and the positions of the answer's first and last token."""

    unit = "targets"
    examples_are = "windows"

    def lengths(self, example: Window) -> tuple[int, ...]:
        """Return the number of tokens."""
        return (len(example.tokens),)

    def collate(self, examples: Sequence[Window]) -> Batch:
        """Return tokens, their mask and segments [B T], and targets [B 2]."""
        return (*collate_windows(examples, pad_id(self.tokenizer)), np.array([window.target for window in examples]))

    def loss_sum(self, *batch: np.ndarray) -> Tensor:
        """Return the summed loss; smoothing spreads over the real positions of each window."""
        smoothing, (tokens, mask, segments, targets) = self.train.label_smoothing, batch
        logits = self.logits(tokens, mask, segments)
        loss = self._loss_sum(logits, targets)
        if not smoothing:
            return loss
        shares = np.broadcast_to((mask / mask.sum(axis=1, keepdims=True))[:, None], logits.shape).astype(np.float32)
        spread = (ops.where(mask[:, None], ops.log_softmax(logits), 0.0) * shares).sum()
        return loss * (1.0 - smoothing) - spread * smoothing


class QuestionAnswerer(ExampleTask):
    """A model that finds answers in texts: `predict([("Who wrote it?", "It was written by Ann.")])`.

    An example is a Question. Contexts longer than the model sees are read in windows.
    """

    name = "qa"
    model_class = SpanClassifier
    data_config = QAConfig
    model_config = BertConfig(max_seq_len=192)
    example_form = "a Question whose answers stand in its context"
    train_config: ClassVar[TrainConfig] = TrainConfig(steps=2000, eval_every=250)
    optim_config: ClassVar[OptimConfig] = OptimConfig(lr=1e-3, schedule="cosine", warmup_steps=200)

    @classmethod
    def is_example(cls, example: Any) -> bool:
        """Tell whether an example is a Question with answers that are pieces of its context."""
        return isinstance(example, Question) and all(
            isinstance(answer, tuple) and len(answer) == 2 and example.context.startswith(*answer)
            for answer in example.answers
        )

    @classmethod
    def read(cls, path: str, config: Any, labels: Sequence[str] | None = None) -> list[Question]:
        """Return the questions of a file that the task can use, and say on stderr how many it cannot."""
        questions, skipped, skipped_answers = read_squad(path, config.encoding)
        kept = questions if config.no_answer else [question for question in questions if not question.impossible]
        impossible = len(questions) - len(kept)
        for count, what in (
            (skipped, "questions left out, whose answers do not stand where they should"),
            (skipped_answers, "single answers left out, which do not stand where they should"),
            (impossible, "questions without an answer left out"),
        ):
            if count:
                print(f"{path}: {count} {what}", file=sys.stderr)
        return kept

    @classmethod
    def read_parts(
        cls, config: Any, data: Sequence[Any] | None, valid: Sequence[Any] | None, seed: int
    ) -> tuple[list[Any], list[Any]]:
        """Return the questions to train on and those held out, generated for the toy task."""
        if data is None and config.data == TOY:
            parts = len(TOY_PAIRS)
            counts = [(config.toy_examples + part) // parts for part in range(parts)]
            train_data = [
                question
                for part, (count, size) in enumerate(zip(counts, TOY_PAIRS, strict=True), start=1)
                for question in make_key_value_questions(count, seed * (parts + 1) + part, size)
            ]
            return train_data, make_key_value_questions(TOY_HELD_OUT, seed * (parts + 1), TOY_PAIRS[-1])
        return super().read_parts(config, data, valid, seed)

    @classmethod
    def groups(cls, examples: Sequence[Question]) -> Sequence[Hashable]:
        """Keep all questions about one context on one side."""
        return [question.context for question in examples]

    @classmethod
    def texts(cls, examples: Sequence[Question]) -> Iterable[str]:
        """Return every context once, and the questions."""
        yield from dict.fromkeys(question.context for question in examples)
        yield from (question.question for question in examples)

    @classmethod
    def build(cls, config: Any, model: Any, examples: Sequence[Question], seed: int, base: Any) -> Any:
        """Return a model for spans."""
        if isinstance(base, SpanClassifier):
            return base
        return SpanClassifier(backbone_of(config, model, seed, base), seed=seed)

    def objective(self, train: TrainConfig) -> QAObjective:
        """Return what to train on."""
        examples = [window for windows in self._windows(self._needs_data()) for window in windows]
        valid = [window for windows in self._windows(self.valid_data) for window in windows]
        return QAObjective(self.model, self.tokenizer, examples, valid, train)

    def predict(
        self, questions: Sequence[Question | tuple[str, str]], *, progress: bool = False
    ) -> list[dict[str, Any]]:
        """Return for every question (a Question, or a question and its context) the best answer.

        An answer comes with the characters of the context it stands at, and a score: the probability that it is the answer,
        and not that there is none. With `no_answer` in the config, an answer below one half is none: "".
        """
        questions = as_list(questions)
        asked = [_as_question(number, question) for number, question in enumerate(questions)]
        windows = [window for each in self._windows(asked) for window in each]
        found = run_batches(self.model, [window.tokens for window in windows], self._spans_of(windows), progress)
        best: dict[int, tuple[float, int, int]] = {}
        for window, (score, start, end) in zip(windows, found, strict=True):
            if window.question not in best or score > best[window.question][0]:
                best[window.question] = (score, start, end)
        return [self._answer(question, *best[number]) for number, question in enumerate(asked)]

    def evaluate(self, data: str | Path | Sequence[Question] | None = None) -> dict[str, Any]:
        """Return exact match and F1 (percent) on a file, a list, or the held-out questions."""
        questions = self.examples_of(data)
        answers = self.predict(questions, progress=True)
        predictions = {str(i): answer["answer"] for i, answer in enumerate(answers)}  # ids may repeat in a list
        return squad_scores(predictions, {str(i): [text for text, _ in q.answers] for i, q in enumerate(questions)})

    def sequences(self, text: str, second: str | None) -> Sequences:
        """Return the tokens of a question and of the first window of its context."""
        if second is None:
            raise InputError("looking at attention takes the context of the question too")
        window = self._windows([Question("", text, second, ())])[0][0]
        asked = with_frame(self.tokenizer, token_labels(self.tokenizer, text), window.start)
        told = [second[start:end] for start, end in window.spans]
        labels = [*asked, *told, *["<eos>"] * (len(window.tokens) - len(asked) - len(told))]
        tokens, mask, segments = collate_windows([window], pad_id(self.tokenizer))
        return Sequences((tokens, mask, segments), {"": labels})

    def _windows(self, questions: Sequence[Question]) -> list[list[Window]]:
        longest = self.model.config.max_seq_len
        if self.config.max_answer_len < 1:  # said before training too
            raise InputError(f"max_answer_len must be at least 1, got {self.config.max_answer_len}")
        return [make_windows(self.tokenizer, i, q, longest, self.config.stride) for i, q in enumerate(questions)]

    def _spans_of(self, windows: Sequence[Window]) -> Any:
        """Return what finds the best span of some windows, as its score and characters."""
        longest = self.config.max_answer_len

        def work(numbers: list[int]) -> list[tuple[float, int, int]]:
            chosen = [windows[number] for number in numbers]
            scores = values(self.model(*collate_windows(chosen, pad_id(self.tokenizer))))
            return [_characters(row, window, longest) for row, window in zip(scores, chosen, strict=True)]

        return work

    def _answer(self, question: Question, score: float, start: int, end: int) -> dict[str, Any]:
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


def collate_windows(windows: Sequence[Window], value: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return tokens [B T] (or [B T C]), their mask and their segments [B T]."""
    tokens, mask = padded([window.tokens for window in windows], value)
    return tokens, mask, padded([window.segments for window in windows], 0)[0]


def _characters(scores: np.ndarray, window: Window, max_answer_len: int) -> tuple[float, int, int]:
    """Return the best span of a window as its score and the characters of the context; nothing where there are none."""
    if not len(window.spans):
        return -math.inf, 0, 0
    score, first, last = best_span(scores, window.start, len(window.spans), max_answer_len)
    return score, int(window.spans[first, 0]), int(window.spans[last, 1])
