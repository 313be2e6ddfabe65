"""Tokenizers of folders from before tokenizer.json: GPT-2's vocab.json with merges.txt, and BERT's vocab.txt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numformer._files import read_json
from numformer.errors import InputError
from numformer.tokenizers.tokenizer_config import KEYS, token_text
from numformer.tokenizers.tokenizer_json import layout, special_token

SENTENCE_PIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_GPT2, _BERT = ("GPT2", "Roberta", "Bart"), ("Bert", "DistilBert", "Electra")  # begin the classes of such tokenizers
_OF_GPT2 = ("<s>", "<pad>", "</s>", "<unk>", "<|endoftext|>", "<mask>")  # special tokens, where no config says them
_OF_BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def tokenizer_json_of(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Return the content of a tokenizer.json that does what the older files of a folder do; None where there are none.

    Raises InputError for damaged files, a class of tokenizers that reads its files in another way, and SentencePiece alone.
    """
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        _check_class(folder, config, _GPT2, "vocab.json and merges.txt")
        return json.dumps(_byte_level(folder, config))
    if (folder / "vocab.txt").exists():
        _check_class(folder, config, _BERT, "vocab.txt")
        return json.dumps(_word_pieces(folder, config))
    if found := [name for name in SENTENCE_PIECE if (folder / name).exists()]:
        raise InputError(
            f"{folder} has its tokenizer in {found[0]} alone, a SentencePiece file, which is not read: where "
            "Transformers is, AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes the tokenizer.json that is"
        )
    return None


def _check_class(folder: Path, config: Mapping[str, Any], known: tuple[str, ...], files: str) -> None:
    name = config.get("tokenizer_class")
    if name is not None and str(name).removesuffix("Fast").removesuffix("Tokenizer") not in known:
        raise InputError(
            f"{folder} has a {str(name)[:80]} in {files}, which is read for {', '.join(known)} alone: where Transformers is, "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes the tokenizer.json that is"
        )


def _byte_level(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokenizer of GPT-2 (Radford et al. 2019): merges of bytes, each byte a printable character."""
    vocab = read_json(folder / "vocab.json")
    if wrong := next((token for token, number in vocab.items() if type(number) is not int or number < 0), None):
        raise InputError(f"{folder / 'vocab.json'} has {str(vocab[wrong])[:40]!r} as the id of {wrong[:40]!r}")
    merges = []
    for number, line in enumerate(_lines(folder / "merges.txt"), 1):
        if line and not line.startswith("#version"):
            pair = line.split(" ")
            if len(pair) != 2:
                raise InputError(f"{folder / 'merges.txt'}:{number}: got {line[:80]!r}, expected two tokens")
            merges.append(pair)
    bytes_as_characters = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "vocab": vocab, "merges": merges}
    spaced = bytes_as_characters | {"add_prefix_space": bool(config.get("add_prefix_space", False))}
    return layout(model, spaced, bytes_as_characters, _added(folder, vocab, config, _OF_GPT2))


def _word_pieces(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokenizer of BERT (Devlin et al. 2019): words, then the longest pieces of them."""
    lines = _lines(folder / "vocab.txt")
    vocab = {token: number for number, token in enumerate(lines[:-1] if lines[-1:] == [""] else lines)}
    if missing := [name for name in _OF_BERT[1:4] if name not in vocab]:
        raise InputError(f"{folder / 'vocab.txt'} lacks {', '.join(missing)}")
    content = layout(
        {"type": "WordPiece", "vocab": vocab, "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
        | {"max_input_chars_per_word": 100},
        {"type": "BertPreTokenizer"},
        {"type": "WordPiece", "prefix": "##", "cleanup": True},
        _added(folder, vocab, config, _OF_BERT),
    )
    frame = {name: [f"[{name.upper()}]", vocab[f"[{name.upper()}]"]] for name in ("sep", "cls")}
    return content | {
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": bool(config.get("tokenize_chinese_chars", True)),
            "strip_accents": config.get("strip_accents"),
            "lowercase": bool(config.get("do_lower_case", True)),
        },
        "post_processor": {"type": "BertProcessing", **frame},
    }


def _added(
    folder: Path, vocab: Mapping[str, int], config: Mapping[str, Any], usual: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Return the tokens that are found in a text before all others: special ones, and those added to the vocabulary."""
    file = folder / "added_tokens.json"
    added = read_json(file) if file.exists() else {}
    numbered = config.get("added_tokens_decoder")
    for number, token in numbered.items() if isinstance(numbered, dict) else ():
        if isinstance(token, dict) and isinstance(token.get("content"), str) and number.isdecimal():
            added[token["content"]] = int(number)
    named = [config.get(key) for keys in KEYS.values() for key in keys]
    special = {token_text(token) for token in named if token} | set(usual)
    for token in special:
        if token in vocab:
            added.setdefault(token, vocab[token])
    wrong = next((token for token, number in added.items() if type(number) is not int or number < 0), None)
    if wrong is not None:
        raise InputError(f"{file} has {str(added[wrong])[:40]!r} as the id of {wrong[:40]!r}")
    entries = [special_token(number, token) | {"special": token in special} for token, number in added.items()]
    return sorted(entries, key=lambda entry: entry["id"])


def _lines(file: Path) -> list[str]:
    """Return the lines of a text, which end in a line feed alone: a vocabulary may hold other line ends."""
    try:
        return file.read_bytes().decode("utf-8").replace("\r\n", "\n").split("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}") from None
