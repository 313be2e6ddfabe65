"""`numformer plan`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from numformer._files import read_json
from numformer._names import task_name
from numformer._notices import amount, in_bytes
from numformer.cli.shared.options import parse
from numformer.cli.train import options_from_file
from numformer.errors import InputError
from numformer.models.published import PUBLISHED
from numformer.models.registry import ARCHITECTURES
from numformer.training import TrainConfig
from numformer.training.mesh import MeshShape
from numformer.training.plan import RESERVE, WIDTHS, Plan, Workload, make_plan, nearest_fit
from numformer.training.run_folder import read_toml

SEQUENCES = 8  # of a step for each part of the batch, where neither the options nor a recipe say how many
DEFAULTS: dict[str, Any] = {
    "mesh": "",
    "precision": "bfloat16",
    "optimizer": "adamw",
    "accumulation": 1,
    "recompute": False,
}
COPIES = {"float32": "gathered weights", "bfloat16": "weights in bfloat16"}
SENT = {"data": "sums of gradients", "fsdp": "weights gathered, gradients scattered", "model": "sums of branches"}


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Say what memory each device needs for a training step on a mesh, and how much it sends; nothing is allocated.

    The figures are computed: weights, gradients and optimizer state exactly, the others by formulas that a compiler may miss
    by some. A mesh that does not fit is refused, with the nearest that does.
    """

    config: str = ""
    """A config.json or its folder, a recipe or run.toml, or a name such as gpt2, llama-3-8b, llama-2-70b."""
    mesh: str | None = None
    """Devices along the axes data, fsdp and model, such as data=4,model=2; the recipe's, or one device."""
    hbm: float = 80.0
    """Memory of a device in GB (10⁹ bytes)."""
    task: str | None = None
    """Task that the model gets a head for; the recipe's (or lm), or the one that the model does on its own."""
    batch_size: int | None = None
    """Sequences in a step; the recipe's, or 8 for each part that the mesh divides the batch into."""
    sequence_length: int | None = None
    """Tokens of a sequence; the recipe's, or the context length."""
    vocab_size: int | None = None
    """Number of tokens, where the config leaves it to the tokenizer."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Precision of the layers; the recipe's, or bfloat16. Weights, gradients and averages are float32 in any case."""
    optimizer: Literal["adamw", "adam", "sgd"] | None = None
    """Rule of the updates; the recipe's, or adamw."""
    accumulation: int | None = None
    """Pieces that each device works through one after the other; the recipe's, or 1."""
    recompute: bool = False
    """Keep only each layer's input and compute the rest again, as a recipe may say, too."""


def run(command: str, arguments: list[str]) -> int:
    """Print the plan; raises InputError where it does not fit."""
    options = parse(PlanOptions, command, arguments)
    if not 0.0 < options.hbm < float("inf"):
        raise InputError(f"--hbm must be a number of GB above 0, got {options.hbm:g}")
    (workload, mesh), device_bytes = _workload(options), options.hbm * 1e9
    plan = make_plan(workload, mesh)
    if sys.stdout.isatty():
        print("\n".join(_table(options.config, plan, options.hbm)), flush=True)
    else:
        print(json.dumps(_facts(plan, device_bytes)), flush=True)
    if not plan.fits(device_bytes):
        raise InputError(_refusal(plan, options.hbm, nearest_fit(workload, mesh, device_bytes)))
    return 0


def _workload(options: PlanOptions) -> tuple[Workload, MeshShape]:
    """Return what is to be trained, and on which mesh: a recipe's settings where there is one, with the options over them."""
    task, path, recipe = None if options.task is None else task_name(options.task), Path(options.config), None
    if path.suffix == ".toml":
        task = task or task_name(str(read_toml(path).get("task", "lm")))
        recipe = _recipe(path, task)
    config = _with_vocabulary(recipe.model if recipe else _config(options.config), options.vocab_size)
    settings = DEFAULTS | {"sequence_length": config.max_seq_len} | (_settings_of(recipe) if recipe else {})
    given = {name: getattr(options, name) for name in (*DEFAULTS, "sequence_length", "batch_size")}
    given["recompute"] = options.recompute or None  # A recipe may say so, too.
    settings |= {name: value for name, value in given.items() if value is not None}
    mesh = MeshShape.parse(settings.pop("mesh"))
    pieces = mesh.batch_parts * max(1, settings["accumulation"])
    if "batch_size" not in settings:
        length = max(1, settings["sequence_length"])
        settings["batch_size"] = _num_sequences(recipe.train, length, pieces) if recipe else SEQUENCES * pieces
    return Workload(config=config, task=task, **settings), mesh


def _settings_of(recipe: Any) -> dict[str, Any]:
    """Return what a recipe says of its training."""
    said = {name: getattr(recipe.train, name) for name in ("mesh", "precision", "accumulation", "recompute")}
    said |= {"optimizer": recipe.optim.optimizer, "sequence_length": getattr(recipe, "sequence_length", None)}
    return {name: value for name, value in said.items() if value is not None}


def _num_sequences(train: TrainConfig, length: int, pieces: int) -> int:
    """Return how many sequences a step has; a batch that is bounded by its tokens is filled up to equal pieces."""
    number = train.num_sequences(length)
    return number if train.batch_tokens is None else math.ceil(number / pieces) * pieces


def _recipe(path: Path, task: str) -> Any:
    """Return the options of a recipe; raises InputError for one whose model or training is not all in it, or in the plan."""
    recipe = options_from_file(path, task)
    if recipe.pretrained and "model" not in read_toml(path):
        raise InputError(
            f"{path} starts from {recipe.pretrained}, which says the shape: give --config the folder of that"
        )
    if recipe.lora.rank or recipe.freeze or any(group.freeze for group in recipe.optim.groups):
        raise InputError(
            f"{path} trains a part of the weights alone, and a plan is of all: give --config its config.json"
        )
    if recipe.train.precision not in WIDTHS:
        raise InputError(f"{path} has the precision {recipe.train.precision} of NumPy, and a plan is of JAX")
    return recipe


def _config(name: str) -> Any:
    """Return the config of a published model, or that of a config.json."""
    if not name:
        raise InputError("plan needs a model: --config FILE, or a name such as gpt2")
    if name in PUBLISHED:
        return PUBLISHED[name]
    path = Path(name) / "config.json" if Path(name).is_dir() else Path(name)
    if path.suffix == ".gguf":
        raise InputError(f"{path}: plan reads the config.json of a model, not a GGUF file")
    if not path.exists():
        raise InputError(f"there is no file {path}, and no model of that name (known are {', '.join(PUBLISHED)})")
    keys = read_json(path)
    kind = keys.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise InputError(f"{path}: model_type is {kind!r}, supported are {', '.join(sorted(ARCHITECTURES))}")
    try:
        return ARCHITECTURES[kind].config.from_disk(keys)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _with_vocabulary(config: Any, vocab_size: int | None) -> Any:
    """Return a config whose vocabularies have a size; raises InputError where it is not known, or known otherwise."""
    unknown = [name for name in config.vocabularies if not getattr(config, name)]
    if vocab_size is None:
        if unknown:
            raise InputError(f"{', '.join(unknown)} comes from the tokenizer: say how many tokens with --vocab-size")
        return config
    if not unknown:
        sizes = ", ".join(f"{name}={getattr(config, name)}" for name in config.vocabularies)
        raise InputError(f"the config has {sizes}: leave out --vocab-size")
    return replace(config, **dict.fromkeys(unknown, vocab_size))


def _table(name: str, plan: Plan, hbm: float) -> Iterator[str]:
    """Yield the lines that a person reads."""
    work, memory = plan.workload, plan.memory
    pieces = f" in {work.accumulation} pieces" if work.accumulation > 1 else ""
    again = ", layers recomputed" if work.recompute else ""
    tokens = amount(work.batch_size * work.sequence_length, "tokens")
    yield f"{name}: {amount(plan.num_parameters, 'parameters')}, {work.config.depth}"
    yield (
        f"a step: {amount(work.batch_size, 'sequences')} of {amount(work.sequence_length, 'tokens')}{pieces} "
        f"({tokens}), {work.precision}, {work.optimizer}{again}"
    )
    yield f"mesh: {plan.mesh}, {amount(plan.mesh.num_devices, 'devices')} of {hbm:g} GB\n"
    yield "memory of each device"
    names = {"optimizer": "optimizer state", "copies": COPIES[work.precision]}
    for part, size in asdict(memory).items():
        yield f"  {names.get(part, part):<20}{in_bytes(size):>10}"
    yield f"  {'together':<20}{in_bytes(memory.total):>10}  of {_usable(hbm)}\n"
    if plan.mesh.num_devices == 1:
        yield "one device sends nothing"
        return
    yield "sent by each device in a step"
    for axis, size in asdict(plan.traffic).items():
        if getattr(plan.mesh, axis) > 1:
            yield f"  {axis:<20}{in_bytes(size):>10}  {SENT[axis]}"


def _facts(plan: Plan, device_bytes: float) -> dict[str, Any]:
    """Return the same for a program, in bytes."""
    work = {name: value for name, value in vars(plan.workload).items() if name not in ("config", "task")}
    return {
        "num_parameters": plan.num_parameters,
        **work,
        "mesh": plan.mesh.axes,
        "num_devices": plan.mesh.num_devices,
        "memory": asdict(plan.memory) | {"total": plan.memory.total},
        "sent": asdict(plan.traffic),
        "fits": plan.fits(device_bytes),
    }


def _refusal(plan: Plan, hbm: float, found: Plan | None) -> str:
    needs = f"--mesh {plan.mesh} does not fit: each device needs {in_bytes(plan.memory.total)} of {_usable(hbm)}"
    if found is None:
        return (
            f"{needs}; no mesh of the sizes that are looked at does: try a smaller --batch-size or more --accumulation"
        )
    ways = [] if found.mesh == plan.mesh else [f"--mesh {found.mesh} ({amount(found.mesh.num_devices, 'devices')})"]
    ways += ["--recompute"] if found.workload.recompute and not plan.workload.recompute else []
    return f"{needs}; {' with '.join(ways)} would, at {in_bytes(found.memory.total)}"


def _usable(hbm: float) -> str:
    return f"{in_bytes((1.0 - RESERVE) * hbm * 1e9)} (a tenth of {hbm:g} GB is left to the runtime)"
