"""The hosts that a cluster has started together."""

from __future__ import annotations

import json
import subprocess
import sys

from numformer.errors import InputError
from numformer.hosts.group import HostGroup


def detected() -> HostGroup:
    """Return the group that JAX finds: the tasks of a Slurm step, the pods of a Job, the hosts of a slice of TPUs.

    Raises InputError where it finds none.
    """
    command = [sys.executable, "-m", "numformer.jax.detection"]  # JAX must not be imported before a fork.
    asked = subprocess.run(command, capture_output=True, text=True)
    if asked.returncode:
        reason = (asked.stderr.strip() or "it said nothing").splitlines()[-1]
        raise InputError(f"--hosts auto: JAX could not ask the cluster for the hosts: {reason}")
    coordinator, hosts, host, devices = json.loads(asked.stdout.splitlines()[-1])
    if coordinator is None or hosts is None or host is None:
        raise InputError(
            "--hosts auto: JAX finds no cluster here; give --hosts N --host NUMBER --coordinator ADDRESS:PORT"
        )
    return HostGroup(hosts, host, coordinator, devices)
