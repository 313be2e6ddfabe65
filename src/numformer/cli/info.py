"""`numformer info`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numformer._notices import amount, in_bytes
from numformer.cli.shared.options import RunOptions, open_run, parse
from numformer.pretrained.finding import find_model
from numformer.tasks.shared.encoding import describe_tokenizer
from numformer.training.metrics import best_of, read_metrics


@dataclass(frozen=True, kw_only=True)
class Info(RunOptions):
    """Describe a run or a saved model: its shape, its tokenizer, how its training went, its files."""

    layers: bool = False
    """Also list every layer with its parameters."""


def run(command: str, arguments: list[str]) -> int:
    """Print the description."""
    options = parse(Info, command, arguments)
    task = open_run(options)
    for name, value in _rows(task, find_model(options.run)):
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
    if best := best_of(metrics):
        figure = f"val_{best.criterion}"
        last = next(line for line in reversed(metrics) if figure in line)
        rows.append(("validation", f"best {best}, last {last[figure]:#.4g} at step {last['step']:,}"))
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else [folder]
    rows.append(("files", ", ".join(f"{path.name} ({in_bytes(path.stat().st_size)})" for path in files)))
    return rows
