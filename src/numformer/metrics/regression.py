"""Scores of numbers: the mean squared error, and Pearson's and Spearman's correlation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from numformer.errors import InputError
from numformer.metrics.pairs import check_pairs


def mean_squared_error(predicted: Sequence[float], gold: Sequence[float]) -> float:
    """Return the mean square of the differences; raises InputError when the lists do not pair up."""
    p, g = _arrays(predicted, gold)
    return float(np.square(p - g).mean())


def pearson(predicted: Sequence[float], gold: Sequence[float]) -> float:
    """Return Pearson's correlation, of numbers as they are, between -1 and 1.

    Where one of the lists is constant, it is not defined; 0 stands for that. Raises InputError when the lists do not pair up.
    """
    p, g = _arrays(predicted, gold)
    if np.ptp(p) == 0.0 or np.ptp(g) == 0.0:
        return 0.0
    p, g = (_unit(each) for each in (p, g))
    return float(np.clip(p @ g, -1.0, 1.0))


def spearman(predicted: Sequence[float], gold: Sequence[float]) -> float:
    """Return Spearman's correlation, which is Pearson's of the ranks; equal numbers share the mean of their ranks.

    Where one of the lists is constant, it is 0. Raises InputError when the lists do not pair up.
    """
    p, g = _arrays(predicted, gold)
    return pearson(_ranks(p).tolist(), _ranks(g).tolist())


def _arrays(predicted: Sequence[float], gold: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    check_pairs(predicted, gold, "gold numbers")
    arrays = np.asarray(predicted, np.float64), np.asarray(gold, np.float64)
    for name, array in zip(("predicted", "gold"), arrays, strict=True):
        if not np.isfinite(array).all():
            raise InputError(f"a {name} number is {array[~np.isfinite(array)][0]}, expected finite ones")
    return arrays


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers less their mean, scaled to a length of 1; first by their range, whose square may be no number."""
    centred = x / np.abs(x).max()
    centred = centred - centred.mean()
    centred = centred / np.abs(centred).max()
    return np.asarray(centred / np.sqrt(np.square(centred).sum()))


def _ranks(x: NDArray[np.float64]) -> NDArray[np.float64]:
    _, group, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[group])
