"""GPT: a decoder-only Transformer with the layout and the weight names of GPT-2."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from numformer import ops, random
from numformer.errors import InputError
from numformer.models.config import GPTConfig
from numformer.nn.attention import attend
from numformer.nn.layers import Dropout, Embedding, LayerNorm, Linear, make_activation
from numformer.nn.module import Module, ModuleList
from numformer.tape import recompute


class GPT(Module):
    """Predict the next token at every position, tokens [B T] -> logits [B T V].

    Takes a GPTConfig or its fields as keywords: `GPT(vocab_size=65, d_model=128, num_heads=4, num_layers=3)`.
    The head shares its weight with the token embedding.
    """

    config_class: ClassVar[type[GPTConfig]] = GPTConfig
    transposed_on_disk: ClassVar[tuple[str, ...]] = ("c_attn.weight", "c_proj.weight", "c_fc.weight")

    def __init__(self, config: GPTConfig | None = None, *, seed: int = 0, **settings: Any) -> None:
        if config is not None and settings:
            raise InputError(f"GPT takes a GPTConfig or its fields, not both; got a config and {', '.join(settings)}")
        self.config = config or GPTConfig(**settings)
        if self.config.vocab_size < 1:
            raise InputError(f"a GPT needs a vocab_size of at least 1, got {self.config.vocab_size}")
        self.transformer = GPTBackbone(self.config, random.generator(seed))
        for site, dropout in enumerate(m for _, m in self.named_modules() if isinstance(m, Dropout)):
            dropout.reseed(seed, site)

    def forward(self, tokens: Any, cache: Any = None, last: Any = None) -> Any:
        """Return logits [B T V], or [B 1 V] at the positions `last` [B] only.

        With a `KVCache` the tokens continue those already in it.
        """
        x = self.transformer(ops.as_ids(tokens), cache)
        if last is not None:
            x = ops.index(x, key=(range(len(x)), last))[:, None]
        return ops.linear(x, self.transformer.wte.weight)

    def generate(self, prompts: Any, max_new_tokens: int = 100, **settings: Any) -> list[Any]:
        """Continue token prompts; see `numformer.generation.generate` for the settings and what is returned."""
        from numformer.generation import generate

        return generate(self, prompts, max_new_tokens, **settings)


class GPTBackbone(Module):
    """Embeddings, blocks and the final LayerNorm, tokens [B T] -> [B T D]."""

    def __init__(self, config: GPTConfig, generator: Any) -> None:
        self.wte = Embedding(config.vocab_size, config.d_model, generator=generator)
        self.wpe = Embedding(config.max_seq_len, config.d_model, generator=generator)
        self.drop = Dropout(config.dropout)
        self.h = ModuleList(Block(config, generator) for _ in range(config.num_layers))
        self.ln_f = LayerNorm(config.d_model, config.layer_norm_eps)
        self.recompute = False

    def forward(self, tokens: Any, cache: Any = None) -> Any:
        """Embed and transform; raises InputError when T is over the context length."""
        length, longest = tokens.shape[1], len(self.wpe.weight)
        if length > longest:
            raise InputError(f"a sequence of {length} tokens does not fit max_seq_len={longest}")
        positions = self.wpe.weight[:length] if cache is None else self.wpe(cache.positions(length))
        x = self.drop(self.wte(tokens) + positions)
        for number, block in enumerate(self.h):
            if self.recompute and cache is None:
                x = recompute(block.forward, x, parameters=list(block.parameters()))
            else:
                x = block(x, None if cache is None else cache.layer(number))
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

    def forward(self, x: Any, cache: Any = None) -> Any:
        """Transform; `cache` is this layer's part of a KVCache."""
        x = x + self.attn(self.ln_1(x), cache)
        return x + self.mlp(self.ln_2(x))


class CausalSelfAttention(Module):
    """Queries, keys and values from one product; each position sees itself and what came before."""

    def __init__(self, config: GPTConfig, generator: Any) -> None:
        self.num_heads = config.num_heads
        self.c_attn = Linear(config.d_model, 3 * config.d_model, std=0.02, generator=generator)
        self.c_proj = Linear(config.d_model, config.d_model, std=_residual_std(config), generator=generator)
        self.attn_dropout = Dropout(config.dropout)
        self.resid_dropout = Dropout(config.dropout)

    def forward(self, x: Any, cache: Any = None) -> Any:
        """Attend, x [B T D] -> [B T D]."""
        q, k, v = (ops.split_heads(part, num_heads=self.num_heads) for part in ops.split(self.c_attn(x), sections=3))
        mask = None
        if cache is not None:
            k, v, mask = cache.extend(k, v)
        y = attend(q, k, v, mask, dropout=self.attn_dropout, causal=mask is None)
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
