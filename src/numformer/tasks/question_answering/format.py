"""Questions about contexts: how they are read or generated, checked, and held apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from numformer._notices import amount
from numformer.data.files.examples import Examples
from numformer.data.squad import Question, read_squad
from numformer.data.toy import make_key_value_questions
from numformer.errors import InputError
from numformer.tasks.shared.format import DataConfig, Format, Parts
from numformer.tasks.shared.settings import DataSettings, EncoderSettings

UNANSWERABLE = "without an answer, while no_answer is off"
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


class QASettings(DataSettings, EncoderSettings, total=False):
    """What `QuestionAnswerer.from_data` takes as keywords: the fields of QAConfig and BertConfig."""

    stride: int
    max_answer_len: int
    no_answer: bool
    toy_examples: int


class QuestionFormat(Format[Question, QAConfig]):
    """Questions whose answers stand in their contexts."""

    form = "a Question whose answers stand in its context"
    together = "questions about one context"

    def accepts(self, example: object) -> bool:
        """Tell whether an example is a Question with answers that are pieces of its context."""
        return isinstance(example, Question) and all(
            isinstance(answer, tuple) and len(answer) == 2 and example.context.startswith(*answer)
            for answer in example.answers
        )

    def read(self, path: str, config: QAConfig) -> Examples[Question]:
        """Return the questions of a file that the task can use; those without an answer only with `no_answer`."""
        questions = read_squad(path, config.encoding, config.skip_bad)
        if not config.no_answer:
            questions.leave_out_those(lambda question: question.impossible, UNANSWERABLE)
        if not questions:
            raise InputError(f"{path} holds no question with an answer ({questions.report()})")
        return questions

    def describe(self, examples: Sequence[Question]) -> str:
        """Count the contexts and their characters, and the questions with an answer and without one."""
        contexts = {question.context for question in examples}
        mean = sum(map(len, contexts)) / len(contexts)
        without = sum(question.impossible or not question.answers for question in examples)
        return (
            f"{amount(len(contexts), 'contexts')} of {mean:,.0f} characters on average; "
            f"{len(examples) - without:,} with an answer, {without:,} without"
        )

    def generate(self, config: QAConfig, seed: int) -> Parts[Question] | None:
        """Return the questions of the toy task: trained on lists of every length, held out on the longest."""
        if config.data != TOY:
            return None
        parts = len(TOY_PAIRS)
        counts = [(config.toy_examples + part) // parts for part in range(parts)]
        train_data = [
            question
            for part, (count, size) in enumerate(zip(counts, TOY_PAIRS, strict=True), start=1)
            for question in make_key_value_questions(count, seed * (parts + 1) + part, size)
        ]
        return train_data, make_key_value_questions(TOY_HELD_OUT, seed * (parts + 1), TOY_PAIRS[-1])

    def groups(self, examples: Sequence[Question]) -> list[str]:
        """Keep all questions about one context on one side."""
        return [question.context for question in examples]

    def texts(self, examples: Sequence[Question]) -> Iterable[str]:
        """Return every context once, and the questions."""
        yield from dict.fromkeys(question.context for question in examples)
        yield from (question.question for question in examples)
