"""Names of tasks and settings: the words that people type, and the one name that numformer has for each.

Everything that takes the name of a task or of a setting asks these tables, so a word means the same thing everywhere.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from numformer._absent import OF_SETTINGS
from numformer.errors import InputError

Made = TypeVar("Made", bound=Callable[..., Any])

# The commands' name of every task, and other words for it, most of them Hugging Face's; - and _ count as the same.
TASK_WORDS: dict[str, tuple[str, ...]] = {
    "lm": ("language_model", "language_modeling", "causal_lm", "text_generation"),
    "mlm": ("masked_language_model", "masked_lm", "fill_mask"),
    "seq2seq": ("generation", "translation", "text2text_generation"),
    "summarise": ("summarize", "summarisation", "summarization"),
    "classify": ("classification", "text_classification", "sequence_classification", "sentiment_analysis"),
    "tag": ("tagging", "sequence_labeling", "sequence_labelling", "token_classification", "ner"),
    "qa": ("question_answering",),
    "regress": ("regression",),
}
TASK_OF_WORD = {word: name for name, words in TASK_WORDS.items() for word in (name, *words)}

# Other words for a setting, and the setting that they mean.
SETTING_OF_WORD = {
    "from": "pretrained",  # the word of the command line, which Python keeps for itself
    "max_len": "max_seq_len",
    "max_position_embeddings": "max_seq_len",
    "hidden_size": "d_model",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads",
    "num_hidden_layers": "num_layers",
    "intermediate_size": "d_ff",
    "num_return_sequences": "num_return",
    "bad_words_ids": "bad_words",
    "num_classes": "labels",
    "num_labels": "labels",
    "embed_dim": "d_model",
    "embedding_dim": "d_model",
    "normalized_shape": "d_model",
    "num_embeddings": "vocab_size",
    "padding_idx": "padding_id",
    "dim": "axis",
    "keepdim": "keepdims",
    "ddof": "correction",
    "gradient": "grad",
}


def task_name(word: str) -> str:
    """Return the commands' name of a task for any word that is known for it, such as "tag" for "token-classification".

    Raises InputError, with the commands' names, for another word.
    """
    name = TASK_OF_WORD.get(str(word).replace("-", "_"))
    if name is None:
        raise InputError(f"unknown task {word!r}: choose {', '.join(TASK_WORDS)}")
    return name


def setting_name(word: str) -> str:
    """Return numformer's name of a setting: "max_seq_len" for "max_len", and the word itself where the table has none."""
    return SETTING_OF_WORD.get(word, word)


def rename_settings(settings: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Return the settings under the known names that their words mean.

    Raises InputError when a setting is given under two words, and for a word that means no known setting.
    """
    known, renamed = set(known), dict[str, Any]()
    words: dict[str, str] = {}
    for word, value in settings.items():
        name = word if word in known else setting_name(word)
        if name in renamed:
            raise InputError(f"{words[name]} and {word} are the same setting: give one of them")
        words[name], renamed[name] = word, value
    check_settings([word for name, word in words.items() if name not in known], known)
    return renamed


def takes_synonyms(made: Made) -> Made:
    """Let a function or the constructor of a class, a dataclass among them, take synonyms of its keywords.

    A misspelt keyword is then the same InputError as everywhere, unless the function takes any keyword.
    """
    parameters = inspect.signature(made).parameters.values()
    known = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {"self"}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    body: Callable[..., Any] = made.__init__ if isinstance(made, type) else made  # type: ignore[misc]

    @functools.wraps(body)
    def call(*args: Any, **settings: Any) -> Any:
        if settings.keys() <= known:  # the usual case, and quick, for methods of Tensor are called so
            return body(*args, **settings)
        others = {word for word in settings if setting_name(word) not in known} if takes_any else set()
        return body(*args, **rename_settings(settings, known | others))

    if not isinstance(made, type):
        return cast(Made, call)
    made.__init__ = call  # type: ignore[misc]
    return made


def check_settings(settings: Iterable[str], known: Iterable[str]) -> None:
    """Raise InputError for a setting that is not among the known ones, with the one that may have been meant.

    One that people know from PyTorch is answered with what to do instead.
    """
    known = sorted(known)
    if unknown := sorted(set(settings) - set(known)):
        if absent := [f"{word}: {OF_SETTINGS[word]}" for word in unknown if word in OF_SETTINGS]:
            raise InputError(f"there is no setting {'; '.join(absent)}")
        close = [match for word in unknown for match in difflib.get_close_matches(word, known, n=1)]
        meant = f"; did you mean {', '.join(close)}?" if close else ""
        raise InputError(f"unknown setting {', '.join(unknown)}; known are {', '.join(known) or 'none'}{meant}")
