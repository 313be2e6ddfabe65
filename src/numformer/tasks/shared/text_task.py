"""The way from a long text to a task that can be fitted: read, tokenizer, config, model, encode, split."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, Unpack

import numpy as np

from numformer._names import rename_settings
from numformer._notices import amount, say
from numformer.data import TokenWindows, encode_file, find_corpus, read_text_chunks, split_tokens
from numformer.data.files.lines import split_lines
from numformer.data.texts.text import count_text
from numformer.errors import InputError
from numformer.nn.module import Module
from numformer.pretrained import NO_ADAPTERS, LoRAConfig
from numformer.pretrained.finding import place_of
from numformer.pretrained.opening import Opened
from numformer.tasks.shared.adapting import adapters_in_run, check_adapters, put_adapters
from numformer.tasks.shared.attention import Sequences, token_labels
from numformer.tasks.shared.encoding import AnyTokenizer, vocabulary_size
from numformer.tasks.shared.settings import DecoderSettings, names
from numformer.tasks.shared.start import pretrained_model, start_of
from numformer.tasks.shared.task import Task, check_not_moved
from numformer.tokenizers import KINDS, CharacterTokenizer, Tokenizer, encode_text, make_tokenizer
from numformer.training import RunFolder
from numformer.training.run_folder import run_of
from numformer.training.settings import as_plain, changed_data, is_same_data, table_of

SUBWORDS = 4096  # tokens of a tokenizer that is trained on the text, when the model's config does not say


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """What to train on, and what to start from."""

    data: str = ""
    """Text file, or the name of a known text (see `numformer data list`)."""
    tokenizer: str = "characters"
    """characters, bytes, bpe, wordpiece, unigram, or the folder of a saved tokenizer."""
    valid: str | None = None
    """File of held-out text; the end of the text when not given."""
    valid_fraction: float = 0.1
    """Share of the text that is held out at its end."""
    pretrained: str | None = None
    """Folder of a trained model whose weights and tokenizer to start from."""
    freeze: tuple[str, ...] = ()
    """Names of parts of the model that are not trained."""
    encoding: str = "utf-8"
    """Encoding of text files."""
    lora: LoRAConfig = NO_ADAPTERS
    """Adapters that are trained in place of the weights of the pretrained model."""


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """How to measure on a long text."""

    max_windows: int | None = None
    """Measure on this many windows spread over the text instead of all of it."""


class TextTask(Task):
    """A task on one long text, of which the end is held out; a subclass builds the model."""

    data_config = TextConfig
    evaluate_options = MeasureOptions
    reading: ClassVar[tuple[str, ...]] = ("encoding",)
    config: TextConfig
    tokenizer: Tokenizer
    special_tokens: ClassVar[bool] = False  # whether a tokenizer of characters gets them

    def __init__(self, model: Module, tokenizer: AnyTokenizer, config: TextConfig | None = None) -> None:
        super().__init__(model, tokenizer, config)
        self.train_tokens: np.ndarray | None = None
        self.valid_tokens: np.ndarray | None = None
        self._num_held_out = 0  # tokens, of which a single one is nothing to measure

    @classmethod
    def build(cls, model: Any, tokenizer: Tokenizer, seed: int) -> Any:
        """Return a new model of a config for a tokenizer."""
        raise NotImplementedError

    @classmethod
    def from_config(
        cls,
        config: TextConfig,
        model: Any,
        *,
        seed: int = 0,
        text: str | None = None,
        tokenizer: Any = None,
        resumed: RunFolder | None = None,
    ) -> Self:
        """Go the way from the text that a config names, or from a text in its place, to an untrained task.

        A run that is to be continued gives its tokenizer. Raises InputError when its text has changed, or the model that its
        adapters belong to, and for adapters of no model.
        """
        check_adapters(config)
        # 1. Find the text, that of a run that is continued still the same; a file is read piece by piece, for it may be
        # of any size.
        if resumed:
            check_not_moved(as_plain(config), resumed.path, "say with --data where it is")
        whole = find_corpus(config.data) if text is None else text
        source = _source(config, whole) | cls._own_source(config)
        if resumed:
            kept = cls.resumed_tokenizer(resumed, source, seed)
            tokenizer = kept if config.pretrained is None else None

        # 2. The tokenizer, and the model with its size; a pretrained model has both already.
        if config.pretrained is None:
            tokenizer = tokenizer or cls._new_tokenizer(config, whole, model.vocab_size)
            model = dataclasses.replace(model, vocab_size=vocabulary_size(model.vocab_size, tokenizer))
            built = cls.build(model, tokenizer, seed)
        else:
            start = start_of(config.pretrained, resumed)
            opened = cls._pretrained(start, config, model, tokenizer, resumed)
            built, tokenizer = opened.model, cls.tokenizer_of(opened)
            put_adapters(built, config, opened, seed, resumed)
        if config.freeze:
            built.freeze(*config.freeze)

        # 3. The task, with the encoded text, of which some is held out; `fit` goes on from here, and asks `objective` for
        # batches.
        task = cls(built, tokenizer, config)
        task.seed, task.source = seed, source | adapters_in_run(built, config)
        task._take_data(whole)
        about = task._about(whole)
        if isinstance(whole, Path):
            say(about)
        else:
            task.about_data = [about]
        return task

    @classmethod
    def _own_source(cls, config: Any) -> dict[str, Any]:
        """Return what a task adds to what a run says of its data."""
        return {}

    @property
    def _length(self) -> int:
        """How many tokens of a text the model is trained and measured on at a time."""
        return int(self.model.config.max_seq_len)

    def _take_data(self, text: str | Path) -> None:
        """Encode a text, and hold its end out; raises InputError when it is too short."""
        train_tokens, valid_tokens = encoded_parts(self.config, text, self.tokenizer)
        TokenWindows(train_tokens, self._length, "training text")  # complains when too short
        self.train_tokens = train_tokens
        self.valid_tokens = valid_tokens if len(valid_tokens) > 1 else None
        self._num_held_out = len(valid_tokens)
        self.source |= {"crc32": _checksum(train_tokens, valid_tokens)}

    def _about(self, text: str | Path) -> str:
        """Return one line about the text that was taken."""
        num_held_out = self._num_held_out
        num_tokens = len(self._needs_text()) + (num_held_out if self.config.valid is None else 0)
        about = described(text, self.tokenizer, num_tokens, self.config.encoding)
        return f"{about}; {held_out(self.config, num_held_out)}"

    @classmethod
    def from_text(
        cls,
        text: str | Path,
        *,
        tokenizer: str | Path | Tokenizer = "characters",
        valid: str | Path | None = None,
        valid_fraction: float = 0.1,
        pretrained: str | Path | None = None,
        freeze: str | Sequence[str] = (),
        encoding: str = "utf-8",
        lora: LoRAConfig = NO_ADAPTERS,
        seed: int = 0,
        config: Any = None,
        **settings: Unpack[DecoderSettings],
    ) -> Self:
        """Make an untrained model for a text: a file, a known corpus (pydoc, tinyshakespeare), or a string with newlines.

        `tokenizer` is a kind (characters, bytes, bpe, …), a saved tokenizer's folder or any object with encode, decode
        and vocab_size. `valid` is a file of held-out text; without it the last `valid_fraction` of the text is held out.
        `settings` are the fields of the model's config, and the others of the task's data config. `pretrained` is the folder
        (or GGUF file) of a model to go on from, with its tokenizer; `freeze` names the parts of it that stay as they are, and
        `lora` says which adapters are trained in place of its weights. `encoding` is that of the files.
        Raises InputError when the text is missing, empty, unreadable or too short.
        """
        of_data = {field.name for field in dataclasses.fields(cls.data_config)}
        known = {field.name for field in dataclasses.fields(cls.model_config)}
        given = rename_settings(settings, known | of_data)
        own = {name: given.pop(name) for name in of_data & set(given)}
        if config is not None and given:
            raise InputError(f"give a config or its fields, not both; got a config and {', '.join(given)}")
        config = config or dataclasses.replace(cls.model_config, **given)
        is_text, is_object = isinstance(text, str) and "\n" in text, not isinstance(tokenizer, (str, Path))
        data = cls.data_config(
            data="" if is_text else str(text),
            tokenizer=type(tokenizer).__name__ if is_object else str(tokenizer),
            valid=None if valid is None else str(valid),
            valid_fraction=valid_fraction,
            pretrained=None if pretrained is None else str(pretrained),
            freeze=names(freeze),
            encoding=encoding,
            lora=lora,
            **own,
        )
        return cls.from_config(
            data, config, seed=seed, text=str(text) if is_text else None, tokenizer=tokenizer if is_object else None
        )

    def load_held_out(self, folder: str | Path) -> None:
        """Take the held-out text that a run was validated on; raises InputError when the folder is not a run."""
        settings = run_of(folder).read_settings()
        if not settings.get("data"):
            raise InputError(f"the run {folder} names no text file; name a text to evaluate on")
        check_not_moved(settings, folder, "name a text to evaluate on")
        self.use_settings(settings)
        whole = find_corpus(self.config.data)
        if not is_same_data(settings, now := _source(self.config, whole)):  # before the tokenizer meets new characters
            raise InputError(f"{changed_data(settings, now, folder)}; name a text to evaluate on")
        self.source, self.seed = now, table_of(settings, "train").get("seed", 0)
        self._take_data(whole)
        if not is_same_data(settings, self.source):
            raise InputError(f"{changed_data(settings, now, folder)}; name a text to evaluate on")

    def sequences(self, text: str, second: str | None) -> Sequences:
        """Return the tokens of a text; raises InputError when there are none or too many."""
        ids, longest = encode_text(self.tokenizer, text), self.model.config.max_seq_len
        if not 0 < len(ids) <= longest:
            raise InputError(f"looking at attention takes a text of 1 to {longest} tokens, got {len(ids)}")
        return Sequences((np.asarray(ids, np.int64)[None],), {"": token_labels(self.tokenizer, text)})

    def _tokens_of(self, text: str | Path | None) -> np.ndarray:
        """Return the tokens of a text, or the held-out ones; raises InputError when there are none."""
        if text is not None:
            whole = text if "\n" in str(text) else find_corpus(text)
            tokens = encode_text_or_file(whole, self.tokenizer, self.config.encoding)
            if isinstance(whole, Path):
                say(described(whole, self.tokenizer, len(tokens), self.config.encoding))
            return tokens
        if self.valid_tokens is None and self._run is not None:
            self.load_held_out(self._run)
        if self.valid_tokens is None:
            raise InputError("there is no held-out text: name one to evaluate on")
        return self.valid_tokens

    def _needs_text(self) -> np.ndarray:
        """Return the tokens to train on; raises InputError when there are none."""
        if self.train_tokens is None:
            raise InputError(f"this model has no text to train on: make it with {type(self).__name__}.from_text")
        return self.train_tokens

    @classmethod
    def _new_tokenizer(cls, config: TextConfig, text: str | Path, vocab_size: int) -> Tokenizer:
        kind = config.tokenizer
        if kind == "words":
            raise InputError(f"the tokenizer words loses the spaces of a text; {cls.name} takes another kind")
        chunks = read_text_chunks(text, config.encoding) if isinstance(text, Path) else [text]
        if kind == "characters":
            return CharacterTokenizer.from_text(chunks, special_tokens=cls.special_tokens)
        return make_tokenizer(kind, chunks, vocab_size or SUBWORDS)

    @classmethod
    def _pretrained(
        cls, start: str | Path, config: TextConfig, model: Any, tokenizer: Any, resumed: RunFolder | None
    ) -> Opened:
        """Return the model to go on from; raises InputError for one of another task, and for a tokenizer beside it."""
        if tokenizer is not None or config.tokenizer != "characters":
            raise InputError(f"the tokenizer comes from {config.pretrained}: leave out tokenizer")
        opened = pretrained_model(start, model, cls.model_config, resumed)
        if not cls.fits(opened.model):
            raise InputError(
                f"{config.pretrained} holds a {type(opened.model).__name__}; {cls.name} needs a {cls.model_class.__name__}"
            )
        return opened


def encoded_parts(config: TextConfig, text: str | Path, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens to train on and those held out: those of another file, or the end of the text."""
    tokens = encode_text_or_file(text, tokenizer, config.encoding)
    if config.valid is not None:
        return tokens, _encoded_valid(find_corpus(config.valid), tokenizer, config.encoding)
    return split_tokens(tokens, config.valid_fraction)


def _encoded_valid(file: Path, tokenizer: Tokenizer, encoding: str) -> np.ndarray:
    """Return the tokens of held-out text; raises InputError, with the ways out, for characters that training has not."""
    try:
        return encode_file(file, tokenizer, encoding)
    except InputError as error:
        if not isinstance(tokenizer, CharacterTokenizer):
            raise
        way_out = "take the tokenizer bytes or bpe, which know every character, or put it into the training text too"
        raise InputError(f"{error}, which is that of the training text: {way_out}") from None


def described(text: str | Path, tokenizer: Tokenizer, num_tokens: int, encoding: str) -> str:
    """Return one line about a text: its characters, lines and tokens."""
    if isinstance(text, Path):
        characters, lines = count_text(text, tokenizer, encoding)
    else:
        characters, lines = len(text), len(split_lines(text))
    return (
        f"{text if isinstance(text, Path) else 'data'}: {amount(characters, 'characters')} in {amount(lines, 'lines')}; "
        f"{amount(num_tokens, 'tokens')} ({type(tokenizer).__name__} with a vocabulary of {tokenizer.vocab_size:,})"
    )


def held_out(config: TextConfig, num_tokens: int) -> str:
    """Say what is held out of a text, and why nothing is."""
    if config.valid is not None:
        return f"held out: the {amount(num_tokens, 'tokens')} of {config.valid}"
    if num_tokens > 1:
        return f"held out: the last {num_tokens:,}"
    return f"held out: none, for valid_fraction={config.valid_fraction:g} of them is less than two"


def encode_text_or_file(text: str | Path, tokenizer: Tokenizer, encoding: str) -> np.ndarray:
    """Return the tokens [N] of a text, or of a text file of any size."""
    return encode_file(text, tokenizer, encoding) if isinstance(text, Path) else encode_text(tokenizer, text)


def _source(config: TextConfig, text: str | Path) -> dict[str, Any]:
    """Return what run.toml says of the data: files by their whole path, a tokenizer by its kind, folder or class."""
    is_folder = config.tokenizer not in KINDS and Path(config.tokenizer).exists()
    return {
        "data": str(text.resolve()) if isinstance(text, Path) else "",
        "tokenizer": str(Path(config.tokenizer).resolve()) if is_folder else config.tokenizer,
        **({} if config.valid is None else {"valid": str(find_corpus(config.valid).resolve())}),
        "valid_fraction": config.valid_fraction,
        **({} if config.pretrained is None else {"pretrained": place_of(config.pretrained)}),
        **({"freeze": list(config.freeze)} if config.freeze else {}),
        **({"encoding": config.encoding} if config.encoding != "utf-8" else {}),
        **_marks(text, *([] if config.valid is None else [find_corpus(config.valid)])),
    }


def _marks(*texts: str | Path) -> dict[str, int]:
    """Return the checksum of texts, which tells later whether they are still the same, and their size."""
    crc = size = 0
    for text in texts:
        for piece in _bytes_of(text):
            crc, size = zlib.crc32(piece, crc), size + len(piece)
    return {"text_crc32": crc, "num_bytes": size}


def _bytes_of(text: str | Path) -> Iterator[bytes]:
    if isinstance(text, str):
        yield text.encode("utf-8", "surrogatepass")
        return
    try:
        with text.open("rb") as file:
            while piece := file.read(1 << 20):
                yield piece
    except OSError as error:
        raise InputError(f"could not read {text}: {error.strerror}") from None


def _checksum(train_tokens: np.ndarray, valid_tokens: np.ndarray) -> int:
    return zlib.crc32(valid_tokens.data, zlib.crc32(train_tokens.data))
