"""The shape of a model, under the field's names in Python and Hugging Face's names on disk."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self, TypedDict

from numformer._names import takes_synonyms
from numformer._notices import amount
from numformer.errors import InputError
from numformer.nn.attention import check_heads

LAYER_BITS = 14  # a model has fewer layers than 2 to this power
OTHER_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "swish": "silu",
}  # words of Hugging Face


@dataclass(frozen=True, kw_only=True)
class ArchitectureConfig:
    """What the config of every architecture has."""

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

    model_type: ClassVar[str]  # in config.json
    names_on_disk: ClassVar[dict[str, str]]  # our names and those of Hugging Face
    fixed_on_disk: ClassVar[dict[str, Any]] = {}
    absent_on_disk: ClassVar[dict[str, Any]] = {}  # what a key says that is left out, where it is not the default here
    needed_on_disk: ClassVar[tuple[str, ...]]
    activations_on_disk: ClassVar[dict[str, str]] = {
        "gelu_tanh": "gelu_new",
        "gelu": "gelu",
        "relu": "relu",
        "silu": "silu",
    }
    lengths: ClassVar[tuple[str, ...]] = ("d_model", "num_heads", "d_ff", "max_seq_len", "num_layers")
    optional_lengths: ClassVar[tuple[str, ...]] = ("d_ff",)  # which may be None
    vocabularies: ClassVar[tuple[str, ...]] = ("vocab_size",)
    positive: ClassVar[tuple[str, ...]] = ("layer_norm_eps",)
    optional_numbers: ClassVar[tuple[str, ...]] = ()  # of the positive ones, those which may be None
    switches: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name in self.lengths:
            value = getattr(self, name)
            if name in self.optional_lengths and value is None:
                continue
            bits = LAYER_BITS if name.endswith("layers") else 31
            if not is_number(value, int) or not 1 <= value < 1 << bits:
                raise InputError(f"{name} must be a positive whole number below 2**{bits}, got {value!r}")
        for name in self.vocabularies:
            value = getattr(self, name)
            if not is_number(value, int) or not 0 <= value < 1 << 31:
                raise InputError(f"{name} must be a whole number from 0 to 2**31, got {value!r}")
        if not isinstance(getattr(self, "pad_id", 0), int):
            raise InputError(f"pad_id must be a whole number, got {getattr(self, 'pad_id', 0)!r}")
        self._check_heads()
        if not is_number(self.dropout) or not 0.0 <= self.dropout < 1.0:
            raise InputError(f"dropout must be at least 0 and below 1, got {self.dropout!r}")
        for name in self.positive:
            value = getattr(self, name)
            if name in self.optional_numbers and value is None:
                continue
            if not is_number(value) or not 0.0 < value < sys.float_info.max:
                raise InputError(f"{name} must be a number above 0, got {value!r}")
        for name in self.switches:
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if self.activation not in tuple(self.activations_on_disk):
            raise InputError(f"unknown activation {self.activation!r}: choose {', '.join(self.activations_on_disk)}")

    def _check_heads(self) -> None:
        check_heads(self.d_model, self.num_heads, self.num_heads)

    @property
    def ff_width(self) -> int:
        """Width of the feed-forward layers."""
        return self.d_ff or 4 * self.d_model

    @property
    def depth(self) -> str:
        """The number of layers, in words: "6 layers"."""
        return amount(getattr(self, "num_layers", 0), "layers")

    @property
    def least_weights(self) -> int:
        """How many weights the model has at least: the embeddings, and two maps of each attention and feed-forward."""
        vocabulary = sum(getattr(self, name) for name in self.vocabularies)
        num_layers = sum(getattr(self, name) for name in self.lengths if name.endswith("layers"))
        heads = self.num_heads * (getattr(self, "head_dim", None) or self.d_model // self.num_heads)
        return self.d_model * (vocabulary + 2 * num_layers * (heads + self.ff_width))

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
            if (keys.get(key, supported) or None) != (supported or None):  # null and false say the same
                raise InputError(f"config.json: {key}={keys[key]!r} is not supported, only {supported!r}")
        return cls(**cls._settings_of(keys))

    @classmethod
    def _settings_of(cls, keys: dict[str, Any]) -> dict[str, Any]:
        """Return the fields that the keys of a config.json give."""
        given = {here: keys[there] for here, there in cls.names_on_disk.items() if there in keys}
        settings = cls.absent_on_disk | given
        if "activation" in settings:
            known = {there: here for here, there in cls.activations_on_disk.items()} | OTHER_ACTIVATIONS
            settings["activation"] = known.get(str(settings["activation"]), settings["activation"])
        return settings

    @classmethod
    def from_general(cls, settings: dict[str, Any]) -> Self:
        """Return the config with these fields of a ModelConfig."""
        return cls(**settings)


def is_number(value: Any, kind: type[int] | tuple[type, ...] = (int, float)) -> bool:
    """Tell whether a value is a number of a kind; True and False are none."""
    return isinstance(value, kind) and not isinstance(value, bool)


class ArchitectureSettings(TypedDict, total=False):
    """The types of the fields that every architecture's config has, and of the other name of one of them."""

    d_model: int
    num_heads: int
    d_ff: int | None
    max_seq_len: int
    max_len: int
    dropout: float
    activation: str


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A shape without an architecture: `build_model(ModelConfig(vocab_size=…), task)` chooses the one that fits the task.

    What is not given is as the architecture has it.
    """

    vocab_size: int
    """Number of distinct tokens; of the source and of the target, where a model has two."""
    d_model: int | None = None
    """Width of the residual stream."""
    num_heads: int | None = None
    """Attention heads in each layer; must divide d_model."""
    d_ff: int | None = None
    """Width of the feed-forward layers."""
    num_layers: int | None = None
    """Number of layers; of the encoder and of the decoder, where a model has two."""
    max_seq_len: int | None = None
    """Context length: the most tokens that the model sees at once."""
    dropout: float | None = None
    """Share of elements dropped while training."""
    activation: str | None = None
    """One of gelu_tanh, gelu, relu, silu."""
    pad_id: int | None = None
    """The token that fills a batch up."""

    def given(self) -> dict[str, Any]:
        """Return the settings that were given."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}
