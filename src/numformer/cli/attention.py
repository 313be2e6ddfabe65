"""`numformer attention`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from numformer._notices import amount, say
from numformer.cli.shared.options import RunOptions, given_options, open_run, options_of_tasks, parse, with_options
from numformer.errors import InputError
from numformer.metrics import check_picture, draw_attention
from numformer.tasks.shared.attention import AttentionMap

MANY_TOKENS = 100  # of which each has two or three pixels in one of many maps


@dataclass(frozen=True, kw_only=True)
class Attention(RunOptions):
    """Draw which tokens a model looks at: a heat map for every layer and head."""

    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")]
    """The text to look at; for question answering the question."""
    out: Path
    """PNG file to draw."""
    layer: int | None = None
    """Number of the layer, from 0 or counted from the end with -1; all of them when not given."""
    head: int | None = None
    """Number of the head, from 0; all of them when not given."""


def options_class() -> type[Any]:
    """Return the options of the command, those of the tasks among them."""
    return with_options(Attention, options_of_tasks("attention_options"))


def run(command: str, arguments: list[str]) -> int:
    """Draw."""
    options: Any = parse(options_class(), command, arguments)
    check_picture(options.out)
    task = open_run(options)
    known = options_of_tasks("attention_options")
    given = given_options(options, known, task)
    maps = task.attention(options.text, given.get(task.second_text))
    if task.name in known["part"].owners:
        maps = [each for each in maps if _part(each.layer) == options.part]
    chosen = maps if options.layer is None else [maps[_number("layer", options.layer, len(maps))]]
    heads = len(chosen[0].weights)
    kept = slice(None) if options.head is None else [_number("head", options.head, heads)]
    weights = np.stack([each.weights[kept] for each in chosen])
    drawn = weights[0] if len(chosen) == 1 else weights  # a single layer is named in the title
    draw_attention(drawn, chosen[0].queries, chosen[0].keys, options.out, _title(chosen, options.head))
    say(
        f"{options.out}: {len(chosen)} of {amount(len(maps), 'layers')}, {weights.shape[1]} of {amount(heads, 'heads')}"
    )
    if max(weights.shape[2:]) > MANY_TOKENS and weights.shape[0] * weights.shape[1] > 1:
        say(
            f"the maps of {max(weights.shape[2:])} tokens are small: choose one with --layer and --head to see it large"
        )
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
