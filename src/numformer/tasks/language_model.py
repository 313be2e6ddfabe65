"""Language modelling: text in, a model that continues text out."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from numformer.data import TokenWindows, encode_file, find_corpus, read_text_chunks, split_tokens
from numformer.errors import InputError
from numformer.generation import SamplingConfig, TextStream, generate
from numformer.models import GPT, GPTConfig
from numformer.pretrained import load_model, save_model
from numformer.tasks.language_model_task import LanguageModelTask, mean_loss
from numformer.tokenizers import ByteTokenizer, CharacterTokenizer, encode_text, load_tokenizer, save_tokenizer
from numformer.training import FitResult, OptimConfig, RunFolder, TrainConfig, Trainer
from numformer.training.curves import draw_curves
from numformer.training.metrics import read_metrics
from numformer.training.settings import as_plain, check_same_run, sort_settings
from numformer.training.workers import Workers, num_cores

TOKENIZERS = ("characters", "bytes")


class LanguageModel:
    """A GPT with its tokenizer and, for training, its text.

    `LanguageModel.from_text("book.txt").fit(steps=2000)` trains one, `LanguageModel.load(folder)` reads one.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.train_tokens: np.ndarray | None = None
        self.valid_tokens: np.ndarray | None = None
        self.source: dict[str, Any] = {}
        self.seed = 0

    @classmethod
    def from_text(
        cls,
        text: str | Path,
        *,
        tokenizer: Any = "characters",
        valid: str | Path | None = None,
        valid_fraction: float = 0.1,
        seed: int = 0,
        config: GPTConfig | None = None,
        **settings: Any,
    ) -> Self:
        """Make an untrained model for a text: a file, a known corpus (pydoc, tinyshakespeare), or a string with newlines.

        `tokenizer` is "characters", "bytes", a saved tokenizer's folder or any object with encode, decode and vocab_size.
        `valid` is a file of held-out text; without it the last `valid_fraction` of the text is held out. `settings` are
        the fields of GPTConfig. Raises InputError when the text is missing, empty, unreadable or too short.
        """
        if config is not None and settings:
            raise InputError(f"give a config or its fields, not both; got a config and {', '.join(settings)}")
        config = config or GPTConfig(**settings)
        text = text if "\n" in str(text) else find_corpus(text)
        chosen = _choose_tokenizer(tokenizer, text)
        if config.vocab_size == 0:
            config = dataclasses.replace(config, vocab_size=chosen.vocab_size)
        if config.vocab_size < chosen.vocab_size:
            raise InputError(f"vocab_size={config.vocab_size} is below the {chosen.vocab_size} tokens of the tokenizer")
        tokens = _encode(text, chosen)
        if valid is not None:
            train_tokens, valid_tokens = tokens, _encode(find_corpus(valid), chosen)
        else:
            train_tokens, valid_tokens = split_tokens(tokens, valid_fraction)
        TokenWindows(train_tokens, config.max_seq_len, "training text")  # complains when too short
        lm = cls(GPT(config, seed=seed), chosen)
        lm.seed, lm.train_tokens = seed, train_tokens
        lm.valid_tokens = valid_tokens if len(valid_tokens) > 1 else None
        lm.source = {
            "data": str(text.resolve()) if isinstance(text, Path) else "",
            "tokenizer": _tokenizer_name(tokenizer),
            **({} if valid is None else {"valid": str(find_corpus(valid).resolve())}),
            "valid_fraction": valid_fraction,
            "crc32": _checksum(train_tokens, valid_tokens),
        }
        return lm

    def fit(
        self,
        *,
        train: TrainConfig | None = None,
        optim: OptimConfig | None = None,
        out: str | Path | None = None,
        resume: bool = False,
        overwrite: bool = False,
        progress: bool = True,
        **settings: Any,
    ) -> FitResult:
        """Train; `settings` are fields of TrainConfig and OptimConfig, such as steps, batch_size and lr.

        With `out` the run is kept in that folder, from which `resume` continues it. Without it, a second `fit` goes on
        from the weights as they are, with a new optimizer and the same order of data. Raises InputError when the folder
        exists already, holds a run with other settings, or the loss stops being a number.
        """
        if self.train_tokens is None:
            raise InputError("this model has no text to train on: make it with LanguageModel.from_text")
        train, optim = sort_settings(train or TrainConfig(seed=self.seed), optim or OptimConfig(), settings)
        if train.seed != self.seed:
            raise InputError(
                f"seed is {train.seed}, but the model was made with seed={self.seed}: one seed decides both"
            )
        folder = None if out is None else RunFolder(out)
        before = folder.read_settings() if folder and resume else {}
        shards = train.shards or before.get("train", {}).get("shards") or train.num_shards
        train = dataclasses.replace(train, shards=shards)
        parts = {"model": self.model.config, "optim": optim, "train": train}
        run = {"task": "lm", **self.source, **{name: as_plain(part) for name, part in parts.items()}}
        task = LanguageModelTask(self.model, self.tokenizer, self.train_tokens, self.valid_tokens, train)
        trainer = Trainer(task, train, optim, folder, progress)
        if folder and resume:
            check_same_run(before, run)
            trainer.resume()
            folder.describe(run, self.tokenizer)
        elif folder:
            folder.check_free(overwrite)
            folder.start(run, self.tokenizer)
        result = trainer.run()
        if folder:
            draw_curves(read_metrics(folder.metrics_file), folder.path / "curves.png")
        return result

    def generate(
        self,
        prompt: str = "",
        max_new_tokens: int = 200,
        *,
        num_samples: int | None = None,
        stop: Sequence[str] = (),
        seed: int = 0,
        sampling: SamplingConfig | None = None,
        on_text: Callable[[str], None] | None = None,
        **settings: Any,
    ) -> Any:
        """Continue the prompt and return the new text, or a list of `num_samples` texts.

        `stop` strings end a text before them. `settings` are the fields of SamplingConfig. `on_text` gets the pieces of
        the (first) text as they come. An empty prompt starts from a newline, or from token 0 where there is none.
        Raises InputError for a character that the vocabulary lacks and settings out of range.
        """
        if num_samples is not None and num_samples < 1:
            raise InputError(f"num_samples must be at least 1, got {num_samples}")
        ids = encode_text(self.tokenizer, prompt) if prompt else _start(self.tokenizer)
        streams = [TextStream(self.tokenizer, stop) for _ in range(num_samples or 1)]

        def on_token(row: int, token: int) -> bool:
            piece = streams[row].push(token)
            if on_text and row == 0 and piece:
                on_text(piece)
            return streams[row].finished

        end = getattr(self.tokenizer, "eos_id", None)
        generate(
            self.model,
            [ids] * len(streams),
            max_new_tokens,
            sampling=sampling or SamplingConfig(**settings),
            seed=seed,
            stop_ids=() if end is None else (end,),
            vocab_size=self.tokenizer.vocab_size,
            on_token=on_token,
        )
        rest = [stream.flush() for stream in streams]
        if on_text and rest[0]:
            on_text(rest[0])
        texts = [stream.text for stream in streams]
        return texts[0] if num_samples is None else texts

    def evaluate(self, text: str | Path | None = None, *, max_windows: int | None = None) -> dict[str, float]:
        """Return loss (nats per token), perplexity and the number of tokens on a text, or on the held-out part.

        Raises InputError when there is no text, or it is too short.
        """
        if text is not None:
            tokens = _encode(text if "\n" in str(text) else find_corpus(text), self.tokenizer)
        elif self.valid_tokens is not None:
            tokens = self.valid_tokens
        else:
            raise InputError("there is no held-out text: name one to evaluate on")
        with Workers(num_cores()) as workers:
            loss, count = mean_loss(self.model, tokens, workers, max_windows)
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "tokens": count}

    def load_held_out(self, folder: str | Path) -> None:
        """Take the held-out text that a run was validated on; raises InputError when the folder is not a run."""
        run = RunFolder(folder)
        if not run.settings_file.exists():
            raise InputError(f"{folder} does not say which text was held out: it has no run.toml; name a text")
        settings = run.read_settings()
        if not settings.get("data"):
            raise InputError(f"{run.settings_file} names no text file; name a text to evaluate on")
        tokens = _encode(find_corpus(settings["data"]), self.tokenizer)
        if "valid" in settings:
            train_tokens, valid_tokens = tokens, _encode(find_corpus(settings["valid"]), self.tokenizer)
        else:
            train_tokens, valid_tokens = split_tokens(tokens, settings.get("valid_fraction", 0.1))
        if settings.get("crc32") != _checksum(train_tokens, valid_tokens):
            raise InputError(f"the text of {folder} has changed since the run began; name a text to evaluate on")
        self.valid_tokens = valid_tokens

    def save(self, folder: str | Path) -> None:
        """Write a Hugging Face folder: config.json, model.safetensors, tokenizer.json."""
        save_tokenizer(self.tokenizer, folder)
        save_model(self.model, folder)

    @classmethod
    def load(cls, folder: str | Path, tokenizer: Any = None) -> Self:
        """Read a folder written by `save` or by a run; raises InputError when it is incomplete or damaged."""
        if not Path(folder).is_dir():
            raise InputError(f"there is no folder {folder}")
        return cls(load_model(folder), tokenizer or load_tokenizer(folder))


def _start(tokenizer: Any) -> np.ndarray:
    """Return the tokens to begin a text with."""
    try:
        return encode_text(tokenizer, "\n")
    except InputError:
        return np.array([0])


def _choose_tokenizer(tokenizer: Any, text: str | Path) -> Any:
    if not isinstance(tokenizer, (str, Path)):
        return tokenizer
    if tokenizer == "characters":
        return CharacterTokenizer.from_text(read_text_chunks(text) if isinstance(text, Path) else text)
    return ByteTokenizer() if tokenizer == "bytes" else load_tokenizer(tokenizer)


def _tokenizer_name(tokenizer: Any) -> str:
    """Return what names the tokenizer in run.toml: a kind, a folder, or the class of an object."""
    if not isinstance(tokenizer, (str, Path)):
        return type(tokenizer).__name__
    return str(tokenizer) if tokenizer in TOKENIZERS else str(Path(tokenizer).resolve())


def _checksum(train_tokens: np.ndarray, valid_tokens: np.ndarray) -> int:
    return zlib.crc32(valid_tokens.data, zlib.crc32(train_tokens.data))


def _encode(text: str | Path, tokenizer: Any) -> np.ndarray:
    return encode_file(text, tokenizer) if isinstance(text, Path) else encode_text(tokenizer, text)
