"""What saving memory costs: activation recomputation, float16 storage, and both, as a table.

    python benchmarks/memory.py --configs shakespeare medium --rounds 15 --steps 200

Memory is what `tracemalloc` counts on top of the weights in one forward and backward pass over the whole batch on one core:
`kept` between the two, `peak` over both. Time is the same pass, the ways taking turns, as the median of the ratios to the
plain way. The loss is the mean of the last 20 of `--steps` steps on the text that every Python carries, from the same weights
on the same batches; recomputation changes no bit of it, so it is measured without.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
import tracemalloc
from typing import Any

import numpy as np

from numformer import GPT, CharacterTokenizer, random
from numformer.autograd import gradients
from numformer.autograd.storage import Precision, storage
from numformer.data.texts.corpora import find_corpus
from numformer.nn import set_recompute
from numformer.tasks.language_model import LanguageModelObjective
from numformer.training import OptimConfig, TrainConfig
from numformer.training.step import TrainStep
from numformer.training.workers import Workers
from train import CONFIGS

WAYS: dict[str, tuple[bool, Precision]] = {
    "plain": (False, "float32"),
    "recompute": (True, "float32"),
    "float16-storage": (False, "float16-storage"),
    "both": (True, "float16-storage"),
}


def make_objective(config: str, dropout: float, precision: Precision = "float32") -> LanguageModelObjective:
    _, width, heads, layers, ff, context, batch = CONFIGS[config]
    text = find_corpus("pydoc").read_text(encoding="utf-8")
    tokenizer = CharacterTokenizer.from_text(text)
    model = GPT(
        vocab_size=tokenizer.vocab_size,
        d_model=width,
        num_heads=heads,
        num_layers=layers,
        d_ff=ff,
        max_seq_len=context,
        dropout=dropout,
    )
    train = TrainConfig(batch_size=batch, precision=precision)
    return LanguageModelObjective(model, tokenizer, np.asarray(tokenizer.encode(text), np.uint16), None, train)


class Pass:
    """One forward and backward pass over a batch, in one of the ways."""

    def __init__(self, objective: LanguageModelObjective, way: str) -> None:
        self.objective, (self.recompute, self.precision) = objective, WAYS[way]
        self.batch, self.parameters = objective.batch(0), list(objective.model.parameters())

    def forward(self) -> Any:
        """Return the loss."""
        set_recompute(self.objective.model, self.recompute)
        with storage(self.precision), random.use(random.Stream(0)):
            return self.objective.loss_sum(*self.batch)

    def seconds(self) -> float:
        """Return how long both passes take."""
        start = time.perf_counter()
        gradients(self.forward(), self.parameters)
        return time.perf_counter() - start

    def megabytes(self) -> tuple[float, float]:
        """Return what is kept between forward and backward, and the most there is at any time."""
        gc.collect()
        tracemalloc.start()
        loss = self.forward()
        kept = tracemalloc.get_traced_memory()[0]
        gradients(loss, self.parameters)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return kept / 1e6, peak / 1e6


def final_loss(config: str, dropout: float, precision: Precision, steps: int, threads: int) -> float:
    objective = make_objective(config, dropout, precision)
    optimizer = OptimConfig().build(list(objective.model.parameters()))
    with Workers(threads) as workers:
        step = TrainStep(objective, optimizer, workers, seed=0, shards=2, clip_norm=1.0, precision=precision)
        losses = [step(number).loss for number in range(steps)]
    return statistics.mean(losses[-20:])


def compare(config: str, args: argparse.Namespace) -> None:
    objective = make_objective(config, args.dropout)
    passes = {way: Pass(objective, way) for way in WAYS}
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    with Workers(1):
        for each in passes.values():
            each.seconds()
        memory = {way: each.megabytes() for way, each in passes.items()}
        for _ in range(args.rounds):
            for way, each in passes.items():
                times[way].append(each.seconds())
    losses: dict[str, float] = {}
    for precision in ("float32", "float16-storage") if args.steps else ():
        loss = final_loss(config, args.dropout, precision, args.steps, args.threads)
        losses |= {way: loss for way in WAYS if WAYS[way][1] == precision}
    for way, (kept, peak) in memory.items():
        ratio = statistics.median(a / b for a, b in zip(times[way], times["plain"], strict=True))
        relative = f"{kept / memory['plain'][0]:.2f} × | {peak:,.0f} MB | {peak / memory['plain'][1]:.2f} ×"
        loss = f"{losses[way]:.4f}" if losses else ""
        print(f"| {config} | {way} | {kept:,.0f} MB | {relative} | {ratio:.2f} × | {loss} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", choices=CONFIGS, default=["shakespeare", "medium"])
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=200, help="of training for the loss; 0: none")
    parser.add_argument("--threads", type=int, default=2, help="for the training; has no influence on the loss")
    args = parser.parse_args()
    print("| shape | way | kept | | peak | | time | loss |")
    print("|---|---|---|---|---|---|---|---|")
    for config in args.configs:
        compare(config, args)


if __name__ == "__main__":
    main()
