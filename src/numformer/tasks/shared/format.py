"""What the way from a file to a task asks of each task: how its examples are read, held apart, and put into tokens."""

from __future__ import annotations

import dataclasses
import re
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from numformer._notices import amount, few, shortened
from numformer.data.files.examples import Examples
from numformer.pretrained import NO_ADAPTERS, LoRAConfig
from numformer.tasks.shared.encoding import AnyTokenizer, pad_id, vocabulary_size
from numformer.tokenizers import KINDS, make_tokenizer

Example = TypeVar("Example")
Config = TypeVar("Config", bound="DataConfig")
Parts = tuple[list[Example], list[Example]]  # what is trained on, and what is held out


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What to train on, and what to start from."""

    data: str = ""
    """File to train on."""
    valid: str | None = None
    """File of held-out examples; a part of the data when not given."""
    valid_fraction: float = 0.1
    """Share of the data that is held out."""
    tokenizer: str = "words"
    """words, bpe, wordpiece, unigram, characters, bytes, or the folder of a saved tokenizer."""
    vocab_size: int = 32_000
    """Number of tokens of a tokenizer that is trained on the data."""
    pretrained: str | None = None
    """Model whose weights and tokenizer to start from, named as RUN elsewhere; the head is new where the task is another."""
    freeze: tuple[str, ...] = ()
    """Names of parts of the model that are not trained, such as backbone.embeddings or backbone.layers.0."""
    encoding: str = "utf-8"
    """Encoding of text files."""
    skip_bad: bool = False
    """Leave rows out that are malformed, and count them, instead of stopping at the first."""
    lora: LoRAConfig = NO_ADAPTERS
    """Adapters that are trained in place of the weights of the pretrained model, beside a new head."""


class Format(ABC, Generic[Example, Config]):
    """The form of a task's examples; a task writes `read` and `texts`, and what it does otherwise than here."""

    form: ClassVar[str] = "a pair of texts"
    together: ClassVar[str] = "equal examples"  # what `groups` puts together

    @abstractmethod
    def read(self, path: str, config: Config) -> Examples[Example]:
        """Return the examples of a file, and what was left out of it; raises InputError, with the line of what is wrong."""

    @abstractmethod
    def texts(self, examples: Sequence[Example]) -> Iterable[str]:
        """Return the texts to train a tokenizer on."""

    def settled(self, config: Config, data: Sequence[Example] | None) -> Config:
        """Return the config with what the header of its file, or the list of examples in its place, says by itself."""
        return config

    def generate(self, config: Config, seed: int) -> Parts[Example] | None:
        """Return the examples of a generated task that the config names in place of a file, None where it names none."""
        return None

    def accepts(self, example: object) -> bool:
        """Tell whether an object has the form of an example; by default that of a pair of texts."""
        return isinstance(example, (tuple, list)) and len(example) == 2 and all(isinstance(x, str) for x in example)

    def labels(self, examples: Sequence[Example]) -> list[str]:
        """Return the labels that occur in the examples, in order; a task without labels has none."""
        return []

    def describe(self, examples: Sequence[Example]) -> str:
        """Say in a few words what the examples are besides their number, such as the labels with their counts."""
        return ""

    def groups(self, examples: Sequence[Example]) -> Sequence[Hashable]:
        """Return what examples that must lie on one side of the split have in common; by default they are equal."""
        return [repr(example) for example in examples]

    def make_tokenizer(self, config: Config, examples: Sequence[Example]) -> AnyTokenizer:
        """Return the tokenizer that a config names, trained on the examples where it needs that."""
        return make_tokenizer(config.tokenizer, self.texts(examples), config.vocab_size)

    def fit_config(self, model: Any, tokenizer: Any) -> Any:
        """Return the model's config with the sizes of the tokenizer; raises InputError when one is too small."""
        size = vocabulary_size(model.vocab_size, tokenizer)
        return dataclasses.replace(model, vocab_size=size, pad_id=pad_id(tokenizer))


def counted(things: str, values: Iterable[str]) -> str:
    """Return how often each of some labels occurs, and which of them look like slips: "2 labels: good (60), bad (40)".

    The most frequent come first, ten at most. Slips are labels that occur once where others are frequent, and labels that
    differ in case or punctuation alone.
    """
    counts = Counter(values)
    parts = [
        f"{amount(len(counts), things)}: {few(f'{_name(each)} ({count:,})' for each, count in counts.most_common())}"
    ]
    once = [each for each, count in counts.items() if count == 1]
    if once and len(once) < counts.total():
        parts.append(f"once only: {few(map(_name, once))}")
    alike: dict[str, list[str]] = {}
    for each in sorted(counts):
        alike.setdefault(_spelling(each), []).append(each)
    groups = [", ".join(map(_name, group)) for spelling, group in alike.items() if spelling and len(group) > 1]
    if groups:
        parts.append(f"nearly the same: {few(groups, between=' / ')}")
    return "; ".join(parts)


def _name(label: str) -> str:
    return shortened(label, 30)


def _spelling(label: str) -> str:
    """Return what is the same of labels such as "Sci-Fi", "sci fi" and "sci fi."; signs that may mean something are kept."""
    return re.sub(r"(?<=[^\W_])[\s_-]+(?=\w)", " ", label.casefold().strip(" \t.,;:!?\"'"))


def places(config: DataConfig) -> dict[str, str]:
    """Return where the files that a config names lie, for those who look from another folder."""
    named = {name: getattr(config, name) for name in ("data", "valid", "pretrained", "tokenizer")}
    named = {name: value for name, value in named.items() if value and value not in KINDS}
    return {name: str(Path(value).resolve()) for name, value in named.items() if Path(value).exists()}


def marks(*parts: list[Any]) -> dict[str, int]:
    """Return the checksum of the examples, which tells later whether they are still the same, and their number."""
    crc = zlib.crc32(repr(parts).encode("utf-8", "surrogatepass"))
    return {"crc32": crc, "num_examples": sum(map(len, parts))}
