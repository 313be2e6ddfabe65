"""Models in GGUF files: their shape and their weights, turned into ours and back."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numformer.errors import InputError
from numformer.models.build import build_backbone
from numformer.models.registry import ARCHITECTURES, Architecture, architecture_of
from numformer.nn import init
from numformer.pretrained.fitting import check_fit
from numformer.pretrained.gguf_families import FAMILIES, Family, supported
from numformer.pretrained.gguf_file import GGUFFile
from numformer.pretrained.memory import check_memory

_LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def read_model(file: GGUFFile) -> Any:
    """Return the model in a file, in evaluation mode; its weights are turned into float32 one by one.

    Raises InputError for an architecture that is not read, and where the metadata and the tensors do not fit each other.
    """
    name = file.metadata.need("general.architecture", str)
    if name not in supported():
        raise InputError(f"its architecture is {name[:40]!r}, supported are {', '.join(supported())}")
    _refuse_parts(file, name)
    family = FAMILIES[name]
    keys = config_keys(file, name, family)
    _check_sizes(file, family, keys)
    check_memory(4 * sum(math.prod(info.shape) for info in file.tensors.values()))
    architecture = ARCHITECTURES[family.model_type]
    with init.undrawn():
        model = build_backbone(architecture.config.from_disk(keys))
    _take_weights(model, file, family)
    return model.eval()


def gguf_names(model: Any, family: Family) -> dict[str, str]:
    """Return the names of a model's parameters in a GGUF file, by ours."""
    architecture = architecture_of(model.config)
    names = architecture.layout.names(architecture.task or "", False)
    return {ours: family.names.to_disk(names.to_disk(ours)) for ours, _ in model.named_parameters()}


def head_width(keys: dict[str, Any]) -> int:
    """Return the width of a head by the keys of a config.json."""
    return int(keys.get("head_dim") or keys["hidden_size"] // keys["num_attention_heads"])


def swap_pairs(weight: NDArray[Any], width: int, *, to_file: bool) -> NDArray[Any]:
    """Return the rows of q or k, heads of a width, in the order in which a GGUF file has them, or the other way.

    In the file the two rows that are rotated together are neighbours; in memory they are half a head apart.
    """
    pairs = (2, width // 2) if to_file else (width // 2, 2)
    return weight.reshape(-1, *pairs, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def is_swapped(name: str) -> bool:
    """Tell whether a tensor is one of queries or keys."""
    return name.split(".")[-2] in ("attn_q", "attn_k")


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


def _refuse_parts(file: GGUFFile, name: str) -> None:
    """Raise InputError for a part of a model in several files, and for a mixture of experts."""
    if (parts := file.metadata.want("split.count", int, 1)) > 1:
        raise InputError(f"it is one of {parts} parts of a model: join them with `llama-gguf-split --merge`")
    for tensor in file.tensors:
        if "_exps." in tensor or ".ffn_gate_inp." in tensor:
            raise InputError(f"it is a mixture of experts, as the tensor {tensor} shows, which is not supported")
    if count := file.metadata.want(f"{name}.expert_count", int, 0):
        raise InputError(f"it is a mixture of {count} experts, which is not supported")


def _shape(file: GGUFFile, name: str) -> tuple[int, ...]:
    if name not in file.tensors:
        raise InputError(f"the tensor {name} is missing")
    return file.tensors[name].shape


def _check_sizes(file: GGUFFile, family: Family, keys: dict[str, Any]) -> None:
    """Check what the metadata says against tensors, before a model of an absurd size is built."""
    for name, (axis, factors) in family.sizes.items():
        shape, size = _shape(file, name), math.prod(keys[factor] for factor in factors)
        if len(shape) != 2 or shape[axis] != size:
            raise InputError(
                f"the tensor {name} has the shape {list(shape)}, but the metadata makes axis {axis} {size} long"
            )
    blocks: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for name, info in file.tensors.items():
        if name.startswith("blk."):
            _, number, rest = name.split(".", 2) if name.count(".") > 1 else ("", "", "")
            blocks[number][rest] = info.shape
    count = keys[next(key for key, there in family.keys.items() if there == "block_count")]
    if count != len(blocks):
        raise InputError(f"the metadata has a block_count of {count}, but there are tensors of {len(blocks)} blocks")
    for number in map(str, range(count)):
        if blocks.get(number) != blocks["0"]:
            raise InputError(f"the tensors of block {number} are missing, or other than those of block 0")


def _take_weights(model: Any, file: GGUFFile, family: Family) -> None:
    """Make the tensors of a file the parameters of a model, which then hold the only copy of each."""
    own, names = dict(model.named_parameters()), gguf_names(model, family)
    width = head_width(model.config.to_disk()) if family.swaps_pairs else 0
    found = {name: info.shape for name, info in file.tensors.items() if name not in family.ignored}
    if "output.weight" not in names.values() and found.get("output.weight") == found["token_embd.weight"]:
        if file.raw("output.weight") != file.raw("token_embd.weight"):
            raise InputError(f"output.weight is not token_embd.weight, which a {type(model).__name__} shares")
        del found["output.weight"]
    check_fit(model, {names[ours]: parameter.shape for ours, parameter in own.items()}, found)
    for ours, parameter in own.items():
        value = file.read(names[ours])
        if family.swaps_pairs and is_swapped(names[ours]):
            value = swap_pairs(value, width, to_file=False)
        if family.norms_are_offset and names[ours].endswith("norm.weight"):
            value -= 1
        parameter.data = value


def architecture_in_gguf(model: Any) -> tuple[str, Family]:
    """Return the name of a model's architecture in GGUF files; raises InputError for one that is not written."""
    architecture: Architecture = architecture_of(model.config)
    for name, family in FAMILIES.items():
        if family.is_written and type(model) is architecture.model and family.model_type == model.config.model_type:
            return name, family
    written = ", ".join(name for name, family in FAMILIES.items() if family.is_written)
    raise InputError(
        f"a {type(model).__name__} cannot be written as GGUF; the architectures {written} can, without a head"
    )
