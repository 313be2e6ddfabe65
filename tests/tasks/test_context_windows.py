import itertools

import numpy as np
import pytest

from numformer import ByteTokenizer, CharacterTokenizer, InputError
from numformer.data.squad import Question
from numformer.tasks.question_answering.windows import best_span
from numformer.tasks.question_answering.windows import make_windows as read_question
from numformer.tokenizers import SubwordTokenizer, WordTokenizer

CONTEXT = "Zoë’s  café: 北京 opened in 1999, on the old 🚋 line; it closed\nin 2003 – a pity."
TOKENIZERS = {
    "characters": CharacterTokenizer.from_text(CONTEXT, special_tokens=True),
    "characters alone": CharacterTokenizer.from_text(CONTEXT),
    "bytes": ByteTokenizer(),
    "words": WordTokenizer.train([CONTEXT], 100, min_count=1),
    "bpe": SubwordTokenizer.train("bpe", CONTEXT, 300),
}
EVERY = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)


def make_windows(*given):
    """Return the windows of a question alone."""
    return read_question(*given).windows


def ask(answer=None, at=None, asked="in", context=CONTEXT):
    answers = () if answer is None else ((answer, context.index(answer) if at is None else at),)
    return Question("0", asked, context, answers, impossible=answer is None)


def spans_of(tokenizer, context=CONTEXT):
    return [tuple(span) for span in tokenizer.encode_spans(context)[1].tolist()]


@EVERY
@pytest.mark.parametrize(("length", "stride"), [(24, 5), (24, 1), (24, 1000), (13, 4), (500, 64)])
def test_windows_cover_every_token_of_a_context_without_a_gap(tokenizer, length, stride):
    windows = make_windows(tokenizer, 3, ask("1999"), length, stride)
    spans = spans_of(tokenizer)
    parts = [[tuple(span) for span in window.spans.tolist()] for window in windows]
    starts = np.array([number * min(stride, len(parts[0])) for number in range(len(parts))])
    for start, part in zip(starts, parts, strict=True):
        assert part == spans[start : start + len(parts[0])]
    assert starts[-1] + len(parts[-1]) == len(spans)
    assert all(start + len(parts[0]) < len(spans) for start in starts[:-1]), "a window beyond the one that ends it"
    assert all(len(window.tokens) <= length and window.question == 3 for window in windows)


@EVERY
def test_a_window_is_the_question_and_a_part_of_the_context_between_special_tokens(tokenizer):
    window = make_windows(tokenizer, 0, ask("1999"), 16, 7)[1]
    ids, asked = (np.asarray(tokenizer.encode_spans(text)[0], np.int64) for text in (CONTEXT, "in"))
    first = window.tokens if window.tokens.ndim == 1 else window.tokens[:, 0]
    rows = ids if ids.ndim == 1 else ids[:, 0]
    asked = asked if asked.ndim == 1 else asked[:, 0]
    ends = [[] if getattr(tokenizer, name) is None else [getattr(tokenizer, name)] for name in ("bos_id", "eos_id")]
    part = rows[7 : 7 + len(window.spans)].tolist()
    assert first.tolist() == [*ends[0], *asked.tolist(), *ends[1], *part, *ends[1]]
    assert window.start == len(ends[0]) + len(asked) + len(ends[1])
    assert window.segments.tolist() == [0] * window.start + [1] * (len(first) - window.start)


@EVERY
@pytest.mark.parametrize("answer", ["Zoë", "北京", "1999", "🚋 line", "2003 – a pity.", "closed\nin 2003", "."])
def test_the_windows_that_hold_the_answer_point_at_its_tokens_and_the_others_at_nothing(tokenizer, answer):
    question = ask(answer)
    start, end = question.answers[0][1], question.answers[0][1] + len(answer)
    spans = spans_of(tokenizer)
    inside = [number for number, (first, last) in enumerate(spans) if first < end and last > start]
    found = 0
    for number, window in enumerate(make_windows(tokenizer, 0, question, 40, 6)):
        first, last = inside[0] - 6 * number, inside[-1] - 6 * number
        holds = first >= 0 and last < len(window.spans)
        assert window.target == ((window.start + first, window.start + last) if holds else (0, 0))
        found += holds
    assert found


def test_the_answer_that_is_meant_is_the_one_at_its_position():
    windows = make_windows(TOKENIZERS["characters"], 0, ask("in", CONTEXT.rindex("in")), 500, 64)
    first, last = (position - windows[0].start for position in windows[0].target)
    assert (first, last + 1) == (CONTEXT.rindex("in"), CONTEXT.rindex("in") + 2)


@EVERY
def test_a_question_without_an_answer_points_at_nothing(tokenizer):
    assert {window.target for window in make_windows(tokenizer, 0, ask(), 30, 7)} == {(0, 0)}


@EVERY
@pytest.mark.parametrize("asked", ["in " * 50, ""])
def test_a_long_question_is_cut_to_half_the_window_and_leaves_room_for_the_context(tokenizer, asked):
    windows = make_windows(tokenizer, 0, ask("1999", asked=asked), 20, 5)
    assert {len(window.tokens) for window in windows[:-1]} == {20}
    assert all(window.start <= 10 + 2 and len(window.spans) for window in windows)


@EVERY
def test_an_empty_context_has_one_window_without_context(tokenizer):
    (window,) = make_windows(tokenizer, 0, ask(context=""), 30, 7)
    assert len(window.spans) == 0
    assert window.target == (0, 0)


@pytest.mark.parametrize(
    ("length", "stride", "message"),
    [(30, 0, "stride must be at least 1, got 0"), (4, 5, "max_seq_len=4 leaves no room for a context")],
)
def test_windows_that_cannot_be_are_refused(length, stride, message):
    with pytest.raises(InputError, match=message):
        make_windows(TOKENIZERS["bytes"], 0, ask("1999"), length, stride)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("max_answer_len", [1, 3, 100])
def test_the_best_span_is_that_of_trying_them_all(seed, max_answer_len):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((2, 12)).astype(np.float32) * 3
    start, length = 3 + seed % 3, 1 + seed % 7
    scores[:, :start] += 20.0  # what is not the context is likelier, and not to be chosen
    scores[:, start + length :] += 20.0
    score, first, last = best_span(scores, start, length, max_answer_len)
    pairs = [(i, j) for i, j in itertools.product(range(length), repeat=2) if i <= j < i + max_answer_len]
    totals = [float(scores[0, start + i]) + float(scores[1, start + j]) for i, j in pairs]
    assert (first, last) == pairs[int(np.argmax(totals))]
    assert score == pytest.approx(max(totals) - float(scores[0, 0]) - float(scores[1, 0]))


def test_a_span_never_ends_before_it_starts():
    scores = np.zeros((2, 6))
    scores[0, 4], scores[1, 2] = 9.0, 9.0  # the best start lies after the best end
    _, first, last = best_span(scores, 1, 5, 30)
    assert first <= last
