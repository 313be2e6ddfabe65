"""Examples as ids, and several of them side by side in one row, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from numformer._notices import amount, say, say_share
from numformer.errors import InputError
from numformer.generation.chat_template import ChatTemplate
from numformer.ops.loss import IGNORE
from numformer.tasks.language_model.dialogues import encode_dialogue
from numformer.tasks.language_model.format import Dialogue, Example
from numformer.tokenizers import Tokenizer, begin_ids, encode_after


class Encoded(NamedTuple):
    """The ids [N] of an example, and which of them [N] are learned."""

    ids: np.ndarray
    counts: np.ndarray


class Row(NamedTuple):
    """Examples side by side: what the model reads [T], the number of each one's example [T], what comes next [T]."""

    tokens: np.ndarray
    segments: np.ndarray
    targets: np.ndarray


def encode_examples(
    examples: Sequence[Example], tokenizer: Tokenizer, length: int, template: ChatTemplate | None, part: str = ""
) -> list[Encoded]:
    """Return examples as ids with an end token after each, of at most length + 1 tokens; says on stderr what was cut.

    They begin as a prompt does that the model is to continue. A text is cut into several; of the others what is over is cut
    off, and one without an answer left is left out.
    Raises InputError for a dialogue without a template.
    """
    found, cut, left_out = list[Encoded](), 0, 0
    for example in examples:
        whole = _with_end(_encoded(example, tokenizer, template), tokenizer, isinstance(example, Dialogue))
        parts = [whole]
        if len(whole.ids) > length + 1:
            cut += 1
            parts = list(_windows(whole, length)) if whole.counts.all() else [_cut(whole, length + 1)]
        kept = [each for each in parts if each.counts[1:].any()]
        left_out += not kept
        found += kept
    things = f"{part} examples".lstrip()
    say_share(cut, len(examples), things, f"over {length} tokens: texts are cut into several, the others are cut off")
    say_share(left_out, len(examples), things, "left out, for nothing of what is to be learned is left of them")
    return found


def pack(examples: Sequence[Encoded], length: int) -> list[Row]:
    """Put examples side by side into rows of at most `length` tokens, the longest first, each where it fits best."""
    rows = list[list[Encoded]]()
    with_room: list[list[int]] = [[] for _ in range(length + 1)]  # the rows that have room for so many tokens
    for example in sorted(examples, key=lambda each: -len(each.ids)):
        size = len(example.ids) - 1
        room = next((room for room in range(size, length + 1) if with_room[room]), None)
        if room is None:
            room, number = length, len(rows)
            rows.append([])
        else:
            number = with_room[room].pop()
        rows[number].append(example)
        with_room[room - size].append(number)
    return [_row(row) for row in rows]


def describe_rows(rows: Sequence[Row], num_examples: int, length: int) -> str:
    """Say how examples were packed, and how much of their rows is padding."""
    filled = sum(len(row.tokens) for row in rows)
    counted = sum(int((row.targets != IGNORE).sum()) for row in rows)
    padding = 1.0 - filled / max(1, len(rows) * length)
    return (
        f"{amount(num_examples, 'examples')} packed into {amount(len(rows), 'rows')} of {length} tokens "
        f"({padding:.1%} padding); {counted:,} of {amount(filled, 'tokens')} are learned"
    )


def say_without_end(tokenizer: Any) -> None:
    """Say that nothing ends the examples where the tokenizer has no end token."""
    if getattr(tokenizer, "eos_id", None) is None:
        say(f"{type(tokenizer).__name__} has no end token: the model does not learn where an example ends")


def _encoded(example: Example, tokenizer: Tokenizer, template: ChatTemplate | None) -> Encoded:
    if not isinstance(example, Dialogue):
        texts = [piece.text for piece in example]
        ids = [encode_after(tokenizer, before, text) for before, text in zip(["", *texts], texts, strict=False)]
        ids[0] = np.concatenate([begin_ids(tokenizer), ids[0]])
        counts = [np.full(len(new), piece.counts) for new, piece in zip(ids, example, strict=True)]
        return Encoded(np.concatenate(ids).astype(np.int64), np.concatenate(counts))
    if template is None:
        raise InputError(
            'dialogues ({"messages"}) need a chat template: start --from a model that has one, '
            'or give {"prompt", "completion"}'
        )
    return Encoded(*encode_dialogue(example, template))


def _with_end(example: Encoded, tokenizer: Any, is_dialogue: bool) -> Encoded:
    """Put the end token after an example; one that a template has written may end with it already."""
    end = getattr(tokenizer, "eos_id", None)
    if end is None or (is_dialogue and end in example.ids[example.counts][-2:]):  # a line break may follow it
        return example
    return Encoded(np.append(example.ids, end), np.append(example.counts, True))


def _cut(example: Encoded, length: int) -> Encoded:
    return Encoded(example.ids[:length], example.counts[:length])


def _windows(example: Encoded, length: int) -> Iterator[Encoded]:
    """Yield pieces that together predict every token but the first once."""
    for start in range(0, len(example.ids) - 1, length):
        part = slice(start, start + length + 1)
        yield Encoded(example.ids[part], example.counts[part])


def _row(examples: Sequence[Encoded]) -> Row:
    return Row(
        np.concatenate([each.ids[:-1] for each in examples]),
        np.concatenate([np.full(len(each.ids) - 1, number) for number, each in enumerate(examples)]),
        np.concatenate([np.where(each.counts[1:], each.ids[1:], IGNORE) for each in examples]),
    )
