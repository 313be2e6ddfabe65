"""The keywords of `from_data` and `from_text`, for type checkers: the fields of the configs that they are put into."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, TypeVar

from numformer._names import rename_settings
from numformer.models.config import ArchitectureConfig, ArchitectureSettings
from numformer.pretrained import LoRAConfig

DataT = TypeVar("DataT")
ModelT = TypeVar("ModelT", bound=ArchitectureConfig)


class DataSettings(TypedDict, total=False):
    """The fields of DataConfig, but for the data and the tokenizer, which are parameters of `from_data`."""

    valid_fraction: float
    vocab_size: int
    pretrained: str | None
    freeze: str | Sequence[str]
    encoding: str
    skip_bad: bool
    lora: LoRAConfig


class DecoderSettings(ArchitectureSettings, total=False):
    """The fields of GPTConfig, and of BertConfig where the tokenizer says what pads."""

    vocab_size: int
    num_layers: int
    layer_norm_eps: float


class EncoderSettings(DecoderSettings, total=False):
    """The fields of BertConfig, which are those of GPTConfig and two more."""

    pad_id: int
    num_segments: int


class EncoderDecoderSettings(ArchitectureSettings, total=False):
    """The fields of TransformerConfig."""

    src_vocab_size: int
    tgt_vocab_size: int
    num_encoder_layers: int
    num_decoder_layers: int
    layer_norm_eps: float
    positions: Literal["sinusoidal", "learned"]
    pre_norm: bool
    share_embeddings: bool
    tie_output: bool
    pad_id: int


def fill_in(data: DataT, model: ModelT, settings: Mapping[str, Any]) -> tuple[DataT, ModelT]:
    """Put keywords into the two configs that they are fields of; what both have (vocab_size) belongs to the data's.

    A field of several names takes a single one too. Raises InputError for a keyword that neither has.
    """
    of_data = {field.name: field.default for field in dataclasses.fields(data)}  # type: ignore[arg-type]
    of_model = {field.name for field in dataclasses.fields(model)} - set(of_data)
    given = rename_settings(settings, set(of_data) | of_model)
    given |= {name: names(value) for name, value in given.items() if isinstance(of_data.get(name), tuple)}
    return (
        dataclasses.replace(data, **{k: v for k, v in given.items() if k in of_data}),  # type: ignore[type-var]
        dataclasses.replace(model, **{k: v for k, v in given.items() if k in of_model}),
    )


def names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return names as a tuple; a single one may be given as text."""
    return (given,) if isinstance(given, str) else tuple(given or ())
