"""Llama: the decoder-only Transformer of Touvron et al. 2023 (arXiv:2302.13971), with the grouped heads of its successors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self, Unpack

from numformer import ops, random
from numformer._names import takes_synonyms
from numformer.autograd import ArrayLike, Tensor, namespace_of
from numformer.errors import InputError
from numformer.models.backbone import CausalModel, place
from numformer.models.config import ArchitectureConfig, ArchitectureSettings
from numformer.models.layouts import Layout
from numformer.models.registry import register
from numformer.nn import init
from numformer.nn.attention import MultiHeadAttention, check_heads
from numformer.nn.cache import KVCache
from numformer.nn.dropout import Dropout
from numformer.nn.feed_forward import FeedForward
from numformer.nn.layers import Embedding, Linear, RMSNorm
from numformer.nn.stack import Stack
from numformer.nn.transformer import Layer, Residual, reseed_dropout

STD = 0.02  # of the weights at the start


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class LlamaConfig(ArchitectureConfig):
    """A decoder-only Transformer with rotary positions, RMSNorm and gated feed-forward layers."""

    vocab_size: int = 0
    """Number of distinct tokens; 0 takes it from the tokenizer."""
    num_layers: int = 3
    """Number of layers."""
    num_kv_heads: int | None = None
    """Heads of keys and values, which the attention heads share in groups; as many as attention heads when not given."""
    head_dim: int | None = None
    """Width of a head; the heads' equal share of d_model when not given."""
    activation: str = "silu"
    """One of gelu_tanh, gelu, relu, silu."""
    rope_theta: float = 10000.0
    """Base of the wavelengths of the rotary positions."""
    rms_norm_eps: float = 1e-6
    """Added to the mean square in every RMSNorm."""
    tie_embeddings: bool = False
    """The output layer shares its weight with the token embedding."""

    model_type: ClassVar[str] = "llama"
    lengths: ClassVar[tuple[str, ...]] = (*ArchitectureConfig.lengths, "num_kv_heads", "head_dim")
    optional_lengths: ClassVar[tuple[str, ...]] = ("d_ff", "num_kv_heads", "head_dim")
    positive: ClassVar[tuple[str, ...]] = ("rms_norm_eps", "rope_theta")
    names_on_disk: ClassVar[dict[str, str]] = {
        "vocab_size": "vocab_size",
        "d_model": "hidden_size",
        "num_heads": "num_attention_heads",
        "num_kv_heads": "num_key_value_heads",
        "head_dim": "head_dim",
        "num_layers": "num_hidden_layers",
        "d_ff": "intermediate_size",
        "max_seq_len": "max_position_embeddings",
        "dropout": "attention_dropout",
        "activation": "hidden_act",
        "rope_theta": "rope_theta",
        "rms_norm_eps": "rms_norm_eps",
        "tie_embeddings": "tie_word_embeddings",
    }
    needed_on_disk: ClassVar[tuple[str, ...]] = (
        *("vocab_size", "hidden_size", "num_attention_heads", "num_hidden_layers"),
        *("intermediate_size", "max_position_embeddings"),
    )
    fixed_on_disk: ClassVar[dict[str, Any]] = {"attention_bias": False, "mlp_bias": False, "rope_scaling": None}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.tie_embeddings, bool):
            raise InputError(f"tie_embeddings must be true or false, got {self.tie_embeddings!r}")

    def _check_heads(self) -> None:
        width = check_heads(self.d_model, self.num_heads, self.num_kv_heads or self.num_heads, self.head_dim)
        if width % 2:
            raise InputError(f"rotary positions need heads of an even width, got {width}")

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        return super().to_disk() | {"intermediate_size": self.ff_width}

    @classmethod
    def from_disk(cls, keys: dict[str, Any]) -> Self:
        """Read the keys of a Hugging Face config.json, whose rotary positions may be in a table of their own.

        Raises InputError for a missing or unsupported key.
        """
        rope = keys.get("rope_parameters") or {}
        if not isinstance(rope, dict) or rope.get("rope_type", "default") != "default":
            raise InputError(f"config.json: rope_parameters={rope!r} is not supported, only the default rope_type")
        return super().from_disk(keys | {name: rope[name] for name in ("rope_theta",) if name in rope})


class LlamaSettings(ArchitectureSettings, total=False):
    """The types of the keywords that Llama takes: the fields of LlamaConfig."""

    vocab_size: int
    num_layers: int
    num_kv_heads: int | None
    head_dim: int | None
    rope_theta: float
    rms_norm_eps: float
    tie_embeddings: bool


LAYOUT = Layout(
    prefix="model.",
    prefixes={"qa": "transformer."},
    backbone="""
        token_embedding                embed_tokens
        layers.*.residual1.norm        layers.*.input_layernorm
        layers.*.self_attn.q_proj      layers.*.self_attn.q_proj
        layers.*.self_attn.k_proj      layers.*.self_attn.k_proj
        layers.*.self_attn.v_proj      layers.*.self_attn.v_proj
        layers.*.self_attn.out_proj    layers.*.self_attn.o_proj
        layers.*.residual2.norm        layers.*.post_attention_layernorm
        layers.*.feed_forward.linear1  layers.*.mlp.gate_proj
        layers.*.feed_forward.linear2  layers.*.mlp.down_proj
        layers.*.feed_forward.linear3  layers.*.mlp.up_proj
        norm                           norm
    """,
    heads={"lm": "output lm_head", "classify": "head score", "tag": "head score", "qa": "head qa_outputs"},
)


@register(LlamaConfig, LAYOUT, task="lm", class_on_disk="LlamaForCausalLM", class_prefix="Llama")
class Llama(CausalModel):
    """Predict the next token at every position, tokens [B T] -> logits [B T V].

    Takes a LlamaConfig or its fields as keywords: `Llama(vocab_size=512, d_model=64, num_heads=8, num_kv_heads=4)`.
    Raises InputError for a setting that is unknown or out of range.
    """

    def __init__(self, config: LlamaConfig | None = None, *, seed: int = 0, **settings: Unpack[LlamaSettings]) -> None:
        if config is not None and settings:
            raise InputError(
                f"Llama takes a LlamaConfig or its fields, not both; got a config and {', '.join(settings)}"
            )
        self.config = config = config or LlamaConfig(**settings)  # type: ignore[misc]  # max_len is a field's other name
        config.check_vocabulary()
        with init.undrawn():
            self.token_embedding = Embedding(config.vocab_size, config.d_model)
            self.dropout = Dropout(config.dropout)
            self.layers = Stack(LlamaLayer(config) for _ in range(config.num_layers))
            self.norm = RMSNorm(config.d_model, config.rms_norm_eps)
            self.output = None if config.tie_embeddings else Linear(config.d_model, config.vocab_size, bias=False)
        init_weights(self, seed)
        reseed_dropout(self, seed)

    def encode(self, tokens: ArrayLike, mask: ArrayLike | None = None, cache: KVCache | None = None) -> Tensor:
        """Return a vector for every token, as CausalModel says, tokens [B T] -> [B T D]."""
        ids = ops.as_ids(tokens)
        positions, mask = place(ids, mask, cache, self.config.max_seq_len)
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
            raise InputError("this Llama has no output layer any more: it is the backbone of another model's head")
        return self.output(x)

    def prepare_for_head(self, *, summarises: bool, seed: int) -> None:
        """Drop the output layer, which only the model on its own has."""
        self.output = None


class LlamaLayer(Layer):
    """Pre-norm attention with rotary positions and gated feed-forward, x [B T D] -> [B T D]."""

    def __init__(self, config: LlamaConfig) -> None:
        D, eps = config.d_model, config.rms_norm_eps
        self.residual1 = Residual(RMSNorm(D, eps), config.dropout)
        self.self_attn = MultiHeadAttention(
            D,
            config.num_heads,
            config.dropout,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            bias=False,
            rope_theta=config.rope_theta,
        )
        self.residual2 = Residual(RMSNorm(D, eps), config.dropout)
        self.feed_forward = FeedForward(
            D, config.ff_width, dropout=None, activation=config.activation, gated=True, bias=False
        )


def init_weights(model: Llama, seed: int) -> None:
    """Draw every matrix from N(0, 0.02²)."""
    generator = random.generator(seed)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            init.draw_normal(parameter, STD, generator)
