"""Models from a config: a backbone of its kind with the head of a task."""

from __future__ import annotations

from typing import Any

from numformer import random
from numformer.errors import InputError
from numformer.models.bert import Bert
from numformer.models.config import BertConfig, GPTConfig, TransformerConfig
from numformer.models.gpt import GPT, GPTBackbone
from numformer.models.heads import MaskedLM, SequenceClassifier, SpanClassifier, TokenClassifier
from numformer.models.transformer import Transformer

CONFIGS = {config.model_type: config for config in (GPTConfig, BertConfig, TransformerConfig)}
HEADS = {"classification": SequenceClassifier, "tagging": TokenClassifier, "question_answering": SpanClassifier}
TASKS = ("lm", "mlm", "seq2seq", *HEADS)


def build_model(config: Any, task: str = "classification", *, seed: int = 0, **settings: Any) -> Any:
    """Return a new model of a config for a task: lm, mlm, seq2seq, classification, tagging or question_answering.

    `settings` are those of the head: labels (names or their number), pooling.
    Raises InputError for an unknown task, and for a task that the architecture cannot do.
    """
    if task in HEADS and not isinstance(config, TransformerConfig):
        return HEADS[task](build_backbone(config, seed), seed=seed, **settings)
    if task == "lm" and isinstance(config, GPTConfig):
        return GPT(config, seed=seed, **settings)
    if task == "mlm" and isinstance(config, BertConfig):
        return MaskedLM(Bert(config, seed=seed), seed=seed, **settings)
    if task == "seq2seq" and isinstance(config, TransformerConfig):
        return Transformer(config, seed=seed, **settings)
    if task in TASKS:
        raise InputError(f"a {type(config).__name__} does not fit the task {task}")
    raise InputError(f"unknown task {task!r}: choose {', '.join(TASKS)}")


def build_backbone(config: Any, seed: int = 0) -> Any:
    """Return a new backbone: Bert, or GPT without its head."""
    return Bert(config, seed=seed) if isinstance(config, BertConfig) else GPTBackbone(config, random.generator(seed))


def build_from_disk(keys: dict[str, Any], where: str) -> Any:
    """Return a new model of the kind that a Hugging Face config.json describes.

    Raises InputError for an architecture that is not known.
    """
    kind = keys.get("model_type")
    if kind not in tuple(CONFIGS):  # it may be anything that JSON can say
        raise InputError(f"{where}: model_type is {kind!r}, supported are {', '.join(CONFIGS)}")
    config = CONFIGS[kind].from_disk(keys)
    names = keys.get("architectures") or [""]
    name = str(names[0]) if isinstance(names, list) else str(names)
    if name.endswith(SequenceClassifier.suffix):
        pooling = "mean" if name.startswith("Mean") else "first"
        return build_model(config, "classification", labels=_labels(keys, where), pooling=pooling)
    if name.endswith(TokenClassifier.suffix):
        return build_model(config, "tagging", labels=_labels(keys, where))
    if name.endswith(SpanClassifier.suffix):
        return build_model(config, "question_answering")
    return build_model(config, {"gpt2": "lm", "bert": "mlm", "transformer": "seq2seq"}[kind])


def _labels(keys: dict[str, Any], where: str) -> list[str]:
    labels = keys.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})
    try:
        return [str(labels[str(number)]) for number in range(len(labels))]
    except (KeyError, TypeError):
        raise InputError(f"{where}: id2label must number the labels from 0, got {labels!r}") from None
