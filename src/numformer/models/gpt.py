"""GPT: the decoder-only Transformer of Radford et al. 2019 (GPT-2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

from numformer import ops, random
from numformer._names import takes_synonyms
from numformer.autograd import ArrayLike, Tensor
from numformer.errors import InputError
from numformer.models.backbone import CausalModel, place
from numformer.models.config import ArchitectureConfig, ArchitectureSettings
from numformer.models.layouts import Layout
from numformer.models.registry import register
from numformer.nn import init
from numformer.nn.attention import FusedAttention
from numformer.nn.cache import KVCache
from numformer.nn.dropout import Dropout
from numformer.nn.feed_forward import FeedForward
from numformer.nn.layers import Embedding, LayerNorm
from numformer.nn.stack import Stack
from numformer.nn.transformer import Layer, Residual, reseed_dropout

STD = 0.02  # of the weights at the start


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class GPTConfig(ArchitectureConfig):
    """A decoder-only Transformer with the layout of GPT-2 (Radford et al. 2019)."""

    layer_norm_eps: float = 1e-5
    """Added to the variance in every LayerNorm."""
    vocab_size: int = 0
    """Number of distinct tokens; 0 takes it from the tokenizer."""
    num_layers: int = 3
    """Number of blocks."""

    model_type: ClassVar[str] = "gpt2"
    names_on_disk: ClassVar[dict[str, str]] = {
        "vocab_size": "vocab_size",
        "d_model": "n_embd",
        "num_heads": "n_head",
        "num_layers": "n_layer",
        "d_ff": "n_inner",
        "max_seq_len": "n_positions",
        "dropout": "resid_pdrop",
        "activation": "activation_function",
        "layer_norm_eps": "layer_norm_epsilon",
    }
    needed_on_disk: ClassVar[tuple[str, ...]] = ("vocab_size", "n_embd", "n_head", "n_layer", "n_positions")
    fixed_on_disk: ClassVar[dict[str, Any]] = {
        "tie_word_embeddings": True,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    }

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        extra = {"embd_pdrop": self.dropout, "attn_pdrop": self.dropout, "bos_token_id": None, "eos_token_id": None}
        return super().to_disk() | extra


class GPTSettings(ArchitectureSettings, total=False):
    """The types of the keywords that GPT takes: the fields of GPTConfig."""

    layer_norm_eps: float
    vocab_size: int
    num_layers: int


LAYOUT = Layout(
    prefix="transformer.",
    backbone="""
        token_embedding                wte
        position_embedding             wpe
        layers.*.residual1.norm        h.*.ln_1
        layers.*.self_attn.in_proj     h.*.attn.c_attn   [in out]
        layers.*.self_attn.out_proj    h.*.attn.c_proj   [in out]
        layers.*.residual2.norm        h.*.ln_2
        layers.*.feed_forward.linear1  h.*.mlp.c_fc      [in out]
        layers.*.feed_forward.linear2  h.*.mlp.c_proj    [in out]
        norm                           ln_f
    """,
    heads={"classify": "head score", "tag": "head classifier", "qa": "head qa_outputs"},
    ignored=("h.*.attn.bias", "h.*.attn.masked_bias", "lm_head"),
)


@register(GPTConfig, LAYOUT, task="lm", class_on_disk="GPT2LMHeadModel", class_prefix="GPT2", is_default=True)
class GPT(CausalModel):
    """Predict the next token at every position, tokens [B T] -> logits [B T V].

    Takes a GPTConfig or its fields as keywords: `GPT(vocab_size=65, d_model=128, num_heads=4, num_layers=3)`.
    The output layer shares its weight with the token embedding. Raises InputError for a setting that is unknown or out of
    range.
    """

    def __init__(self, config: GPTConfig | None = None, *, seed: int = 0, **settings: Unpack[GPTSettings]) -> None:
        if config is not None and settings:
            raise InputError(f"GPT takes a GPTConfig or its fields, not both; got a config and {', '.join(settings)}")
        self.config = config = config or GPTConfig(**settings)  # type: ignore[misc]  # max_len is a field's other name
        config.check_vocabulary()
        with init.undrawn():
            self.token_embedding = Embedding(config.vocab_size, config.d_model)
            self.position_embedding = Embedding(config.max_seq_len, config.d_model)
            self.dropout = Dropout(config.dropout)
            self.layers = Stack(GPTLayer(config) for _ in range(config.num_layers))
            self.norm = LayerNorm(config.d_model, config.layer_norm_eps)
        init_weights(self, seed)
        reseed_dropout(self, seed)

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
        table, length = self.position_embedding, ids.shape[1]
        numbers, mask = place(ids, mask, cache, self.config.max_seq_len, segments)
        positions = table.weight[:length] if numbers is None else table(numbers)
        x = self.dropout(self.token_embedding(ids) + positions)
        x = self.layers(x, mask=mask, causal=True, cache=cache)
        if cache is not None:
            cache.advance(length)
        return self.norm(x)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of the next token, x [B T D] -> [B T V]."""
        return ops.linear(x, self.token_embedding.weight)


class GPTLayer(Layer):
    """Pre-norm causal attention and feed-forward, with no dropout inside the latter, x [B T D] -> [B T D]."""

    def __init__(self, config: GPTConfig) -> None:
        D, eps = config.d_model, config.layer_norm_eps
        self.residual1 = Residual(LayerNorm(D, eps), config.dropout)
        self.self_attn = FusedAttention(D, config.num_heads, config.dropout)
        self.residual2 = Residual(LayerNorm(D, eps), config.dropout)
        self.feed_forward = FeedForward(D, config.ff_width, dropout=None, activation=config.activation)


def init_weights(model: GPT, seed: int) -> None:
    """Draw the weights as GPT-2 does: from N(0, 0.02²), those that add to the residual stream smaller.

    Two branches a layer add up on the stream; dividing by √(2 · layers) keeps its variance independent of depth.
    """
    generator, std = random.generator(seed), STD / math.sqrt(2 * model.config.num_layers)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            closes_a_branch = name.endswith(("out_proj.weight", "linear2.weight"))
            init.draw_normal(parameter, std if closes_a_branch else STD, generator)
