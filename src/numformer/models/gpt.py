"""GPT: a decoder-only Transformer with the layout and the weight names of GPT-2."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from numformer import ops, random
from numformer.errors import InputError
from numformer.models.config import GPTConfig
from numformer.nn.attention import attend
from numformer.nn.layers import Dropout, Embedding, LayerNorm, Linear, make_activation, reseed_dropout
from numformer.nn.module import Module
from numformer.nn.stack import Stack


class GPT(Module):
    """Predict the next token at every position, tokens [B T] -> logits [B T V].

    Takes a GPTConfig or its fields as keywords: `GPT(vocab_size=65, d_model=128, num_heads=4, num_layers=3)`.
    The head shares its weight with the token embedding.
    """

    config_class: ClassVar[type[GPTConfig]] = GPTConfig

    def __init__(self, config: GPTConfig | None = None, *, seed: int = 0, **settings: Any) -> None:
        if config is not None and settings:
            raise InputError(f"GPT takes a GPTConfig or its fields, not both; got a config and {', '.join(settings)}")
        self.config = config or GPTConfig(**settings)
        self.transformer = GPTBackbone(self.config, random.generator(seed))
        reseed_dropout(self, seed)

    @property
    def backbone(self) -> GPTBackbone:
        """The model without its head."""
        return self.transformer

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        return self.config.to_disk() | {"architectures": ["GPT2LMHeadModel"]}

    def forward(self, tokens: Any, cache: Any = None, last: Any = None) -> Any:
        """Return logits [B T V], or [B 1 V] at the positions `last` [B] only.

        With a `KVCache` the tokens continue those already in it.
        """
        x = self.transformer(tokens, cache=cache)
        if last is not None:
            x = ops.index(x, key=(range(len(x)), last))[:, None]
        return ops.linear(x, self.transformer.wte.weight)

    def generate(self, prompts: Any, max_new_tokens: int = 100, **settings: Any) -> list[Any]:
        """Continue token prompts; see `numformer.generation.generate` for the settings and what is returned."""
        from numformer.generation import generate

        return generate(self, prompts, max_new_tokens, **settings)


class GPTBackbone(Module):
    """Embeddings, blocks and the final LayerNorm, tokens [B T] -> [B T D]."""

    name: ClassVar[str] = "transformer"

    def __init__(self, config: GPTConfig, generator: Any) -> None:
        config.check_vocabulary()
        self.config = config
        self.wte = Embedding(config.vocab_size, config.d_model, generator=generator)
        self.wpe = Embedding(config.max_seq_len, config.d_model, generator=generator)
        self.drop = Dropout(config.dropout)
        self.h = Stack(Block(config, generator) for _ in range(config.num_layers))
        self.ln_f = LayerNorm(config.d_model, config.layer_norm_eps)

    def forward(self, tokens: Any, mask: Any = None, cache: Any = None) -> Any:
        """Embed and transform; `mask` [B T] is False at padding. Raises InputError when T is over the context length."""
        tokens = ops.as_ids(tokens)
        length, longest = tokens.shape[1], len(self.wpe.weight)
        if length > longest:
            raise InputError(f"a sequence of {length} tokens does not fit max_seq_len={longest}")
        positions = self.wpe.weight[:length] if cache is None else self.wpe(cache.positions(length))
        x = self.drop(self.wte(tokens) + positions)
        x = self.h(x, cache=cache, mask=None if mask is None else ops.key_mask(mask))
        if cache is not None:
            cache.advance(length)
        return self.ln_f(x)


class Block(Module):
    """Pre-norm attention and feed-forward, x [B T D] -> [B T D]."""

    def __init__(self, config: GPTConfig, generator: Any) -> None:
        self.ln_1 = LayerNorm(config.d_model, config.layer_norm_eps)
        self.attn = CausalSelfAttention(config, generator)
        self.ln_2 = LayerNorm(config.d_model, config.layer_norm_eps)
        self.mlp = MLP(config, generator)

    def forward(self, x: Any, mask: Any = None, cache: Any = None) -> Any:
        """Transform; `cache` is this layer's part of a KVCache."""
        x = x + self.attn(self.ln_1(x), mask, cache)
        return x + self.mlp(self.ln_2(x))


class CausalSelfAttention(Module):
    """Queries, keys and values from one product; each position sees itself and what came before."""

    points: ClassVar[tuple[str, ...]] = ("heads",)
    points_on_request: ClassVar[tuple[str, ...]] = ("weights",)

    def __init__(self, config: GPTConfig, generator: Any) -> None:
        self.num_heads = config.num_heads
        self.c_attn = Linear(config.d_model, 3 * config.d_model, std=0.02, generator=generator)
        self.c_proj = Linear(config.d_model, config.d_model, std=_residual_std(config), generator=generator)
        self.attn_dropout = Dropout(config.dropout)
        self.resid_dropout = Dropout(config.dropout)

    def forward(self, x: Any, mask: Any = None, cache: Any = None) -> Any:
        """Attend, x [B T D] -> [B T D]."""
        q, k, v = (ops.split_heads(part, num_heads=self.num_heads) for part in ops.split(self.c_attn(x), sections=3))
        causal = True
        if cache is not None:
            k, v, mask = cache.extend(k, v)
            causal = mask is None
        y, _ = attend(self, q, k, v, mask, dropout=self.attn_dropout, causal=causal)
        return self.resid_dropout(self.c_proj(ops.merge_heads(y)))


class MLP(Module):
    """The feed-forward network."""

    def __init__(self, config: GPTConfig, generator: Any) -> None:
        self.c_fc = Linear(config.d_model, config.ff_width, std=0.02, generator=generator)
        self.c_proj = Linear(config.ff_width, config.d_model, std=_residual_std(config), generator=generator)
        self.act = make_activation(config.activation)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Any) -> Any:
        """Widen, activate, narrow."""
        return self.dropout(self.c_proj(self.act(self.c_fc(x))))


def _residual_std(config: GPTConfig) -> float:
    """Two branches a layer add up on the residual stream; this keeps its variance independent of depth."""
    return 0.02 / math.sqrt(2 * config.num_layers)
