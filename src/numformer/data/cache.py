"""Where texts and models that are known by name are kept on this machine."""

import os
import tempfile
from pathlib import Path

from numformer._notices import say


def cache_folder() -> Path:
    """Return the folder of known texts and models: $NUMFORMER_CACHE, or numformer in $XDG_CACHE_HOME or ~/.cache.

    A user without a home has the temporary folder.
    """
    if folder := os.environ.get("NUMFORMER_CACHE"):
        return Path(folder)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "numformer"
    except RuntimeError:
        return temporary_folder()


def temporary_folder() -> Path:
    """Return the folder that stands in for a cache that cannot be written, one for each user."""
    user = f"-{os.getuid()}" if hasattr(os, "getuid") else ""  # elsewhere every user has a temporary folder already
    return Path(tempfile.gettempdir()) / f"numformer{user}"


def cache_folders() -> tuple[Path, Path]:
    """Return where to look for what was fetched: the cache, and the folder that stands in for one."""
    return cache_folder(), temporary_folder()


def writable_cache(name: str) -> Path:
    """Return the folder to fetch something into: the cache, or one that is said on stderr where that cannot be written."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        other = temporary_folder()
        other.mkdir(mode=0o700, exist_ok=True)
        say(
            f"the cache folder {folder} cannot be written ({error.strerror}): {name} is kept in {other}; "
            "set NUMFORMER_CACHE to a folder of yours"
        )
        return other
