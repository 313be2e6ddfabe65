"""Speed of embeddings: the lines of a file, in batches of 32 of similar lengths, beside another library's.

    python benchmarks/embed.py all-minilm-l6-v2 lines.txt --peer-python /path/to/python --peer-script SCRIPT
    python benchmarks/embed.py all-minilm-l6-v2 lines.txt measure

Both sides run as processes of their own, in alternation, and take the same arguments. Figures are medians over the rounds of
the best of a process's passes: such machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path

from generate import run

KEYS = ("texts_per_s", "peak_rss_mb")


def measure(args: argparse.Namespace) -> dict[str, float]:
    from numformer import Embedder

    texts = args.lines.read_text(encoding="utf-8", errors="replace").splitlines()[: args.count]
    embedder = Embedder.load(args.model)
    seconds = []
    for _ in range(args.passes):
        start = time.perf_counter()
        embedder.encode(texts, batch_size=32, progress=False)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"texts_per_s": round(len(texts) / min(seconds), 1), "peak_rss_mb": peak}


def compare(args: argparse.Namespace) -> None:
    options = [args.model, str(args.lines), "measure", "--count", str(args.count), "--passes", str(args.passes)]
    ours, peers = [], []
    for number in range(args.rounds):
        ours.append(run([sys.executable, __file__, *options]))
        if args.peer_script is not None:
            peers.append(run([args.peer_python, str(args.peer_script), *options]))
        print(f"round {number + 1}: {ours[-1]} {peers[-1] if peers else ''}", file=sys.stderr)
    for key in KEYS:
        mine = statistics.median(result[key] for result in ours)
        theirs = statistics.median(result[key] for result in peers) if peers else None
        print(f"{key}: {mine:,.0f}" + ("" if theirs is None else f" / {theirs:,.0f} = {mine / theirs:.2f} ×"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="as in `numformer embed`")
    parser.add_argument("lines", type=Path, help="file with a text on every line")
    parser.add_argument("mode", nargs="?", choices=["compare", "measure"], default="compare")
    parser.add_argument("--count", type=int, default=512, help="lines to take")
    parser.add_argument("--passes", type=int, default=4, help="in each process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--peer-script", type=Path)
    args = parser.parse_args()
    if args.mode == "measure":
        print(json.dumps(measure(args)))
    else:
        compare(args)


if __name__ == "__main__":
    main()
