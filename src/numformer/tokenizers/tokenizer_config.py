"""What tokenizer_config.json says beside tokenizer.json: which tokens begin, end or fill up, and the template of chats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numformer._files import read_json, write_atomically
from numformer._notices import say
from numformer.errors import InputError

CONFIG, TEMPLATE, SPECIAL = "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"
KEYS = {  # of the token of each attribute; the first that is given is taken
    "pad_id": ("pad_token",),
    "bos_id": ("bos_token", "cls_token"),
    "eos_id": ("eos_token", "sep_token"),
    "unk_id": ("unk_token",),
    "mask_id": ("mask_token",),
}


def read_config(folder: Path) -> dict[str, Any]:
    """Return the content of tokenizer_config.json, with what is written beside it in files of their own; {} without any.

    Those are the special tokens of older folders, and the template of chats. Raises InputError for a damaged file.
    """
    config = dict[str, Any]()
    for name in (SPECIAL, CONFIG):
        if (folder / name).exists():
            config |= read_json(folder / name)
    if (folder / TEMPLATE).exists():
        try:
            config["chat_template"] = (folder / TEMPLATE).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InputError(f"{folder / TEMPLATE} cannot be read: {error}") from None
    for key in (key for keys in KEYS.values() for key in keys):
        token = token_text(config.get(key))
        if token is not None and not isinstance(token, str):
            raise InputError(f"{folder / CONFIG}: {key} must be a text, got {str(token)[:80]!r}")
    return config


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write tokenizer_config.json, which then says all; what the files of an earlier tokenizer say goes."""
    if config:
        write_atomically(folder / CONFIG, json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    for name in (TEMPLATE, SPECIAL) if config else (CONFIG, TEMPLATE, SPECIAL):
        (folder / name).unlink(missing_ok=True)


def names_special_tokens(config: Mapping[str, Any]) -> bool:
    """Tell whether a config names a special token, or says that there is none."""
    return any(key in config for keys in KEYS.values() for key in keys)


def special_ids(config: Mapping[str, Any], vocab: Mapping[str, int]) -> dict[str, int]:
    """Return the ids of the special tokens that a config names; one that the vocabulary lacks is said on stderr."""
    found = dict[str, int]()
    for attribute, keys in KEYS.items():
        for key in keys:
            token = token_text(config.get(key))
            if token is not None and token not in vocab:
                say(f"{CONFIG}: the {key} {str(token)[:80]!r} is not in the vocabulary, and left out")
            elif token is not None:
                found.setdefault(attribute, vocab[token])
    return found


def named_tokens(tokens: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the keys of a config for the tokens of attributes such as eos_id."""
    return {KEYS[attribute][0]: token for attribute, token in tokens.items()}


def chat_template_of(config: Mapping[str, Any]) -> str | None:
    """Return the template of chats: the only one, or of several that have names the one called default."""
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def token_text(token: Any) -> Any:
    """Return the text of a token, which newer files write out as an object."""
    return token.get("content", token) if isinstance(token, dict) else token
