"""The memory of this machine: a model that does not fit is refused before anything is allocated."""

from __future__ import annotations

from pathlib import Path

from numformer.errors import InputError

_MEMORY = Path("/proc/meminfo")  # of Linux; elsewhere nothing is refused


def check_memory(num_bytes: int) -> None:
    """Raise InputError when so many bytes of weights are more than the memory that is free."""
    free = _free_memory()
    if free is not None and num_bytes > free:
        raise InputError(
            f"its weights take {num_bytes / 1e9:.1f} GB as float32, and {free / 1e9:.1f} GB of memory are free"
        )


def _free_memory() -> int | None:
    try:
        lines = _MEMORY.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
