"""JSON files that hold an object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from numformer.errors import InputError

_MOST = 1 << 27  # bytes; a tokenizer.json of the largest vocabularies has a quarter of that


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raises InputError when it is missing, damaged or absurdly large."""
    try:
        if path.stat().st_size > _MOST:
            raise InputError(f"{path} has {path.stat().st_size:,} bytes, expected at most {_MOST:,}")
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
