"""Which questions can be learned, and what is lost of the others: counted, and said on stderr."""

from __future__ import annotations

from collections.abc import Sequence

from numformer._notices import say_share
from numformer.data.squad import Question
from numformer.tasks.question_answering.format import UNANSWERABLE, QAConfig
from numformer.tasks.question_answering.windows import ReadQuestion, Window


def learnable(
    questions: Sequence[Question], read: Sequence[ReadQuestion], config: QAConfig, max_seq_len: int, part: str
) -> list[Window]:
    """Return the windows of the questions of a part, "training" or "held-out", that teach what is asked.

    The windows of a question whose answer lies whole in none of them would all teach that there is no answer; so would those
    of a question without one, which is taken with `no_answer` only. Both kinds are left out.
    """
    answered = [not question.impossible and bool(question.answers) for question in questions]
    lost = {
        UNANSWERABLE: [not (has or config.no_answer) for has in answered],
        f"no window of max_seq_len={max_seq_len} tokens, stride={config.stride} apart, holds the whole answer": [
            has and not each.is_held for has, each in zip(answered, read, strict=True)
        ],
    }
    for reason, which in lost.items():
        say_share(sum(which), len(questions), f"{part} questions", f"left out: {reason}")
    kept = [each for each, *gone in zip(read, *lost.values(), strict=True) if not any(gone)]
    say_cut_questions(kept, max_seq_len, part)
    found = [each for each in kept if each.answer is not None]
    widened, longest = sum(each.is_widened for each in found), config.max_answer_len
    too_long = sum(each.answer[1] - each.answer[0] >= longest for each in found if each.answer)
    say_share(
        widened, len(found), f"{part} answers", "beginning or ending inside a token: the target is the whole token"
    )
    say_share(
        too_long, len(found), f"{part} answers", f"over max_answer_len={longest} tokens: they cannot be predicted"
    )
    return [window for each in kept for window in each.windows]


def say_cut_questions(read: Sequence[ReadQuestion], max_seq_len: int, part: str = "") -> None:
    """Say how many questions were longer than half the context length."""
    number = sum(each.is_cut for each in read)
    say_share(
        number,
        len(read),
        f"{part} questions".lstrip(),
        f"cut to {max_seq_len // 2} tokens, half of max_seq_len={max_seq_len}",
    )
