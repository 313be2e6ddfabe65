"""The shape of a model, under the field's names in Python and Hugging Face's names on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from numformer.errors import InputError
from numformer.nn.attention import check_heads


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """A decoder-only Transformer with the layout of GPT-2 (Radford et al. 2019)."""

    vocab_size: int = 0
    """Number of distinct tokens; 0 takes it from the tokenizer."""
    d_model: int = 128
    """Width of the residual stream."""
    num_heads: int = 4
    """Attention heads in each layer; must divide d_model."""
    num_layers: int = 3
    """Number of blocks."""
    d_ff: int | None = None
    """Width of the feed-forward layers; four times d_model when not given."""
    max_seq_len: int = 64
    """Context length: the most tokens that the model sees at once."""
    dropout: float = 0.0
    """Share of elements dropped while training, after the embedding, in the attention and on both residual branches."""
    activation: str = "gelu_tanh"
    """One of gelu_tanh, gelu, relu, silu."""
    layer_norm_eps: float = 1e-5
    """Added to the variance in every LayerNorm."""

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
    fixed_on_disk: ClassVar[dict[str, Any]] = {
        "tie_word_embeddings": True,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    }
    activations_on_disk: ClassVar[dict[str, str]] = {
        "gelu_tanh": "gelu_new",
        "gelu": "gelu",
        "relu": "relu",
        "silu": "silu",
    }

    def __post_init__(self) -> None:
        for name in ("d_model", "num_heads", "num_layers", "d_ff", "max_seq_len"):
            value = getattr(self, name)
            if name == "d_ff" and value is None:
                continue
            if not isinstance(value, int) or not 1 <= value < 1 << 31:
                raise InputError(f"{name} must be a positive whole number below 2**31, got {value!r}")
        if not isinstance(self.vocab_size, int) or not 0 <= self.vocab_size < 1 << 31:
            raise InputError(f"vocab_size must be a whole number from 0 to 2**31, got {self.vocab_size!r}")
        check_heads(self.d_model, self.num_heads, self.num_heads)
        if not isinstance(self.dropout, (int, float)) or not 0.0 <= self.dropout < 1.0:
            raise InputError(f"dropout must be at least 0 and below 1, got {self.dropout!r}")
        if not isinstance(self.layer_norm_eps, (int, float)) or not self.layer_norm_eps > 0.0:
            raise InputError(f"layer_norm_eps must be a number above 0, got {self.layer_norm_eps!r}")
        if self.activation not in tuple(self.activations_on_disk):
            raise InputError(f"unknown activation {self.activation!r}: choose {', '.join(self.activations_on_disk)}")

    @property
    def ff_width(self) -> int:
        """Width of the feed-forward layers."""
        return self.d_ff or 4 * self.d_model

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        keys = {there: getattr(self, here) for here, there in self.names_on_disk.items()}
        return keys | {
            "model_type": self.model_type,
            "architectures": ["GPT2LMHeadModel"],
            "activation_function": self.activations_on_disk[self.activation],
            "embd_pdrop": self.dropout,
            "attn_pdrop": self.dropout,
            **self.fixed_on_disk,
            "bos_token_id": None,
            "eos_token_id": None,
            "dtype": "float32",
        }

    @classmethod
    def from_disk(cls, keys: dict[str, Any]) -> Self:
        """Read the keys of a Hugging Face config.json; raises InputError for a missing or unsupported one."""
        missing = [key for key in ("vocab_size", "n_embd", "n_head", "n_layer", "n_positions") if key not in keys]
        if missing:
            raise InputError(f"config.json lacks {', '.join(missing)}")
        for key, supported in cls.fixed_on_disk.items():
            if keys.get(key, supported) != supported:
                raise InputError(f"config.json: {key}={keys[key]!r} is not supported, only {supported!r}")
        settings = {here: keys[there] for here, there in cls.names_on_disk.items() if there in keys}
        if "activation" in settings:
            known = {there: here for here, there in cls.activations_on_disk.items()}
            settings["activation"] = known.get(str(settings["activation"]), settings["activation"])
        return cls(**settings)
