"""What decoder-only models with rotary positions have in common: everything but the layers."""

from __future__ import annotations

from typing import Any, ClassVar

from numformer import ops, random
from numformer.autograd import ArrayLike, Tensor, namespace_of
from numformer.errors import InputError
from numformer.models.backbone import CausalModel, place
from numformer.nn import init
from numformer.nn.cache import KVCache
from numformer.nn.dropout import Dropout
from numformer.nn.layers import Embedding, Linear, RMSNorm
from numformer.nn.module import Module
from numformer.nn.stack import Stack
from numformer.nn.transformer import Layer, reseed_dropout

STD = 0.02  # of the weights at the start


class Decoder(CausalModel):
    """A token embedding, a stack of causal layers that know positions, a norm and an output layer.

    A subclass names the class of its config and writes `make_layer`. It takes such a config, or the config's fields as
    keywords. Raises InputError for a setting that is unknown or out of range.
    """

    config_class: ClassVar[type[Any]]
    scales_embeddings: ClassVar[bool] = False  # by the root of their width

    def __init__(self, config: Any = None, *, seed: int = 0, **settings: Any) -> None:
        if config is not None and settings:
            model, kind = type(self).__name__, self.config_class.__name__
            raise InputError(f"{model} takes a {kind} or its fields, not both; got a config and {', '.join(settings)}")
        self.config = config = config or self.config_class(**settings)
        config.check_vocabulary()
        with init.undrawn():
            self.token_embedding = Embedding(config.vocab_size, config.d_model, scaled=self.scales_embeddings)
            self.dropout = Dropout(config.dropout)
            self.layers = Stack(self.make_layer(number) for number in range(config.num_layers))
            self.norm = self.make_norm()
            self.output = None if config.tie_embeddings else Linear(config.d_model, config.vocab_size, bias=False)
        init_weights(self, seed)
        reseed_dropout(self, seed)

    def make_layer(self, number: int) -> Layer:
        """Return the layer of that number, from 0."""
        raise TypeError(f"{type(self).__name__} has no make_layer")

    def make_norm(self) -> Module:
        """Return the normalisation after the last layer."""
        return RMSNorm(self.config.d_model, self.config.rms_norm_eps)

    def encode(
        self,
        tokens: ArrayLike,
        mask: ArrayLike | None = None,
        cache: KVCache | None = None,
        *,
        segments: ArrayLike | None = None,
    ) -> Tensor:
        """Return a vector for every token, as CausalModel says, tokens [B T] -> [B T D]."""
        ids = ops.as_ids(tokens)
        positions, mask = place(ids, mask, cache, self.config.max_seq_len, segments)
        if positions is None:
            positions = namespace_of(ids).arange(ids.shape[1])
        x = self.dropout(self.token_embedding(ids))
        x = self.layers(x, mask=mask, causal=True, cache=cache, positions=positions)
        if cache is not None:
            cache.advance(ids.shape[1])
        return self.norm(x)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of the next token, x [B T D] -> [B T V]."""
        if self.config.tie_embeddings:
            return ops.linear(x, self.token_embedding.weight)
        if self.output is None:
            name = type(self).__name__
            raise InputError(f"this {name} has no output layer any more: it is the backbone of another model's head")
        return self.output(x)

    def prepare_for_head(self, *, summarises: bool, seed: int) -> None:
        """Drop the output layer, which only the model on its own has."""
        self.output = None


def init_weights(model: Decoder, seed: int) -> None:
    """Draw every matrix from N(0, 0.02²)."""
    generator = random.generator(seed)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            init.draw_normal(parameter, STD, generator)
