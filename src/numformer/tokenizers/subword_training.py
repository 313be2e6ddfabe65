"""Training of subword vocabularies with the `tokenizers` library, made repeatable.

Byte-pair encoding: Sennrich et al. 2016, on bytes as in GPT-2 (Radford et al. 2019). WordPiece: Schuster and Nakajima 2012,
as in BERT (Devlin et al. 2019). Unigram: Kudo 2018.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from numformer.errors import InputError
from numformer.tokenizers.base import SPECIAL_TOKENS
from numformer.tokenizers.tokenizer_json import tokenizers_library
from numformer.tokenizers.word_patterns import needless_space_pattern, unspaced_pattern

BERT_SPECIAL_TOKENS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]


def train_subwords(kind: str, texts: Iterable[str], vocab_size: int, lowercase: bool) -> str:
    """Return the content of the tokenizer.json of a new tokenizer, the same for the same texts.

    Raises InputError as SubwordTokenizer.train does.
    """
    train = {"bpe": _bpe, "wordpiece": _wordpiece, "unigram": _unigram}.get(kind)
    if train is None:
        raise InputError(f"got a subword tokenizer of kind {kind!r}, expected bpe, wordpiece or unigram")
    return train(_checked(texts), vocab_size, lowercase)


def _bpe(texts: Iterator[str], vocab_size: int, lowercase: bool) -> str:
    library = tokenizers_library()
    alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
    _check_size("bpe", vocab_size, len(alphabet))
    tokenizer = library.Tokenizer(library.models.BPE())
    if lowercase:
        tokenizer.normalizer = library.normalizers.Lowercase()
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return str(tokenizer.to_str())


def _wordpiece(texts: Iterator[str], vocab_size: int, lowercase: bool) -> str:
    kept = list(texts)
    alphabet = sorted(_train_wordpiece(kept, 0, [], lowercase).get_vocab().keys() - {*BERT_SPECIAL_TOKENS})
    _check_size("wordpiece", vocab_size, len(alphabet))
    # The trainer numbers the characters that continue a word, "##x", in the order of a hash table, another in each
    # process. Only special tokens keep a given order, so the alphabet is handed over as such.
    content = json.loads(_train_wordpiece(kept, vocab_size, alphabet, lowercase).to_str())
    content["added_tokens"] = content["added_tokens"][: len(BERT_SPECIAL_TOKENS)]
    return json.dumps(content)


def _train_wordpiece(texts: list[str], vocab_size: int, alphabet: list[str], lowercase: bool) -> Any:
    library = tokenizers_library()
    tokenizer = library.Tokenizer(library.models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = library.normalizers.BertNormalizer(lowercase=lowercase)
    # BERT takes Chinese characters one by one; here all scripts without spaces are, also when they are put together again.
    alone = library.pre_tokenizers.Split(library.Regex(unspaced_pattern()), "isolated")
    tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence([library.pre_tokenizers.BertPreTokenizer(), alone])
    without_space = library.decoders.Replace(library.Regex(needless_space_pattern()), "")
    tokenizer.decoder = library.decoders.Sequence(
        [library.decoders.WordPiece(), library.decoders.Fuse(), without_space]
    )
    trainer = library.trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=BERT_SPECIAL_TOKENS + alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _unigram(texts: Iterator[str], vocab_size: int, lowercase: bool) -> str:
    library = tokenizers_library()
    normalizer = library.normalizers.Lowercase() if lowercase else library.normalizers.Sequence([])
    # The trainer keeps NUL for the ends of words.
    kept = [normalizer.normalize_str(text).replace("\0", "") for text in texts]
    alphabet = {character for text in kept for character in text.replace(" ", "▁")}
    _check_size("unigram", vocab_size, len(alphabet))
    tokenizer = library.Tokenizer(library.models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence(
        [
            # Without a space of its own before a text, pieces of a text encode to the pieces of its ids.
            library.pre_tokenizers.Metaspace(prepend_scheme="never"),
            # No piece reaches across lines, or is the name of a special token.
            library.pre_tokenizers.Split(library.Regex(r"[\n<]"), "isolated"),
        ]
    )
    tokenizer.decoder = library.decoders.Metaspace(prepend_scheme="never")
    trainer = library.trainers.UnigramTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(kept, trainer)
    content = json.loads(tokenizer.to_str())
    special, pieces = content["model"]["vocab"][:5], content["model"]["vocab"][5:]
    content["model"]["vocab"] = special + _repeatable(pieces, len(alphabet), vocab_size - len(special))
    return json.dumps(content)


def _repeatable(pieces: list[tuple[str, float]], alphabet_size: int, limit: int) -> list[tuple[str, float]]:
    """Return up to `limit` pieces with scores, and in an order, that do not depend on the order of a hash table.

    Characters that are no pieces at the end of training get the lowest score plus 0, 0.0001, 0.0002, ... in such an
    order: they all get the lowest here. The other scores are sums taken in such an order: they are rounded. All
    characters are kept, and the best of the other pieces; the trainer gives too many when the alphabet fills the limit.
    """
    lowest = min(score for _, score in pieces)
    highest_added = lowest + 0.0001 * alphabet_size
    scores = {
        piece: round(lowest if len(piece) == 1 and score < highest_added else score, 4) for piece, score in pieces
    }
    return sorted(scores.items(), key=lambda item: (len(item[0]) > 1, -item[1], item[0]))[:limit]


def _check_size(kind: str, vocab_size: int, alphabet_size: int) -> None:
    if not alphabet_size:
        raise InputError(f"there is no text to train a {kind} tokenizer on: not one character")
    smallest = len(SPECIAL_TOKENS) + alphabet_size
    if vocab_size < smallest:
        raise InputError(
            f"got vocab_size={vocab_size}, but a {kind} tokenizer of these texts needs at least {smallest}: "
            f"{len(SPECIAL_TOKENS)} special tokens and an alphabet of {alphabet_size}"
        )


def _checked(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts, 1):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"text {number} to train on has at position {error.start} the character {text[error.start]!r}, "
                "half of a surrogate pair, which is not valid Unicode"
            ) from error
        yield text
