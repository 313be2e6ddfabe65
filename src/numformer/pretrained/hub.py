"""Models of the Hugging Face hub, which the package huggingface_hub fetches and keeps in its own cache."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

from numformer._notices import shortened
from numformer.errors import InputError

PREFIX = "hf:"
_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja", "tokenizer.model")  # no pickles, and no other library's files


@cache
def fetch_from_hub(source: str) -> Path:
    """Return the folder of a model, hf:owner/name, as the hub has it now or, without a network, had it last.

    Raises InputError for another form, without the package, and for a model that cannot be had.
    """
    name = source.removeprefix(PREFIX)
    if not _NAME.fullmatch(name):
        raise InputError(f"a model of the Hugging Face hub is named hf:owner/name, got {source[:100]!r}")
    library = _library()
    try:
        folder = Path(library.snapshot_download(name, allow_patterns=list(_FILES)))
    except library.errors.RepositoryNotFoundError:
        raise InputError(f"the hub has no model {name}, or none that everybody may read") from None
    except (library.errors.LocalEntryNotFoundError, library.errors.OfflineModeIsEnabled):
        raise InputError(
            f"{source} is not on this machine, and the hub cannot be reached; is there a network?"
        ) from None
    except Exception as error:  # of the network library below, or for an answer that is none
        reason = getattr(error, "strerror", None) or shortened(str(error), 200) or type(error).__name__
        raise InputError(f"could not fetch {source}: {reason}") from None
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{source} has no weights in safetensors, which alone are fetched: pickles are not read")
    return folder


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError:
        raise InputError("models of the hub need the package huggingface_hub: pip install 'numformer[hub]'") from None
    if not sys.stderr.isatty():
        huggingface_hub.utils.disable_progress_bars()
    return huggingface_hub
