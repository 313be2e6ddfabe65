"""The shape of a model, under the field's names in Python and Hugging Face's names on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from numformer.errors import InputError
from numformer.nn.attention import check_heads


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What every architecture has."""

    d_model: int = 128
    """Width of the residual stream."""
    num_heads: int = 4
    """Attention heads in each layer; must divide d_model."""
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

    model_type: ClassVar[str]
    names_on_disk: ClassVar[dict[str, str]]  # our names and those of Hugging Face
    fixed_on_disk: ClassVar[dict[str, Any]] = {}
    needed_on_disk: ClassVar[tuple[str, ...]]
    transposed_on_disk: ClassVar[tuple[str, ...]] = ()  # ends of the names of weights that are stored [in out]
    activations_on_disk: ClassVar[dict[str, str]] = {
        "gelu_tanh": "gelu_new",
        "gelu": "gelu",
        "relu": "relu",
        "silu": "silu",
    }
    lengths: ClassVar[tuple[str, ...]] = ("d_model", "num_heads", "d_ff", "max_seq_len")
    vocabularies: ClassVar[tuple[str, ...]] = ("vocab_size",)

    def __post_init__(self) -> None:
        for name in self.lengths:
            value = getattr(self, name)
            if name == "d_ff" and value is None:
                continue
            if not isinstance(value, int) or not 1 <= value < 1 << 31:
                raise InputError(f"{name} must be a positive whole number below 2**31, got {value!r}")
        for name in self.vocabularies:
            value = getattr(self, name)
            if not isinstance(value, int) or not 0 <= value < 1 << 31:
                raise InputError(f"{name} must be a whole number from 0 to 2**31, got {value!r}")
        if not isinstance(getattr(self, "pad_id", 0), int):
            raise InputError(f"pad_id must be a whole number, got {getattr(self, 'pad_id', 0)!r}")
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

    def check_vocabulary(self) -> None:
        """Raise InputError when a vocabulary size is still to be taken from a tokenizer."""
        for name in self.vocabularies:
            if getattr(self, name) < 1:
                raise InputError(f"the model needs a {name} of at least 1, got {getattr(self, name)}")

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        keys = {there: getattr(self, here) for here, there in self.names_on_disk.items()}
        keys[self.names_on_disk["activation"]] = self.activations_on_disk[self.activation]
        return keys | {"model_type": self.model_type, **self.fixed_on_disk, "dtype": "float32"}

    @classmethod
    def from_disk(cls, keys: dict[str, Any]) -> Self:
        """Read the keys of a Hugging Face config.json; raises InputError for a missing or unsupported one."""
        missing = [key for key in cls.needed_on_disk if key not in keys]
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


@dataclass(frozen=True, kw_only=True)
class GPTConfig(ModelConfig):
    """A decoder-only Transformer with the layout of GPT-2 (Radford et al. 2019)."""

    vocab_size: int = 0
    """Number of distinct tokens; 0 takes it from the tokenizer."""
    num_layers: int = 3
    """Number of blocks."""

    model_type: ClassVar[str] = "gpt2"
    lengths: ClassVar[tuple[str, ...]] = (*ModelConfig.lengths, "num_layers")
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
    transposed_on_disk: ClassVar[tuple[str, ...]] = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
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


@dataclass(frozen=True, kw_only=True)
class BertConfig(ModelConfig):
    """A bidirectional encoder with the layout of BERT (Devlin et al. 2019)."""

    vocab_size: int = 0
    """Number of distinct tokens; 0 takes it from the tokenizer."""
    num_layers: int = 2
    """Number of layers."""
    max_seq_len: int = 128
    """Context length: the most tokens that the model sees at once."""
    dropout: float = 0.1
    """Share of elements dropped while training, after the embedding, in the attention and on both residual branches."""
    activation: str = "gelu"
    """One of gelu_tanh, gelu, relu, silu."""
    pad_id: int = 0
    """The token that fills a batch up."""

    model_type: ClassVar[str] = "bert"
    lengths: ClassVar[tuple[str, ...]] = (*ModelConfig.lengths, "num_layers")
    names_on_disk: ClassVar[dict[str, str]] = {
        "vocab_size": "vocab_size",
        "d_model": "hidden_size",
        "num_heads": "num_attention_heads",
        "num_layers": "num_hidden_layers",
        "d_ff": "intermediate_size",
        "max_seq_len": "max_position_embeddings",
        "dropout": "hidden_dropout_prob",
        "activation": "hidden_act",
        "layer_norm_eps": "layer_norm_eps",
        "pad_id": "pad_token_id",
    }
    needed_on_disk: ClassVar[tuple[str, ...]] = (
        *("vocab_size", "hidden_size", "num_attention_heads", "num_hidden_layers"),
        *("intermediate_size", "max_position_embeddings"),
    )
    fixed_on_disk: ClassVar[dict[str, Any]] = {"type_vocab_size": 2, "position_embedding_type": "absolute"}

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        return super().to_disk() | {"attention_probs_dropout_prob": self.dropout, "intermediate_size": self.ff_width}


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(ModelConfig):
    """The encoder-decoder of Vaswani et al. 2017, with today's choices as settings."""

    src_vocab_size: int = 0
    """Number of distinct tokens of the source; 0 takes it from the tokenizer."""
    tgt_vocab_size: int = 0
    """Number of distinct tokens of the target; 0 takes it from the tokenizer."""
    num_encoder_layers: int = 3
    """Number of encoder layers."""
    num_decoder_layers: int = 3
    """Number of decoder layers."""
    max_seq_len: int = 256
    """The most tokens of a source or a target."""
    dropout: float = 0.1
    """Share of elements dropped while training, after the embedding, in the attention and on the residual branches."""
    activation: str = "relu"
    """One of gelu_tanh, gelu, relu, silu."""
    positions: Literal["sinusoidal", "learned"] = "sinusoidal"
    """How positions are told apart."""
    pre_norm: bool = True
    """Normalise before each part (trains more easily) instead of after it (as published)."""
    share_embeddings: bool = True
    """One table of embeddings for source and target; needs vocabularies of one size."""
    tie_output: bool = True
    """The output layer shares its weight with the target's embedding."""
    pad_id: int = 0
    """The token that fills a batch up."""

    model_type: ClassVar[str] = "transformer"
    lengths: ClassVar[tuple[str, ...]] = (*ModelConfig.lengths, "num_encoder_layers", "num_decoder_layers")
    vocabularies: ClassVar[tuple[str, ...]] = ("src_vocab_size", "tgt_vocab_size")
    names_on_disk: ClassVar[dict[str, str]] = {
        "src_vocab_size": "vocab_size",
        "tgt_vocab_size": "decoder_vocab_size",
        "d_model": "d_model",
        "num_heads": "num_attention_heads",
        "num_encoder_layers": "encoder_layers",
        "num_decoder_layers": "decoder_layers",
        "d_ff": "ffn_dim",
        "max_seq_len": "max_position_embeddings",
        "dropout": "dropout",
        "activation": "activation_function",
        "layer_norm_eps": "layer_norm_eps",
        "positions": "position_embedding_type",
        "pre_norm": "normalize_before",
        "share_embeddings": "share_encoder_decoder_embeddings",
        "tie_output": "tie_word_embeddings",
        "pad_id": "pad_token_id",
    }
    needed_on_disk: ClassVar[tuple[str, ...]] = tuple(names_on_disk.values())

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("pre_norm", "share_embeddings", "tie_output"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if self.positions not in ("sinusoidal", "learned"):
            raise InputError(f"unknown positions {self.positions!r}: choose sinusoidal or learned")
        if self.share_embeddings and self.src_vocab_size != self.tgt_vocab_size:
            raise InputError(
                f"share_embeddings needs vocabularies of one size, got src_vocab_size={self.src_vocab_size} "
                f"and tgt_vocab_size={self.tgt_vocab_size}"
            )
