"""Heads: what turns a backbone (any model that gives a vector per token) into a model for a task.

`SequenceClassifier(backbone, labels)` puts a new head on a backbone, be it new, loaded, or that of another model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from numformer import ops, random
from numformer.autograd import Array, ArrayLike, Tensor, namespace_of
from numformer.errors import InputError
from numformer.models.backbone import Backbone
from numformer.nn import init
from numformer.nn.activations import make_activation
from numformer.nn.dropout import Dropout
from numformer.nn.layers import LayerNorm, Linear
from numformer.nn.module import Module
from numformer.nn.transformer import reseed_dropout

STD = 0.02  # of a new output layer

Made = TypeVar("Made", bound="type[Headed]")
HEADS: dict[str, type[Headed]] = {}  # by the task that a model with the head does


def head_for(task: str) -> Callable[[Made], Made]:
    """Make the class below known as the head for a task."""

    def add(head: Made) -> Made:
        head.task = task
        HEADS[task] = head
        return head

    return add


class Headed(Module):
    """A backbone, to be followed by a head."""

    task: ClassVar[str]
    suffix: ClassVar[str]  # how Hugging Face ends the name of the class
    config: Any

    def __init__(self, backbone: Backbone, *, summarises: bool = False, seed: int = 0) -> None:
        backbone.prepare_for_head(summarises=summarises, seed=seed)
        self.backbone = backbone
        self.config = backbone.config

    @classmethod
    def fits(cls, model: type[Any]) -> bool:
        """Tell whether the head can be put on models of a class."""
        return issubclass(model, Backbone)

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of config.json that say more than the shape and the name of the class."""
        return {}

    @property
    def head_parts(self) -> tuple[str, ...]:
        """The names of the modules that a task puts on a trained backbone: the head, and the layer that makes summaries."""
        has_pooler = getattr(self.backbone, "pooler", None) is not None
        return ("head", "backbone.pooler") if has_pooler else ("head",)

    def encode(self, tokens: ArrayLike, mask: ArrayLike | None, segments: ArrayLike | None) -> Tensor:
        """Return the backbone's vectors, tokens [B T] -> [B T D]; a model without segments ignores them."""
        if segments is None or not self.backbone.takes_segments:
            return self.backbone.encode(tokens, mask)
        takes_segments: Any = self.backbone
        encoded: Tensor = takes_segments.encode(tokens, mask, segments=segments)
        return encoded


@head_for("mlm")
class MaskedLM(Headed):
    """Predict the tokens that were masked, tokens [B T] -> logits [B T V]; the head shares the embedding's weight."""

    suffix = "ForMaskedLM"

    def __init__(self, backbone: Backbone, *, seed: int = 0) -> None:
        super().__init__(backbone, seed=seed)
        self.head = MaskedLMHead(backbone.config, seed)
        reseed_dropout(self, seed)

    @property
    def head_parts(self) -> tuple[str, ...]:
        """None: the head was trained with the backbone."""
        return ()

    @classmethod
    def fits(cls, model: type[Any]) -> bool:
        """Tell whether a model of a class looks both ways: another would read what it has to guess."""
        return super().fits(model) and bool(model.looks_ahead)

    def forward(
        self,
        tokens: ArrayLike,
        mask: ArrayLike | None = None,
        where: ArrayLike | None = None,
        segments: ArrayLike | None = None,
    ) -> Tensor:
        """Score the vocabulary at every position; `mask` [B T] is False at padding, `segments` [B T] tells two texts apart.

        With `where`, a boolean array [B T], the logits [N V] of those N positions alone, which saves most of the time
        that goes into a large vocabulary.
        """
        x = self.encode(tokens, mask, segments)
        if where is not None:
            xp = namespace_of(where)
            x = ops.index(x, key=xp.nonzero(xp.asarray(where)))
        return self.head(x, self.backbone.token_table)

    if TYPE_CHECKING:
        __call__ = forward


class MaskedLMHead(Module):
    """A layer between the encoder and the output, x [B T D] and the embedding table [V D] -> logits [B T V]."""

    def __init__(self, config: Any, seed: int) -> None:
        self.dense = Linear(config.d_model, config.d_model, generator=random.generator(seed, 1))
        self.activation = make_activation(config.head_activation)
        self.norm = LayerNorm(config.d_model, config.layer_norm_eps)
        self.bias = init.zeros(config.vocab_size)

    def forward(self, x: Array, table: Array) -> Tensor:
        """Score every token of the vocabulary."""
        return ops.linear(self.norm(self.activation(self.dense(x))), table, self.bias)


class Labelled(Headed):
    """A head with one output per label."""

    def __init__(
        self,
        backbone: Backbone,
        labels: Sequence[str] | int,
        *,
        bias: bool = True,
        summarises: bool = False,
        seed: int,
    ) -> None:
        names = [f"LABEL_{i}" for i in range(labels)] if isinstance(labels, int) else list(labels)
        if not names:  # said before the backbone is changed
            raise InputError("a classifier needs at least one label, got none")
        if len(set(names)) < len(names):
            raise InputError(f"each label is given once, got {names!r}")
        super().__init__(backbone, summarises=summarises, seed=seed)
        self.labels = names
        self.dropout = Dropout(self.config.dropout)
        self.head = Linear(self.config.d_model, len(self.labels), bias, std=STD, generator=random.generator(seed, 1))
        reseed_dropout(self, seed)

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of config.json that name the labels."""
        names = {str(number): label for number, label in enumerate(self.labels)}
        return {"id2label": names, "label2id": {label: int(i) for i, label in names.items()}}


class Pooled(Labelled):
    """A head on one vector for the whole text, tokens [B T] -> [B C].

    `pooling` makes it of the positions: "mean" of the real ones, or "first": the first token, passed through the pooler, of a
    model that looks both ways, and the last real token of one that sees only what came before.
    """

    suffix = "ForSequenceClassification"

    def __init__(
        self, backbone: Backbone, labels: Sequence[str] | int, *, pooling: Literal["mean", "first"], seed: int
    ) -> None:
        if pooling not in ("mean", "first"):
            raise InputError(f"unknown pooling {pooling!r}: choose mean or first")
        super().__init__(backbone, labels, bias=backbone.looks_ahead, summarises=pooling == "first", seed=seed)
        self.pooling: Literal["mean", "first"] = pooling

    def forward(self, tokens: ArrayLike, mask: ArrayLike | None = None, segments: ArrayLike | None = None) -> Tensor:
        """Score the text, or a pair of texts whose `segments` [B T] are 0 and 1; `mask` [B T] is False at padding."""
        mask = None if mask is None else ops.key_mask(mask)[:, 0, 0]
        x = self.encode(tokens, mask, segments)
        if self.pooling == "first":
            pooled = self.backbone.summary(x, mask)
        else:
            pooled = x.mean(axis=1) if mask is None else ops.masked_mean(x, mask)
        return self.head(self.dropout(pooled))

    if TYPE_CHECKING:
        __call__ = forward


@head_for("classify")
class SequenceClassifier(Pooled):
    """Give a text one of the labels, tokens [B T] -> logits [B C]; Pooled says what `pooling` is."""

    def __init__(
        self,
        backbone: Backbone,
        labels: Sequence[str] | int = 2,
        *,
        pooling: Literal["mean", "first"] = "mean",
        seed: int = 0,
    ) -> None:
        super().__init__(backbone, labels, pooling=pooling, seed=seed)


@head_for("regress")
class SequenceRegressor(Pooled):
    """Give a text a number, tokens [B T] -> [B 1]; `mean + std * output` is the number in the units of the data.

    Raises InputError for a mean or a deviation that is not finite, and for a deviation that is not above 0.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        mean: float = 0.0,
        std: float = 1.0,
        pooling: Literal["mean", "first"] = "mean",
        seed: int = 0,
    ) -> None:
        if not (math.isfinite(mean) and 0.0 < std < math.inf):
            raise InputError(f"a regressor needs a finite mean and a finite std above 0, got mean={mean} and std={std}")
        super().__init__(backbone, 1, pooling=pooling, seed=seed)
        self.mean, self.std = mean, std

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of config.json by which Hugging Face knows a regression, and those that lead back to the units."""
        return super().to_disk() | {"problem_type": "regression", "target_mean": self.mean, "target_std": self.std}


@head_for("tag")
class TokenClassifier(Labelled):
    """Give every token one of the labels, tokens [B T] -> logits [B T C]."""

    suffix = "ForTokenClassification"

    def __init__(self, backbone: Backbone, labels: Sequence[str] | int = 2, *, seed: int = 0) -> None:
        super().__init__(backbone, labels, seed=seed)

    def forward(self, tokens: ArrayLike, mask: ArrayLike | None = None, segments: ArrayLike | None = None) -> Tensor:
        """Score the labels of every token; `mask` [B T] is False at padding, `segments` [B T] tells two texts apart."""
        return self.head(self.dropout(self.encode(tokens, mask, segments)))

    if TYPE_CHECKING:
        __call__ = forward


@head_for("qa")
class SpanClassifier(Headed):
    """Score every position as the start and as the end of an answer, tokens [B T] -> logits [B 2 T]."""

    suffix = "ForQuestionAnswering"

    def __init__(self, backbone: Backbone, *, seed: int = 0) -> None:
        super().__init__(backbone, seed=seed)
        self.head = Linear(self.config.d_model, 2, std=STD, generator=random.generator(seed, 1))
        reseed_dropout(self, seed)

    def forward(self, tokens: ArrayLike, mask: ArrayLike | None = None, segments: ArrayLike | None = None) -> Tensor:
        """Score; `mask` [B T] is False at padding, where the scores are very low; a model without segments ignores them."""
        logits = self.head(self.encode(tokens, mask, segments)).transpose(0, 2, 1)
        return logits if mask is None else ops.where(ops.key_mask(mask)[:, 0], logits, -1e9)

    if TYPE_CHECKING:
        __call__ = forward
