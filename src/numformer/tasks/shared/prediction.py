"""Running a trained model on many inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from typing import Any, TypeVar

import numpy as np

from numformer._notices import Shares
from numformer.autograd import Tensor, inference
from numformer.data.batching.batches import LengthBatches
from numformer.errors import InputError
from numformer.tasks.shared.objective import EVALUATION_TOKENS
from numformer.training.progress import track
from numformer.training.workers import Workers, num_cores

FIRST_PIECE, LONGEST_PIECE = 8, 512  # inputs: the first results come soon, later ones fast

Item = TypeVar("Item")
Result = TypeVar("Result")
Answers = TypeVar("Answers")  # of a batch


def as_texts(texts: Any) -> list[str]:
    """Return texts as a list; raises InputError for what is no text, and for one text in the place of a list."""
    texts = as_list(texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"expected a list of texts, got {repr(text)[:60]} as number {number}")
    return texts


def as_list(texts: Any) -> list[Any]:
    """Return a list; raises InputError for one text in its place."""
    return list(check_many(texts))


def check_many(texts: Any) -> Iterable[Any]:
    """Return what can be iterated over; raises InputError for one text, whose characters would be taken for texts."""
    if isinstance(texts, str):
        raise InputError(f"expected a list of texts, got the text {texts[:60]!r}: put it in brackets")
    if isinstance(texts, (bytes, Mapping)) or not isinstance(texts, Iterable):
        raise InputError(f"expected a list of texts, got {texts!r:.60}")
    return texts


def pieces(items: Iterable[Item], paused: Callable[[], bool] = lambda: False) -> Iterator[list[Item]]:
    """Yield items in lists that double in length from 8 to 512, so that neither all of them nor many results are kept.

    A list is given out before it is full when `paused` tells that the next item may be long in coming.
    """
    size = FIRST_PIECE
    piece: list[Item] = []
    for item in items:
        piece.append(item)
        if len(piece) == size or paused():
            yield piece
            size, piece = min(2 * size, LONGEST_PIECE), []
    if piece:
        yield piece


def in_pieces(
    items: Iterable[Item], paused: Callable[[], bool], answer: Callable[[list[Item]], Iterable[Result]]
) -> Iterator[Result]:
    """Yield what `answer` returns for each of any number of items, piece by piece; what it says of them is said once."""
    shares = Shares()
    try:
        for piece in pieces(items, paused):
            with shares.adding():
                found = answer(piece)
            yield from found
    finally:
        shares.say()


def run_batches(
    rows: Sequence[Sized],
    work: Callable[[list[int]], Sequence[Result]],
    progress: bool = True,
    workers: Workers | None = None,
) -> list[Result]:
    """Return the result of each row: `work` gets the numbers of rows of similar length, without dropout or gradients.

    It runs on `workers`, which stay open, or else on all cores.
    """
    results: dict[int, Result] = {}
    for numbers, answers in each_batch(rows, work, progress, workers):
        results |= zip(numbers, answers, strict=True)
    return [results[number] for number in range(len(rows))]


def each_batch(
    rows: Sequence[Sized],
    work: Callable[[list[int]], Answers],
    progress: bool = True,
    workers: Workers | None = None,
    batch_size: int | None = None,
) -> Iterator[tuple[list[int], Answers]]:
    """Yield the numbers of the rows of each batch with what `work` returns for them, as `run_batches` asks it.

    A batch has `batch_size` rows, or as many as fit some thousand tokens.
    """
    if not rows:
        return
    lengths = [max(1, len(row)) for row in rows]
    most = None if batch_size else max(EVALUATION_TOKENS, *lengths)
    batches = [each.tolist() for each in LengthBatches(lengths, batch_size=batch_size, batch_tokens=most)]

    def run(numbers: list[int]) -> Answers:
        with inference():
            return work(numbers)

    with nullcontext(workers) if workers else Workers(num_cores()) as team:
        yield from zip(batches, track(team.map(run, batches), len(batches), show=progress), strict=True)


def values(result: Any) -> np.ndarray:
    """Return the array of a model's output."""
    return result.data if isinstance(result, Tensor) else np.asarray(result)
