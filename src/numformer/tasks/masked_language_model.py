"""Masked language modelling: an encoder learns from text by guessing hidden tokens (Devlin et al. 2019, §3.1)."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import numpy as np

from numformer import ops
from numformer._notices import amount
from numformer.data import TokenWindows
from numformer.errors import InputError
from numformer.models import BertConfig, build_model
from numformer.models.heads import MaskedLM
from numformer.ops.loss import IGNORE
from numformer.pretrained.opening import Opened
from numformer.random import generator
from numformer.tasks.shared.attention import Sequences, framed_sequence
from numformer.tasks.shared.encoding import pad_id, padded, special_id, special_row
from numformer.tasks.shared.objective import Batch, TargetObjective, places_counted
from numformer.tasks.shared.prediction import as_texts, run_batches, values
from numformer.tasks.shared.text_task import TextTask
from numformer.tasks.shared.windows import windows_of
from numformer.tokenizers import Tokenizer, encode_text, printable
from numformer.training import OptimConfig, TrainConfig
from numformer.training.workers import Workers, num_cores

MASKED, SHOWN_AS_MASK, SHOWN_AS_OTHER = 0.15, 0.8, 0.1  # shares of tokens to guess, and of those what is shown of them
MARK = re.compile(r"\[MASK\]|<mask>")


class MaskedObjective(TargetObjective):
    """Windows of text between begin and end tokens, some tokens hidden; those are the targets.

    Which ones follows from the seed and the step; on held-out text they are always the same.
    """

    figures = ("loss", "accuracy")
    unit = "masked tokens"

    def __init__(
        self,
        model: MaskedLM,
        tokenizer: Tokenizer,
        train_tokens: np.ndarray | None,
        valid_tokens: np.ndarray | None,
        train: TrainConfig,
    ) -> None:
        super().__init__(model, tokenizer, train)
        self.mask = special_id(tokenizer, "mask_id")
        self.valid_tokens = valid_tokens
        nothing = np.zeros(0, np.int64)
        self.frame = [special_row(tokenizer, name, nothing) for name in ("bos_id", "eos_id")]
        self.length = model.config.max_seq_len - sum(map(len, self.frame))
        self.windows = None if train_tokens is None else TokenWindows(train_tokens, self.length, "training text")
        self.batch_size = train.num_sequences(model.config.max_seq_len)

    def batch(self, step: int) -> Batch:
        """Return tokens [B T] of a step with some hidden, and targets [B T]."""
        assert self.windows is not None
        draw = generator(self.train.seed, step)
        return self._hide(self.windows.sample(draw, self.batch_size)[0], draw)

    def scored(self, *batch: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the logits of the hidden tokens alone, and those tokens; of all tokens where those are not known yet."""
        tokens, targets = batch
        if places_counted(targets) is None:
            return self.model(tokens), targets
        hidden = targets != IGNORE
        return self.model(tokens, where=hidden), targets[hidden]

    def held_out(self) -> Iterator[Batch] | None:
        """Return windows of the held-out text."""
        return None if self.valid_tokens is None else self.hidden(self.valid_tokens, self.train.eval_examples)

    def hidden(self, tokens: np.ndarray, max_windows: int | None) -> Iterator[Batch]:
        """Yield the windows of a text in order, with some tokens hidden."""
        draw = generator(0)
        for inputs, _ in windows_of(tokens, self.length, max_windows):
            yield self._hide(inputs, draw)

    def _hide(self, tokens: np.ndarray, draw: np.random.Generator) -> Batch:
        chosen = draw.random(tokens.shape) < MASKED
        fate = draw.random(tokens.shape)
        shown = np.where(chosen & (fate < SHOWN_AS_MASK), self.mask, tokens)
        others = chosen & (fate >= 1.0 - SHOWN_AS_OTHER)
        shown[others] = draw.integers(0, self.tokenizer.vocab_size, np.count_nonzero(others))
        first, last = (np.broadcast_to(row, (len(tokens), len(row))) for row in self.frame)
        inputs = np.concatenate([first, shown, last], axis=1)
        unseen = [np.full_like(part, IGNORE) for part in (first, last)]
        return inputs, np.concatenate([unseen[0], np.where(chosen, tokens, IGNORE), unseen[1]], axis=1)


@dataclass(frozen=True, kw_only=True)
class FillOptions:
    """How to fill in."""

    top_k: int = 5
    """Number of tokens for each [MASK]."""


class Guess(TypedDict):
    """A token and its probability."""

    token: str
    score: float


class Filled(TypedDict):
    """A text, and for each of its marks the likeliest tokens."""

    text: str
    masks: list[list[Guess]]


class MaskedScores(TypedDict):
    """Loss, perplexity and accuracy of the hidden tokens of a text, and their number."""

    loss: float
    perplexity: float
    accuracy: float
    tokens: int


class MaskedLanguageModel(TextTask):
    """An encoder with its tokenizer and, for training, its text: a start for other tasks.

    `MaskedLanguageModel.from_text("book.txt").fit(out="runs/pretrained")` trains one; then
    `Classifier.from_data("reviews.csv", pretrained="runs/pretrained")` goes on from it.
    """

    name = "mlm"
    model_class = MaskedLM
    model_config = BertConfig()
    special_tokens = True
    train_config: ClassVar[TrainConfig] = TrainConfig(steps=5000, eval_every=500)
    optim_config: ClassVar[OptimConfig] = OptimConfig(lr=1e-3, schedule="cosine", warmup_steps=500)

    predict_options = FillOptions
    columns = ("masks",)

    model: MaskedLM

    @classmethod
    def build(cls, model: BertConfig, tokenizer: Tokenizer, seed: int) -> MaskedLM:
        """Return a new encoder with its head."""
        return build_model(dataclasses.replace(model, pad_id=pad_id(tokenizer)), "mlm", seed=seed)

    @classmethod
    def _pretrained(cls, *start: Any) -> Opened:
        """Return the model to go on from; what makes summaries stays as it is, for the head does not learn it."""
        opened = super()._pretrained(*start)
        if getattr(opened.model.backbone, "pooler", None) is not None:
            opened.model.freeze("backbone.pooler")
        return opened

    def objective(self, train: TrainConfig) -> MaskedObjective:
        """Return what to train on; raises InputError without a text."""
        return MaskedObjective(self.model, self.tokenizer, self._needs_text(), self.valid_tokens, train)

    def predict(self, texts: Sequence[str], *, top_k: int = 5, progress: bool = False) -> list[Filled]:
        """Return for every text, in which [MASK] or <mask> stands for one token, the likeliest tokens at each mark.

        Raises InputError for a text without a mark, or longer than the context.
        """
        texts = as_texts(texts)
        if top_k < 1:
            raise InputError(f"top_k must be at least 1, got {top_k}")
        mask_id = special_id(self.tokenizer, "mask_id")
        decoded, textless = self._vocabulary
        rows = [self._marked(text) for text in texts]

        def work(numbers: list[int]) -> list[np.ndarray]:
            tokens, mask = padded([rows[number] for number in numbers], pad_id(self.tokenizer))
            logits = values(self.model(tokens, mask))[..., : self.tokenizer.vocab_size].astype(np.float64)
            logits[..., textless] = -np.inf
            found = ops.softmax(logits)
            return [found[i][tokens[i] == mask_id] for i in range(len(numbers))]

        found = run_batches(rows, work, progress)
        return [_filled(text, chances, decoded, top_k) for text, chances in zip(texts, found, strict=True)]

    @cached_property
    def _vocabulary(self) -> tuple[list[str], list[int]]:
        """The texts of all ids, and the ids that no mark is filled with: special and unused ones, and features."""
        names = ("pad_id", "bos_id", "eos_id", "unk_id", "mask_id")
        special = {getattr(self.tokenizer, name, None) for name in names}
        decoded = [printable(self.tokenizer.decode([i])) for i in range(self.tokenizer.vocab_size)]
        return decoded, [i for i, token in enumerate(decoded) if i in special or not token]

    def evaluate(self, text: str | Path | None = None, *, max_windows: int | None = None) -> MaskedScores:
        """Return loss, perplexity and accuracy of hidden tokens, on a text or on the held-out part.

        Raises InputError when there is no text, or it is too short.
        """
        tokens = self._tokens_of(text)
        objective = MaskedObjective(self.model, self.tokenizer, None, None, self.train_config)
        with Workers(num_cores()) as workers:
            found = objective.measure(objective.hidden(tokens, max_windows), workers)
        if not found["count"]:
            raise InputError(
                f"none of the text's {amount(len(tokens), 'tokens')} happened to be hidden: name a longer one"
            )
        perplexity = math.exp(min(found["loss"], 700.0))
        return {
            "loss": found["loss"],
            "perplexity": perplexity,
            "accuracy": found["accuracy"],
            "tokens": int(found["count"]),
        }

    def in_words(self, prediction: Mapping[str, Any]) -> str:
        """Return the likeliest tokens of every mark with their probabilities."""
        masks = (", ".join(f"{each['token']} {each['score']:.2f}" for each in mask) for mask in prediction["masks"])
        return " | ".join(masks)

    def sequences(self, text: str, second: str | None) -> Sequences:
        """Return the tokens of a text between the begin and end tokens."""
        return framed_sequence(self.tokenizer, text, self.model.config.max_seq_len)

    def _marked(self, text: str) -> np.ndarray:
        parts = MARK.split(text)
        if len(parts) == 1:
            raise InputError(f"a text to fill in needs [MASK] in it, got {text[:60]!r}")
        pieces = [np.asarray(encode_text(self.tokenizer, part), np.int64) for part in parts]
        mask = special_row(self.tokenizer, "mask_id", pieces[0])
        begin, end = (special_row(self.tokenizer, name, pieces[0]) for name in ("bos_id", "eos_id"))
        row = np.concatenate([begin, pieces[0], *(part for piece in pieces[1:] for part in (mask, piece)), end])
        if len(row) > self.model.config.max_seq_len:
            raise InputError(f"a text of {len(row)} tokens does not fit max_seq_len={self.model.config.max_seq_len}")
        return row


def _filled(text: str, chances: np.ndarray, tokens: Sequence[str], top_k: int) -> Filled:
    """Return the likeliest tokens of each mark, given the chances [marks V] of all; those without a chance never."""
    masks = []
    for row in chances:
        best = np.argsort(-row, kind="stable")[:top_k]
        masks.append([Guess(token=tokens[i], score=float(row[i])) for i in best if row[i] > 0.0])
    return {"text": text, "masks": masks}
