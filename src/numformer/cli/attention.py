"""`numformer attention`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from numformer.cli.options import check_owners, parse, warn
from numformer.errors import InputError
from numformer.metrics import check_picture, draw_attention
from numformer.tasks import QuestionAnswerer, Translator, load_task
from numformer.tasks.attention import AttentionMap

OWNERS: dict[str, type] = {"target": Translator, "part": Translator, "context": QuestionAnswerer}


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Draw which tokens a model looks at: a heat map for every layer and head."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, of its best/, or of a saved model."""
    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")]
    """The text to look at; for question answering the question."""
    out: Path
    """PNG file to draw."""
    target: str | None = None
    """seq2seq, summarise: the target; the model's own when not given."""
    context: str | None = None
    """qa: the text to find the answer in."""
    part: Literal["encoder", "decoder", "cross"] = "cross"
    """seq2seq, summarise: the attention of the encoder, of the decoder to itself, or of the decoder to the source."""
    layer: int | None = None
    """Number of the layer, from 0 or counted from the end with -1; all of them when not given."""
    head: int | None = None
    """Number of the head, from 0; all of them when not given."""


def run(command: str, arguments: list[str]) -> int:
    """Draw."""
    options = parse(Attention, command, arguments)
    check_picture(options.out)
    task = load_task(options.run)
    check_owners(options, OWNERS, task)
    maps = task.attention(options.text, options.target if options.context is None else options.context)
    if isinstance(task, Translator):
        maps = [each for each in maps if _part(each.layer) == options.part]
    chosen = maps if options.layer is None else [maps[_number("layer", options.layer, len(maps))]]
    heads = len(chosen[0].weights)
    kept = slice(None) if options.head is None else [_number("head", options.head, heads)]
    weights = np.stack([each.weights[kept] for each in chosen])
    drawn = weights[0] if len(chosen) == 1 else weights  # a single layer is named in the title
    draw_attention(drawn, chosen[0].queries, chosen[0].keys, options.out, _title(chosen, options.head))
    warn(f"{options.out}: {len(chosen)} of {len(maps)} layers, {weights.shape[1]} of {heads} heads")
    return 0


def _part(layer: str) -> str:
    if layer.startswith("encoder"):
        return "encoder"
    return "cross" if layer.endswith("cross_attn") else "decoder"


def _number(what: str, number: int, count: int) -> int:
    if not -count <= number < count:
        raise InputError(f"there is no {what} {number}: the model has {count}, numbered from 0")
    return number % count


def _title(chosen: list[AttentionMap], head: int | None) -> str:
    name = chosen[0].layer if len(chosen) == 1 else f"{chosen[0].layer} … {chosen[-1].layer}"
    return name if head is None else f"{name}, head {head}"
