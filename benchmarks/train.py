"""Training speed beside PyTorch: forward, backward, clipping and AdamW, in alternation, as a table of ratios.

    python benchmarks/train.py --configs shakespeare --dropouts 0 0.1 --rounds 3 \
        --peer-python /path/to/python/with/torch --peer-script ../shared/peers/torch_gpt.py

Both sides run as processes of their own with the same number of threads; every figure is the median over the rounds of
the median over the steps. Without a peer script the table holds numformer alone. `--seconds` is the time of one
measurement.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

#                 vocab  width heads layers  ff  context batch
CONFIGS = {
    "shakespeare": (65, 128, 4, 3, 512, 64, 32),
    "medium": (65, 256, 8, 4, 1024, 256, 16),
    "large": (8192, 512, 8, 6, 2048, 256, 4),
    "long": (65, 128, 4, 3, 512, 1024, 2),
}


def measure(config: str, dropout: float, threads: int, seconds: float) -> dict[str, float]:
    import numpy as np

    from numformer import GPT, random
    from numformer.tasks.language_model import LanguageModelObjective
    from numformer.training import OptimConfig, TrainConfig
    from numformer.training.step import TrainStep
    from numformer.training.workers import Workers

    vocab, width, heads, layers, ff, context, batch = CONFIGS[config]
    model = GPT(
        vocab_size=vocab,
        d_model=width,
        num_heads=heads,
        num_layers=layers,
        d_ff=ff,
        max_seq_len=context,
        dropout=dropout,
    )
    tokens = random.generator(0).integers(0, vocab, 100_000).astype(np.uint16)
    task = LanguageModelObjective(model, None, tokens, None, TrainConfig(batch_size=batch))
    optimizer = OptimConfig().build(list(model.parameters()))
    times: list[float] = []
    with Workers(threads) as workers:
        train_step = TrainStep(task, optimizer, workers, seed=0, shards=threads, clip_norm=1.0)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 8:
            start = time.perf_counter()
            train_step(len(times))
            times.append(time.perf_counter() - start)
    # All processes together; pages that they share are counted in each.
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "tokens_per_s": round(batch * context / statistics.median(times[3:])),
        "peak_rss_mb": sum(peaks) // 1024,
    }


def run(command: list[str]) -> dict[str, float]:
    last_line = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    result: dict[str, float] = json.loads(last_line)
    return result


def compare(args: argparse.Namespace, config: str, dropout: float) -> str:
    options = ["--config", config, "--dropout", str(dropout), "--threads", str(args.threads)]
    options += ["--seconds", str(args.seconds)]
    ours_command = [sys.executable, __file__, "measure", *options]
    peer_command = [args.peer_python, str(args.peer_script), "speed", *options]
    ours, peers = [], []
    for _ in range(args.rounds):
        ours.append(run(ours_command))
        if args.peer_script.exists():
            peers.append(run(peer_command))
    speed, memory = (statistics.median(result[key] for result in ours) for key in ("tokens_per_s", "peak_rss_mb"))
    row = f"| {config} | {dropout:g} | {speed:,.0f} | {memory:,.0f} MB |"
    if not peers:
        return f"{row} | | | | |"
    ratio = statistics.median(o["tokens_per_s"] / p["tokens_per_s"] for o, p in zip(ours, peers, strict=True))
    peer_speed, peer_memory = (statistics.median(p[key] for p in peers) for key in ("tokens_per_s", "peak_rss_mb"))
    return f"{row} {peer_speed:,.0f} | {peer_memory:,.0f} MB | {ratio:.2f} × | {memory / peer_memory:.2f} × |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", choices=["compare", "measure"], default="compare")
    parser.add_argument("--configs", nargs="+", choices=CONFIGS, default=["shakespeare"])
    parser.add_argument("--dropouts", nargs="+", type=float, default=[0.0, 0.1])
    parser.add_argument("--config", choices=CONFIGS, default="shakespeare")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--peer-script", type=Path, default=Path("../shared/peers/torch_gpt.py"))
    args = parser.parse_args()
    if args.mode == "measure":
        print(json.dumps(measure(args.config, args.dropout, args.threads, args.seconds)))
        return
    print("| shape | dropout | numformer tokens/s | memory | torch tokens/s | memory | speed ratio | memory ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for config in args.configs:
        for dropout in args.dropouts:
            print(compare(args, config, dropout), flush=True)


if __name__ == "__main__":
    main()
