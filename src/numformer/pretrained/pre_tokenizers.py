"""The pre-tokenizers that GGUF files name: what cuts a text into words before byte-pair encoding, as regular expressions.

A text is cut by the first expression, each piece by the next, and so on. The names and expressions are those of llama.cpp
(src/llama-vocab.cpp), and of the tokenizer.json of each model where the two differ in spelling.
"""

from __future__ import annotations

from typing import Any, NamedTuple

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{DIGITS}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DIGIT = r"\p{N}"


class PreTokenizer(NamedTuple):
    """The expressions of a pre-tokenizer, and what else its name says."""

    patterns: tuple[str, ...]
    ignores_merges: bool = False  # a word that is a token stays whole, whatever the merges say
    composes: bool = False  # letters and their accents become one character first (NFC)
    adds_bos: bool = False  # where the file does not say


_BY_NAMES = {
    ("default",): PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    ("gpt-2", "phi-2", "olmo", "mpt", "jais"): PreTokenizer((GPT2,)),
    ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"): PreTokenizer((DIGIT, GPT2)),
    ("llama-bpe", "llama3", "llama-v3", "falcon3"): PreTokenizer(
        (_LLAMA3.replace("{DIGITS}", "{1,3}"),), ignores_merges=True, adds_bos=True
    ),
    ("dbrx", "smaug-bpe"): PreTokenizer((_LLAMA3.replace("{DIGITS}", "{1,3}"),)),
    ("qwen2", "deepseek-r1-qwen"): PreTokenizer((_LLAMA3.replace("{DIGITS}", ""),), composes=True),
    ("stablelm2", "hunyuan"): PreTokenizer((_LLAMA3.replace("{DIGITS}", ""),)),
    ("falcon",): PreTokenizer((r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]")),
}
PRE_TOKENIZERS = {name: each for names, each in _BY_NAMES.items() for name in names}


def to_json(patterns: tuple[str, ...]) -> dict[str, Any]:
    """Return the pre-tokenizer of a tokenizer.json that cuts so and then spells every byte as a character."""
    cuts = [{"type": "Split", "pattern": {"Regex": each}, "behavior": "Isolated", "invert": False} for each in patterns]
    spell = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [*cuts, spell]}


def name_of(pre_tokenizer: Any, *, ignores_merges: bool = False, composes: bool = False) -> str | None:
    """Return the name of the pre-tokenizer in a tokenizer.json, None where there is none of which all holds."""
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer]) if isinstance(pre_tokenizer, dict) else []
    patterns: list[str] = []
    if not steps or steps[-1]["type"] != "ByteLevel":
        return None
    for step in steps:
        match step:
            case {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False}:
                patterns.append(pattern)
            case {"type": "Digits", "individual_digits": True}:
                patterns.append(DIGIT)
            case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": bool(cuts)} if step is steps[-1]:
                patterns += [GPT2] if cuts else []
            case _:
                return None
    wanted = (tuple(patterns), ignores_merges, composes)
    return next((name for name, each in PRE_TOKENIZERS.items() if each[:3] == wanted), None)
