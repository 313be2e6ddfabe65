"""Is a damaged model ever opened with a traceback, without end, or in all of the memory? Damage small ones and open them.

    python benchmarks/model_files.py --count 2000
    python benchmarks/model_files.py --count 2000 --folder ../shared/data/ckpt/stories260K

In each try one file of a folder is damaged: bytes of any file, the length or an entry of a safetensors header, a value of a
JSON file. The folder must then open, or be refused in one sentence that names it, within bounds of time and memory. A line of
the table says how many tries of each kind of damage did what; one that breaks a rule is printed with its seed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import numformer as nf
from numformer.models import BertConfig, LlamaConfig, build_model
from numformer.pretrained import read_safetensors, save_model, write_safetensors
from numformer.tokenizers import CharacterTokenizer, save_tokenizer

SECONDS, MEGABYTES = 5.0, 150.0
LENGTH = 1000  # characters of a message
SHAPE: dict[str, Any] = {"vocab_size": 30, "d_model": 8, "num_heads": 2, "num_layers": 2, "d_ff": 12, "max_seq_len": 9}
VALUES = [
    None,
    True,
    -1,
    0,
    1,
    3,
    2**31,
    10**30,
    1e308,
    1e-320,
    "",
    "x",
    "../x",
    "\0",
    "é" * 300,
    [],
    [[]],
    {},
    {"a": 1},
]


class Outcome(NamedTuple):
    """What became of a try: opened, refused, or the rule that it broke."""

    damage: str
    result: str
    fault: str = ""


def make_folders(at: Path) -> list[Path]:
    """Make small models: of several architectures and tokenizers, one in several files."""
    gpt, llama, bert = (at / name for name in ("gpt", "llama", "bert"))
    save_model(nf.GPT(**SHAPE), gpt)
    save_tokenizer(CharacterTokenizer("abcdefgh \n", special_tokens=True), gpt)
    save_model(build_model(LlamaConfig(**SHAPE), "lm"), llama)
    tensors, metadata = read_safetensors(llama / "model.safetensors")
    names = list(tensors)
    parts = {f"model-{i + 1:05}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, own in parts.items():
        write_safetensors(llama / file, {name: tensors[name] for name in own}, {"format": "pt"})
    index = {"metadata": metadata, "weight_map": {name: file for file, own in parts.items() for name in own}}
    (llama / "model.safetensors.index.json").write_text(json.dumps(index))
    (llama / "model.safetensors").unlink()
    vocab = {c: i for i, c in enumerate("abcdefgh")} | {"ab": 8, "<s>": 9, "</s>": 10}
    (llama / "vocab.json").write_text(json.dumps(vocab))
    (llama / "merges.txt").write_text("#version: 0.2\na b\n")
    (llama / "tokenizer_config.json").write_text('{"eos_token": "</s>", "chat_template": "{{ messages }}"}')
    save_model(build_model(BertConfig(**SHAPE), "classify", labels=["good", "bad"]), bert)
    (bert / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]) + "\n")
    return [gpt, llama, bert]


# Damage: each changes the bytes of a file.


def flip(content: bytes, rng: random.Random) -> bytes:
    """Change some bits."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    """Take a piece out; often the end."""
    start, stop = sorted(rng.randint(0, len(content)) for _ in range(2))
    return content[:start] + (b"" if rng.random() < 0.5 else content[stop:])


def add(content: bytes, rng: random.Random) -> bytes:
    """Put bytes in, random ones or a piece of the file once more."""
    at, start = rng.randint(0, len(content)), rng.randint(0, len(content))
    piece = rng.randbytes(rng.randint(1, 40)) if rng.random() < 0.5 else content[start : start + 200]
    return content[:at] + piece + content[at:]


def change_length(content: bytes, rng: random.Random) -> bytes:
    """Say another length of the header."""
    length = rng.choice([0, 1, 8, 1 << 20, 1 << 24, 1 << 31, (1 << 63) - 1, (1 << 64) - 1, rng.getrandbits(64)])
    return length.to_bytes(8, "little") + content[8:]


def change_header(content: bytes, rng: random.Random) -> bytes:
    """Change a value of the header, which keeps its form."""
    length = int.from_bytes(content[:8], "little")
    header = change_json(content[8 : 8 + length], rng)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def change_json(content: bytes, rng: random.Random) -> bytes:
    """Change, remove or double a value anywhere in an object."""
    whole = json.loads(content)
    places = list(_places(whole))
    holder, key = rng.choice(places)
    kind = rng.choice(["value", "value", "value", "number", "remove", "rename"])
    if kind == "remove":
        del holder[key]
    elif kind == "rename" and isinstance(holder, dict):
        holder[rng.choice(["x", key * 2, key.upper(), ""])] = holder.pop(key)
    elif kind == "number" and type(holder[key]) in (int, float):
        holder[key] = holder[key] * rng.choice([-1, 0, 2, 0.5, 1000, 2**40]) + rng.choice([0, 1])
    else:
        holder[key] = rng.choice(VALUES)
    return json.dumps(whole).encode()


def _places(value: Any) -> Any:
    """Yield where each value stands in a JSON content: what holds it, and under which key."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from _places(inner)


BYTES: list[Callable[[bytes, random.Random], bytes]] = [flip, cut, add]


def damage(folder: Path, rng: random.Random) -> str:
    """Damage one file of a folder and return how."""
    file = rng.choice(sorted(path for path in folder.iterdir() if path.is_file()))
    kinds = [
        *BYTES,
        *{".json": [change_json] * 4, ".safetensors": [change_length, *[change_header] * 4]}.get(file.suffix, []),
    ]
    how = rng.choice(kinds)
    file.write_bytes(how(file.read_bytes(), rng))
    return f"{how.__name__} {file.suffix}"


def check(folders: list[Path], seed: int, measure: bool = True) -> Outcome:
    """Damage a copy of a folder and open it; `measure` follows the memory, which takes most of the time."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "model"
        shutil.copytree(rng.choice(folders), copy)
        how = damage(copy, rng)
        if measure:
            tracemalloc.start()
        begun = time.perf_counter()
        try:
            with np.errstate(all="ignore"):
                nf.load(copy)
            result, fault = "opened", ""
        except nf.InputError as error:
            result, fault = "refused", _fault_of(str(error))
        except Exception as error:
            result, fault = "broke", f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - begun
        if measure:
            peak = tracemalloc.get_traced_memory()[1] / 1e6
            tracemalloc.stop()
            fault = fault or (f"{peak:.0f} MB" if peak > MEGABYTES else "")
        return Outcome(how, result, fault or (f"{seconds:.1f} s" if seconds > SECONDS else ""))


def _fault_of(message: str) -> str:
    """Return what is wrong with the message of a refusal."""
    if "\n" in message or len(message) > LENGTH:
        return f"a message of {len(message)} characters, {message.count(chr(10)) + 1} lines: {message[:300]}"
    return ""


def main() -> int:
    """Check and print the table; returns 1 when a rule was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000, help="tries")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first")
    parser.add_argument(
        "--folder", type=Path, action="append", default=[], help="a model to damage, beside the small ones"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folders = make_folders(Path(place)) + options.folder
        results, faults = Counter[tuple[str, str]](), 0
        for seed in range(options.seed, options.seed + options.count):
            outcome = check(folders, seed)
            results[outcome.damage, outcome.result] += 1
            if outcome.fault:
                faults += 1
                print(f"seed {seed}: {outcome.damage}: {outcome.fault}")
    for kind in sorted({kind for kind, _ in results}):
        print(f"{kind:<28} opened {results[kind, 'opened']:>5}  refused {results[kind, 'refused']:>5}")
    print(f"{options.count:,} tries, {faults} broken rules")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
