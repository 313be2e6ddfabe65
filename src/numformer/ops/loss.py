"""The losses, each one number: a sum over what counts, or the mean of it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from numformer.autograd import Gradients, Need, Result, op
from numformer.autograd.storage import load, save
from numformer.errors import InputError
from numformer.ops.activation import sigmoid
from numformer.ops.arithmetic import as_float

IGNORE = -100  # a target that does not count, unless another number is said


@op
def cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    *,
    class_weights: np.ndarray | None = None,
    ignore_index: int = IGNORE,
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
    check_cross_entropy(reduction, label_smoothing)
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


@op
def mse(
    predictions: np.ndarray, targets: np.ndarray, *, reduction: Literal["mean", "sum"] = "mean", need: Need
) -> Result:
    """Squared error Σ (y - t)² over all elements, or its mean (Gauss 1809).

    predictions [...], targets [...] -> []
    predictions [...], targets [...] -> [] with reduction="sum"

    Raises InputError when the two have different shapes, which NumPy would repeat against each other.
    """
    y, t = _pair("mse", predictions, targets)
    difference = y - t
    scale = _scale("mse", reduction, y.size)
    kept = save(difference, need)

    def vjp(dloss: np.ndarray) -> Gradients:
        dpredictions = load(kept) * (dloss * (2.0 * scale))  # the slope of a square, 2 (y - t)
        return dpredictions, -dpredictions if need[1] else None  # t stands beside y with the other sign

    return np.vdot(difference, difference) * scale, vjp


@op
def l1(
    predictions: np.ndarray, targets: np.ndarray, *, reduction: Literal["mean", "sum"] = "mean", need: Need
) -> Result:
    """Absolute error Σ |y - t| over all elements, or its mean (Laplace 1774); the derivative at y = t is 0.

    predictions [...], targets [...] -> []
    predictions [...], targets [...] -> [] with reduction="sum"

    Raises InputError when the two have different shapes, which NumPy would repeat against each other.
    """
    y, t = _pair("l1", predictions, targets)
    difference = y - t
    scale = _scale("l1", reduction, y.size)
    kept = save(difference, need)

    def vjp(dloss: np.ndarray) -> Gradients:
        dpredictions = np.sign(load(kept)) * (dloss * scale)  # the slope of |y - t|, 1 above t and -1 below
        return dpredictions, -dpredictions if need[1] else None  # t stands beside y with the other sign

    return np.abs(difference).sum() * scale, vjp


@op
def bce_with_logits(
    logits: np.ndarray, targets: np.ndarray, *, reduction: Literal["mean", "sum"] = "mean", need: Need
) -> Result:
    """Negative log-likelihood of yes-or-no answers t from 0 to 1 under the probabilities σ(x), summed or averaged.

    logits [...], targets [...] -> []
    logits [...], targets [...] -> [] with reduction="sum"

    -t log σ(x) - (1 - t) log(1 - σ(x)) = log(1 + eˣ) - x t, written max(x, 0) - x t + log(1 + e^-|x|) so that nothing
    overflows. It is the cross-entropy of two classes with the logits x and 0 (Good 1952).
    Raises InputError when the two have different shapes, which NumPy would repeat against each other.
    """
    x, t = _pair("bce_with_logits", logits, targets)
    scale = _scale("bce_with_logits", reduction, x.size)
    losses = np.maximum(x, 0.0) - x * t + np.log1p(np.exp(-np.abs(x)))
    kept = save(sigmoid(x) - t, need) if any(need) else None
    kept_x = save(x, need) if need[1] else None

    def vjp(dloss: np.ndarray) -> Gradients:
        share = dloss * scale
        dlogits = load(kept) * share  # σ(x), the slope of log(1 + eˣ), less t
        return dlogits, load(kept_x) * -share if need[1] else None  # -x: the targets enter through -x t alone

    return losses.sum() * scale, vjp


def _pair(name: str, values: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both in the dtype of the values; raises InputError unless they have one shape."""
    check_pair(name, values, targets)
    values = as_float(np.asarray(values))
    return values, np.asarray(targets, values.dtype)


def _scale(name: str, reduction: str, count: int) -> float:
    """Return what the sum over all elements is multiplied by; the mean of none is 0."""
    check_reduction(name, reduction)
    return 1.0 / max(1, count) if reduction == "mean" else 1.0


def check_pair(name: str, values: Any, targets: Any) -> None:
    """Raise InputError unless values and targets, of any kind of array, have one shape."""
    if np.shape(values) != np.shape(targets):
        raise InputError(
            f"{name}: the targets have shape {np.shape(targets)}, but what they are for {np.shape(values)}"
        )


def check_cross_entropy(reduction: str, label_smoothing: float) -> None:
    """Raise InputError for settings of a cross-entropy that are out of range."""
    check_reduction("cross_entropy", reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise InputError(f"cross_entropy: label_smoothing must be from 0 to 1, got {label_smoothing}")


def check_reduction(name: str, reduction: str) -> None:
    """Raise InputError for another reduction of a loss than there are."""
    if reduction not in ("mean", "sum"):
        raise InputError(f"{name}: reduction must be mean or sum, got {reduction!r}")
