"""The tokenizer.json file of Hugging Face's `tokenizers` library, written and read as plain JSON."""

import json
from collections.abc import Sequence
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

from numformer._files import write_atomically
from numformer.errors import InputError

Frame = tuple[list[int], list[int]]  # the ids of what stands before a text and after it


def layout(
    model: dict[str, Any],
    pre_tokenizer: dict[str, Any],
    decoder: dict[str, Any] | None,
    added_tokens: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Return a whole tokenizer.json from the parts that differ between tokenizers."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(added_tokens),
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }


def special_token(token_id: int, content: str) -> dict[str, Any]:
    """Return one entry of `added_tokens`."""
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
    return {"id": token_id, "content": content, **flags, "special": True}


def tokenizer_file(path: str | Path) -> Path:
    """Return the file meant by `path`: tokenizer.json in that folder, or `path` itself when it ends in .json."""
    path = Path(path)
    return path if path.suffix == ".json" and not path.is_dir() else path / "tokenizer.json"


def write_tokenizer_json(path: str | Path, content: dict[str, Any]) -> None:
    """Write tokenizer.json, making its folder when needed; raises InputError when it cannot be written."""
    write_atomically(tokenizer_file(path), json.dumps(content, indent=1) + "\n")


def tokenizers_library() -> Any:
    """Return the `tokenizers` package; raises InputError, naming the extra to install, when it is missing."""
    try:
        import tokenizers
    except ImportError as error:
        raise InputError("subword tokenizers need the package tokenizers: pip install 'numformer[subwords]'") from error
    return tokenizers


def tokens_around_text(post_processor: Any) -> Frame | None:
    """Return the special tokens that a post-processor of the library puts before and after a text; None without one."""
    return None if post_processor is None else _tokens_around(json.loads(post_processor.__getstate__()))


def _tokens_around(post_processor: dict[str, Any]) -> Frame:
    match post_processor:
        case {"type": "TemplateProcessing", "single": list(template), "special_tokens": dict(known)}:
            ids = [known[piece["SpecialToken"]["id"]]["ids"] if "SpecialToken" in piece else None for piece in template]
            before, after = (list(takewhile(lambda each: each is not None, way)) for way in (ids, reversed(ids)))
            return [*chain(*before)], [*chain(*reversed(after))]
        case {"type": "BertProcessing" | "RobertaProcessing", "cls": [_, int(first)], "sep": [_, int(last)]}:
            return [first], [last]
        case {"type": "Sequence", "processors": list(parts)}:
            return next((found for part in parts if any(found := _tokens_around(part))), ([], []))
    return [], []


def read_tokenizer_json(path: str | Path) -> Any:
    """Return the parsed content of tokenizer.json; raises InputError when it is missing or not JSON."""
    file = tokenizer_file(path)
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"could not read the tokenizer {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"the tokenizer {file} is not valid JSON; the file may be damaged or cut short") from error
