"""What every score of two lists needs: one prediction for each answer, and at least one."""

from collections.abc import Sized

from numformer._notices import amount
from numformer.errors import InputError


def check_pairs(predicted: Sized, gold: Sized, name: str) -> None:
    """Raise InputError unless there is one prediction for each of the `name`, and at least one of them."""
    if len(predicted) != len(gold):
        raise InputError(
            f"got {amount(len(predicted), 'predictions')} for {len(gold)} {name}: one for each was expected"
        )
    if not len(gold):
        raise InputError(f"there is nothing to score: got no predictions and no {name}")
