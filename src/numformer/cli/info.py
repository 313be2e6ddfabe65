"""`numformer info`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from numformer._notices import amount
from numformer.cli.options import parse
from numformer.tasks import load
from numformer.tasks.shared.encoding import describe_tokenizer
from numformer.training.metrics import read_metrics


@dataclass(kw_only=True)
class Info:
    """Describe a run or a saved model: its shape, its tokenizer, how its training went, its files."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, of its best/, or of a saved model."""
    layers: bool = False
    """Also list every layer with its parameters."""


def run(command: str, arguments: list[str]) -> int:
    """Print the description."""
    options = parse(Info, command, arguments)
    task = load(options.run)
    for name, value in _rows(task, options.run):
        print(f"{name:<12} {value}")
    if options.layers:
        print(f"\n{task.model}")
    return 0


def _rows(task: Any, folder: Path) -> list[tuple[str, Any]]:
    config, model = task.model.config, task.model
    rows: list[tuple[str, Any]] = [
        ("task", task.name),
        ("model", f"{type(model).__name__}, {amount(model.num_parameters(), 'parameters')}"),
        (
            "shape",
            f"{config.depth}, width {config.d_model}, {amount(config.num_heads, 'heads')}, d_ff {config.ff_width}",
        ),
        ("context", amount(config.max_seq_len, "tokens")),
        ("tokenizer", describe_tokenizer(task.tokenizer)),
    ]
    rows += task.details().items()
    metrics = read_metrics(folder / "metrics.jsonl")
    if metrics:
        last = metrics[-1]
        rows.append(
            ("training", f"{amount(last['step'], 'steps')} in {last['seconds']:.0f} s, last loss {last['loss']:.4f}")
        )
    measured = [line for line in metrics if "val_loss" in line]
    if measured:
        best = min(measured, key=lambda line: line["val_loss"])
        rows.append(
            ("validation", f"best {best['val_loss']:.4f} at step {best['step']}, last {measured[-1]['val_loss']:.4f}")
        )
    files = sorted(path for path in folder.iterdir() if path.is_file())
    rows.append(("files", ", ".join(f"{path.name} ({_size(path.stat().st_size)})" for path in files)))
    return rows


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
