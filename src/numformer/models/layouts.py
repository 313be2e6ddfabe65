"""The names of weights on disk, which are Hugging Face's: a table per architecture turns ours into them and back."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

_OLD_NORM = re.compile(r"(?<=LayerNorm\.)(gamma|beta)$")
_NEW_NORM = {"gamma": "weight", "beta": "bias"}
TRANSPOSED = "[in out]"  # written after a name: the matrix lies on disk the other way round than in memory, [out in]


@dataclass(frozen=True)
class Layout:
    """The names of an architecture's modules, and of parameters that lie in none, here and on disk.

    A table is a text with a pair of names in each line, in which `*` stands for a number: `layers.*.norm  h.*.ln_1`; a name
    that it does not hold is the same on disk. `backbone` is the table of the model without a head; its names stand after
    `prefix` on disk (`prefixes` has the exceptions, by task), and after "backbone." here when there is a head. `heads` has
    a table for each task.

    Files have more than weights: `ignored` are the names on disk, without the prefix, of tables that a model makes itself and
    of tied weights that are there a second time, `left_out` those of weights that only another head has a use for.
    """

    backbone: str = ""
    prefix: str = ""
    prefixes: Mapping[str, str] = field(default_factory=dict)
    heads: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def names(self, task: str | None, is_headed: bool) -> Names:
        """Return the names of the model for a task, or of the backbone that does none, which have no prefix."""
        rules, prefix = [], self.prefixes.get(task or "", self.prefix)
        for ours, theirs, is_transposed in _pairs(self.backbone):
            there = prefix + theirs if task else theirs
            rules.append((f"backbone.{ours}" if is_headed else ours, there, is_transposed))
        return Names([*rules, *_pairs(self.heads.get(task or "", ""))], prefix, self.ignored, self.left_out)


class Names:
    """One model's names, both ways."""

    def __init__(
        self,
        rules: list[tuple[str, str, bool]],
        prefix: str = "",
        ignored: tuple[str, ...] = (),
        left_out: tuple[str, ...] = (),
    ) -> None:
        self._prefix = prefix
        self._ignored, self._left_out = (list(map(_pattern, each)) for each in (ignored, left_out))
        self._to_disk = [(_pattern(ours), _filled(theirs), turned) for ours, theirs, turned in rules]
        self._from_disk = [(_pattern(theirs), _filled(ours), turned) for ours, theirs, turned in rules]

    def to_disk(self, name: str) -> str:
        """Return the name on disk of the parameter of that name."""
        return _renamed(name, self._to_disk)

    def from_disk(self, name: str) -> str:
        """Return the name of the parameter that has that name on disk."""
        return _renamed(name, self._from_disk)

    def module_of(self, name: str) -> str:
        """Return the module of the whole model on disk, or of its backbone, in which the parameter of that name lies."""
        return self.to_disk(name).removeprefix(self._prefix).partition(".")[0]

    def parameter_of(self, there: str, own: Container[str]) -> str | None:
        """Return which of the parameters `own` a name in a file means, None where none.

        The backbone of a model may lie there without its prefix, or with it where it is all there is; and the first models of
        BERT call the weight and the bias of a normalisation gamma and beta.
        """
        there = _OLD_NORM.sub(lambda match: _NEW_NORM[match[0]], there)
        for name in (there, self._prefix + there, there.removeprefix(self._prefix)):
            if (ours := self.from_disk(name)) in own:
                return ours
        return None

    def is_ignored(self, there: str) -> bool:
        """Tell whether a name in a file is known to hold no weight of its own."""
        return self._is_among(there, self._ignored)

    def is_left_out(self, there: str) -> bool:
        """Tell whether a name in a file is known to be a weight for which only another head has a use."""
        return self._is_among(there, self._left_out)

    def _is_among(self, there: str, patterns: list[re.Pattern[str]]) -> bool:
        name = there.removeprefix(self._prefix)
        return any(pattern.match(name) for pattern in patterns)

    def is_transposed(self, name: str) -> bool:
        """Tell whether the parameter of that name lies on disk as its transpose."""
        rule = next((rule for rule in self._to_disk if rule[0].match(name)), None)
        return rule is not None and rule[2] and name.endswith(".weight")


def _pairs(table: str) -> list[tuple[str, str, bool]]:
    """Return the lines of a table: our name, that on disk, and whether the weight is transposed."""
    pairs = []
    for line in filter(str.strip, table.splitlines()):
        names = line.removesuffix(TRANSPOSED)
        ours, theirs = names.split()
        pairs.append((ours, theirs, names != line))
    return pairs


def _pattern(name: str) -> re.Pattern[str]:
    """Return what matches a name and everything under it."""
    return re.compile(re.escape(name).replace(r"\*", r"(\d+)") + r"(?=\.|$)")


def _filled(name: str) -> str:
    """Return a name as the replacement for a match, the numbers taken from there."""
    parts = name.split("*")
    return "".join(f"{part}\\g<{number}>" for number, part in enumerate(parts[:-1], 1)) + parts[-1]


def _renamed(name: str, rules: list[tuple[re.Pattern[str], str, bool]]) -> str:
    for pattern, replacement, _ in rules:
        if match := pattern.match(name):
            return match.expand(replacement) + name[match.end() :]
    return name
