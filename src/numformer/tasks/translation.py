"""Sequence to sequence: a text in, another text out, as in translation."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from numformer.data.pairs import Pair, read_pairs
from numformer.data.split import near_duplicate_groups
from numformer.data.toy import toy_splits
from numformer.errors import InputError
from numformer.generation import BeamConfig
from numformer.metrics import bleu
from numformer.models import Transformer, TransformerConfig
from numformer.tasks.attention import Sequences, token_labels
from numformer.tasks.data_config import DataConfig
from numformer.tasks.encoding import special_id, vocabulary_size
from numformer.tasks.example_task import ExampleTask
from numformer.tasks.inference import as_texts
from numformer.tasks.objective import spread
from numformer.tasks.seq2seq_objective import Seq2SeqObjective
from numformer.tasks.seq2seq_search import search
from numformer.tokenizers import KINDS, TokenizerPair, encode_all, make_tokenizer
from numformer.tokenizers.pair import SOURCE_FILE
from numformer.training import OptimConfig, TrainConfig
from numformer.training.settings import make_config
from numformer.training.workers import Workers, num_cores

TOY = "toy:"
TOY_HELD_OUT = 1000


@dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig(DataConfig):
    """Pairs of texts: two TAB columns, or JSONL."""

    data: str = ""
    """File to train on, or a generated task: toy:identity, toy:reverse, toy:sort, toy:addition."""
    tokenizer: str = "bpe"
    """bpe, wordpiece, unigram, characters, bytes, or the folder of a saved tokenizer."""
    vocab_size: int = 8000
    """Number of tokens of a tokenizer that is trained on the data."""
    source: str = "source"
    """Key of the source in JSONL."""
    target: str = "target"
    """Key of the target in JSONL."""
    backwards: bool = False
    """Learn from the second text to the first."""
    separate_vocabularies: bool = False
    """Train a tokenizer for the source and one for the target, instead of one for both."""
    toy_examples: int = 50_000
    """Number of training examples of a generated task."""


class Translator(ExampleTask):
    """A model that turns texts into other texts: `Translator.from_data("fra.tsv").fit()`, then `translate(["Hello."])`.

    An example is a pair of a source and a target.
    """

    name = "seq2seq"
    model_class = Transformer
    data_config = Seq2SeqConfig
    model_config = TransformerConfig()
    tokenizer: TokenizerPair
    train_config: ClassVar[TrainConfig] = TrainConfig(
        steps=5000, batch_tokens=4096, label_smoothing=0.1, eval_every=500, eval_examples=1000
    )
    optim_config: ClassVar[OptimConfig] = OptimConfig(lr=2e-3, betas=(0.9, 0.98), schedule="cosine", warmup_steps=400)

    @classmethod
    def read(cls, path: str, config: Any, labels: Sequence[str] | None = None) -> list[Pair]:
        """Return the pairs of a file, in the direction to be learned."""
        pairs = read_pairs(path, source=config.source, target=config.target, encoding=config.encoding)
        return [(target, source) for source, target in pairs] if config.backwards else pairs

    @classmethod
    def read_parts(
        cls, config: Any, data: Sequence[Any] | None, valid: Sequence[Any] | None, seed: int
    ) -> tuple[list[Any], list[Any]]:
        """Return the pairs to train on and those held out, generated for a toy task."""
        if data is None and config.data.startswith(TOY):
            name = config.data.removeprefix(TOY)
            if config.toy_examples < 1:
                raise InputError(f"toy_examples must be at least 1, got {config.toy_examples}")
            train_data, valid_data, _ = toy_splits(name, config.toy_examples, TOY_HELD_OUT, 0, seed)
            return train_data, valid_data
        return super().read_parts(config, data, valid, seed)

    @classmethod
    def groups(cls, examples: Sequence[Pair]) -> Sequence[Hashable]:
        """Keep near-duplicates, which share a source or a target, on one side."""
        return near_duplicate_groups(examples)

    @classmethod
    def make_tokenizer(cls, config: Any, examples: Sequence[Pair]) -> TokenizerPair:
        """Return a tokenizer for both texts, or one for each; a generated task takes characters."""
        kind = "characters" if config.data.startswith(TOY) else config.tokenizer
        if kind == "words":
            raise InputError(f"the tokenizer words loses the spaces of a text; {cls.name} takes another kind")
        if kind not in KINDS and (Path(kind) / SOURCE_FILE).exists():
            return TokenizerPair.load(kind)
        sources, targets = ([pair[side] for pair in examples] for side in (0, 1))
        if config.separate_vocabularies:
            source = make_tokenizer(kind, sources, config.vocab_size)
            return TokenizerPair(source, make_tokenizer(kind, targets, config.vocab_size))
        both = make_tokenizer(kind, [*sources, *targets], config.vocab_size)
        return TokenizerPair(both, both)

    @classmethod
    def _make(cls, config: Any, model: Any, tokenizer: Any, *data: Any) -> Self:
        if tokenizer is not None and not isinstance(tokenizer, TokenizerPair):
            tokenizer = TokenizerPair(tokenizer, tokenizer)
        return super()._make(config, model, tokenizer, *data)

    @classmethod
    def fit_config(cls, model: Any, tokenizer: TokenizerPair) -> Any:
        """Return the model's config with the sizes of the tokenizers."""
        return dataclasses.replace(
            model,
            src_vocab_size=vocabulary_size(model.src_vocab_size, tokenizer.source, "src_vocab_size"),
            tgt_vocab_size=vocabulary_size(model.tgt_vocab_size, tokenizer.target, "tgt_vocab_size"),
            pad_id=special_id(tokenizer.source, "pad_id"),
            share_embeddings=model.share_embeddings and tokenizer.source is tokenizer.target,
        )

    @classmethod
    def build(cls, config: Any, model: Any, examples: Sequence[Pair], seed: int, base: Any) -> Any:
        """Return a new model, or the pretrained one."""
        if base is not None and not isinstance(base, Transformer):
            raise InputError(f"{config.pretrained} holds a {type(base).__name__}; this task starts from a Transformer")
        return base or Transformer(model, seed=seed)

    @classmethod
    def load_tokenizer(cls, folder: str | Path) -> TokenizerPair:
        """Return the tokenizers of a folder."""
        return TokenizerPair.load(folder)

    def objective(self, train: TrainConfig) -> Seq2SeqObjective:
        """Return what to train on."""
        examples = self._encoded(self._needs_data())
        valid = self._encoded(self.valid_data) if self.valid_data else []
        return Seq2SeqObjective(self.model, self.tokenizer, examples, valid, train)

    def predict(
        self,
        texts: Sequence[str],
        *,
        beam: BeamConfig | None = None,
        max_new_tokens: int | None = None,
        progress: bool = False,
        **settings: Any,
    ) -> list[dict[str, Any]]:
        """Return for every text the best target and its score (log-probability over length), and others when asked for.

        `settings` are the fields of BeamConfig (num_beams, length_penalty, num_return). `max_new_tokens` is twice the
        source's length and ten more when not given. A source over the context length is cut.
        """
        texts = as_texts(texts)
        beam = beam or make_config(BeamConfig, settings)
        found = search(self.model, self.tokenizer.target, self._sources(texts), beam, max_new_tokens, progress)
        results = []
        for text, hypotheses in zip(texts, found, strict=True):
            targets = [(self._decoded(h.ids), h.score) for h in hypotheses]
            result: dict[str, Any] = {"source": text, "target": targets[0][0], "score": targets[0][1]}
            if beam.num_return > 1:
                result["alternatives"] = [{"target": target, "score": score} for target, score in targets[1:]]
            results.append(result)
        return results

    def translate(self, texts: Sequence[str], **settings: Any) -> list[str]:
        """Return the best target of every text; `settings` as in `predict`."""
        return [result["target"] for result in self.predict(texts, **settings)]

    def evaluate(
        self,
        data: str | Path | Sequence[Pair] | None = None,
        *,
        max_examples: int | None = None,
        num_beams: int | None = None,
        length_penalty: float = 1.0,
    ) -> dict[str, Any]:
        """Return loss and exact match on a file, a list, or the held-out pairs; with sacrebleu installed, BLEU and chrF."""
        if max_examples is not None and max_examples < 1:
            raise InputError(f"max_examples must be at least 1, got {max_examples}")
        pairs = spread(self.examples_of(data), max_examples)
        if num_beams is None:
            num_beams = 1 if self.config.data.startswith(TOY) else BeamConfig.num_beams
        beam = BeamConfig(num_beams=num_beams, length_penalty=length_penalty)
        objective = Seq2SeqObjective(self.model, self.tokenizer, self._encoded(pairs), None, TrainConfig())
        with Workers(num_cores()) as workers:
            figures = objective.measure(objective.sequential(objective.examples), workers)
        predicted = self.translate([source for source, _ in pairs], beam=beam, progress=True)
        references = [target for _, target in pairs]
        same = sum(a == b.strip() for a, b in zip(predicted, references, strict=True))
        scores = {"loss": figures["loss"], "exact_match": same / len(pairs), "count": len(pairs)}
        return scores | self.compare(predicted, references)

    def compare(self, predicted: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        """Return the scores that come from a library, as far as it is installed."""
        if self.config.data.startswith(TOY) or importlib.util.find_spec("sacrebleu") is None:
            return {}
        return bleu(predicted, references)

    def sequences(self, text: str, second: str | None) -> Sequences:
        """Return the tokens of a source and of a target, by default the model's own."""
        target = self.translate([text])[0] if second is None else second
        source, tokens = self._sources([text])[0], self.tokenizer.target
        ids = encode_all(tokens, [target])[0][: self.model.config.max_seq_len - 1]
        seen = np.concatenate([[special_id(tokens, "bos_id")], ids])
        labels = {
            "encoder": [*token_labels(self.tokenizer.source, text)[: len(source) - 1], "<eos>"],
            "decoder": ["<bos>", *token_labels(tokens, target)[: len(ids)]],
        }
        return Sequences((source[None], seen[None]), labels)

    def _decoded(self, ids: list[int]) -> str:
        """Return a target as valid Unicode: bytes may end, or be wrong, in the middle of a character."""
        text = self.tokenizer.target.decode(ids).strip()
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def _sources(self, texts: Sequence[str]) -> list[np.ndarray]:
        tokens, longest = self.tokenizer.source, self.model.config.max_seq_len
        end = [special_id(tokens, "eos_id")]
        return [np.concatenate([ids[: longest - 1], end]) for ids in encode_all(tokens, texts)]

    def _encoded(self, pairs: Sequence[Pair]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the ids of the pairs that fit the context; raises InputError when none does."""
        sources = self._sources([source for source, _ in pairs])
        cut = sum(len(source) == self.model.config.max_seq_len for source in sources)
        targets = encode_all(self.tokenizer.target, [target for _, target in pairs])
        longest = self.model.config.max_seq_len
        fitting = [pair for pair in zip(sources, targets, strict=True) if len(pair[1]) < longest]
        if not fitting:
            raise InputError(f"every target is longer than max_seq_len={longest} tokens")
        if len(fitting) < len(pairs):
            print(f"{len(pairs) - len(fitting)} pairs left out: a target over max_seq_len={longest}", file=sys.stderr)
        if cut:
            print(f"{cut} sources reach max_seq_len={longest} tokens and may be cut", file=sys.stderr)
        return fitting
