"""Does it matter which backend makes a step? Three runs of a recipe: with NumPy, with JAX, and with both in turn.

    python benchmarks/alternate.py --data tinyshakespeare     # 2,000 steps three times: some six to ten minutes

The third run changes its backend every `--every` steps: the command ends, and another process goes on from the run folder.
Prints the validation losses of the three at `--at`, and the largest distance from NumPy's, as a table.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import cycle
from pathlib import Path

RECIPE = Path(__file__).parent.parent / "recipes" / "shakespeare.toml"
Part = tuple[str, int]  # a backend, and the step that it goes on to


def in_turn(every: int, last: int) -> Iterator[Part]:
    """Yield the parts of a run whose backend changes every so many steps."""
    yield from zip(cycle(["numpy", "jax"]), [*range(every, last, every), last])


def train(folder: Path, parts: Iterable[Part], args: argparse.Namespace) -> list[float]:
    """Make a run part by part, each in a process of its own, and return its validation losses at the wanted steps."""
    for backend, last in parts:
        source = ["--resume"] if folder.exists() else ["--config", str(args.recipe), "--data", args.data]
        settings = ["--backend", backend, "--train.steps", str(last), "--sample", "0"]
        settings += ["--train.eval-every", str(math.gcd(*args.at))]
        command = [sys.executable, "-m", "numformer", "train", "lm", "--out", str(folder), *source, *settings]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stderr}")
        print(f"{folder.name}: step {last} by {backend}", file=sys.stderr, flush=True)
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    found = {line["step"]: line["val_loss"] for line in lines if "val_loss" in line}
    return [found[step] for step in args.at]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--data", default="tinyshakespeare")
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--at", type=int, nargs="+", default=[500, 1000, 2000], help="steps to compare at")
    args = parser.parse_args()
    last = max(args.at)
    runs = {"numpy": [("numpy", last)], "jax": [("jax", last)], "in turn": in_turn(args.every, last)}
    print(f"| run | {' | '.join(f'step {step}' for step in args.at)} | from NumPy |")
    print("|---|" + "---|" * (len(args.at) + 1))
    expected: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, parts in runs.items():
            losses = train(Path(folder) / name, parts, args)
            expected = expected or losses
            largest = max(abs(loss - other) for loss, other in zip(losses, expected, strict=True))
            print(f"| {name} | {' | '.join(f'{loss:.4f}' for loss in losses)} | {largest:.4f} |", flush=True)


if __name__ == "__main__":
    main()
