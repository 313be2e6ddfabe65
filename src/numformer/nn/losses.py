"""Losses: modules that compare what a model says with what is right, and answer with one number."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Literal

from numformer import ops
from numformer.autograd import Array, ArrayLike, Tensor
from numformer.errors import InputError
from numformer.nn.module import Module
from numformer.ops.loss import IGNORE

Reduction = Literal["mean", "sum"]


class Loss(Module):
    """What all losses share: `backward` answers with the one gradient that the model's own `backward` takes."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        if reduction not in ("mean", "sum"):
            raise InputError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        self.reduction: Reduction = reduction

    def backward(self, grad: ArrayLike = 1.0) -> Array:
        """Return dL/d(first argument of the last call), an array of its shape, for a loss L times `grad`.

        Raises InputError as `Module.backward` does.
        """
        found = super().backward(grad)
        return found[0] if isinstance(found, tuple) else found


class CrossEntropyLoss(Loss):
    """Negative log-likelihood of targets [...] under logits [... V], averaged over the targets that count.

    Targets equal to `ignore_index` do not count; `label_smoothing` is the share of a target that all classes get alike.
    With `weight` [V] a target counts as much as its class weighs, also in what the mean divides by, and with smoothing the
    whole loss of a target does (PyTorch weighs the smoothed share by every class). Raises InputError where it is no vector.
    """

    weight: Tensor | None

    def __init__(
        self,
        ignore_index: int = IGNORE,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
        weight: ArrayLike | None = None,
    ) -> None:
        super().__init__(reduction)
        given: object = ignore_index  # PyTorch has the weights in its place
        if not isinstance(given, numbers.Integral):
            raise InputError(
                f"ignore_index must be a whole number, got {given!r:.60}; class weights are given as weight=…"
            )
        self.register_buffer("weight", weight)
        if self.weight is not None and (self.weight.ndim != 1 or bool((self.weight < 0).any())):
            raise InputError(f"weight holds a number from 0 up for each class, got {self.weight!r:.80}")
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, logits: Array, targets: ArrayLike) -> Tensor:
        """Return the loss [] of logits [... V] for integer targets [...], such as [B T V] and [B T]."""
        if logits.ndim != 2:
            targets = targets if isinstance(targets, Array) else Tensor(targets)
            if targets.shape != logits.shape[:-1]:
                raise InputError(
                    f"logits of shape {logits.shape} need targets {logits.shape[:-1]}, got {targets.shape}"
                )
            logits, targets = ops.reshape(logits, shape=(-1, logits.shape[-1])), ops.reshape(targets, shape=-1)
        return ops.cross_entropy(
            logits,
            targets,
            class_weights=None if self.weight is None else self._weights_of(logits.shape[-1]),
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
        )

    def _weights_of(self, num_classes: int) -> Array:
        assert self.weight is not None
        if len(self.weight) != num_classes:
            raise InputError(f"weight has {len(self.weight)} numbers, but the logits {num_classes} classes")
        return self.weight.data

    if TYPE_CHECKING:
        __call__ = forward


class MSELoss(Loss):
    """Squared error, averaged over all elements, or their sum."""

    def forward(self, predictions: Array, targets: ArrayLike) -> Tensor:
        """Return the loss [] of predictions [...] for targets [...] of the same shape."""
        return ops.mse(predictions, targets, reduction=self.reduction)

    if TYPE_CHECKING:
        __call__ = forward


class L1Loss(Loss):
    """Absolute error, averaged over all elements, or their sum."""

    def forward(self, predictions: Array, targets: ArrayLike) -> Tensor:
        """Return the loss [] of predictions [...] for targets [...] of the same shape."""
        return ops.l1(predictions, targets, reduction=self.reduction)

    if TYPE_CHECKING:
        __call__ = forward


class BCEWithLogitsLoss(Loss):
    """Negative log-likelihood of yes-or-no answers under logits, averaged over all elements, or their sum."""

    def forward(self, logits: Array, targets: ArrayLike) -> Tensor:
        """Return the loss [] of logits [...] for targets [...] of the same shape, each from 0 (no) to 1 (yes)."""
        return ops.bce_with_logits(logits, targets, reduction=self.reduction)

    if TYPE_CHECKING:
        __call__ = forward
