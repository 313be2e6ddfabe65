"""Language modelling: text in, a model that continues text out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from numformer._notices import amount, say
from numformer.data import TokenWindows
from numformer.errors import InputError
from numformer.generation import SamplingConfig, TextStream, generate
from numformer.generation.generate import SamplingSettings
from numformer.generation.window import window_start
from numformer.models import GPTConfig, build_model
from numformer.models.backbone import CausalModel
from numformer.random import generator
from numformer.tasks.shared.objective import Batch, TargetObjective
from numformer.tasks.shared.text_task import TextTask
from numformer.tasks.shared.windows import windows_of
from numformer.tokenizers import Tokenizer, encode_text
from numformer.training import TrainConfig
from numformer.training.workers import Workers, num_cores


class LanguageModelObjective(TargetObjective):
    """Windows of text; the batch of a step depends on the seed and the step alone."""

    figures = ("loss",)

    def __init__(
        self,
        model: CausalModel,
        tokenizer: Tokenizer,
        train_tokens: np.ndarray,
        valid_tokens: np.ndarray | None,
        train: TrainConfig,
    ) -> None:
        super().__init__(model, tokenizer, train)
        self.windows = TokenWindows(train_tokens, model.config.max_seq_len, "training text")
        self.valid_tokens = valid_tokens
        self.batch_size = train.num_sequences(self.windows.length)

    def batch(self, step: int) -> Batch:
        """Return inputs and targets [B T] of a step."""
        return self.windows.sample(generator(self.train.seed, step), self.batch_size)

    def held_out(self) -> Iterator[Batch] | None:
        """Return windows of the held-out text."""
        if self.valid_tokens is None:
            return None
        return windows_of(self.valid_tokens, self.model.config.max_seq_len, self.train.eval_examples)

    def describe(self) -> str:
        """Count the parameters and the tokens."""
        return f"{super().describe()}, {amount(len(self.windows.tokens), 'tokens')} of text to train on"


class TextScores(TypedDict):
    """Loss (nats per token), perplexity and the number of tokens of a text."""

    loss: float
    perplexity: float
    tokens: int


class LanguageModel(TextTask):
    """A model that continues text, with its tokenizer and, for training, its text.

    `LanguageModel.from_text("book.txt").fit(steps=2000)` trains one, `LanguageModel.load(folder)` reads one.
    """

    name = "lm"
    model_class = CausalModel
    model_config = GPTConfig()

    model: CausalModel

    @classmethod
    def build(cls, model: GPTConfig, tokenizer: Tokenizer, seed: int) -> CausalModel:
        """Return a new model that predicts the next token."""
        return build_model(model, "lm", seed=seed)

    def objective(self, train: TrainConfig) -> LanguageModelObjective:
        """Return what to train on; raises InputError without a text."""
        return LanguageModelObjective(self.model, self.tokenizer, self._needs_text(), self.valid_tokens, train)

    def generate(
        self,
        prompt: str = "",
        max_new_tokens: int = 200,
        *,
        num_samples: int | None = None,
        stop: Iterable[str] = (),
        seed: int = 0,
        sampling: SamplingConfig | None = None,
        on_text: Callable[[str], None] | None = None,
        **settings: Unpack[SamplingSettings],
    ) -> Any:
        """Continue the prompt and return the new text, or a list of `num_samples` texts.

        `stop` strings end a text before them. `settings` are the fields of SamplingConfig. `on_text` gets the pieces of
        the (first) text as they come. An empty prompt starts from a newline, or from token 0 where there is none; of
        one over the context length the end is seen, and how much of it is said on stderr.
        Raises InputError for a character that the vocabulary lacks and settings out of range.
        """
        if num_samples is not None and num_samples < 1:
            raise InputError(f"num_samples must be at least 1, got {num_samples}")
        if not isinstance(prompt, str):
            raise InputError(f"a prompt is a text, got {prompt!r:.60}")
        ids = encode_text(self.tokenizer, prompt) if prompt else _start(self.tokenizer)
        stop = stop if isinstance(stop, str) else tuple(stop)
        longest = self.model.config.max_seq_len
        if unseen := window_start(len(ids), longest):
            say(
                f"of the prompt's {len(ids):,} tokens the model sees the last {len(ids) - unseen:,}: max_seq_len={longest}"
            )
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
            sampling=sampling,
            seed=seed,
            stop_ids=() if end is None else (end,),
            vocab_size=self.tokenizer.vocab_size,
            on_token=on_token,
            **settings,
        )
        rest = [stream.flush() for stream in streams]
        if on_text and rest[0]:
            on_text(rest[0])
        texts = [stream.text for stream in streams]
        return texts[0] if num_samples is None else texts

    def evaluate(self, text: str | Path | None = None, *, max_windows: int | None = None) -> TextScores:
        """Return loss (nats per token), perplexity and the number of tokens on a text, or on the held-out part.

        Raises InputError when there is no text, or it is too short.
        """
        tokens = self._tokens_of(text)
        batches = windows_of(tokens, self.model.config.max_seq_len, max_windows)
        with Workers(num_cores()) as workers:
            found = TargetObjective(self.model, self.tokenizer, self.train_config).measure(batches, workers)
        perplexity = math.exp(min(found["loss"], 700.0))
        return {"loss": found["loss"], "perplexity": perplexity, "tokens": int(found["count"])}


def _start(tokenizer: Tokenizer) -> np.ndarray:
    """Return the tokens to begin a text with."""
    try:
        return encode_text(tokenizer, "\n")
    except InputError:
        return np.array([0])
