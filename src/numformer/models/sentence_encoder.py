"""A vector for a whole text, as the sentence encoders of Reimers and Gurevych 2019 (arXiv:1908.10084) make it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from numformer import ops
from numformer.autograd import ArrayLike, Tensor
from numformer.errors import InputError
from numformer.models.backbone import Backbone
from numformer.models.heads import Headed, head_for
from numformer.nn.transformer import reseed_dropout

Vectors = Literal["mean", "cls", "max"]


@head_for("embed")
class SentenceEncoder(Headed):
    """Turn texts into vectors, tokens [B T] -> [B D]; nothing of it is drawn or trained besides the backbone.

    `vector` says what stands for the text: the mean of its positions, the first one, or the largest value of each number
    over all positions. With `normalize` it has length 1. `max_seq_len` is how many tokens a text is cut to, as many as the
    backbone sees when not given. Raises InputError for another `vector`, and for a length that the backbone does not see.
    """

    suffix = "Model"

    def __init__(
        self,
        backbone: Backbone,
        *,
        vector: Vectors = "mean",
        normalize: bool = False,
        max_seq_len: int | None = None,
        seed: int = 0,
    ) -> None:
        if vector not in get_args(Vectors):
            raise InputError(f"unknown vector {vector!r}: choose {', '.join(get_args(Vectors))}")
        longest = backbone.config.max_seq_len
        if max_seq_len is not None and not (type(max_seq_len) is int and 1 <= max_seq_len <= longest):
            raise InputError(f"max_seq_len must be a whole number from 1 to {longest}, got {max_seq_len!r}")
        super().__init__(backbone, seed=seed)
        self.vector, self.normalize, self.max_seq_len = vector, normalize, max_seq_len or longest
        reseed_dropout(self, seed)

    @property
    def head_parts(self) -> tuple[str, ...]:
        """None: there is no head."""
        return ()

    @classmethod
    def fits(cls, model: type[Any]) -> bool:
        """Tell whether a model of a class looks both ways."""
        return super().fits(model) and bool(model.looks_ahead)

    def forward(self, tokens: ArrayLike, mask: ArrayLike | None = None, segments: ArrayLike | None = None) -> Tensor:
        """Return a vector for each text; `mask` [B T] is False at padding."""
        real = None if mask is None else ops.key_mask(mask)[:, 0, 0]
        x = self._pooled(self.encode(tokens, real, segments), real)
        return x / ((x * x).sum(axis=-1, keepdims=True) + 1e-24) ** 0.5 if self.normalize else x

    if TYPE_CHECKING:
        __call__ = forward

    def _pooled(self, x: Tensor, real: Any) -> Tensor:
        if self.vector == "cls":
            return x[:, 0]
        if self.vector == "max":
            return ops.max(x if real is None else ops.where(real[..., None], x, -1e9), axis=1)
        return x.mean(axis=1) if real is None else ops.masked_mean(x, real)
