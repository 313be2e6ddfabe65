"""Do folders that `numformer convert` writes load in Transformers with equal logits? README.md has the last result.

In a Python with torch, transformers and numformer: `python tests/golden/check_converted.py DATA`. Transformers saves small
models, in one file or several and three types of numbers, and loads what they are converted to; so it does with the model of
DATA and a run that goes on from it.
"""

import contextlib
import io
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import transformers

import numformer as nf
from numformer.cli.main import main as numformer

README = Path(__file__).parent / "README.md"
SMALL = {
    "vocab_size": 120,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
}
LONG = {"max_position_embeddings": 16}
CASES = {
    "GPT2LMHeadModel": transformers.GPT2Config(vocab_size=120, n_embd=16, n_layer=2, n_head=4, n_positions=16),
    "LlamaForCausalLM": transformers.LlamaConfig(**SMALL, **LONG, num_key_value_heads=2),
    "Qwen2ForCausalLM": transformers.Qwen2Config(**SMALL, **LONG, num_key_value_heads=2, tie_word_embeddings=True),
    "Gemma2ForCausalLM": transformers.Gemma2Config(**SMALL, **LONG, num_key_value_heads=2, head_dim=4),
    "GPTNeoXForCausalLM": transformers.GPTNeoXConfig(**SMALL, **LONG, rotary_pct=0.5),
    "BertForMaskedLM": transformers.BertConfig(**SMALL, **LONG),
    "BertModel": transformers.BertConfig(**SMALL, **LONG),
    "BertForPreTraining": transformers.BertConfig(**SMALL, **LONG),
}
VOCAB = {chr(code): code - 33 for code in range(33, 127)}
TOKENIZER = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": VOCAB, "unk_token": "!"}}
TYPES = {"float32": 1e-5, "float16": 2e-2, "bfloat16": 1e-1}  # and how far logits may be from those before


def call(*words: object) -> None:
    """Run a command, which has to end well."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = numformer([str(word) for word in words])
    assert status == 0, said.getvalue()


def output_of(folder: Path, name: str, tokens: np.ndarray) -> np.ndarray:
    """Return what Transformers computes with a folder; it has to find every weight that the class has."""
    kind = getattr(transformers, "BertForMaskedLM" if name == "BertForPreTraining" else name)
    model, report = kind.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert not report["missing_keys"], report
    with torch.no_grad():
        found = model.eval()(torch.tensor(tokens))
    return (found.logits if hasattr(found, "logits") else found.last_hidden_state).numpy()


def difference(before: np.ndarray, after: np.ndarray) -> float:
    """Return the largest difference as a share of the largest number."""
    return float(abs(before - after).max() / abs(before).max())


def check_small(at: Path) -> Iterator[tuple[str, float]]:
    """Convert small models; yield the type asked for and how far apart the outputs are."""
    tokens = np.random.default_rng(0).integers(0, 120, (2, 11))
    for name, config in CASES.items():
        for number, saved in enumerate(TYPES):
            torch.manual_seed(number)
            model = getattr(transformers, name)(config).to(getattr(torch, saved))
            folder = at / f"{name}-{saved}"
            model.save_pretrained(folder, max_shard_size="4KB" if number == 1 else "5GB")
            (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
            before = output_of(folder, name, tokens)
            for dtype in TYPES:
                call("convert", folder, at / "made", "--dtype", dtype, "--overwrite")
                yield dtype, difference(before, output_of(at / "made", name, tokens))


def check_real(at: Path, data: Path) -> Iterator[tuple[str, float]]:
    """Convert a trained model, and a run that goes on from it, and compare what Transformers and numformer compute."""
    text = at / "text.txt"
    text.write_text("Once upon a time, there was a little cat.\n" * 80)
    sizes = ["--train.steps", 3, "--train.batch-size", 2, "--sample", 0]
    call("train", "lm", "--data", text, "--from", data, "--out", at / "run", *sizes)
    for source in (data, at / "run"):
        lm = nf.load(source)
        tokens = np.asarray(lm.tokenizer.encode("Once upon a time, Tom saw a dog"), np.int64)[None]
        for dtype in TYPES:
            call("convert", source, at / "real", "--dtype", dtype, "--overwrite")
            yield dtype, difference(lm.model(tokens).data, output_of(at / "real", "LlamaForCausalLM", tokens))
        theirs = transformers.AutoTokenizer.from_pretrained(at / "real")
        for given in ("Once upon a time", "  Zoë\n\n42 cats!", "日本"):
            assert theirs(given, add_special_tokens=False)["input_ids"] == lm.tokenizer.encode(given).tolist()


def main() -> None:
    """Check all, and write the largest differences into README.md."""
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    data = Path(sys.argv[1]) / "ckpt" / "stories260K"
    found: dict[str, list[float]] = {dtype: [] for dtype in TYPES}
    with tempfile.TemporaryDirectory() as place:
        for dtype, far in [*check_small(Path(place)), *check_real(Path(place), data)]:
            assert far < TYPES[dtype], (dtype, far)
            found[dtype].append(far)
    facts = ", ".join(f"{dtype} {max(each):.1g}" for dtype, each in found.items())
    count, version = len(found["float32"]), transformers.__version__
    line = f"Converted to each type and read by transformers {version}: {count} folders, {facts}."
    text = README.read_text()
    pattern = re.compile(r"^Converted to each type .*$", re.MULTILINE)
    README.write_text(pattern.sub(line, text) if pattern.search(text) else f"{text.rstrip()}\n{line}\n")
    print(line)


if __name__ == "__main__":
    main()
