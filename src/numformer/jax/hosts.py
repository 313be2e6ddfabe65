"""The hosts of a training, connected by JAX."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import jax
import numpy as np
from jax.experimental import multihost_utils

from numformer.errors import InputError
from numformer.hosts.group import HostGroup
from numformer.hosts.roll_call import disagreement


@contextmanager
def connected(hosts: HostGroup, timeout: float) -> Iterator[None]:
    """Connect the hosts, which are there already, and wait for each other at the end.

    On CPUs they speak over gloo, on GPUs and TPUs as JAX does by itself.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # type: ignore[no-untyped-call]
    jax.distributed.initialize(
        hosts.coordinator,
        hosts.hosts,
        hosts.host,
        hosts.devices,
        cluster_detection_method="deactivate",
        initialization_timeout=max(30, round(timeout)),
    )
    yield
    jax.distributed.shutdown()  # type: ignore[no-untyped-call]


def check_agreement(facts: Callable[[], Mapping[str, str]]) -> None:
    """Raise InputError, on every host with the same sentence, for the first fact in which one differs from host 0."""
    if jax.process_count() == 1:
        return
    own = np.frombuffer(json.dumps(facts()).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.array(own.size))
    texts = multihost_utils.process_allgather(np.pad(own, (0, int(lengths.max()) - own.size)))
    said = {
        host: json.loads(text[:length].tobytes())
        for host, (text, length) in enumerate(zip(texts, lengths, strict=True))
    }
    if sentence := disagreement(said):
        raise InputError(sentence)
