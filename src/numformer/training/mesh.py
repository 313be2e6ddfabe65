"""A mesh: how many devices lie along each axis that training is divided over."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

from numformer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class MeshShape:
    """Devices along each axis. Raises InputError for a number below 1."""

    data: int = 1
    """The batch is divided; every device along it holds the same weights."""
    fsdp: int = 1
    """The batch is divided, and so are weights, gradients and optimizer state, which are gathered where they are used."""
    model: int = 1
    """The heads and the feed-forward width of every layer are divided, and the vocabulary where it can be."""

    def __post_init__(self) -> None:
        for name, size in self.axes.items():
            if type(size) is not int or size < 1:
                raise InputError(f"the axis {name} of a mesh must be a whole number of at least 1, got {size!r}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the shape that a text such as "data=4,model=2" says; axes that it leaves out have one device.

        Raises InputError for an axis that is unknown or named twice, and for what is no number.
        """
        names, sizes = [field.name for field in fields(cls)], dict[str, int]()
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, size = (word.strip() for word in part.partition("="))
            if name not in names:
                raise InputError(f"a mesh has the axes {', '.join(names)}, such as data=4,model=2; got {part!r}")
            if name in sizes:
                raise InputError(f"the mesh {text!r} names the axis {name} twice")
            if not size.isdecimal() or not size.isascii():
                raise InputError(f"the axis {name} of a mesh takes a whole number, got {size!r}")
            sizes[name] = int(size)
        return cls(**sizes)

    @property
    def axes(self) -> dict[str, int]:
        """The sizes by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def num_devices(self) -> int:
        """How many devices there are in all."""
        return self.data * self.fsdp * self.model

    @property
    def batch_parts(self) -> int:
        """How many parts the batch is divided into."""
        return self.data * self.fsdp

    def __str__(self) -> str:
        return ",".join(f"{name}={size}" for name, size in self.axes.items() if size > 1) or "data=1"
