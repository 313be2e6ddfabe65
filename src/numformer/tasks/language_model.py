"""Language modelling: text in, a model that continues text out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from numformer._notices import amount, say
from numformer.data import TokenWindows
from numformer.errors import InputError
from numformer.generation import BeamConfig, Processor, SamplingConfig, score
from numformer.generation.texts import write_texts
from numformer.generation.window import window_start
from numformer.models import GPTConfig, build_model
from numformer.models.backbone import CausalModel
from numformer.random import generator
from numformer.tasks.shared.objective import Batch, TargetObjective
from numformer.tasks.shared.text_task import TextTask
from numformer.tasks.shared.windows import windows_of
from numformer.tasks.shared.writing import WritingDefaults, WritingSettings
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
    defaults = WritingDefaults()  # of a folder that has a generation_config.json

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
        beam: BeamConfig | None = None,
        processors: Sequence[Processor] = (),
        on_text: Callable[[str], None] | None = None,
        **settings: Unpack[WritingSettings],
    ) -> Any:
        """Continue the prompt and return the new text, or a list of `num_samples` texts.

        `settings` are the fields of SamplingConfig or, with `num_beams` above 1, of BeamConfig; `sampling` and `beam` give
        them whole. What is not given is as the folder's generation_config.json says. A search returns its `num_samples`
        best texts. `stop` strings end a text before them. `processors` are functions (ids, logits) -> logits. `on_text`
        gets the pieces of the (first) text as they come, of a search the whole at its end.

        The prompt begins as the tokenizer says (`begin_ids`). An empty one without such tokens starts from a newline, or
        from token 0 where there is none; of one over the context length the end is seen, and how much of it is said on
        stderr.
        Raises InputError for a character that the vocabulary lacks and settings out of range.
        """
        if num_samples is not None and num_samples < 1:
            raise InputError(f"num_samples must be at least 1, got {num_samples}")
        if not isinstance(prompt, str):
            raise InputError(f"a prompt is a text, got {prompt!r:.60}")
        if sum(each is not None for each in (sampling, beam, settings or None)) > 1:
            raise InputError("give sampling, beam or their fields, one of the three")
        how = sampling or beam or self.defaults.config(settings, num_samples or 1)
        stop = stop if isinstance(stop, str) else tuple(stop)
        ids, longest = self._prompt_ids(prompt), self.model.config.max_seq_len
        if unseen := window_start(len(ids), longest):
            say(
                f"of the prompt's {len(ids):,} tokens the model sees the last {len(ids) - unseen:,}: max_seq_len={longest}"
            )
        texts = write_texts(
            self.model,
            self.tokenizer,
            ids,
            max_new_tokens,
            how,
            num_samples=num_samples or 1,
            stop=stop,
            end_ids=self.end_ids,
            seed=seed,
            processors=processors,
            on_text=on_text,
            follows=bool(prompt),
        )
        return texts[0] if num_samples is None else texts

    def score(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return for every text the log-probabilities [T-1] of its tokens after the first, which may be a beginning token."""
        return score(self.model, [self._prompt_ids(text) for text in texts])

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens that end a text: those that the folder names, or the tokenizer's own."""
        if self.defaults.eos_ids is not None:
            return self.defaults.eos_ids
        end = getattr(self.tokenizer, "eos_id", None)
        return () if end is None else (end,)

    def use_folder(self, folder: Path) -> None:
        """Take what generation_config.json says where a folder has it; a GGUF file has the end of a text in its tokenizer."""
        if folder.is_dir():
            self.defaults = WritingDefaults.read(folder)

    def save(self, folder: str | Path, dtype: str = "float32") -> None:
        """Write a Hugging Face folder, with the generation_config.json that the model came with."""
        super().save(folder, dtype)
        self.defaults.save(folder)

    def _prompt_ids(self, prompt: str) -> list[int]:
        """Return the tokens of a prompt, with those that it begins with."""
        begin = list(getattr(self.tokenizer, "begin_ids", ()))
        if prompt:
            return begin + encode_text(self.tokenizer, prompt).tolist()
        return begin or _start(self.tokenizer).tolist()

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
