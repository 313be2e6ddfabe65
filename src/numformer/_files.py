"""Writing a file so that a reader finds either the old content or the new, never a part; and reading JSON."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numformer.errors import InputError

MAX_JSON = 1 << 27  # bytes; the tokenizer.json of the largest vocabularies has a quarter of that
TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp")  # It is .NAME.PID.tmp.


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which takes the place of `path` in one step when the block succeeds.

    A crash or a full disk at any moment leaves an existing file as it was. Raises InputError when the file cannot be
    written.
    """
    target = Path(os.path.realpath(path))  # A link stays one.
    if target.exists() and not target.is_file() and not target.is_dir():  # Root could replace even a device.
        raise InputError(f"could not write {path}: it is not an ordinary file")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")  # In the same folder, renaming is one step.
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"could not write {path}: {error.strerror or error}") from error


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder to write to, which takes the place of `path` when the block succeeds.

    When it does not, what was there is as it was. Raises InputError when the folder cannot be made.
    """
    target = Path(os.path.realpath(path))
    made, before = (target.with_name(f".{target.name}.{os.getpid()}{part}.tmp") for part in ("", ".before"))
    try:
        made.mkdir(parents=True)
        yield made
        if target.exists():
            target.rename(before)
        made.rename(target)
    except OSError as error:
        raise InputError(f"could not write {path}: {error.strerror or error}") from error
    finally:
        if before.exists() and not target.exists():  # stopped between the two renames, perhaps by Ctrl-C
            before.rename(target)
        for folder in (made, before):
            shutil.rmtree(folder, ignore_errors=True)


def write_atomically(path: str | Path, content: bytes | str) -> None:
    """Write `content` to `path` in one step, making its folder when needed; text is stored as UTF-8.

    Raises InputError when that is impossible; an existing file is then left as it was.
    """
    try:
        data = content.encode() if isinstance(content, str) else content
    except UnicodeEncodeError as error:
        raise InputError(f"{path} would hold text that is not valid Unicode: {error.object[:60]!r}") from None
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def remove_temporaries(folder: Path, names: tuple[str, ...]) -> None:
    """Delete what processes that were killed left of writing files of these names, in `folder` and in its folders among them.

    A folder that is a link to another place is left alone: another process may be writing there.
    """
    own = [folder, *(folder / name for name in names if not (folder / name).is_symlink())]
    for path in (path for each in own for path in each.glob(".*.tmp")):
        match = TEMPORARY.fullmatch(path.name)
        if match and match[1] in names:
            path.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raises InputError when it is missing, damaged or absurdly large."""
    try:
        if path.stat().st_size > MAX_JSON:
            raise InputError(f"{path} has {path.stat().st_size:,} bytes, expected at most {MAX_JSON:,}")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no {path}") from None
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds {type(content).__name__}, expected a JSON object")
    return content
