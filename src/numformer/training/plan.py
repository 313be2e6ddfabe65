"""What a step of training takes on a mesh: the memory of each device, and the bytes that it sends; computed, not measured.

Weights, gradients and optimizer state follow from the parameters exactly. Activations are what JAX keeps of the layers to
differentiate them, by the formulas below, which a test holds to what it does keep; XLA, which fuses, needs less. Logits are
those of the output layer, their log-softmax in float32, and their gradient.

Collectives are counted as rings do them (Patarasuk and Yuan 2009): of b bytes over n devices each sends (n-1)/n · b to gather
or to reduce-scatter, and twice that to all-reduce.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Literal

from numformer._notices import amount
from numformer.errors import InputError
from numformer.models.anatomy import Anatomy, LayerShape, ParameterShape, anatomy_of
from numformer.models.axes import AxisRules
from numformer.models.config import ArchitectureConfig
from numformer.training.mesh import MeshShape

FLOAT32 = 4  # bytes of a weight, of its gradient, and of each of the optimizer's averages
AVERAGES = {"adamw": 2, "adam": 2, "sgd": 1}  # of each weight
RULES = AxisRules()
WIDTHS = {"float32": 4, "bfloat16": 2}  # bytes of a number in the layers
RESERVE = 0.1  # of a device's memory, for what the runtime, fragments and temporary arrays take
MOST_DEVICES, WIDEST_MODEL = 1 << 14, 8  # of the meshes that are looked for; tensor parallelism stays within a machine


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is trained: a model of a config for a task, in steps of so many sequences. Raises InputError out of range."""

    config: ArchitectureConfig
    task: str | None = None
    batch_size: int
    sequence_length: int
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    accumulation: int = 1
    recompute: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "sequence_length", "accumulation"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.sequence_length > self.config.max_seq_len:
            raise InputError(f"sequence_length={self.sequence_length} is over max_seq_len={self.config.max_seq_len}")
        for name, known in (("precision", WIDTHS), ("optimizer", AVERAGES)):
            if getattr(self, name) not in known:
                raise InputError(f"unknown {name} {getattr(self, name)!r}: choose {', '.join(known)}")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on each device; `copies` are those of weights, in the precision of the layers or gathered where they are used."""

    weights: int
    gradients: int
    optimizer: int
    copies: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(asdict(self).values())


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes that each device sends in a step, by the axis of the mesh that they go along."""

    data: int
    fsdp: int
    model: int


@dataclass(frozen=True)
class Plan:
    """A workload on a mesh, with what it takes."""

    workload: Workload
    mesh: MeshShape
    num_parameters: int
    memory: Memory
    traffic: Traffic

    def fits(self, device_bytes: float) -> bool:
        """Tell whether a device of so much memory has enough, a tenth of it being left to the runtime."""
        return self.memory.total <= (1.0 - RESERVE) * device_bytes


def make_plan(workload: Workload, mesh: MeshShape) -> Plan:
    """Return what a workload takes on a mesh.

    Raises InputError when heads, widths or the batch cannot be divided so, and as `anatomy_of` does.
    """
    _check_division(workload, mesh)
    model = anatomy_of(workload.config, workload.task)
    held = sum(count * _held(parameter, mesh) for parameter, count in model.parameters.items())
    memory = Memory(
        weights=FLOAT32 * held,
        gradients=FLOAT32 * held * (2 if workload.accumulation > 1 else 1),  # those of a piece, and the sum so far
        optimizer=FLOAT32 * AVERAGES[workload.optimizer] * held,
        copies=_copies(workload, mesh, model, held),
        activations=_activations(workload, mesh, model),
        logits=_logits(workload, mesh, model),
    )
    return Plan(workload, mesh, model.num_parameters, memory, _traffic(workload, mesh, model, held))


def nearest_fit(workload: Workload, mesh: MeshShape, device_bytes: float) -> Plan | None:
    """Return the plan that fits with the least change: recomputation, the same devices otherwise, then twice as many.

    None when no mesh of the sizes that are looked at does.
    """
    shapes = [mesh, *_meshes(mesh.num_devices)]
    while shapes[0].num_devices <= MOST_DEVICES:
        for shape in shapes:
            for recompute in sorted({workload.recompute, True}):
                try:
                    found = make_plan(replace(workload, recompute=recompute), shape)
                except InputError:
                    continue
                if found.fits(device_bytes):
                    return found
        shapes = list(_meshes(2 * shapes[0].num_devices))
    return None


def divided(parameter: ParameterShape, mesh: MeshShape) -> MeshShape:
    """Return over how many devices along each axis of the mesh a parameter is divided, by the rules of `models.axes`.

    Raises InputError as `AxisRules.cuts` does.
    """
    cuts = RULES.cuts(parameter.axes, parameter.shape, mesh.axes)
    return MeshShape(**{along: mesh.axes[along] for cut in cuts for along in cut})


def _held(parameter: ParameterShape, mesh: MeshShape) -> int:
    """Return how many numbers of a parameter a device holds."""
    return math.prod(parameter.shape) // divided(parameter, mesh).num_devices


def _check_division(workload: Workload, mesh: MeshShape) -> None:
    config = workload.config
    kv_heads = getattr(config, "num_kv_heads", None) or config.num_heads
    for name, size in (("num_heads", config.num_heads), ("num_kv_heads", kv_heads), ("d_ff", config.ff_width)):
        if size % mesh.model:
            raise InputError(f"{name}={size} cannot be divided over model={mesh.model}")
    pieces = mesh.batch_parts * workload.accumulation
    if workload.batch_size % pieces:
        over = f"{amount(mesh.batch_parts, 'devices')} along data and fsdp"
        in_pieces = f" in {workload.accumulation} pieces each" if workload.accumulation > 1 else ""
        raise InputError(
            f"batch_size={workload.batch_size} cannot be divided over {over}{in_pieces}: take a multiple of {pieces}"
        )


def _tokens(workload: Workload, mesh: MeshShape) -> int:
    """Return the tokens that a device has at work at once: one piece of its part of the batch."""
    return workload.batch_size // (mesh.batch_parts * workload.accumulation) * workload.sequence_length


def _copies(workload: Workload, mesh: MeshShape, model: Anatomy, held: int) -> int:
    """Return the bytes of weights that are there a second time.

    Divided along fsdp they are gathered for the layer that runs, while those of the next arrive: twice the largest part.
    Undivided but converted to bfloat16, all of them are.
    """
    width = WIDTHS[workload.precision]
    if mesh.fsdp == 1:
        return 0 if workload.precision == "float32" else width * held
    outside = model.num_parameters - sum(layer.num_parameters * count for layer, count in model.layers.items())
    largest = max([outside, *(layer.num_parameters for layer in model.layers)])
    return 2 * width * math.ceil(largest / mesh.model)


def _activations(workload: Workload, mesh: MeshShape, model: Anatomy) -> int:
    """Return the bytes that the backward pass needs of the layers.

    With recomputation that is the input of every layer, and all of the one that runs again (Chen et al. 2016,
    arXiv:1604.06174).
    """
    kept = {layer: _kept(layer, workload, mesh) for layer in model.layers}
    if workload.recompute:
        inputs = WIDTHS[workload.precision] * workload.config.d_model * model.layers.total()
        per_token = inputs + max(kept.values())
    else:
        per_token = sum(kept[layer] * count for layer, count in model.layers.items())
    return math.ceil(_tokens(workload, mesh) * per_token)


def _kept(layer: LayerShape, workload: Workload, mesh: MeshShape) -> float:
    """Return the bytes for each token that the gradient of a layer needs.

    A branch keeps its input, and three vectors of its norm in float32, whole on each device along `model`. Divided along it
    are the numbers inside and, for each head, rows as long as the sequence: two of float32 scores, weights, and the mask.
    """
    width = WIDTHS[workload.precision]
    whole = (width + 3 * FLOAT32) * workload.config.d_model * len(layer.branches)
    row = (2 * FLOAT32 + width + 1) * workload.sequence_length
    return whole + sum(width * each.width + row * each.num_heads for each in layer.branches) / mesh.model


def _logits(workload: Workload, mesh: MeshShape, model: Anatomy) -> int:
    number = model.num_logits // mesh.model if model.num_logits % mesh.model == 0 else model.num_logits
    return _tokens(workload, mesh) * number * (2 * WIDTHS[workload.precision] + FLOAT32)


def _traffic(workload: Workload, mesh: MeshShape, model: Anatomy, held: int) -> Traffic:
    """Return what a device sends in a step.

    data: one all-reduce of the gradients that it holds, for each piece of the batch. fsdp: for each piece the weights are
    gathered for the forward and again for the backward pass, and their gradients are scattered (Rajbhandari et al. 2020,
    arXiv:1910.02054, §7). All of that in the precision of the layers, as JAX sums before it converts. model: every branch
    all-reduces its output in the forward pass and the gradient of its input in the backward pass, and its output again
    where it is recomputed; so do the token table and the output layer, once.
    """
    width = WIDTHS[workload.precision]
    gathered = sum(
        count * _held(parameter, mesh) * mesh.fsdp
        for parameter, count in model.parameters.items()
        if divided(parameter, mesh).fsdp > 1
    )
    num_branches = sum(len(layer.branches) * count for layer, count in model.layers.items())
    sums = (3 if workload.recompute else 2) * num_branches + 2
    stream = width * _tokens(workload, mesh) * workload.config.d_model * workload.accumulation
    return Traffic(
        data=math.ceil(2 * _share(mesh.data) * width * held * workload.accumulation),
        fsdp=math.ceil(3 * _share(mesh.fsdp) * width * gathered * workload.accumulation),
        model=math.ceil(2 * _share(mesh.model) * sums * stream),
    )


def _share(num_devices: int) -> float:
    return (num_devices - 1) / num_devices


def _meshes(num_devices: int) -> Iterator[MeshShape]:
    """Yield the meshes of so many devices, those first that send less: little of `model`, then little of `fsdp`."""
    for model in range(1, min(WIDEST_MODEL, num_devices) + 1):
        rest, left = divmod(num_devices, model)
        for fsdp in range(1, rest + 1) if not left else ():
            if rest % fsdp == 0:
                yield MeshShape(data=rest // fsdp, fsdp=fsdp, model=model)
