"""What an accelerator does with numformer under JAX: ops against NumPy, training GPT-2 124 M, decoding SmolLM2's shape.

    python benchmarks/jax_device.py --peak-tflops 989            # on the device; a few minutes
    python benchmarks/jax_device.py --shape tiny --steps 6       # anywhere, to see that it runs

Weights and text are random, training is in bfloat16. Prints one JSON line for each. The ops are the float32 half of
tests/jax/test_ops.py (it takes pytest), with full precision in matrix products, which accelerators do not have by default.
Utilisation is 6 N tokens/s over the peak (Kaplan et al. 2020, arXiv:2001.08361), N being the parameters.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

import numformer as nf
from numformer.generation import SamplingConfig, Session

TRAINED = {
    "gpt2": {"vocab_size": 50257, "d_model": 768, "num_heads": 12, "num_layers": 12, "max_seq_len": 1024},
    "tiny": {"vocab_size": 300, "d_model": 32, "num_heads": 2, "num_layers": 2, "max_seq_len": 64},
}
DECODED = {
    "gpt2": {
        **{"vocab_size": 49152, "d_model": 576, "num_heads": 9, "num_kv_heads": 3, "num_layers": 30, "d_ff": 1536},
        **{"max_seq_len": 2048, "tie_embeddings": True},
    },
    "tiny": {"vocab_size": 300, "d_model": 32, "num_heads": 2, "num_layers": 2, "max_seq_len": 256},
}


def compare_ops() -> dict[str, object]:
    """Compare every op and its gradients with NumPy's in a process of its own, which leaves the device to the next."""
    tests = Path(__file__).parents[1] / "tests" / "jax" / "test_ops.py"
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tests), "-k", "float32"]
    environment = os.environ | {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    found = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=tests.parents[2])
    lines = found.stdout.strip().splitlines()
    failed = [line for line in lines if line.startswith("FAILED")]
    return {
        "what": "ops against NumPy in float32",
        "result": lines[-1] if lines else found.stderr[-200:],
        "failed": failed,
    }


def train(shape: str, steps: int, batch_size: int, peak_tflops: float) -> dict[str, object]:
    """Train on random bytes, and return the median speed of the steps after those that were compiled."""
    config = nf.GPTConfig(**TRAINED[shape], dropout=0.0)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_bytes(rng.integers(97, 123, 40 * batch_size * config.max_seq_len, np.uint8).tobytes())
        lm = nf.LanguageModel.from_text(text, tokenizer="bytes", config=config, valid_fraction=0.0)
        ends: list[float] = []
        lm.fit(
            backend="jax",
            precision="bfloat16",
            steps=steps,
            batch_size=batch_size,
            shards=1,
            progress=False,
            on_step=lambda line: ends.append(time.perf_counter()),
        )
    seconds = statistics.median(np.diff(ends[2:]))
    speed = batch_size * config.max_seq_len / seconds
    flops = 6 * lm.model.num_parameters() * speed / 1e12
    utilisation = round(flops / peak_tflops, 3) if peak_tflops else None
    return {"what": "train", "tokens_per_s": round(speed), "tflops": round(flops, 2), "utilisation": utilisation}


def decode(shape: str, count: int, batch: int) -> dict[str, object]:
    """Continue prompts of 32 tokens greedily, and return the tokens per second of all after the first two."""
    model = nf.Llama(**DECODED[shape]).eval()
    session = Session(model, batch, backend="jax")
    rng = np.random.default_rng(0)
    for _ in range(batch):
        session.admit(rng.integers(0, 300, 32), SamplingConfig(temperature=0.0))
    for number in range(count):
        if number == 2:
            start = time.perf_counter()
        session.step()
    speed = batch * (count - 2) / (time.perf_counter() - start)
    return {"what": "decode", "batch": batch, "tokens_per_s": round(speed, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=TRAINED, default="gpt2")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--peak-tflops", type=float, default=0.0, help="of the device in bfloat16, for the utilisation")
    args = parser.parse_args()
    ops = compare_ops()  # before this process takes the device's memory
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}, JAX {jax.__version__}"
    for found in (
        ops,
        train(args.shape, args.steps, args.batch_size, args.peak_tflops),
        decode(args.shape, args.tokens, 1),
        decode(args.shape, args.tokens, 8),
    ):
        print(json.dumps({"device": device, **found}), flush=True)


if __name__ == "__main__":
    main()
