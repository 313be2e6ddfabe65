"""The small layers: linear, embedding, normalisation, activations, dropout, positions and the loss."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from numformer import ops, random
from numformer.autograd import is_evaluating
from numformer.errors import InputError
from numformer.nn import init
from numformer.nn.module import Module


class Linear(Module):
    """x Wᵀ + b, x [... D] -> [... F]; the weight [F D] is drawn by Glorot's rule, or from N(0, std²)."""

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, std: float | None = None, generator: Any = None
    ) -> None:
        if std is None:
            self.weight = init.xavier_uniform(out_features, in_features, generator)
        else:
            self.weight = init.normal(out_features, in_features, std=std, generator=generator)
        self.bias = init.zeros(out_features) if bias else None

    def forward(self, x: Any) -> Any:
        """Apply the map to the last axis."""
        return ops.linear(x, self.weight) if self.bias is None else ops.linear(x, self.weight, self.bias)


class Embedding(Module):
    """A table of vectors, ids [B T] -> [B T D]; the row `padding_id` is zero and stays zero."""

    def __init__(
        self, vocab_size: int, d_model: int, *, padding_id: int | None = None, std: float = 0.02, generator: Any = None
    ) -> None:
        self.weight = init.normal(vocab_size, d_model, std=std, generator=generator)
        self.padding_id = padding_id
        if padding_id is not None:
            self.weight.data[padding_id] = 0.0

    def forward(self, ids: Any) -> Any:
        """Look the ids up."""
        return ops.embedding(ids, self.weight, padding_id=self.padding_id)


class LayerNorm(Module):
    """Mean 0 and variance 1 over the last axis, then scale and shift, x [... D] -> [... D]."""

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        self.weight, self.bias = init.ones(d_model), init.zeros(d_model)
        self.eps = eps

    def forward(self, x: Any) -> Any:
        """Normalise."""
        return ops.layer_norm(x, self.weight, self.bias, eps=self.eps)


class RMSNorm(Module):
    """Root mean square 1 over the last axis, then scale, x [... D] -> [... D]."""

    def __init__(self, d_model: int, eps: float = 1e-6) -> None:
        self.weight = init.ones(d_model)
        self.eps = eps

    def forward(self, x: Any) -> Any:
        """Normalise."""
        return ops.rms_norm(x, self.weight, eps=self.eps)


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Any:
        """Activate."""
        return ops.relu(x)


class GELU(Module):
    """x Φ(x), exact ("none") or by its tanh formula."""

    def __init__(self, approximate: Literal["none", "tanh"] = "tanh") -> None:
        self.approximate: Literal["none", "tanh"] = approximate

    def forward(self, x: Any) -> Any:
        """Activate."""
        return ops.gelu(x, approximate=self.approximate)


class SiLU(Module):
    """x σ(x)."""

    def forward(self, x: Any) -> Any:
        """Activate."""
        return ops.silu(x)


ACTIVATIONS = {"relu": ReLU, "gelu": lambda: GELU("none"), "gelu_tanh": GELU, "silu": SiLU}


def make_activation(name: str) -> Module:
    """Return the activation of that name; raises InputError for an unknown one."""
    if name not in ACTIVATIONS:
        raise InputError(f"unknown activation {name!r}: choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


class Dropout(Module):
    """Zero elements with probability p while training; do nothing in evaluation.

    Raises InputError unless 0 <= p < 1.
    """

    def __init__(self, p: float = 0.1) -> None:
        if not 0.0 <= p < 1.0:
            raise InputError(f"the dropout probability must be at least 0 and below 1, got {p}")
        self.p = p
        self._stream = random.Stream()

    def reseed(self, *key: int) -> None:
        """Start the layer's own sequence of masks again, from a key."""
        self._stream = random.Stream(*key)

    @property
    def active(self) -> bool:
        """Whether anything is dropped: not in evaluation mode, and not inside `inference()`."""
        return self.training and self.p > 0.0 and not is_evaluating()

    def next_key(self) -> tuple[int, ...]:
        """Return the key of the next mask."""
        return random.next_key(self._stream)

    def forward(self, x: Any) -> Any:
        """Drop."""
        return ops.dropout(x, p=self.p, key=self.next_key()) if self.active else x


def set_dropout(model: Module, p: float) -> None:
    """Give every Dropout of a model the probability p, and say so in the configs that it and its parts have."""
    for _, module in model.named_modules():
        if isinstance(module, Dropout):
            module.p = p
        elif hasattr(module, "config"):
            module.config = dataclasses.replace(module.config, dropout=p)


def reseed_dropout(model: Module, seed: int) -> None:
    """Give every dropout of a model its own sequence of masks, from the model's seed."""
    for site, dropout in enumerate(m for _, m in model.named_modules() if isinstance(m, Dropout)):
        dropout.reseed(seed, site)


class PositionalEncoding(Module):
    """Add the sinusoidal table of Vaswani et al. 2017 to x [B T D], then drop out.

    Raises InputError when T is over `max_seq_len`.
    """

    def __init__(self, d_model: int, max_seq_len: int = 512, dropout: float = 0.0) -> None:
        self.table = ops.sinusoidal_positions(max_seq_len, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Any, positions: Any = None) -> Any:
        """Add the rows of positions 0..T-1, or of these [B T]."""
        _check_length(x.shape[1], len(self.table))
        table = self.table[: x.shape[1]] if positions is None else self.table[positions]
        return self.dropout(x + table.astype(x.dtype))


class LearnedPositions(Module):
    """Add a learned vector per position to x [B T D], then drop out; raises InputError when T is over `max_seq_len`."""

    def __init__(
        self, max_seq_len: int, d_model: int, dropout: float = 0.0, *, std: float = 0.02, generator: Any = None
    ) -> None:
        self.weight = init.normal(max_seq_len, d_model, std=std, generator=generator)
        self.dropout = Dropout(dropout)

    def forward(self, x: Any, positions: Any = None) -> Any:
        """Add the vectors of positions 0..T-1, or of these [B T]."""
        _check_length(x.shape[1], len(self.weight))
        added = self.weight[: x.shape[1]] if positions is None else ops.embedding(positions, self.weight)
        return self.dropout(x + added)


class CrossEntropyLoss(Module):
    """Negative log-likelihood of targets [N] under logits [N V], averaged over the targets that count."""

    def __init__(
        self,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        self.reduction: Literal["mean", "sum"] = reduction

    def forward(self, logits: Any, targets: Any) -> Any:
        """Compare."""
        return ops.cross_entropy(
            logits,
            targets,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
        )


def _check_length(length: int, longest: int) -> None:
    if length > longest:
        raise InputError(f"a sequence of {length} positions does not fit max_seq_len={longest}")
