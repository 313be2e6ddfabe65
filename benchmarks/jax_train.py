"""A training step of NumPy beside one of JAX: first step, steady steps in alternation, and memory, as a table.

    python benchmarks/jax_train.py                                # four shapes, some five minutes
    python benchmarks/jax_train.py --shapes tiny --dropout 0.1

A step is forward, backward, clipping and AdamW in float32 on random tokens. Each side is a process of its own that waits
while the other has its turn; its times are medians over the rounds of medians over a turn's steps, the ratio is the median of
the rounds. JAX's first step is tracing, compilation and the step.

Memory is that of two more processes, each of which makes four steps alone. The workers of NumPy are forked and share pages,
so what counts is the proportional share (PSS in /proc/PID/smaps_rollup), in which a page that two have counts half in each:
the most that a process and its workers together have at one time, Python and the libraries included, looked at every 20 ms.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

#                 vocab  width heads layers context batch
SHAPES = {
    "tiny": (65, 64, 2, 2, 64, 8),
    "shakespeare": (65, 128, 4, 3, 64, 32),
    "medium": (65, 256, 8, 6, 256, 16),
    "gpt2": (50257, 768, 12, 12, 128, 2),
}
BACKENDS = ("numpy", "jax")


def serve(shape: str, dropout: float, backend: str) -> None:
    """Make as many steps as each line of stdin says, and answer with their seconds."""
    import numpy as np

    from numformer import GPT, random
    from numformer.tasks.language_model import LanguageModelObjective
    from numformer.training import OptimConfig, TrainConfig
    from numformer.training.backends import step_maker
    from numformer.training.workers import Workers, num_cores

    vocab, width, heads, layers, context, batch = SHAPES[shape]
    sizes = {"vocab_size": vocab, "d_model": width, "num_heads": heads, "num_layers": layers}
    model = GPT(**sizes, max_seq_len=context, dropout=dropout)
    tokens = random.generator(0).integers(0, vocab, 100_000).astype(np.uint16)
    train, optim = TrainConfig(batch_size=batch, backend=backend), OptimConfig()
    objective = LanguageModelObjective(model, None, tokens, None, train)
    with Workers(num_cores()) as workers:
        train_step = step_maker(objective, train, optim)(optim.build(list(model.parameters())), workers)
        number = 0
        for line in sys.stdin:
            ends = [time.perf_counter()]
            for _ in range(int(line)):
                number += 1
                train_step(number)
                ends.append(time.perf_counter())
            print(json.dumps(np.diff(ends).tolist()), flush=True)


class Side:
    """A process that makes the steps of one backend when it is asked to, and sleeps in between."""

    def __init__(self, shape: str, dropout: float, backend: str) -> None:
        command = [sys.executable, __file__, "--serve", backend, "--shapes", shape, "--dropout", str(dropout)]
        self.process: Any = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.stdin.close()
        self.process.wait()

    def steps(self, count: int) -> list[float]:
        """Have so many steps made, and return the seconds of each."""
        print(count, file=self.process.stdin, flush=True)
        times: list[float] = json.loads(self.process.stdout.readline())
        return times

    def proportional_bytes(self) -> int:
        """Return the proportional share of memory of the process and those that it forked."""
        pids, total = [self.process.pid], 0
        for pid in pids:
            with contextlib.suppress(OSError):  # it may have ended
                pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
                pss = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
                total += 1024 * int(pss[1]) if pss else 0
        return total


def peak_bytes(shape: str, dropout: float, backend: str) -> int:
    """Return the most memory that four steps take, of which the first compiles and all later ones are alike."""
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, side.proportional_bytes())

    with Side(shape, dropout, backend) as side:
        watcher = threading.Thread(target=watch)
        watcher.start()
        side.steps(4)
        done.set()
        watcher.join()
    return peak


def compare(shape: str, args: argparse.Namespace) -> str:
    """Return the row of a shape."""
    ours, jax = [], []
    with Side(shape, args.dropout, "numpy") as numpy_side, Side(shape, args.dropout, "jax") as jax_side:
        numpy_side.steps(3)
        first = jax_side.steps(3)[0]
        counts = [max(3, round(args.seconds / side.steps(2)[1])) for side in (numpy_side, jax_side)]
        for _ in range(args.rounds):
            ours.append(statistics.median(numpy_side.steps(counts[0])))
            jax.append(statistics.median(jax_side.steps(counts[1])))
    ratio = statistics.median(b / a for a, b in zip(ours, jax, strict=True))
    numpy_peak, jax_peak = (peak_bytes(shape, args.dropout, backend) / 1e6 for backend in BACKENDS)
    _, width, _, layers, context, batch = SHAPES[shape]
    tokens, times = batch * context, [statistics.median(each) for each in (ours, jax)]
    speeds = " | ".join(f"{1000 * each:,.1f} ms | {tokens / each:,.0f}" for each in times)
    size = f"{shape}: width {width}, {layers} layers, {batch} × {context}"
    return f"| {size} | {first:.1f} s | {speeds} | {ratio:.2f} × | {numpy_peak:,.0f} MB | {jax_peak:,.0f} MB |"


def machine() -> str:
    """Return what the two compute with. OPENBLAS_CORETYPE and XLA_FLAGS change it, and with it who is faster."""
    import numpy as np
    from threadpoolctl import threadpool_info

    from numformer.training.workers import num_cores

    kernels = [each for each in threadpool_info() if each["user_api"] == "blas"]
    blas = ", ".join(f"{each['internal_api']} {each['version']} for {each.get('architecture')}" for each in kernels)
    return f"NumPy {np.__version__} with {blas}; JAX {version('jax')}; {num_cores()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn")
    parser.add_argument("--serve", choices=BACKENDS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.shapes[0], args.dropout, args.serve)
        return
    print(machine())
    columns = "JAX's first step | NumPy | tokens/s | JAX | tokens/s | time of JAX | memory of NumPy | of JAX"
    print(f"\n| shape, dropout {args.dropout:g} | {columns} |\n|---{'|---' * 8}|")
    for shape in args.shapes:
        print(compare(shape, args), flush=True)


if __name__ == "__main__":
    main()
