"""Labels of held-out data that a model does not know: it goes on, and they count as wrong."""

from collections import Counter
from collections.abc import Iterable, Sequence

from numformer._notices import few, say
from numformer.errors import InputError


def say_unknown(what: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Say on stderr in one line which labels are not the model's and how often they occur; `what` is such as "labels".

    Raises InputError when it knows none of them, since then nothing can be right.
    """
    counts = Counter(given)
    unknown = {label: counts[label] for label in sorted(set(counts) - set(known))}
    if not unknown:
        return
    named = few(f"{label!r} ({count:,})" for label, count in unknown.items())
    if len(unknown) == len(counts):
        raise InputError(
            f"none of the {what} is known to the model: it has {len(known)}: {few(known)}, and the data {named}"
        )
    number = f"{sum(unknown.values()):,} of {counts.total():,} {what}"
    say(f"{number} are unknown to the model and count as wrong: {named}")
