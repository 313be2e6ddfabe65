"""Heads: what turns a backbone (Bert, or GPT without its own head) into a model for a task; any head fits any backbone.

`SequenceClassifier(backbone, labels)` puts a new head on a backbone, be it new, loaded, or that of another model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from numformer import ops, random
from numformer.errors import InputError
from numformer.models.bert import STD, Bert, BertPooler, BertPredictions
from numformer.nn.layers import Dropout, Linear, reseed_dropout
from numformer.nn.module import Module

ARCHITECTURES = {"bert": "Bert", "gpt2": "GPT2"}  # how Hugging Face begins the names of classes


class Headed(Module):
    """A backbone under its Hugging Face name, to be followed by a head."""

    suffix: ClassVar[str]  # how Hugging Face ends the name of the class
    may_pool: ClassVar[bool] = False

    def __init__(self, backbone: Any) -> None:
        if isinstance(backbone, Bert) and not self.may_pool:
            backbone.pooler = None  # left by another head, it would be saved and not be known when loaded
        self._backbone_name = backbone.name
        setattr(self, backbone.name, backbone)
        self.config = backbone.config

    @property
    def backbone(self) -> Any:
        """The model without its head."""
        return getattr(self, self._backbone_name)

    def encode(self, tokens: Any, mask: Any, segments: Any = None) -> Any:
        """Return the backbone's output [B T D]; a GPT knows no segments."""
        if segments is None or not isinstance(self.backbone, Bert):
            return self.backbone(tokens, mask)
        return self.backbone(tokens, mask, segments)

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        return self.config.to_disk() | {"architectures": [ARCHITECTURES[self.config.model_type] + self.suffix]}


class MaskedLM(Headed):
    """Predict the tokens that were masked, tokens [B T] -> logits [B T V]; the head shares the embedding's weight."""

    suffix = "ForMaskedLM"

    def __init__(self, backbone: Bert, *, seed: int = 0) -> None:
        super().__init__(backbone)
        self.cls = _Predictions(BertPredictions(backbone.config, random.generator(seed, 1)))
        reseed_dropout(self, seed)

    def forward(self, tokens: Any, mask: Any = None, where: Any = None) -> Any:
        """Score the vocabulary at every position; `mask` [B T] is False at padding.

        With `where`, a boolean array [B T], the logits [N V] of those N positions alone, which saves most of the time
        that goes into a large vocabulary.
        """
        x = self.encode(tokens, mask)
        if where is not None:
            x = ops.index(x, key=where.nonzero())
        return self.cls.predictions(x, self.backbone.embeddings.word_embeddings.weight)


class _Predictions(Module):
    """The level that BERT's names have above the head."""

    def __init__(self, predictions: BertPredictions) -> None:
        self.predictions = predictions


class Labelled(Headed):
    """A head with one output per label."""

    def __init__(self, backbone: Any, labels: Sequence[str] | int, name: str, *, bias: bool = True, seed: int) -> None:
        super().__init__(backbone)
        self.labels = [f"LABEL_{i}" for i in range(labels)] if isinstance(labels, int) else list(labels)
        if not self.labels:
            raise InputError("a classifier needs at least one label, got none")
        self._head_name = name
        self.dropout = Dropout(self.config.dropout)
        generator = random.generator(seed, 1)
        setattr(self, name, Linear(self.config.d_model, len(self.labels), bias, std=STD, generator=generator))
        reseed_dropout(self, seed)

    @property
    def head(self) -> Linear:
        """The output layer."""
        return getattr(self, self._head_name)

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        names = {str(number): label for number, label in enumerate(self.labels)}
        return super().to_disk() | {"id2label": names, "label2id": {label: int(i) for i, label in names.items()}}


class SequenceClassifier(Labelled):
    """Give a text one of the labels, tokens [B T] -> logits [B C].

    `pooling` makes one vector of the positions: "mean" of the real ones, or "first": with BERT's pooler on the first
    token, and on a GPT, which sees only what came before, the last real token, as their Hugging Face classes do.
    """

    suffix = "ForSequenceClassification"
    may_pool = True

    def __init__(
        self,
        backbone: Any,
        labels: Sequence[str] | int = 2,
        *,
        pooling: Literal["mean", "first"] = "mean",
        seed: int = 0,
    ) -> None:
        if pooling not in ("mean", "first"):
            raise InputError(f"unknown pooling {pooling!r}: choose mean or first")
        is_bert = isinstance(backbone, Bert)
        super().__init__(backbone, labels, "classifier" if is_bert else "score", bias=is_bert, seed=seed)
        self.pooling: Literal["mean", "first"] = pooling
        if is_bert and pooling == "mean":
            backbone.pooler = None
        elif is_bert and backbone.pooler is None:
            backbone.pooler = BertPooler(backbone.config, random.generator(seed, 2))

    def forward(self, tokens: Any, mask: Any = None) -> Any:
        """Score the labels; `mask` [B T] is False at padding."""
        mask = None if mask is None else ops.key_mask(mask)[:, 0, 0]
        x = self.encode(tokens, mask)
        if self.pooling == "mean":
            pooled = x.mean(axis=1) if mask is None else ops.masked_mean(x, mask)
        elif isinstance(self.backbone, Bert):
            pooled = self.backbone.pooler(x)
        else:
            pooled = ops.index(x, key=(range(len(x)), -1 if mask is None else ops.last_true(mask)))
        return self.head(self.dropout(pooled))

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json; mean pooling has a class name of its own."""
        keys = super().to_disk()
        if self.pooling == "mean":
            keys["architectures"] = [f"Mean{keys['architectures'][0]}"]
        return keys


class TokenClassifier(Labelled):
    """Give every token one of the labels, tokens [B T] -> logits [B T C]."""

    suffix = "ForTokenClassification"

    def __init__(self, backbone: Any, labels: Sequence[str] | int = 2, *, seed: int = 0) -> None:
        super().__init__(backbone, labels, "classifier", seed=seed)

    def forward(self, tokens: Any, mask: Any = None) -> Any:
        """Score the labels of every token; `mask` [B T] is False at padding."""
        return self.head(self.dropout(self.encode(tokens, mask)))


class SpanClassifier(Headed):
    """Score every position as the start and as the end of an answer, tokens [B T] -> logits [B 2 T]."""

    suffix = "ForQuestionAnswering"

    def __init__(self, backbone: Any, *, seed: int = 0) -> None:
        super().__init__(backbone)
        self.qa_outputs = Linear(self.config.d_model, 2, std=STD, generator=random.generator(seed, 1))
        reseed_dropout(self, seed)

    def forward(self, tokens: Any, mask: Any = None, segments: Any = None) -> Any:
        """Score; `mask` [B T] is False at padding, where the scores are very low."""
        logits = self.qa_outputs(self.encode(tokens, mask, segments)).transpose(0, 2, 1)
        return logits if mask is None else ops.where(ops.key_mask(mask)[:, 0], logits, -1e9)
