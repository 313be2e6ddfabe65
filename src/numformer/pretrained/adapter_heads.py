"""The model that adapters of PEFT belong to: the one that they name, or that one with the head that they bring."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from numformer._files import read_json
from numformer.errors import InputError
from numformer.models.disk import head_from_disk, to_disk
from numformer.models.heads import HEADS, Headed
from numformer.models.registry import architecture_of

PREFIX = "base_model.model."  # before every name, as PEFT wraps a model twice
TASKS = {"SEQ_CLS": "classify", "TOKEN_CLS": "tag", "QUESTION_ANS": "qa"}  # whose models have a head, which PEFT saves


def with_head(base: Any, keys: Mapping[str, Any], folder: Path, weights: Mapping[str, np.ndarray]) -> Any:
    """Return the model of an adapter_config.json: `base` as it is, or its backbone with a new head that has no values yet.

    What head it is says the config.json beside it or, where PEFT has left none, the task and the shape of the weights; labels
    have the names that the base has for as many. Raises InputError for a base that takes no head.
    """
    task = TASKS.get(str(keys.get("task_type")))
    if task is None:
        return base
    if not hasattr(base, "backbone"):
        raise InputError(f"its base is a {type(base).__name__}, which takes no head")
    file = folder / "config.json"
    shape = read_json(file) if file.is_file() else _guessed(base, task, weights)
    return head_from_disk(shape, base.backbone, "config.json" if file.is_file() else "adapter_config.json")


def _guessed(base: Any, task: str, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the keys of the config.json that Transformers would write of the model with its head."""
    architecture, head = architecture_of(base.config), HEADS[task]
    name = architecture.layout_of(base.config).names(task, is_headed=True).to_disk("head.weight")
    if f"{PREFIX}{name}" not in weights:
        raise InputError(f"it has no {name}, which is new for its task ({task})")
    count = len(weights[f"{PREFIX}{name}"])
    if isinstance(base, Headed) and base.suffix == head.suffix and len(getattr(base, "labels", "..")) == count:
        return to_disk(base)
    labels = {str(number): f"LABEL_{number}" for number in range(count)}
    is_regression = task == "classify" and count == 1  # as Transformers takes it
    return {
        "model_type": base.config.model_type,
        "architectures": [architecture.class_prefix + head.suffix],
        "id2label": labels,
        **({"problem_type": "regression"} if is_regression else {}),
    }
