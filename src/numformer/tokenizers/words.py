"""One token per word, with hashed word shapes and affixes by which unseen words are known too."""

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from numformer._notices import amount
from numformer.errors import InputError
from numformer.tokenizers.base import SPECIAL_TOKENS, TokenIds, check_ids, token_dtype
from numformer.tokenizers.tokenizer_json import layout, special_token, write_tokenizer_json
from numformer.tokenizers.word_patterns import word_pattern

_CACHED_WORDS = 1 << 17


class WordTokenizer:
    """Numbers five special tokens, then the words of a vocabulary, then rows that hashed features share.

    The features of a word follow the classic taggers (Ratnaparkhi 1996), hashed as by Weinberger et al. 2009. Raises
    InputError for a word given twice, for one that is the name of a special token, and when `num_buckets` is below 1.

    `pattern` is the regular expression that finds the words of a text. It is saved with the tokenizer and names every
    character in ranges, so that a text has the same words in every release of Python and in the `tokenizers` library.
    """

    SPECIAL_TOKENS: ClassVar[tuple[str, ...]] = SPECIAL_TOKENS
    NUM_FEATURES: ClassVar[int] = 15

    pad_id: int | None = 0
    bos_id: int | None = 1
    eos_id: int | None = 2
    unk_id: int | None = 3
    mask_id: int | None = 4

    def __init__(self, vocabulary: Sequence[str], num_buckets: int = 8192, pattern: str | None = None) -> None:
        self.vocabulary, self.num_buckets = list(vocabulary), num_buckets
        tokens = [*self.SPECIAL_TOKENS, *self.vocabulary]
        if len(set(tokens)) < len(tokens):
            word, _ = Counter(tokens).most_common(1)[0]
            raise InputError(
                f"a word tokenizer needs distinct words that name no special token, got {word[:80]!r} twice"
            )
        if num_buckets < 1:
            raise InputError(f"got num_buckets={num_buckets}, expected at least 1")
        self.pattern = word_pattern() if pattern is None else pattern
        self._find = _compiled(self.pattern)
        self._tokens = tokens
        self._ids = {word: i for i, word in enumerate(tokens) if i >= len(self.SPECIAL_TOKENS)}
        self._cached_row = lru_cache(_CACHED_WORDS)(self._row)

    @classmethod
    def train(
        cls,
        texts: Iterable[str | Sequence[str]],
        vocab_size: int = 20_000,
        *,
        min_count: int = 2,
        num_buckets: int | None = None,
    ) -> "WordTokenizer":
        """Keep the most frequent words of texts, or of lists of words, that occur `min_count` times or more.

        `vocab_size` bounds words, special tokens and buckets together. Unless given, `num_buckets` is the largest power
        of two up to half of it. With `min_count` above 1 a model meets unknown words in training too. Raises InputError
        when `vocab_size` leaves no room for words.
        """
        buckets = 1 << max(vocab_size // 2, 1).bit_length() - 1 if num_buckets is None else num_buckets
        room = vocab_size - buckets - len(cls.SPECIAL_TOKENS)
        if room < 1:
            raise InputError(
                f"got vocab_size={vocab_size}, expected more than {len(cls.SPECIAL_TOKENS)} special tokens "
                f"and {buckets} buckets"
            )
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(_compiled(word_pattern()).findall(text) if isinstance(text, str) else text)
        frequent = [word for word in counts if counts[word] >= min_count and word not in cls.SPECIAL_TOKENS]
        return cls(sorted(frequent, key=lambda word: (-counts[word], word))[:room], buckets)

    @property
    def vocab_size(self) -> int:
        """The number of special tokens, words and buckets."""
        return len(self._tokens) + self.num_buckets

    def words(self, text: str) -> list[tuple[str, int, int]]:
        """Return the words and single punctuation characters of a text, each with its start and end."""
        return [(match[0], match.start(), match.end()) for match in self._find.finditer(text)]

    def encode(self, text: str) -> NDArray[Any]:
        """Return the id of each word of a text, an array [N]; words outside the vocabulary are UNK."""
        unknown = self.unk_id
        ids = [self._ids.get(word, unknown) for word in self._find.findall(text)]
        return np.array(ids, dtype=token_dtype(self.vocab_size))

    def encode_spans(self, text: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the features [N F] of the words of a text and their spans [N 2]."""
        words = self.words(text)
        spans = np.array([span for _, *span in words], dtype=np.int64).reshape(-1, 2)
        return self.features([word for word, *_ in words]), spans

    def features(self, words: Sequence[str]) -> NDArray[Any]:
        """Return the fifteen features of each word as ids, an array [N F].

        They are the word itself (UNK outside the vocabulary), then hashed: the word in lower case, its shape, its first
        one to four characters, its last one to four; and of the words before and after it the lower case and the last
        three characters. PAD fills the places of affixes longer than the word.
        """
        before, own, after = zip(*map(self._cached_row, ["", *words, ""]), strict=True)
        rows = [row + left + right for row, left, right in zip(own[1:-1], before, after[2:], strict=False)]
        return np.array(rows, dtype=token_dtype(self.vocab_size)).reshape(-1, self.NUM_FEATURES)

    def decode(self, ids: TokenIds) -> str:
        """Return the words of ids [N] with spaces between them, leaving out special tokens and hashed features.

        Raises InputError for ids outside the vocabulary.
        """
        array = check_ids(ids, self.vocab_size)
        known = array[(array >= len(self.SPECIAL_TOKENS)) & (array < len(self._tokens))]
        return " ".join(self._tokens[i] for i in known)

    def to_json(self) -> dict[str, Any]:
        """Return the content of this tokenizer's tokenizer.json."""
        vocab = {token: i for i, token in enumerate(self._tokens)}
        # The `tokenizers` library passes over the number of buckets.
        model = {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>", "num_buckets": self.num_buckets}
        added_tokens = [special_token(i, name) for i, name in enumerate(self.SPECIAL_TOKENS)]
        split = {"type": "Split", "pattern": {"Regex": self.pattern}, "behavior": "Removed", "invert": True}
        return layout(model, split, None, added_tokens)

    def save(self, path: str | Path) -> None:
        """Write tokenizer.json into the folder `path`, or to `path` itself when it ends in .json."""
        write_tokenizer_json(path, self.to_json())

    def __reduce__(self) -> Any:
        return WordTokenizer, (self.vocabulary, self.num_buckets, self.pattern)

    def __repr__(self) -> str:
        return f"WordTokenizer({amount(len(self.vocabulary), 'words')}, {amount(self.num_buckets, 'buckets')})"

    def _row(self, word: str) -> tuple[list[int | None], ...]:
        """Return what a word contributes to the features of the next word, to its own, and to those of the one before."""
        hashed = [f"lower {word.lower()}", f"shape {_shape(word)}"]
        prefixes = [f"prefix {word[:n]}" if n <= len(word) else None for n in range(1, 5)]
        suffixes = [f"suffix {word[-n:]}" if n <= len(word) else None for n in range(1, 5)]
        slots = (self.pad_id if slot is None else self._bucket(slot) for slot in hashed + prefixes + suffixes)
        neighbours: list[list[int | None]] = [
            [self._bucket(f"{place} {word.lower()}"), self._bucket(f"{place} suffix {word[-3:].lower()}")]
            for place in ("previous", "next")
        ]
        return neighbours[0], [self._ids.get(word, self.unk_id), *slots], neighbours[1]

    def _bucket(self, feature: str) -> int:
        return len(self._tokens) + zlib.crc32(feature.encode("utf-8", "surrogatepass")) % self.num_buckets


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError(f"the pattern of a word tokenizer is no regular expression: {error}") from None


def _shape(word: str) -> str:
    """Return what kinds of characters follow each other in a word: "McDonald's-42" has the shape "XxXx-x-9"."""
    kinds = ("X" if c.isupper() else "x" if c.isalpha() else "9" if c.isdigit() else "-" for c in word)
    return "".join(kind for kind, _ in groupby(kinds))
