"""Models: one readable file per architecture."""

from numformer.models.bert import Bert, BertConfig
from numformer.models.build import build_model
from numformer.models.config import ModelConfig
from numformer.models.gpt import GPT, GPTConfig
from numformer.models.heads import MaskedLM, SequenceClassifier, SequenceRegressor, SpanClassifier, TokenClassifier
from numformer.models.llama import Llama, LlamaConfig
from numformer.models.transformer import Transformer, TransformerConfig

__all__ = [
    "GPT",
    "Bert",
    "BertConfig",
    "GPTConfig",
    "Llama",
    "LlamaConfig",
    "MaskedLM",
    "ModelConfig",
    "SequenceClassifier",
    "SequenceRegressor",
    "SpanClassifier",
    "TokenClassifier",
    "Transformer",
    "TransformerConfig",
    "build_model",
]
