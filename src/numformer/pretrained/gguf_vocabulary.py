"""A tokenizer as the metadata of a GGUF file."""

from __future__ import annotations

import json
import re
from typing import Any

from numformer.errors import InputError
from numformer.pretrained.gguf_tokenizer import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE,
    SPECIAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    merges_of,
)
from numformer.pretrained.pre_tokenizers import name_of
from numformer.tokenizers import SubwordTokenizer

_BYTE = re.compile("<0x[0-9A-F]{2}>")
_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_NORMALIZERS = {  # of SentencePiece, and whether a text begins with a space
    json.dumps({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, _REPLACE]}): True,
    json.dumps({"type": "Sequence", "normalizers": [_REPLACE]}): False,
    json.dumps(_REPLACE): False,
}


def tokenizer_metadata(tokenizer: Any, num_rows: int) -> dict[str, Any]:
    """Return the metadata that describe a tokenizer, its vocabulary filled up to the rows of the model's embedding.

    Raises InputError for one that GGUF cannot hold: byte-pair encoding can be written, as GPT-2 or SentencePiece have it.
    """
    if not isinstance(tokenizer, SubwordTokenizer):
        raise InputError(f"a {type(tokenizer).__name__} cannot be written as GGUF, only byte-pair encoding can")
    content = json.loads(tokenizer.content)
    model = content["model"]
    if model["type"] != "BPE":
        raise InputError(f"a tokenizer of the kind {model['type']} cannot be written as GGUF, only BPE can")
    tokens, kinds = _vocabulary(content, num_rows)
    merges = [tuple(each.split(" ")) if isinstance(each, str) else tuple(each) for each in model["merges"]]
    special = {key: getattr(tokenizer, ours) for ours, key in SPECIAL.items() if getattr(tokenizer, ours) is not None}
    falls_back = model.get("byte_fallback")
    described = _sentencepiece(content, tokens, kinds, merges) if falls_back else _byte_level(content, merges)
    return {
        **described,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        **special,
        "tokenizer.ggml.add_bos_token": _adds_bos(content.get("post_processor")),
    }


def _vocabulary(content: dict[str, Any], num_rows: int) -> tuple[list[str], list[int]]:
    """Return the tokens of all ids and their kinds; ids that no token has are made up."""
    model, kinds = content["model"], dict.fromkeys(range(num_rows), UNUSED)
    tokens = {number: f"[PAD{number}]" for number in range(num_rows)}
    for token, number in model["vocab"].items():
        is_byte = model.get("byte_fallback") and _BYTE.fullmatch(token)
        tokens[number], kinds[number] = token, BYTE if is_byte else NORMAL
    for added in content["added_tokens"]:
        kind = CONTROL if added["special"] else USER_DEFINED
        tokens[added["id"]], kinds[added["id"]] = added["content"], kind
    if (unknown := model.get("unk_token")) in model["vocab"]:
        kinds[model["vocab"][unknown]] = UNKNOWN
    if len(tokens) > num_rows:
        raise InputError(f"the tokenizer has {len(tokens)} tokens, but the embedding of the model only {num_rows} rows")
    return [tokens[number] for number in range(num_rows)], [kinds[number] for number in range(num_rows)]


def _byte_level(content: dict[str, Any], merges: list[tuple[str, ...]]) -> dict[str, Any]:
    normalizer, ignores_merges = content["normalizer"], bool(content["model"].get("ignore_merges"))
    pre = name_of(content["pre_tokenizer"], ignores_merges=ignores_merges, composes=normalizer is not None)
    marks = content["model"].get("continuing_subword_prefix") or content["model"].get("end_of_word_suffix")
    if pre is None or marks or normalizer not in (None, {"type": "NFC"}):
        raise InputError("the tokenizer cuts or changes texts in a way that GGUF has no name for")
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
    }


def _sentencepiece(
    content: dict[str, Any], tokens: list[str], kinds: list[int], merges: list[tuple[str, ...]]
) -> dict[str, Any]:
    """Return what describes SentencePiece, with scores in place of the merges."""
    ranks: dict[str, int] = {}
    for merge in merges:
        ranks.setdefault("".join(merge), len(ranks))
    scores = [-float(ranks.get(token, 0)) for token in tokens]
    normalizer, order = json.dumps(content["normalizer"]), [ranks["".join(merge)] for merge in merges]
    same = order == sorted(order) and sorted(merges) == sorted(merges_of(tokens, scores, kinds))
    if not same or normalizer not in _NORMALIZERS or content["pre_tokenizer"]:
        raise InputError("the tokenizer has byte fallback, but is not one that SentencePiece makes")
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.add_space_prefix": _NORMALIZERS[normalizer],
    }


def _adds_bos(post_processor: Any) -> bool:
    """Tell whether other programs put a token before every text."""
    steps = post_processor.get("processors", [post_processor]) if isinstance(post_processor, dict) else []
    return any(next(iter(step.get("single") or [{}])).keys() == {"SpecialToken"} for step in steps)
