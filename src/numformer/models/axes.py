"""What the axes of every parameter are, by its name: by this table a room that spreads a model over devices cuts its weights.

Names in Python are the same in every architecture, and so is the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from numformer.errors import InputError

Axis = str | None

_LOOKED_UP: tuple[Axis, ...] = ("vocab", "embed")
_WIDENED: tuple[Axis, ...] = ("ff", "embed")
_TO_HEADS: tuple[Axis, ...] = ("heads", "embed")
_READ: tuple[Axis, ...] = (None, "embed")  # rows that are not many, such as labels and positions

# Axes of the weight; those of a bias are the first of them.
_OF_PART: dict[str, tuple[Axis, ...]] = {
    **dict.fromkeys(("token_embedding", "src_embedding", "tgt_embedding", "embedding", "output"), _LOOKED_UP),
    **dict.fromkeys(("position_embedding", "segment_embedding", "head", "dense", "pooler"), _READ),
    **dict.fromkeys(("q_proj", "k_proj", "v_proj", "in_proj"), _TO_HEADS),
    "out_proj": ("embed", "heads"),
    **dict.fromkeys(("linear1", "linear3"), _WIDENED),
    "linear2": ("embed", "ff"),
    **dict.fromkeys(("norm", "post_norm"), ("embed",)),
}


def axes_of(name: str, ndim: int) -> tuple[Axis, ...]:
    """Return the axes of a parameter, such as ("ff", "embed"); None for an axis that is never cut.

    A parameter that the table does not know, such as that of an adapter, has none that is.
    """
    path, _, kind = name.rpartition(".")
    axes = _OF_PART.get(path.rpartition(".")[2], ()) if kind in ("weight", "bias") else ()
    return axes[:ndim] if len(axes) >= ndim else (None,) * ndim


@dataclass(frozen=True, kw_only=True)
class AxisRules:
    """Along which axes of a mesh of devices the axes of parameters and batches are cut; () leaves one whole.

    Raises InputError when two axes that one parameter has would be cut along the same axis of the mesh.
    """

    batch: tuple[str, ...] = ("data", "fsdp")
    vocab: tuple[str, ...] = ("model",)
    heads: tuple[str, ...] = ("model",)
    ff: tuple[str, ...] = ("model",)
    embed: tuple[str, ...] = ("fsdp",)

    def __post_init__(self) -> None:
        for axes in set(_OF_PART.values()):
            cut = [(axis, along) for axis in axes if axis for along in getattr(self, axis)]
            for number, (axis, along) in enumerate(cut):
                for other, same in cut[:number]:
                    if same == along:
                        raise InputError(
                            f"{other} and {axis} are axes of one weight, and cannot both be cut along {along}"
                        )

    def along(self, axis: Axis) -> tuple[str, ...]:
        """Return the axes of the mesh that an axis is cut along."""
        return getattr(self, axis) if axis else ()

    def cuts(
        self, axes: Sequence[Axis], shape: Sequence[int], sizes: Mapping[str, int], what: str = "weights"
    ) -> list[tuple[str, ...]]:
        """Return along which axes of a mesh of these sizes every axis of a parameter is cut.

        Raises InputError for a width that cannot be cut into equal parts; a vocabulary is left whole then.
        """
        found = []
        for axis, length in zip(axes, shape, strict=True):
            along = self.along(axis)
            parts = math.prod(sizes[each] for each in along)
            if length % parts and axis != "vocab":
                mesh = ",".join(f"{name}={size}" for name, size in sizes.items() if size > 1)
                raise InputError(
                    f"the mesh {mesh} cannot cut {what} of shape {list(shape)} into {parts} parts: "
                    f"{parts} does not divide {length}"
                )
            found.append(() if length % parts else along)
        return found

    def names(self) -> list[str]:
        """Return the axes that a mesh may have."""
        return list(dict.fromkeys(along for field in fields(self) for along in getattr(self, field.name)))
