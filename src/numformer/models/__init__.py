"""Models: one readable file per architecture."""

from numformer.models.bert import Bert
from numformer.models.build import build_model
from numformer.models.config import BertConfig, GPTConfig, TransformerConfig
from numformer.models.gpt import GPT
from numformer.models.heads import MaskedLM, SequenceClassifier, SpanClassifier, TokenClassifier
from numformer.models.transformer import Transformer

__all__ = [
    "GPT",
    "Bert",
    "BertConfig",
    "GPTConfig",
    "MaskedLM",
    "SequenceClassifier",
    "SpanClassifier",
    "TokenClassifier",
    "Transformer",
    "TransformerConfig",
    "build_model",
]
