"""The memory of this machine: a model that does not fit is refused before anything is allocated."""

from __future__ import annotations

import os
from pathlib import Path

from numformer.errors import InputError

_MEMORY = Path("/proc/meminfo")  # of Linux; other systems tell how much there is, not how much is free


def check_memory(num_weights: int) -> None:
    """Raise InputError when so many weights, as float32, are more than the memory that is free, or that there is."""
    free, needed = _free_memory(), 4 * num_weights
    if free is not None and needed > free:
        raise InputError(
            f"its weights take at least {needed / 1e9:,.1f} GB as float32, and {free / 1e9:,.1f} GB of memory are free"
        )


def _free_memory() -> int | None:
    """Return how many bytes are free; where the system does not say, how many there are, and None where it says neither."""
    try:
        lines = _MEMORY.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
