"""Models in GGUF files: their weights, turned into ours and back."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from numformer.errors import InputError
from numformer.models.build import build_backbone
from numformer.models.memory import check_memory
from numformer.models.registry import ARCHITECTURES, Architecture, architecture_of
from numformer.models.sentence_encoder import SentenceEncoder, Vectors
from numformer.nn import init
from numformer.pretrained.fitting import check_fit
from numformer.pretrained.gguf_config import check_sizes, config_keys, head_width
from numformer.pretrained.gguf_families import FAMILIES, Family, supported
from numformer.pretrained.gguf_file import GGUFFile

_NO_POOLING = 0
_POOLINGS: dict[int, Vectors] = {1: "mean", 2: "cls"}
_NO_WEIGHTS = ("rope_freqs.weight",)  # tensors that belong to the shape


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
    check_sizes(file, family, keys)
    check_memory(sum(math.prod(info.shape) for info in file.tensors.values()))
    architecture = ARCHITECTURES[family.model_type]
    with init.undrawn():
        model = build_backbone(architecture.config.from_disk(keys))
    _take_weights(model, file, family)
    return _with_pooling(model, file, name).eval()


def _with_pooling(model: Any, file: GGUFFile, name: str) -> Any:
    """Return a model that makes vectors of texts where the metadata say how; a file says nothing of their length."""
    kind = file.metadata.want(f"{name}.pooling_type", int, _NO_POOLING) if model.looks_ahead else _NO_POOLING
    if kind == _NO_POOLING:
        return model
    if kind not in _POOLINGS:
        raise InputError(f"{name}.pooling_type is {kind}, supported are 0 (none), 1 (mean) and 2 (cls)")
    return SentenceEncoder(model, vector=_POOLINGS[kind])


def gguf_names(model: Any, family: Family) -> dict[str, str]:
    """Return the names of a model's parameters in a GGUF file, by ours."""
    architecture = architecture_of(model.config)
    names = architecture.layout_of(model.config).names(architecture.task or "", False)
    return {ours: family.names.to_disk(names.to_disk(ours)) for ours, _ in model.named_parameters()}


def swap_pairs(weight: NDArray[Any], width: int, *, to_file: bool) -> NDArray[Any]:
    """Return the rows of q or k, heads of a width, in the order in which a GGUF file has them, or the other way.

    In the file the two rows that are rotated together are neighbours; in memory they are half a head apart.
    """
    pairs = (2, width // 2) if to_file else (width // 2, 2)
    return weight.reshape(-1, *pairs, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def is_swapped(name: str) -> bool:
    """Tell whether a tensor is one of queries or keys."""
    return name.split(".")[-2] in ("attn_q", "attn_k")


def _refuse_parts(file: GGUFFile, name: str) -> None:
    """Raise InputError for a part of a model in several files, and for a mixture of experts."""
    if (parts := file.metadata.want("split.count", int, 1)) > 1:
        raise InputError(f"it is one of {parts} parts of a model: join them with `llama-gguf-split --merge`")
    for tensor in file.tensors:
        if "_exps." in tensor or ".ffn_gate_inp." in tensor:
            raise InputError(f"it is a mixture of experts, as the tensor {tensor} shows, which is not supported")
    if count := file.metadata.want(f"{name}.expert_count", int, 0):
        raise InputError(f"it is a mixture of {count} experts, which is not supported")


def _take_weights(model: Any, file: GGUFFile, family: Family) -> None:
    """Make the tensors of a file the parameters of a model, which then hold the only copy of each."""
    own, names = dict(model.named_parameters()), gguf_names(model, family)
    width = head_width(model.config.to_disk()) if family.swaps_pairs else 0
    found = {name: info.shape for name, info in file.tensors.items() if name not in _NO_WEIGHTS}
    if "output.weight" not in names.values() and found.get("output.weight") == found["token_embd.weight"]:
        if file.raw("output.weight") != file.raw("token_embd.weight"):
            raise InputError(f"output.weight is not token_embd.weight, which a {type(model).__name__} shares")
        del found["output.weight"]
    check_fit(model, {names[ours]: parameter.shape for ours, parameter in own.items()}, found)
    for ours, parameter in own.items():
        value = file.read(names[ours], out=parameter.data)
        if family.swaps_pairs and is_swapped(names[ours]):
            value[...] = swap_pairs(value, width, to_file=False)
        if family.norms_are_offset and names[ours].endswith("norm.weight"):
            value -= 1


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
