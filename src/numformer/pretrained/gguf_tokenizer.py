"""The tokenizer in a GGUF file, as the tokenizer.json that says the same."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from numformer.errors import InputError
from numformer.pretrained.gguf_file import Metadata
from numformer.pretrained.pre_tokenizers import PRE_TOKENIZERS, to_json
from numformer.tokenizers import SubwordTokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # kinds of tokens
SPACE = "▁"  # how SentencePiece writes a space
_LONGEST = 1024  # characters of a token of SentencePiece: the time to find its parts grows with their square
SPECIAL = {  # our attributes, and the keys of their ids
    "pad_id": "tokenizer.ggml.padding_token_id",
    "bos_id": "tokenizer.ggml.bos_token_id",
    "eos_id": "tokenizer.ggml.eos_token_id",
    "unk_id": "tokenizer.ggml.unknown_token_id",
    "mask_id": "tokenizer.ggml.mask_token_id",
}
_OF_BERT = {"bos_id": "tokenizer.ggml.cls_token_id", "eos_id": "tokenizer.ggml.seperator_token_id"}  # so spelt there


def read_tokenizer(metadata: Metadata, num_rows: int) -> SubwordTokenizer:
    """Return the tokenizer that the metadata describe, for a model with so many rows of embeddings.

    Raises InputError for a kind that is not read, and where the lists do not fit each other or the model.
    """
    model = metadata.need("tokenizer.ggml.model", str)
    tokens, kinds = _vocabulary(metadata, num_rows)
    special = _special_ids(metadata, len(tokens), model)
    if model == "gpt2":
        content = _byte_level(metadata, tokens)
    elif model == "llama":
        content = _sentencepiece(metadata, tokens, kinds, special)
    elif model == "bert":
        tokens = _with_continuations(tokens, kinds)
        content = _wordpiece(tokens, kinds, special)
    else:
        raise InputError(f"its tokenizer is of the kind {model[:40]!r}, supported are gpt2, llama, bert")
    content["added_tokens"] = [
        _added_token(number, tokens[number], kind != USER_DEFINED)
        for number, kind in enumerate(kinds)
        if kind in (UNKNOWN, CONTROL, USER_DEFINED)
    ]
    content["post_processor"] = _post_processor(adds_bos(metadata), tokens, special, model)
    return SubwordTokenizer(json.dumps(content), special)


def adds_bos(metadata: Metadata) -> bool:
    """Tell whether every text begins with the BOS token, as the file says or else its kind of tokenizer does."""
    model, pre = metadata.want("tokenizer.ggml.model", str, ""), metadata.want("tokenizer.ggml.pre", str, "default")
    usual = model in ("llama", "bert") or (pre in PRE_TOKENIZERS and PRE_TOKENIZERS[pre].adds_bos)
    return metadata.want("tokenizer.ggml.add_bos_token", bool, usual)


def _vocabulary(metadata: Metadata, num_rows: int) -> tuple[list[str], list[int]]:
    """Return the tokens and their kinds."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        raise InputError("the metadata lacks tokenizer.ggml.tokens, a list of texts")
    if len(tokens) > num_rows:
        raise InputError(f"the tokenizer has {len(tokens)} tokens, but the embedding of the model only {num_rows} rows")
    token, times = Counter(tokens).most_common(1)[0]
    if times > 1:
        raise InputError(f"the tokenizer has the token {token[:40]!r} {times} times")
    return tokens, _numbers(metadata, "tokenizer.ggml.token_type", len(tokens), "iu", NORMAL)


def _numbers(metadata: Metadata, key: str, length: int, kinds: str, default: float) -> list[Any]:
    """Return an array of the metadata with an entry for each token."""
    if key not in metadata:
        return [default] * length
    array = metadata[key]
    if getattr(array, "dtype", None) is None or array.dtype.kind not in kinds or len(array) != length:
        raise InputError(f"{key} must have a number for each of the {length} tokens")
    return list(array.tolist())


def _special_ids(metadata: Metadata, num_tokens: int, model: str) -> dict[str, int]:
    keys = SPECIAL | (_OF_BERT if model == "bert" else {})
    special = {ours: metadata.need(key, int) for ours, key in keys.items() if key in metadata}
    for ours, number in special.items():
        if not 0 <= number < num_tokens:
            raise InputError(f"{keys[ours]} is {number}, but the tokenizer has {num_tokens} tokens")
    return special


def _content(model: dict[str, Any], normalizer: Any, pre_tokenizer: Any, decoder: Any) -> dict[str, Any]:
    parts = {"normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "decoder": decoder, "model": model}
    return {"version": "1.0", "truncation": None, "padding": None} | parts


def _bpe(tokens: list[str], merges: list[Any], **settings: Any) -> dict[str, Any]:
    vocab = {token: number for number, token in enumerate(tokens)}
    return {"type": "BPE", "vocab": vocab, "merges": merges, **settings}


def _byte_level(metadata: Metadata, tokens: list[str]) -> dict[str, Any]:
    """Return byte-pair encoding as GPT-2 has it: on words, whose bytes are spelt as characters."""
    pre = metadata.want("tokenizer.ggml.pre", str, "default")
    if pre not in PRE_TOKENIZERS:
        raise InputError(f"its pre-tokenizer is {pre[:40]!r}, supported are {', '.join(PRE_TOKENIZERS)}")
    merges = metadata.get("tokenizer.ggml.merges")
    if not isinstance(merges, list):
        raise InputError("the metadata lacks tokenizer.ggml.merges, a list of texts")
    patterns, ignores_merges, composes, _ = PRE_TOKENIZERS[pre]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    model = _bpe(tokens, merges, ignore_merges=ignores_merges)
    return _content(model, {"type": "NFC"} if composes else None, to_json(patterns), byte_level)


def _sentencepiece(metadata: Metadata, tokens: list[str], kinds: list[int], special: dict[str, int]) -> dict[str, Any]:
    """Return byte-pair encoding as SentencePiece has it: on whole texts, with bytes for unknown characters."""
    if (longest := max(map(len, tokens))) > _LONGEST:
        raise InputError(f"the tokenizer has a token of {longest} characters, supported are up to {_LONGEST}")
    scores = _numbers(metadata, "tokenizer.ggml.scores", len(tokens), "f", 0.0)
    prefixed = metadata.want("tokenizer.ggml.add_space_prefix", bool, True)
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    prepend = [{"type": "Prepend", "prepend": SPACE}] if prefixed else []
    normalizer = {"type": "Sequence", "normalizers": [*prepend, replace]}
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefixed:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    unknown = tokens[special["unk_id"]] if "unk_id" in special else None
    model = _bpe(
        tokens, merges_of(tokens, scores, kinds), unk_token=unknown, fuse_unk=True, byte_fallback=BYTE in kinds
    )
    return _content(model, normalizer, None, {"type": "Sequence", "decoders": decoders})


def merges_of(tokens: list[str], scores: list[float], kinds: list[int]) -> list[tuple[str, str]]:
    """Return the pairs of tokens that become one, best score first; between equals the one whose parts have lower ids.

    SentencePiece joins the two neighbours whose text has the best score of all; there is no list of merges in its files.
    """
    numbers = {token: number for number, token in enumerate(tokens)}
    found = []
    for token, score, kind in zip(tokens, scores, kinds, strict=True):
        if kind not in (NORMAL, USER_DEFINED):
            continue
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in numbers and right in numbers:
                found.append((-score, numbers[left], numbers[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def _with_continuations(tokens: list[str], kinds: list[int]) -> list[str]:
    """Return the tokens as BERT's vocabulary has them: "##" before what goes on, nothing before what begins a word."""

    def original(token: str, kind: int) -> str:
        if kind != NORMAL or (token.startswith("[") and token.endswith("]")):
            return token
        return token[1:] if token.startswith(SPACE) else f"##{token}"

    return [original(token, kind) for token, kind in zip(tokens, kinds, strict=True)]


def _wordpiece(tokens: list[str], kinds: list[int], special: dict[str, int]) -> dict[str, Any]:
    """Return WordPiece as BERT has it; a vocabulary without capital letters is one of texts in lower case."""
    if "unk_id" not in special:
        raise InputError(f"the metadata lacks {SPECIAL['unk_id']}")
    lowercase = not any(
        kind == NORMAL and token[0] != "[" and token != token.lower() for token, kind in zip(tokens, kinds, strict=True)
    )
    normalizer = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": lowercase}
    model = {
        "type": "WordPiece",
        "unk_token": tokens[special["unk_id"]],
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {token: number for number, token in enumerate(tokens)},
    }
    decoder = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    return _content(model, {"type": "BertNormalizer"} | normalizer, {"type": "BertPreTokenizer"}, decoder)


def _added_token(number: int, token: str, is_special: bool) -> dict[str, Any]:
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
    return {"id": number, "content": token, **flags, "special": is_special}


def _post_processor(with_bos: bool, tokens: list[str], special: dict[str, int], model: str) -> Any:
    """Return what other programs put around a text."""
    around = {"bos_id": with_bos, "eos_id": model == "bert"}
    names = {ours: tokens[special[ours]] for ours, wanted in around.items() if wanted and ours in special}
    if not names:
        return None

    def template(*sequences: tuple[str, int]) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        for sequence, type_id in sequences:
            if "bos_id" in names and (model != "bert" or not parts):
                parts.append({"SpecialToken": {"id": names["bos_id"], "type_id": type_id}})
            parts.append({"Sequence": {"id": sequence, "type_id": type_id}})
            if "eos_id" in names:
                parts.append({"SpecialToken": {"id": names["eos_id"], "type_id": type_id}})
        return parts

    tables = {name: {"id": name, "ids": [special[ours]], "tokens": [name]} for ours, name in names.items()}
    single, pair = template(("A", 0)), template(("A", 0), ("B", 1))
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tables}
