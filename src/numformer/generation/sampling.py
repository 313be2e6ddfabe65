"""From the logits of the next token to a token: temperature, filters, and one draw."""

import math
from dataclasses import dataclass

import numpy as np

from numformer._names import takes_synonyms
from numformer.generation.rules import Rules, RuleSettings, check_number, check_ranges


class SamplingSettings(RuleSettings, total=False):
    """The fields of SamplingConfig, as keywords."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Rules):
    """How the next token is chosen; the defaults sample from the model's own distribution.

    Raises InputError for a value outside its range.
    """

    temperature: float = 1.0
    """Divides the logits: below 1 safer, above 1 more varied; 0 always takes the most probable token."""
    top_k: int = 0
    """Sample among the k most probable tokens only (0: off)."""
    top_p: float = 1.0
    """Sample among the fewest tokens that together have at least this probability (1: off)."""
    min_p: float = 0.0
    """Sample among the tokens at least this share as probable as the most probable one (0: off)."""

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p"):
            check_number(self, name)
        is_count = isinstance(self.top_k, (int, np.integer)) and self.top_k >= 0
        check_ranges(
            self,
            {
                "temperature": (0 <= self.temperature < math.inf, "a finite number of at least 0"),
                "top_k": (is_count, "a whole number of at least 0"),
                "top_p": (0 < self.top_p <= 1, "a number above 0 and at most 1"),
                "min_p": (0 <= self.min_p <= 1, "a number from 0 to 1"),
            },
        )
        super().__post_init__()


def sample(logits: np.ndarray, config: SamplingConfig, generator: np.random.Generator) -> int:
    """Choose the next token, given logits [V] after all rules, each finite or -inf and not all -inf."""
    if config.temperature == 0:
        return int(logits.argmax())
    return _draw(filter_logits(logits, config), generator)


def filter_logits(logits: np.ndarray, config: SamplingConfig) -> np.ndarray:
    """Apply temperature, then top-k, top-p and min-p; tokens that are removed become -inf.

    logits [V] -> [V], shifted so that the largest is 0; at least one token stays.
    """
    logits = _apply_temperature(logits, config.temperature)
    if 0 < config.top_k < logits.size:
        logits = _keep_top_k(logits, config.top_k)
    if config.top_p < 1:
        logits = _keep_top_p(logits, config.top_p)
    if config.min_p > 0:
        logits = _keep_min_p(logits, config.min_p)
    return logits


def _apply_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Shift the maximum to 0 first: what overflows is then -inf, which means a probability of 0.

    A temperature of 0 keeps the most probable token alone, the limit of small temperatures.
    """
    with np.errstate(over="ignore"):
        shifted: np.ndarray = logits - logits.max()
        if temperature == 0:
            return _keep_top_k(shifted, 1)
        limits = np.finfo(logits.dtype)
        shifted /= min(max(temperature, float(limits.tiny)), float(limits.max))
        return shifted


def _keep_top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """Keep exactly k tokens; among equals the lower ids stay."""
    return _keep(logits, _most_probable_first(logits)[:k])


def _keep_top_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep the nucleus: tokens from the top down to the one that crosses p, that one too (Holtzman et al. 2020)."""
    order = _most_probable_first(logits)
    cumulative = np.exp(logits[order]).cumsum()
    crossing = int(np.searchsorted(cumulative, p * cumulative[-1]))
    return _keep(logits, order[: crossing + 1])


def _keep_min_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep tokens of at least p times the largest probability, whose logit is 0 (Nguyen et al. 2024)."""
    return _keep(logits, np.exp(logits) >= p)


def _most_probable_first(logits: np.ndarray) -> np.ndarray:
    return np.argsort(-logits, kind="stable")


def _keep(logits: np.ndarray, which: np.ndarray) -> np.ndarray:
    kept = np.full_like(logits, -np.inf)
    kept[which] = logits[which]
    return kept


def _draw(logits: np.ndarray, generator: np.random.Generator) -> int:
    """Draw by inverse CDF with one uniform number; logits [V] have their maximum at 0.

    The target stays below the total, so it always lands on a token with a probability above 0.
    """
    cumulative = np.exp(logits).cumsum()
    total = cumulative[-1]
    target = min(generator.random() * total, np.nextafter(total, 0))
    return int(np.searchsorted(cumulative, target, side="right"))
