"""Subword tokenizers of the `tokenizers` library: trained here, or read from any tokenizer.json."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numformer._files import write_atomically
from numformer.errors import InputError
from numformer.tokenizers.base import TokenIds, check_ids, token_dtype
from numformer.tokenizers.subword_training import train_subwords
from numformer.tokenizers.tokenizer_config import (
    chat_template_of,
    named_tokens,
    names_special_tokens,
    special_ids,
    write_config,
)
from numformer.tokenizers.tokenizer_json import Frame, tokenizer_file, tokenizers_library, tokens_around_text

# What the tokenizers in use call their special tokens; the first name that a vocabulary has is taken.
NAMES = {
    "pad_id": ("<pad>", "[PAD]", "<|pad|>"),
    "bos_id": ("<bos>", "<s>", "[CLS]", "<|bos|>", "<|begin_of_text|>", "<|startoftext|>", "<|endoftext|>"),
    "eos_id": ("<eos>", "</s>", "[SEP]", "<|eos|>", "<|end_of_text|>", "<|endoftext|>"),
    "unk_id": ("<unk>", "[UNK]", "<|unk|>"),
    "mask_id": ("<mask>", "[MASK]", "<|mask|>"),
}

_BATCH = 1024  # The library encodes so many texts at a time, for its encodings are large.


class SubwordTokenizer:
    """The tokenizer that the content of a tokenizer.json describes.

    The ids of special tokens are found by their usual names, and [CLS] serves as BOS and [SEP] as EOS, unless `special`
    gives them by attribute, as in {"eos_id": 2}, or `config`, the content of tokenizer_config.json, names them: there is no
    other then. Raises InputError when the `tokenizers` package is missing or cannot read the content.
    """

    content: str
    special: Mapping[str, int] | None
    config: dict[str, Any]
    pad_id: int | None
    bos_id: int | None
    eos_id: int | None
    unk_id: int | None
    mask_id: int | None

    def __init__(
        self, content: str, special: Mapping[str, int] | None = None, config: Mapping[str, Any] | None = None
    ) -> None:
        library = tokenizers_library()
        self.content, self.config, self.special = content, dict(config or {}), special
        self._tokenizer = self._read()
        vocab = self._tokenizer.get_vocab()
        if not vocab:
            raise InputError("the tokenizer has an empty vocabulary")
        self.vocab_size = max(vocab.values()) + 1  # Some vocabularies leave ids out.
        if special is None and names_special_tokens(self.config):
            special = special_ids(self.config, vocab)
        for attribute, names in NAMES.items():
            usual = next((vocab[name] for name in names if name in vocab), None)
            setattr(self, attribute, usual if special is None else special.get(attribute))
        _read_names_as_text(self._tokenizer, vocab, library)

    @classmethod
    def train(
        cls, kind: str, texts: str | Iterable[str], vocab_size: int, *, lowercase: bool = False
    ) -> "SubwordTokenizer":
        """Train on texts, with the same result every time.

        `kind` is "bpe" (on bytes, any text survives a round trip), "wordpiece" (as BERT has it) or "unigram" (unknown
        characters are lost). Raises InputError for another kind, for a `vocab_size` that does not hold the alphabet
        and five special tokens, for texts without a character, and for text that is not valid Unicode.
        """
        return cls(train_subwords(kind, [texts] if isinstance(texts, str) else texts, vocab_size, lowercase))

    def encode(self, text: str) -> NDArray[Any]:
        """Return the token ids [N] of a text; raises InputError when it is not valid Unicode."""
        return self._array(_encoding(self._tokenizer, text).ids)

    def encode_control(self, text: str) -> NDArray[Any]:
        """Return the token ids [N] of a text in which the names of special tokens stand for these tokens.

        That is for what a template makes, never for what a person types. Raises InputError as `encode` does.
        """
        return self._array(_encoding(self._with_control, text).ids)

    @cached_property
    def special_names(self) -> dict[str, int]:
        """The ids of the special tokens, by the names that stand for them in `encode_control`."""
        vocab = self._with_control.get_vocab()
        return {name: vocab[name] for name in _special_names(self._with_control, vocab)}

    def encode_batch(self, texts: Iterable[str]) -> list[NDArray[Any]]:
        """Return the token ids [N] of every text, in a list; the library encodes them on several cores."""
        return [ids for batch in _batches(texts) for ids in self._encode_some(batch)]

    def encode_spans(self, text: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the token ids [N] of a text and the span [N 2] of each, without the spaces before it."""
        encoding = _encoding(self._tokenizer, text)
        spans = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        return self._array(encoding.ids), _without_leading_spaces(spans, text)

    def decode(self, ids: TokenIds) -> str:
        """Return the text of token ids [N], leaving out special tokens.

        Raises InputError for ids outside the vocabulary.
        """
        text: str = self._tokenizer.decode(check_ids(ids, self.vocab_size).tolist(), skip_special_tokens=True)
        return text

    @property
    def begin_ids(self) -> list[int]:
        """The special tokens that the content puts before a text, with which a text to be continued begins."""
        return (self.frame_ids or ([], []))[0]

    @property
    def frame_ids(self) -> Frame | None:
        """The special tokens that the content puts before a text and after it; None where it says nothing of them."""
        return tokens_around_text(self._tokenizer.post_processor)

    @property
    def chat_template(self) -> str | None:
        """The template that makes a text of a chat, which is in the config; None where there is none."""
        return chat_template_of(self.config)

    def save(self, path: str | Path) -> None:
        """Write tokenizer.json into the folder `path`, or to `path` itself when it ends in .json.

        What cannot be said there, such as which of the special tokens ends a text, goes into tokenizer_config.json.
        """
        file = tokenizer_file(path)
        write_atomically(file, self.content)
        if file.name == "tokenizer.json":
            write_config(file.parent, self._config_to_save())

    def _config_to_save(self) -> dict[str, Any]:
        if self.special is None:
            return self.config
        ids = {attribute: self.special.get(attribute) for attribute in NAMES}
        return self.config | named_tokens(
            {a: None if i is None else self._tokenizer.id_to_token(i) for a, i in ids.items()}
        )

    def __reduce__(self) -> Any:
        """Travel as the content alone: the library's own copy of a tokenizer finds names of special tokens in texts."""
        return type(self), (self.content, self.special, self.config)

    def __repr__(self) -> str:
        return f"SubwordTokenizer({type(self._tokenizer.model).__name__}, {self.vocab_size} tokens)"

    def _array(self, ids: list[int]) -> NDArray[Any]:
        return np.array(ids, dtype=token_dtype(self.vocab_size))

    @cached_property
    def _with_control(self) -> Any:
        return self._read()  # the other one is told for good to read the names as text

    def _read(self) -> Any:
        try:
            tokenizer = tokenizers_library().Tokenizer.from_str(self.content)
        except Exception as error:  # The library has no exceptions of its own.
            raise InputError(f"the tokenizers library cannot read this content: {error}") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def _encode_some(self, texts: list[str]) -> list[NDArray[Any]]:
        try:
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        except Exception:  # One by one, the text that cannot be encoded is found.
            return [self.encode(text) for text in texts]
        return [self._array(encoding.ids) for encoding in encodings]


def _encoding(tokenizer: Any, text: str) -> Any:
    try:
        return tokenizer.encode(text, add_special_tokens=False)
    except Exception as error:
        raise InputError(f"this text cannot be encoded: {_reason(text, error)}") from error


def _read_names_as_text(tokenizer: Any, vocab: dict[str, int], library: Any) -> None:
    """Keep the name of a special token that occurs in a text from becoming that token.

    The library can be told not to look for names, but some models (Unigram) have the names among their pieces and find
    them still. So a name is cut after its first character before the model sees it.
    """
    tokenizer.encode_special_tokens = True
    names = _special_names(tokenizer, vocab)
    if not names:
        return
    heads = "|".join(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in names)
    cut = library.pre_tokenizers.Split(library.Regex(heads), "isolated")
    steps = [tokenizer.pre_tokenizer, cut] if tokenizer.pre_tokenizer else [cut]
    tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence(steps)


def _special_names(tokenizer: Any, vocab: dict[str, int]) -> list[str]:
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    return sorted(name for name in special.union(vocab.keys() & set().union(*NAMES.values())) if len(name) > 1)


def _reason(text: str, error: Exception) -> str:
    """Say which character is not valid Unicode, where the library only says that a string is expected."""
    try:
        text.encode()
    except UnicodeEncodeError as wrong:
        return f"the character {text[wrong.start]!r} at position {wrong.start} is half of a surrogate pair"
    return str(error)


def _without_leading_spaces(spans: NDArray[np.int64], text: str) -> NDArray[np.int64]:
    """Move the start of every span to its first character that is no space; spans of spaces alone stay."""
    if not len(spans):
        return spans
    size = len(text)
    visible = np.array([size if character.isspace() else i for i, character in enumerate(text)] + [size])
    first = np.minimum.accumulate(visible[::-1])[::-1][spans[:, 0]]
    starts = np.where(first < spans[:, 1], first, spans[:, 0])
    return np.stack([starts, spans[:, 1]], axis=1)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(texts)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
