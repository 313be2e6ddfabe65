"""Generation speed beside transformers: greedy, with a key/value cache, after prompts of 16 tokens.

    python benchmarks/generate.py --shapes shakespeare gpt2 --peer-python /path/to/python/with/transformers
    python benchmarks/generate.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf --peer-python /path/to/python/with/transformers
    python benchmarks/generate.py measure --shape gpt2 --batch 8

Weights of a shape are random. Both sides run as processes of their own, in alternation; figures are medians over the rounds.
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

SHAPES = {
    "shakespeare": {"vocab_size": 65, "d_model": 128, "num_heads": 4, "num_layers": 3, "max_seq_len": 1024},
    "gpt2": {"vocab_size": 50257, "d_model": 768, "num_heads": 12, "num_layers": 12, "max_seq_len": 1024},
}


def measure(shape: str, gguf: str | None, threads: int, new_tokens: int, batch: int) -> dict[str, float]:
    from threadpoolctl import threadpool_limits

    import numformer as nf
    from numformer import GPT, no_grad, random

    start = time.perf_counter()
    model = nf.load(gguf).model if gguf else GPT(**SHAPES[shape]).eval()
    load = time.perf_counter() - start
    rng = random.generator(0)
    prompt, long = rng.integers(1, 65, (batch, 16)), rng.integers(1, 65, (1, 512))
    with threadpool_limits(threads), no_grad():
        model.generate(prompt, 8, temperature=0.0)
        start = time.perf_counter()
        model.generate(prompt, new_tokens, temperature=0.0)
        decode = batch * new_tokens / (time.perf_counter() - start)
        model(long)
        start = time.perf_counter()
        for _ in range(3):
            model(long)
        prefill = 3 * 512 / (time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    speeds = {"decode_tokens_per_s": round(decode, 1), "prefill_tokens_per_s": round(prefill)}
    return speeds | {"load_s": round(load, 2), "peak_rss_mb": peak}


def run(command: list[str]) -> dict[str, float]:
    last_line = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    result: dict[str, float] = json.loads(last_line)
    return result


def compare(args: argparse.Namespace, shape: str) -> str:
    options = ["--threads", str(args.threads), "--new-tokens", str(args.new_tokens), "--batch", str(args.batch)]
    options += ["--gguf", shape] if args.gguf else ["--shape", shape]
    ours, peers = [], []
    for _ in range(args.rounds):
        ours.append(run([sys.executable, __file__, "measure", *options]))
        if args.peer_script.exists():
            peers.append(run([args.peer_python, str(args.peer_script), *options]))
    keys = ("decode_tokens_per_s", "prefill_tokens_per_s", "peak_rss_mb", *(["load_s"] if args.gguf else []))
    medians = [statistics.median(result[key] for result in ours) for key in keys]
    cells = [f"{value:,.1f}" for value in medians]
    if peers:
        peer_medians = [statistics.median(result[key] for result in peers) for key in keys]
        cells = [f"{a:,.1f} / {b:,.1f} = {a / b:.2f} ×" for a, b in zip(medians, peer_medians, strict=True)]
    return f"| {Path(shape).stem} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", choices=["compare", "measure"], default="compare")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["shakespeare"])
    parser.add_argument("--shape", choices=SHAPES, default="shakespeare")
    parser.add_argument("--gguf", help="measure this model instead of shapes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1, help="prompts at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--peer-script", type=Path, default=Path("../shared/peers/hf_generate.py"))
    args = parser.parse_args()
    if args.mode == "measure":
        print(json.dumps(measure(args.shape, args.gguf, args.threads, args.new_tokens, args.batch)))
        return
    last, rule = (" load s |", "---|") if args.gguf else ("", "")
    print(f"| model | decode tokens/s (numformer / transformers) | prefill tokens/s | peak memory MB |{last}")
    print(f"|---|---|---|---|{rule}")
    for shape in [args.gguf] if args.gguf else args.shapes:
        print(compare(args, shape), flush=True)


if __name__ == "__main__":
    main()
