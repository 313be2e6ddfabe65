"""Which hosts train together, as the cluster says it that started them: `python -m numformer.jax.detection` prints it.

Slurm, Open MPI, Kubernetes and TPU pods all say it in ways of their own, which JAX knows. The keeper of a host may not
import JAX, which must not be forked; so it asks in a process of its own.
"""

from __future__ import annotations

import json

TIMEOUT = 60  # seconds in which the pods of a Job must have got their addresses


def detected() -> list[object]:
    """Return coordinator, number of hosts, number of this one, and the numbers of its devices, each None if unknown."""
    # What jax.distributed.initialize itself asks; it has no public name of its own.
    from jax._src.clusters import ClusterEnv

    coordinator, hosts, host, devices = ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, None, None, TIMEOUT
    )
    return [coordinator, hosts, host, None if devices is None else list(devices)]


if __name__ == "__main__":
    print(json.dumps(detected()))
