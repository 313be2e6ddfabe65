"""Where the pieces of weights and batches lie: a mesh of devices, and along which of its axes each array is cut.

`data` gives every device a part of the batch and all weights, `fsdp` a part of the batch and of the weights, which are
gathered where they are used (fully sharded), and `model` a part of the heads, of the feed-forward layers and of the
vocabulary (tensor parallel). JAX derives from that what the devices send each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from numformer.errors import InputError
from numformer.jax.gathering import Part, cut_as, gathered
from numformer.models.axes import AxisRules, axes_of
from numformer.training.mesh import MeshShape

RULES = AxisRules()


class Placement:
    """Puts the arrays of a training on the devices of a mesh.

    Raises InputError for a mesh that has more devices than there are.
    """

    def __init__(self, mesh: str) -> None:
        shape = MeshShape.parse(mesh)
        self.sizes, self.batch_parts = shape.axes, shape.batch_parts
        count, devices = shape.num_devices, jax.devices()
        if count > len(devices):
            raise InputError(
                f"the mesh {mesh} has {count} devices, but JAX finds {len(devices)} ({devices[0].platform})"
            )
        if jax.process_count() > 1 and count < len(devices):
            raise InputError(
                f"the mesh of {jax.process_count()} hosts takes all of their {len(devices)} devices, got "
                f"{mesh or 'data=1'} with {count}"
            )
        self.mesh = Mesh(np.array(devices[:count]).reshape(*self.sizes.values()), tuple(self.sizes))
        self.name = mesh

    def check_batch(self, batch_size: int | None, accumulation: int) -> None:
        """Raise InputError when so many sequences cannot be cut into equal parts."""
        parts = self.batch_parts * accumulation
        if batch_size is not None and batch_size % parts:
            pieces = f" in {accumulation} pieces each" if accumulation > 1 else ""
            raise InputError(
                f"batch_size={batch_size} cannot be cut into {self.batch_parts} equal parts{pieces}, as the mesh "
                f"{self.name or 'data=1'} asks for"
            )

    def of_parameter(self, name: str, shape: tuple[int, ...], *, gathered: bool = False) -> NamedSharding:
        """Return how a parameter is cut; `gathered` is how it is where it is used.

        Raises InputError as `AxisRules.cuts` does.
        """
        cuts = RULES.cuts(axes_of(name, len(shape)), shape, self.sizes, name)
        return self._cut(*(tuple(each for each in cut if not (gathered and each == "fsdp")) for cut in cuts))

    def put_parameter(self, name: str, array: np.ndarray) -> Any:
        """Return an array of JAX with memory of its own: NumPy goes on writing to the one that is given."""
        return _spread(np.array(array), self.of_parameter(name, array.shape))

    def fetch(self, array: Any) -> np.ndarray:
        """Return the whole of an array, of whose parts other hosts may hold some: then all must ask for it."""
        if not (array.is_fully_addressable or array.is_fully_replicated):
            array = multihost_utils.process_allgather(array, tiled=True)
        return np.asarray(array)

    def gather(self, name: str, array: Any) -> Any:
        """Bring together what `fsdp` cuts of a parameter, inside a compiled function."""
        return array if self.sizes["fsdp"] == 1 else cut_as(array, self.of_parameter(name, array.shape, gathered=True))

    def gathered(self, named: Mapping[str, Any]) -> AbstractContextManager[Mapping[str, Any]]:
        """Give what `gather` does for a function that is differentiated, whose backward pass gathers once more."""
        if self.sizes["fsdp"] == 1:
            return nullcontext(named)
        return gathered({name: self._part(name, array) for name, array in named.items()})

    def _part(self, name: str, array: Any) -> Part:
        """Return an array as a part, to which it is held: XLA would rather gather before a conversion than after it."""
        whole = self.of_parameter(name, array.shape, gathered=True)
        return Part(cut_as(array, self.of_parameter(name, array.shape)), whole)

    def put_batch(self, batch: Any, accumulation: int) -> Any:
        """Return the arrays of a batch [R ...], or [pieces R ...] where it is worked through in pieces, on their devices."""
        cut = self._cut((), RULES.batch) if accumulation > 1 else self._cut(RULES.batch)
        return tuple(_spread(array, cut) for array in batch)

    def _cut(self, *cuts: tuple[str, ...]) -> NamedSharding:
        """Return the sharding that cuts each axis along some axes of the mesh."""
        spec: Any = PartitionSpec
        return NamedSharding(self.mesh, spec(*(cut or None for cut in cuts)))

    def __str__(self) -> str:
        count = self.mesh.devices.size
        kind = self.mesh.devices.flat[0].device_kind
        devices = f"{count} of {jax.device_count()} devices" if count < jax.device_count() else f"{count} devices"
        return f"{devices if jax.device_count() > 1 else '1 device'} ({kind}{f', {self.name}' if self.name else ''})"


def _spread(array: np.ndarray, sharding: NamedSharding) -> Any:
    """Return an array that every host has as one of JAX, of which each host gives its own devices their parts."""
    if sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
