"""Looking inside: the attention weights of a trained model on a text, with the tokens they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from numformer.autograd import inference
from numformer.nn import record_attention
from numformer.tasks.shared.encoding import frame_of, framed
from numformer.tokenizers import Tokenizer, printable


class AttentionMap(NamedTuple):
    """The weights [H T S] of one layer, and the tokens that attend (T) and are attended to (S).

    In cross-attention a place of the decoder looks for the token that it writes next: that one is named. Elsewhere it is
    the token read at the place, since both sides are the same sequence.
    """

    layer: str
    weights: np.ndarray
    queries: list[str]
    keys: list[str]


class Sequences(NamedTuple):
    """What a model is called with, and the tokens of its sequences by the part of the model that reads them.

    One sequence has the name "". Of two there are "encoder" and "decoder", and "written": at each place of the decoder, the
    token that it writes there after those that it has read.
    """

    inputs: tuple[np.ndarray, ...]
    tokens: dict[str, list[str]]


def attention_maps(model: Any, sequences: Sequences) -> list[AttentionMap]:
    """Run a model without dropout and return the weights of all its layers in order."""
    with inference(), record_attention(model) as found:
        model(*sequences.inputs)
    return [AttentionMap(layer, weights[0], *_tokens(layer, sequences.tokens)) for layer, weights in found.items()]


def _tokens(layer: str, tokens: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    if "" in tokens:
        return tokens[""], tokens[""]
    if layer.endswith("cross_attn"):
        return tokens["written"], tokens["encoder"]
    read = tokens[layer.split(".")[0]]
    return read, read


def token_labels(tokenizer: Tokenizer, text: str) -> list[str]:
    """Return what each token of a text stands for in it."""
    if hasattr(tokenizer, "encode_spans"):
        return [text[start:end] for start, end in tokenizer.encode_spans(text)[1]]
    return [printable(tokenizer.decode([token])) for token in tokenizer.encode(text)]


def with_frame(tokenizer: Tokenizer, labels: Sequence[str], length: int) -> list[str]:
    """Return labels between those of the tokens that a tokenizer has around a text, `length` in all."""
    before, after = frame_of(tokenizer, np.zeros(0, np.int64))
    first, last = ["<bos>"] * len(before), ["<eos>"] * len(after)
    return [*first, *labels[: length - len(first) - len(last)], *last]


def framed_sequence(tokenizer: Tokenizer, text: str, max_seq_len: int) -> Sequences:
    """Return a text between the begin and end tokens, cut to the context length."""
    (ids,) = framed(tokenizer, [text], max_seq_len)
    return Sequences((ids[None],), {"": with_frame(tokenizer, token_labels(tokenizer, text), len(ids))})
