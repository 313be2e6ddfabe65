"""Speed of fine-tuning and of prediction with an encoder of MiniLM's shape, 22 M parameters, as a classifier of texts.

    python benchmarks/finetune.py --peer-python /path/to/python/with/transformers --peer-script ../shared/peers/hf_encoder.py
    python benchmarks/finetune.py measure --batch 32 --length 64

Weights and tokens are random. A step is forward, backward, clipping and AdamW. Both sides run as processes of their own, in
alternation; figures are medians over the rounds of the median over the steps.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from generate import run

KEYS = ("train_sequences_per_s", "predict_sequences_per_s", "peak_rss_mb")


class Task:
    """The same batch of random texts at every step."""

    def __init__(self, model: Any, tokens: Any, labels: Any) -> None:
        self.model, self.arrays = model, (tokens, labels)

    def batch(self, step: int) -> tuple[Any, ...]:
        """Return tokens and labels."""
        return self.arrays

    def loss_sum(self, tokens: Any, labels: Any) -> Any:
        """Return the loss summed over the texts."""
        from numformer import ops

        return ops.cross_entropy(self.model(tokens), labels, reduction="sum")

    def num_tokens(self, tokens: Any, labels: Any) -> float:
        """Return how many texts the loss is divided by."""
        return float(len(labels))


def measure(args: argparse.Namespace) -> dict[str, float]:
    from numformer import BertConfig, build_model, inference, random
    from numformer.training import OptimConfig
    from numformer.training.step import TrainStep
    from numformer.training.workers import Workers

    shape = {"d_model": 384, "num_layers": 6, "num_heads": 12, "d_ff": 1536, "vocab_size": 30522, "max_seq_len": 512}
    model = build_model(BertConfig(**shape), "classify", labels=2, pooling="first")
    rng = random.generator(0)
    tokens = rng.integers(1000, 30000, (args.batch, args.length))
    labels = rng.integers(0, 2, args.batch)
    optimizer = OptimConfig(lr=2e-5).build(list(model.parameters()))
    with Workers(args.threads) as workers:
        step = TrainStep(Task(model, tokens, labels), optimizer, workers, seed=0, shards=args.threads, clip_norm=1.0)
        trained = args.batch / median(lambda number: step(number), args.seconds)

    def predict(_: Any) -> Any:
        with inference():
            return model(tokens)

    with Workers(args.threads) as workers:  # a batch on each core, as `predict` of a task does it
        predicted = (
            args.threads * args.batch / median(lambda _: list(workers.map(predict, range(args.threads))), args.seconds)
        )
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return dict(zip(KEYS, (round(trained, 1), round(predicted, 1), sum(peaks) // 1024), strict=True))


def median(work: Callable[[int], Any], seconds: float) -> float:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        work(len(times))
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", choices=["compare", "measure"], default="compare")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--peer-script", type=Path, default=Path("../shared/peers/hf_encoder.py"))
    args = parser.parse_args()
    if args.mode == "measure":
        print(json.dumps(measure(args)))
        return
    options = [f"--{name}={getattr(args, name)}" for name in ("threads", "batch", "length", "seconds")]
    ours, peers = [], []
    for _ in range(args.rounds):
        ours.append(run([sys.executable, __file__, "measure", *options]))
        if args.peer_script.exists():
            peers.append(run([args.peer_python, str(args.peer_script), *options]))
    for key in KEYS:
        mine = statistics.median(result[key] for result in ours)
        theirs = statistics.median(result[key] for result in peers) if peers else None
        print(f"{key}: {mine:,.1f}" + ("" if theirs is None else f" / {theirs:,.1f} = {mine / theirs:.2f} ×"))


if __name__ == "__main__":
    main()
