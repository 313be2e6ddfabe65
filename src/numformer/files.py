"""Writing a file so that a reader finds either the old content or the new, never a part."""

import os
from pathlib import Path

from numformer.errors import InputError


def write_atomically(path: str | Path, content: bytes | str) -> None:
    """Write `content` to `path` in one step, making its folder when needed; text is stored as UTF-8.

    A crash or a full disk at any moment leaves an existing file as it was. Raises InputError when the file
    cannot be written.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # the same folder, so that renaming is one step
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"could not write {path}: {error.strerror}") from error
