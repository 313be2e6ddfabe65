"""What a tagger reads: sentences with a tag for every word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from numformer._notices import amount
from numformer.data.files.examples import Examples
from numformer.data.tagged.conll import TaggedSentence, read_conll
from numformer.data.tagged.tag_schemes import spoiling_tags, tag_scheme
from numformer.tasks.shared.format import DataConfig, Format, counted
from numformer.tasks.shared.settings import DataSettings, EncoderSettings
from numformer.tokenizers import Tokenizer, WordTokenizer, make_tokenizer


@dataclass(frozen=True, kw_only=True)
class TagConfig(DataConfig):
    """Sentences with a tag for every word: a file with columns (CoNLL-2003, CoNLL-U), blank lines between sentences."""

    column: str | int = "auto"
    """Column of the tags: its number from 1, or its name (CoNLL-U: upos, xpos, ner …); the certain one when not given."""
    word_column: str | int = "auto"
    """Column of the words, likewise."""


class TagSettings(DataSettings, EncoderSettings, total=False):
    """What `Tagger.from_data` takes as keywords: the fields of TagConfig and BertConfig."""

    column: str | int
    word_column: str | int


class TaggedFormat(Format[TaggedSentence, TagConfig]):
    """Sentences with a tag for every word."""

    form = "a TaggedSentence with a tag for every word"
    together = "equal sentences"

    def accepts(self, example: object) -> bool:
        """Tell whether an example is a sentence with a tag for every word."""
        return isinstance(example, TaggedSentence) and len(example.words) == len(example.tags)

    def read(self, path: str, config: TagConfig) -> Examples[TaggedSentence]:
        """Return the sentences of a file."""
        return read_conll(
            path,
            column=config.column,
            word_column=config.word_column,
            encoding=config.encoding,
            skip_bad=config.skip_bad,
        )

    def describe(self, examples: Sequence[TaggedSentence]) -> str:
        """Return the number of words, the tags with their counts, and the scheme in which they mark entities."""
        words = sum(len(sentence.words) for sentence in examples)
        scheme = tag_scheme(sentence.tags for sentence in examples)
        tags = counted("tags", (tag for sentence in examples for tag in sentence.tags))
        about = f"; entities in {scheme}" if scheme else ""
        if spoilt := spoiling_tags(Counter(tag for sentence in examples for tag in sentence.tags)):
            about = f"; not taken for entities because of {', '.join(map(repr, spoilt[:3]))}"
        return f"{amount(words, 'words')}; {tags}{about}"

    def labels(self, examples: Sequence[TaggedSentence]) -> list[str]:
        """Return the tags that occur, in order."""
        return sorted({tag for sentence in examples for tag in sentence.tags})

    def groups(self, examples: Sequence[TaggedSentence]) -> list[tuple[str, ...]]:
        """Keep equal sentences on one side."""
        return [tuple(sentence.words) for sentence in examples]

    def texts(self, examples: Sequence[TaggedSentence]) -> Iterable[str]:
        """Return the sentences, as text."""
        return (" ".join(sentence.words) for sentence in examples)

    def make_tokenizer(self, config: TagConfig, examples: Sequence[TaggedSentence]) -> Tokenizer:
        """Return the tokenizer that a config names; one for words takes them as the file has them."""
        if config.tokenizer == "words":
            return WordTokenizer.train([sentence.words for sentence in examples], config.vocab_size)
        return make_tokenizer(config.tokenizer, self.texts(examples), config.vocab_size)
