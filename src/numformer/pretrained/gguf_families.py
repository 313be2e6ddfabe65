"""The architectures of GGUF files: their keys and names of tensors beside those of Hugging Face, in tables.

Hugging Face's names stand between GGUF's and ours, so that a table here knows nothing of our modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numformer.models.layouts import Layout, Names
from numformer.models.registry import ARCHITECTURES


@dataclass(frozen=True)
class Family:
    """One architecture.

    `keys` has the keys of config.json, and of the metadata after the architecture's name; `optional` the same, of those that
    may be missing, with what holds then. `fixed` are keys of config.json that the architecture itself says. `sizes` names
    tensors of which one axis must be what keys of config.json say, multiplied.
    """

    model_type: str
    names: Names  # Hugging Face's, with GGUF's as those on disk
    keys: Mapping[str, str]
    optional: Mapping[str, tuple[str, Any]]
    fixed: Mapping[str, Any]
    sizes: Mapping[str, tuple[int, tuple[str, ...]]]
    swaps_pairs: bool = False  # rows of q and k lie so that neighbours are rotated, not halves
    norms_are_offset: bool = False  # the scale of a norm is stored as 1 + weight
    is_written: bool = False


def _names(table: str) -> Names:
    return Layout(backbone=table).names("", False)


_LLAMA_ATTENTION = """
    model.embed_tokens                 token_embd
    model.norm                         output_norm
    lm_head                            output
    model.layers.*.input_layernorm     blk.*.attn_norm
    model.layers.*.self_attn.q_proj    blk.*.attn_q
    model.layers.*.self_attn.k_proj    blk.*.attn_k
    model.layers.*.self_attn.v_proj    blk.*.attn_v
    model.layers.*.self_attn.o_proj    blk.*.attn_output
    model.layers.*.self_attn.q_norm    blk.*.attn_q_norm
    model.layers.*.self_attn.k_norm    blk.*.attn_k_norm
    model.layers.*.mlp.gate_proj       blk.*.ffn_gate
    model.layers.*.mlp.up_proj         blk.*.ffn_up
    model.layers.*.mlp.down_proj       blk.*.ffn_down
"""
_LLAMA = _names(_LLAMA_ATTENTION + "model.layers.*.post_attention_layernorm  blk.*.ffn_norm")
_GEMMA = _names(
    _LLAMA_ATTENTION
    + """
    model.layers.*.post_attention_layernorm    blk.*.post_attention_norm
    model.layers.*.pre_feedforward_layernorm   blk.*.ffn_norm
    model.layers.*.post_feedforward_layernorm  blk.*.post_ffw_norm
    """
)
_GPT2 = _names("""
    transformer.wte              token_embd
    transformer.wpe              position_embd
    transformer.ln_f             output_norm
    transformer.h.*.ln_1         blk.*.attn_norm
    transformer.h.*.attn.c_attn  blk.*.attn_qkv
    transformer.h.*.attn.c_proj  blk.*.attn_output
    transformer.h.*.ln_2         blk.*.ffn_norm
    transformer.h.*.mlp.c_fc     blk.*.ffn_up
    transformer.h.*.mlp.c_proj   blk.*.ffn_down
""")
_BERT = _names("""
    embeddings.word_embeddings                   token_embd
    embeddings.position_embeddings               position_embd
    embeddings.token_type_embeddings             token_types
    embeddings.LayerNorm                         token_embd_norm
    encoder.layer.*.attention.self.query         blk.*.attn_q
    encoder.layer.*.attention.self.key           blk.*.attn_k
    encoder.layer.*.attention.self.value         blk.*.attn_v
    encoder.layer.*.attention.output.dense       blk.*.attn_output
    encoder.layer.*.attention.output.LayerNorm   blk.*.attn_output_norm
    encoder.layer.*.intermediate.dense           blk.*.ffn_up
    encoder.layer.*.output.dense                 blk.*.ffn_down
    encoder.layer.*.output.LayerNorm             blk.*.layer_output_norm
""")

_SIZES = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "max_position_embeddings": "context_length",
}
_WIDTHS = {"token_embd.weight": (1, ("hidden_size",)), "blk.0.ffn_up.weight": (0, ("intermediate_size",))}
_ROPE: dict[str, tuple[str, Any]] = {
    "num_key_value_heads": ("attention.head_count_kv", None),
    "head_dim": ("attention.key_length", None),
    "rope_theta": ("rope.freq_base", 10000.0),
}
_WINDOW: dict[str, tuple[str, Any]] = {"sliding_window": ("attention.sliding_window", 4096)}
_SOFT_CAPS: dict[str, tuple[str, Any]] = {
    "attn_logit_softcapping": ("attn_logit_softcapping", 50.0),
    "final_logit_softcapping": ("final_logit_softcapping", 30.0),
}
_LOCAL_ROPE: dict[str, tuple[str, Any]] = {"rope_local_base_freq": ("rope.freq_base_swa", 10000.0)}


def _decoder(model_type: str, **settings: Any) -> Family:
    """Return the entry of a decoder with rotary positions and gated feed-forward, Llama's but for the settings."""
    usual: dict[str, Any] = {"names": _LLAMA, "optional": _ROPE, "fixed": {"hidden_act": "silu"}}
    return Family(
        model_type=model_type,
        keys=_SIZES | {"rms_norm_eps": "attention.layer_norm_rms_epsilon"},
        sizes=_WIDTHS
        | {
            "blk.0.attn_q.weight": (0, ("num_attention_heads", "head_dim")),
            "blk.0.attn_k.weight": (0, ("num_key_value_heads", "head_dim")),
        },
        **usual | settings,
    )


def _gemma(model_type: str, optional: dict[str, tuple[str, Any]]) -> Family:
    activation = {"hidden_activation": "gelu_pytorch_tanh"}
    optional = _ROPE | _WINDOW | optional
    return _decoder(model_type, names=_GEMMA, optional=optional, fixed=activation, norms_are_offset=True)


FAMILIES = {
    "llama": _decoder("llama", swaps_pairs=True, is_written=True),
    "qwen2": _decoder("qwen2"),
    "qwen3": _decoder("qwen3"),
    "gemma2": _gemma("gemma2", _SOFT_CAPS),
    "gemma3": _gemma("gemma3_text", _LOCAL_ROPE),
    "gpt2": Family(
        model_type="gpt2",
        names=_GPT2,
        keys={
            "n_embd": "embedding_length",
            "n_layer": "block_count",
            "n_inner": "feed_forward_length",
            "n_head": "attention.head_count",
            "n_positions": "context_length",
            "layer_norm_epsilon": "attention.layer_norm_epsilon",
        },
        optional={},
        fixed={"activation_function": "gelu_new"},
        sizes={
            "token_embd.weight": (1, ("n_embd",)),
            "blk.0.ffn_up.weight": (0, ("n_inner",)),
            "position_embd.weight": (0, ("n_positions",)),
        },
        is_written=True,
    ),
    "bert": Family(
        model_type="bert",
        names=_BERT,
        keys=_SIZES | {"layer_norm_eps": "attention.layer_norm_epsilon"},
        optional={},
        fixed={"hidden_act": "gelu"},
        sizes=_WIDTHS | {"position_embd.weight": (0, ("max_position_embeddings",))},
    ),
}


def supported() -> list[str]:
    """Return the architectures whose models are there."""
    return [name for name, family in FAMILIES.items() if family.model_type in ARCHITECTURES]
