"""Labels of held-out data that a model does not know: it goes on, and they count as wrong."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from numformer.errors import InputError
from numformer.tasks.shared.prediction import few

FEW = 10  # labels that fit a line


def say_unknown(what: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Say on stderr in one line which labels are not the model's and how often they occur; `what` is such as "labels".

    Raises InputError when it knows none of them, since then nothing can be right.
    """
    counts = Counter(given)
    unknown = {label: counts[label] for label in sorted(set(counts) - set(known))}
    if not unknown:
        return
    listed = ", ".join([f"{label!r} ({count:,})" for label, count in unknown.items()][:FEW])
    listed += ", …" if len(unknown) > FEW else ""
    if len(unknown) == len(counts):
        raise InputError(f"none of the {what} is known to the model: it has {few(known)}, and the data {listed}")
    number = f"{sum(unknown.values()):,} of {counts.total():,} {what}"
    print(f"{number} are unknown to the model and count as wrong: {listed}", file=sys.stderr)
