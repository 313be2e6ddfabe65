"""What the tasks on plain text share: reading and splitting it, the tokenizer, a model from scratch or a pretrained one."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from numformer.data import TokenWindows, encode_file, find_corpus, read_text_chunks, split_tokens
from numformer.errors import InputError
from numformer.models.config import ArchitectureConfig
from numformer.tasks.attention import Sequences, token_labels
from numformer.tasks.encoding import vocabulary_size
from numformer.tasks.task import Task, adapt, load_model_of
from numformer.tokenizers import KINDS, CharacterTokenizer, encode_text, make_tokenizer
from numformer.training.run_folder import run_of
from numformer.training.settings import make_config

SUBWORDS = 4096  # tokens of a tokenizer that is trained on the text, when the model's config does not say


class TextTask(Task):
    """A task on one long text, of which the end is held out."""

    model_config: ClassVar[ArchitectureConfig]
    special_tokens: ClassVar[bool] = False  # whether a tokenizer of characters gets them

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__(model, tokenizer)
        self.train_tokens: np.ndarray | None = None
        self.valid_tokens: np.ndarray | None = None

    @classmethod
    def from_text(
        cls,
        text: str | Path,
        *,
        tokenizer: Any = "characters",
        valid: str | Path | None = None,
        valid_fraction: float = 0.1,
        pretrained: str | Path | None = None,
        freeze: Sequence[str] = (),
        seed: int = 0,
        config: Any = None,
        **settings: Any,
    ) -> Self:
        """Make an untrained model for a text: a file, a known corpus (pydoc, tinyshakespeare), or a string with newlines.

        `tokenizer` is a kind (characters, bytes, bpe, …), a saved tokenizer's folder or any object with encode, decode
        and vocab_size. `valid` is a file of held-out text; without it the last `valid_fraction` of the text is held out.
        `settings` are the fields of the model's config. `pretrained` is the folder of a model to go on from, with its
        tokenizer; `freeze` names the parts of it that stay as they are.
        Raises InputError when the text is missing, empty, unreadable or too short.
        """
        if config is not None and settings:
            raise InputError(f"give a config or its fields, not both; got a config and {', '.join(settings)}")
        config = config or make_config(type(cls.model_config), dataclasses.asdict(cls.model_config) | settings)
        freeze = (freeze,) if isinstance(freeze, str) else freeze
        text = text if "\n" in str(text) else find_corpus(text)
        if pretrained is None:
            chosen = cls._choose_tokenizer(tokenizer, text, config)
            model = cls.build(cls._fit_config(config, chosen), seed)
        else:
            model, chosen = load_model_of(pretrained), cls.load_tokenizer(pretrained)
            if tokenizer != "characters":
                raise InputError(f"the tokenizer comes from {pretrained}: leave out tokenizer")
            adapt(model, config, cls.model_config, pretrained)
            if not isinstance(model, cls.model_class):
                raise InputError(
                    f"{pretrained} holds a {type(model).__name__}; {cls.name} needs a {cls.model_class.__name__}"
                )
        if freeze:
            model.freeze(*freeze)
        tokens = encode_text_or_file(text, chosen)
        if valid is not None:
            train_tokens, valid_tokens = tokens, encode_text_or_file(find_corpus(valid), chosen)
        else:
            train_tokens, valid_tokens = split_tokens(tokens, valid_fraction)
        TokenWindows(train_tokens, model.config.max_seq_len, "training text")  # complains when too short
        task = cls(model, chosen)
        task.seed, task.train_tokens = seed, train_tokens
        task.valid_tokens = valid_tokens if len(valid_tokens) > 1 else None
        task.source = {
            "data": str(text.resolve()) if isinstance(text, Path) else "",
            "tokenizer": _tokenizer_name(tokenizer),
            **({} if valid is None else {"valid": str(find_corpus(valid).resolve())}),
            "valid_fraction": valid_fraction,
            **({} if pretrained is None else {"pretrained": str(Path(pretrained).resolve())}),
            **({"freeze": list(freeze)} if freeze else {}),
            "crc32": _checksum(train_tokens, valid_tokens),
        }
        return task

    @classmethod
    def build(cls, config: Any, seed: int) -> Any:
        """Return a new model."""
        raise TypeError(f"{cls.__name__} has no build")

    def load_held_out(self, folder: str | Path) -> None:
        """Take the held-out text that a run was validated on; raises InputError when the folder is not a run."""
        settings = run_of(folder).read_settings()
        if not settings.get("data"):
            raise InputError(f"the run {folder} names no text file; name a text to evaluate on")
        tokens = encode_text_or_file(find_corpus(settings["data"]), self.tokenizer)
        if "valid" in settings:
            train_tokens = tokens
            valid_tokens = encode_text_or_file(find_corpus(settings["valid"]), self.tokenizer)
        else:
            train_tokens, valid_tokens = split_tokens(tokens, settings.get("valid_fraction", 0.1))
        if settings.get("crc32") != _checksum(train_tokens, valid_tokens):
            raise InputError(f"the text of {folder} has changed since the run began; name a text to evaluate on")
        self.valid_tokens = valid_tokens

    def sequences(self, text: str, second: str | None) -> Sequences:
        """Return the tokens of a text; raises InputError when there are none or too many."""
        ids, longest = encode_text(self.tokenizer, text), self.model.config.max_seq_len
        if not 0 < len(ids) <= longest:
            raise InputError(f"looking at attention takes a text of 1 to {longest} tokens, got {len(ids)}")
        return Sequences((np.asarray(ids, np.int64)[None],), {"": token_labels(self.tokenizer, text)})

    def tokens_of(self, text: str | Path | None) -> np.ndarray:
        """Return the tokens of a text, or the held-out ones; raises InputError when there are none."""
        if text is not None:
            return encode_text_or_file(text if "\n" in str(text) else find_corpus(text), self.tokenizer)
        if self.valid_tokens is None:
            raise InputError("there is no held-out text: name one to evaluate on")
        return self.valid_tokens

    def _needs_text(self) -> np.ndarray:
        if self.train_tokens is None:
            raise InputError(f"this model has no text to train on: make it with {type(self).__name__}.from_text")
        return self.train_tokens

    @classmethod
    def _choose_tokenizer(cls, tokenizer: Any, text: str | Path, config: Any) -> Any:
        if not isinstance(tokenizer, (str, Path)):
            return tokenizer
        if tokenizer == "words":
            raise InputError(f"the tokenizer words loses the spaces of a text; {cls.name} takes another kind")
        chunks = read_text_chunks(text) if isinstance(text, Path) else [text]
        if tokenizer == "characters":
            return CharacterTokenizer.from_text(chunks, special_tokens=cls.special_tokens)
        return make_tokenizer(tokenizer, chunks, config.vocab_size or SUBWORDS)

    @classmethod
    def _fit_config(cls, config: Any, tokenizer: Any) -> Any:
        return dataclasses.replace(config, vocab_size=vocabulary_size(config.vocab_size, tokenizer))


def encode_text_or_file(text: str | Path, tokenizer: Any) -> np.ndarray:
    """Return the tokens [N] of a text, or of a text file of any size."""
    return encode_file(text, tokenizer) if isinstance(text, Path) else encode_text(tokenizer, text)


def _tokenizer_name(tokenizer: Any) -> str:
    """Return what names the tokenizer in run.toml: a kind, a folder, or the class of an object."""
    if not isinstance(tokenizer, (str, Path)):
        return type(tokenizer).__name__
    return str(tokenizer) if tokenizer in KINDS else str(Path(tokenizer).resolve())


def _checksum(train_tokens: np.ndarray, valid_tokens: np.ndarray) -> int:
    return zlib.crc32(valid_tokens.data, zlib.crc32(train_tokens.data))
