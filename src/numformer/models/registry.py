"""The architectures that there are, and what the rest of the library has to know about each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from numformer.errors import InputError
from numformer.models.config import ArchitectureConfig
from numformer.models.layouts import Layout

Model = TypeVar("Model", bound=type)


@dataclass(frozen=True)
class Architecture:
    """What `@register(…)` above a model says about it.

    `task` is what the model does without a head, None where it needs one; `class_on_disk` is how Hugging Face calls it
    then, and `class_prefix` how the names of its classes with a head begin. `layout` may be a function of the config. One
    with `is_default` is what a shape without an architecture may become.
    """

    model: type[Any]
    config: type[ArchitectureConfig]
    layout: Layout | Callable[[Any], Layout]
    task: str | None
    class_on_disk: str
    class_prefix: str
    is_default: bool

    def layout_of(self, config: Any) -> Layout:
        """Return the names on disk of models of a config."""
        return self.layout if isinstance(self.layout, Layout) else self.layout(config)


ARCHITECTURES: dict[str, Architecture] = {}  # by model_type


def register(
    config: type[ArchitectureConfig],
    layout: Layout | Callable[[Any], Layout],
    *,
    task: str | None = None,
    class_on_disk: str = "",
    class_prefix: str = "",
    is_default: bool = False,
) -> Callable[[Model], Model]:
    """Make the model below known, with its config, its names on disk, and what Architecture says besides.

    The model is built as `Model(config, seed=…)`. Heads fit it when it is a Backbone.
    """

    def add(model: Model) -> Model:
        ARCHITECTURES[config.model_type] = Architecture(
            model, config, layout, task, class_on_disk, class_prefix, is_default
        )
        return model

    return add


def architecture_of(config: Any) -> Architecture:
    """Return the architecture that a config belongs to; raises InputError for anything else."""
    for architecture in ARCHITECTURES.values():
        if type(config) is architecture.config:
            return architecture
    known = ", ".join(sorted(architecture.config.__name__ for architecture in ARCHITECTURES.values()))
    raise InputError(f"a model is built from a ModelConfig, {known}, got {type(config).__name__}")
