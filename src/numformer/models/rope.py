"""Rotary positions stretched over a context longer than the one trained on first, and how config.json says so."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from numformer import ops
from numformer.errors import InputError
from numformer.models.config import is_number


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How the frequencies of rotary positions are lowered for a longer context.

    "linear" divides all of them by `factor` (Chen et al. 2023, arXiv:2306.15595). "llama3" divides those that turn fewer
    than `low_freq_factor` times over the `original_max_seq_len` positions trained on first, leaves those that turn more
    than `high_freq_factor` times, and goes from one to the other in between (Grattafiori et al. 2024, arXiv:2407.21783).
    Raises InputError for another type and for numbers that cannot be right.
    """

    rope_type: Literal["linear", "llama3"] = "linear"
    """One of linear, llama3."""
    factor: float = 1.0
    """How many times longer the context has become."""
    low_freq_factor: float = 1.0
    """llama3: turns over the original context up to which a frequency is divided."""
    high_freq_factor: float = 4.0
    """llama3: turns over the original context from which a frequency stays."""
    original_max_seq_len: int = 8192
    """llama3: the context length trained on first."""

    types: ClassVar[dict[str, tuple[str, ...]]] = {  # and the fields that each has
        "linear": ("factor",),
        "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_seq_len"),
    }
    names_on_disk: ClassVar[dict[str, str]] = {"original_max_seq_len": "original_max_position_embeddings"}

    def __post_init__(self) -> None:
        if self.rope_type not in tuple(self.types):
            raise InputError(f"unknown rope_type {self.rope_type!r}: choose {', '.join(self.types)}")
        for name in self.types["llama3"]:
            value = getattr(self, name)
            if not is_number(value) or not 0.0 < value < sys.float_info.max:
                raise InputError(f"{name} must be a number above 0, got {value!r}")
        if self.factor < 1.0:
            raise InputError(f"a context is stretched by a factor of at least 1, got {self.factor}")
        if not self.low_freq_factor < self.high_freq_factor:
            raise InputError(
                f"low_freq_factor must be below high_freq_factor, got {self.low_freq_factor} and {self.high_freq_factor}"
            )

    def apply(self, frequency: float) -> float:
        """Return what a frequency of the unstretched positions becomes."""
        if self.rope_type == "linear":
            return frequency / self.factor
        turns = self.original_max_seq_len * frequency / (2.0 * math.pi)
        kept = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        kept = min(1.0, max(0.0, kept))
        return kept * frequency + (1.0 - kept) * frequency / self.factor

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a table of rotary positions in config.json."""
        fields = {self.names_on_disk.get(name, name): getattr(self, name) for name in self.types[self.rope_type]}
        return {"rope_type": self.rope_type, **fields}


def scaled_frequencies(width: int, theta: float, scaling: RopeScaling | None) -> tuple[float, ...]:
    """Return the frequencies by which the pairs of `width` numbers are rotated, as `ops.rope` takes them."""
    frequencies = ops.rope_frequencies(width, theta)
    return frequencies if scaling is None else tuple(map(scaling.apply, frequencies))


def rope_to_disk(theta: float, scaling: RopeScaling | None) -> dict[str, Any]:
    """Return a table of rotary positions as it stands under `rope_parameters` in config.json."""
    return {"rope_theta": theta, **({"rope_type": "default"} if scaling is None else scaling.to_disk())}


def rope_settings(keys: dict[str, Any], theta_key: str = "rope_theta") -> dict[str, Any]:
    """Return what the keys of a config.json say of rotary positions, in newer versions or older ones, as fields.

    Older ones have theta outside the table, which is read like any other key. Raises InputError as `rope_from_disk` does,
    and where theta stands in both places and differs.
    """
    key = (
        "rope_scaling" if keys.get("rope_scaling") else "rope_parameters"
    )  # where both are, Transformers takes the first
    settings = rope_from_disk(keys[key], key) if keys.get(key) else {}
    inside, outside = settings.get("rope_theta"), keys.get(theta_key)
    if inside is not None and outside is not None and inside != outside:
        raise InputError(f"config.json: {theta_key}={outside!r}, but {key} has rope_theta={inside!r}")
    return settings


def rope_from_disk(table: Any, key: str) -> dict[str, Any]:
    """Return `rope_scaling`, and `rope_theta` where it is there, of the table of rotary positions under a key of config.json.

    Raises InputError for what is no table, a type that is not supported, and a missing or an unknown entry.
    """
    if not isinstance(table, dict):
        raise InputError(f"config.json: {key} must be a table of rotary positions, got {table!r}")
    table = {name: value for name, value in table.items() if value is not None}
    kind = table.pop("rope_type", None) or table.pop("type", "default")
    table.pop("type", None)  # older files say it twice
    theta = {name: table.pop(name) for name in ("rope_theta",) if name in table}
    known = {"default": ()} | RopeScaling.types
    if kind not in tuple(known):
        raise InputError(f"config.json: {key} has rope_type={kind!r}, supported are {', '.join(known)}")
    names = {RopeScaling.names_on_disk.get(name, name): name for name in known[kind]}
    for name, value in table.items():
        if name not in names:
            raise InputError(f"config.json: {key} has {name}={value!r}, which is not supported with rope_type={kind!r}")
    if missing := [name for name in names if name not in table]:
        raise InputError(f"config.json: {key} of rope_type={kind!r} lacks {', '.join(missing)}")
    settings = {names[name]: value for name, value in table.items()}
    return theta | {"rope_scaling": None if kind == "default" else RopeScaling(rope_type=kind, **settings)}
