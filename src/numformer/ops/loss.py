"""The loss."""

from __future__ import annotations

from typing import Literal

import numpy as np

from numformer.autograd import Gradients, Need, Result, op
from numformer.autograd.storage import load, save
from numformer.errors import InputError
from numformer.ops.basic import as_float


@op
def cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    *,
    class_weights: np.ndarray | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum"] = "mean",
    need: Need,
) -> Result:
    """Negative log-likelihood of the targets under softmax(logits), over the tokens that count.

    logits [N V], targets [N] < V -> []

    Targets equal to `ignore_index` do not count; if none counts the loss is 0. With `class_weights` [V] a target counts as
    much as its class weighs, in the sum and in what a mean divides by. With smoothing ε the target distribution is (1 - ε)
    on the target plus ε/V everywhere (Szegedy et al. 2016, arXiv:1512.00567). The gradient of the logits is softmax(logits)
    minus that distribution. Raises InputError for a target outside 0..V-1.
    """
    if reduction not in ("mean", "sum"):
        raise InputError(f"cross_entropy: reduction must be mean or sum, got {reduction!r}")
    if not 0.0 <= label_smoothing <= 1.0:
        raise InputError(f"cross_entropy: label_smoothing must be from 0 to 1, got {label_smoothing}")
    logits = as_float(logits)
    num_classes, dtype = logits.shape[1], logits.dtype
    real = targets != ignore_index
    count = int(np.count_nonzero(real))
    safe = np.where(real, targets, 0)
    if safe.size and not (0 <= safe.min() and safe.max() < num_classes):
        raise InputError(
            f"cross_entropy: targets run from {safe.min()} to {safe.max()}, but there are {num_classes} classes"
        )
    at = np.arange(len(targets)), safe
    shifted = logits - logits.max(axis=-1, keepdims=True)  # the largest exponent is 0, so nothing overflows
    target_logit = shifted[at]
    mean_logit = shifted.mean(axis=-1) if label_smoothing else 0.0
    exponentials = np.exp(shifted, out=shifted)
    kept = save(exponentials, need)
    total = exponentials.sum(axis=-1)
    losses = np.log(total) - (1.0 - label_smoothing) * target_logit - label_smoothing * mean_logit
    share_of = real.astype(dtype) if class_weights is None else real * class_weights[safe].astype(dtype)
    total_weight = float(share_of.sum())
    scale = 1.0 / (total_weight or 1.0) if reduction == "mean" else 1.0
    loss = np.dot(losses, share_of) * scale if count else losses.dtype.type(0.0)

    def vjp(dloss: np.ndarray) -> Gradients:
        share = (dloss * scale * share_of).astype(dtype)[:, None]  # what each token contributes to the loss
        dlogits = load(kept) * (share / total[:, None])  # softmax(logits)
        if label_smoothing:
            dlogits -= share * (label_smoothing / num_classes)  # less ε/V, the target distribution everywhere
        dlogits[at] -= share[:, 0] * (1.0 - label_smoothing)  # less 1 - ε at the target
        return dlogits, None

    return loss, vjp if any(need) else None
