"""The shape of a model in the metadata of a GGUF file, as the keys of a config.json, and back."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numformer.errors import InputError
from numformer.pretrained.gguf_families import Family
from numformer.pretrained.gguf_file import GGUFFile

_LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def config_keys(file: GGUFFile, name: str, family: Family) -> dict[str, Any]:
    """Return the keys of the config.json that says what a file says; raises InputError where one is missing."""
    metadata, keys = file.metadata, dict(family.fixed)
    for key, there in family.keys.items():
        keys[key] = metadata.need(f"{name}.{there}", float if there.endswith("epsilon") else int)
    for key, (there, default) in family.optional.items():
        kind = float if isinstance(default, float) else int
        value = metadata.need(f"{name}.{there}", kind) if f"{name}.{there}" in metadata else default
        if value is not None:
            keys[key] = value
    keys["vocab_size"] = _shape(file, "token_embd.weight")[0]
    if "rope_theta" in family.optional:
        keys |= _decoder_keys(file, name, keys)
    if name == "bert":
        keys["type_vocab_size"] = _shape(file, "token_types.weight")[0]
        keys["pad_token_id"] = metadata.want("tokenizer.ggml.padding_token_id", int, 0)
        if metadata.want("bert.attention.causal", bool, False):
            raise InputError("bert.attention.causal is true, and only a BERT that looks both ways is supported")
    return keys


def _decoder_keys(file: GGUFFile, name: str, keys: dict[str, Any]) -> dict[str, Any]:
    """Return the further keys of a decoder with rotary positions, some of which stand nowhere in the file."""
    heads = keys["num_attention_heads"]
    if heads < 1:
        raise InputError(f"{name}.attention.head_count must be above 0, got {heads}")
    width = head_width(keys)
    if not keys["rope_theta"] > 0:
        raise InputError(f"{name}.rope.freq_base must be above 0, got {keys['rope_theta']}")
    found = {"num_key_value_heads": keys.get("num_key_value_heads", heads), "head_dim": width}
    for key in ("rope.dimension_count", "attention.value_length"):
        if file.metadata.want(f"{name}.{key}", int, width) != width:
            raise InputError(f"{name}.{key} is not the width of a head, {width}, which is not supported")
    found["tie_word_embeddings"] = "output.weight" not in file.tensors
    if name.startswith("gemma"):
        largest = keys["num_hidden_layers"] == {"gemma2": 46, "gemma3": 62}[name]  # the model of 27 billion
        found["query_pre_attn_scalar"] = keys["hidden_size"] // heads if largest else width
    return found | {"rope_scaling": _rope_scaling(file, name, keys["rope_theta"], width)}


def _rope_scaling(file: GGUFFile, name: str, theta: float, width: int) -> dict[str, Any] | None:
    """Return how the rotary positions are stretched, as a config.json says it."""
    kind = file.metadata.want(f"{name}.rope.scaling.type", str, "none")
    if "rope_freqs.weight" in file.tensors:
        return _llama3_scaling(file, name, theta, width)
    if kind == "none":
        return None
    if kind != "linear":
        raise InputError(f"{name}.rope.scaling.type is {kind[:40]!r}, supported are none, linear and that of Llama 3")
    return {"rope_type": kind, "factor": file.metadata.need(f"{name}.rope.scaling.factor", float)}


def _llama3_scaling(file: GGUFFile, name: str, theta: float, width: int) -> dict[str, Any]:
    """Return the scaling of Llama 3, of which a file has only what each frequency is divided by.

    Raises InputError when those are not the ones of Llama 3's rule.
    """
    divisors = file.read("rope_freqs.weight")
    context = file.metadata.want(f"{name}.rope.scaling.original_context_length", int, 8192)
    scaling = _LLAMA3 | {"factor": float(divisors.max()), "original_max_position_embeddings": context}
    if divisors.shape != (width // 2,) or not np.allclose(divisors, llama3_divisors(scaling, theta, width), rtol=1e-4):
        raise InputError("rope_freqs.weight does not follow the rule of Llama 3, and no other is supported")
    return scaling


def llama3_divisors(scaling: dict[str, Any], theta: float, width: int) -> NDArray[np.float32]:
    """Return what the frequency of each pair of rows is divided by (Grattafiori et al. 2024, arXiv:2407.21783), [K/2]."""
    frequencies = theta ** (-np.arange(0, width, 2) / width)
    turns = scaling["original_max_position_embeddings"] * frequencies / (2 * np.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (1.0 / (kept + (1.0 - kept) / scaling["factor"])).astype(np.float32)


def _shape(file: GGUFFile, name: str) -> tuple[int, ...]:
    if name not in file.tensors:
        raise InputError(f"the tensor {name} is missing")
    return file.tensors[name].shape


def check_sizes(file: GGUFFile, family: Family, keys: dict[str, Any]) -> None:
    """Check what the metadata says against tensors, before a model of an absurd size is built."""
    for name, (axis, factors) in family.sizes.items():
        shape, size = _shape(file, name), math.prod(keys[factor] for factor in factors)
        if len(shape) != 2 or shape[axis] != size:
            raise InputError(
                f"the tensor {name} has the shape {list(shape)}, but the metadata makes axis {axis} {size} long"
            )
    _check_blocks(file, keys[next(key for key, there in family.keys.items() if there == "block_count")])


def _check_blocks(file: GGUFFile, count: int) -> None:
    """Check that there are tensors of so many blocks, and the same in all of them."""
    blocks: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for name, info in file.tensors.items():
        if name.startswith("blk."):
            _, number, rest = name.split(".", 2) if name.count(".") > 1 else ("", "", "")
            blocks[number][rest] = info.shape
    if count != len(blocks):
        raise InputError(f"the metadata has a block_count of {count}, but there are tensors of {len(blocks)} blocks")
    for number in map(str, range(count)):
        if blocks.get(number) != blocks["0"]:
            raise InputError(f"the tensors of block {number} are missing, or other than those of block 0")


def config_metadata(name: str, family: Family, keys: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata that say what a config.json says; raises InputError where the architecture has it otherwise."""
    for key, value in family.fixed.items():
        if keys[key] != value:
            raise InputError(f"GGUF's {name} has {key} {value}, this model has {keys[key]}")
    found = {there: keys[key] for key, there in family.keys.items() if keys[key] is not None}
    if name == "gpt2":
        found["feed_forward_length"] = keys["n_inner"] or 4 * keys["n_embd"]
    if name == "llama":
        width, rope = head_width(keys), rope_table(keys)
        found |= {
            "vocab_size": keys["vocab_size"],
            "attention.head_count_kv": keys["num_key_value_heads"] or keys["num_attention_heads"],
            "attention.key_length": width,
            "attention.value_length": width,
            "rope.dimension_count": width,
            "rope.freq_base": float(rope["rope_theta"]),
        }
        if rope.get("rope_type") == "linear":
            found |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(rope["factor"])}
        if rope.get("rope_type") == "llama3":
            found["rope.scaling.original_context_length"] = rope["original_max_position_embeddings"]
    return {f"{name}.{there}": value for there, value in found.items()}


def rope_table(keys: dict[str, Any]) -> dict[str, Any]:
    """Return the table of rotary positions in a config.json, of the newer form or the older."""
    return keys | (keys.get("rope_scaling") or keys.get("rope_parameters") or {})


def head_width(keys: dict[str, Any]) -> int:
    """Return the width of a head by the keys of a config.json."""
    return int(keys.get("head_dim") or keys["hidden_size"] // keys["num_attention_heads"])
