"""The losses, each one number."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from numformer import ops
from numformer.jax.precision import wide
from numformer.ops.loss import IGNORE, check_cross_entropy, check_pair, check_reduction


@ops.cross_entropy.jax
def _(
    logits: Any,
    targets: Any,
    *,
    class_weights: Any = None,
    ignore_index: int = IGNORE,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Any:
    check_cross_entropy(reduction, label_smoothing)
    real = targets != ignore_index
    safe, log_p = jnp.where(real, targets, 0), jax.nn.log_softmax(wide(logits))
    losses = -(1.0 - label_smoothing) * jnp.take_along_axis(log_p, safe[:, None], axis=1, mode="fill")[:, 0]
    losses -= label_smoothing * log_p.mean(axis=-1)
    shares = real.astype(log_p.dtype) * (
        1.0 if class_weights is None else jnp.asarray(class_weights, log_p.dtype)[safe]
    )
    loss, total = jnp.where(real, losses * shares, 0.0).sum(), shares.sum()
    return loss / jnp.where(total == 0.0, 1.0, total) if reduction == "mean" else loss


@ops.mse.jax
def _(predictions: Any, targets: Any, *, reduction: str = "mean") -> Any:
    check_pair("mse", predictions, targets)
    return _reduced("mse", jnp.square(predictions - targets), reduction)


@ops.l1.jax
def _(predictions: Any, targets: Any, *, reduction: str = "mean") -> Any:
    check_pair("l1", predictions, targets)
    return _reduced("l1", jnp.abs(predictions - targets), reduction)


@ops.bce_with_logits.jax
def _(logits: Any, targets: Any, *, reduction: str = "mean") -> Any:
    check_pair("bce_with_logits", logits, targets)
    return _reduced("bce_with_logits", jax.nn.softplus(logits) - logits * targets, reduction)


def _reduced(name: str, losses: Any, reduction: str) -> Any:
    check_reduction(name, reduction)
    return losses.sum() / (max(1, losses.size) if reduction == "mean" else 1)
