"""Models: one readable file per architecture."""

from numformer.models.bart import Bart, BartConfig
from numformer.models.bert import Bert, BertConfig
from numformer.models.build import build_model
from numformer.models.config import ModelConfig
from numformer.models.distilbert import DistilBert, DistilBertConfig
from numformer.models.gemma2 import Gemma2, Gemma2Config
from numformer.models.gemma3 import Gemma3, Gemma3Config
from numformer.models.gpt import GPT, GPTConfig
from numformer.models.gpt_neox import GPTNeoX, GPTNeoXConfig
from numformer.models.heads import MaskedLM, SequenceClassifier, SequenceRegressor, SpanClassifier, TokenClassifier
from numformer.models.llama import Llama, LlamaConfig
from numformer.models.mistral import Mistral, MistralConfig
from numformer.models.qwen2 import Qwen2, Qwen2Config
from numformer.models.qwen3 import Qwen3, Qwen3Config
from numformer.models.roberta import Roberta, RobertaConfig
from numformer.models.rope import RopeScaling
from numformer.models.sentence_encoder import SentenceEncoder
from numformer.models.t5 import T5, T5Config
from numformer.models.transformer import Transformer, TransformerConfig

__all__ = [
    "GPT",
    "T5",
    "Bart",
    "BartConfig",
    "Bert",
    "BertConfig",
    "DistilBert",
    "DistilBertConfig",
    "GPTConfig",
    "GPTNeoX",
    "GPTNeoXConfig",
    "Gemma2",
    "Gemma2Config",
    "Gemma3",
    "Gemma3Config",
    "Llama",
    "LlamaConfig",
    "MaskedLM",
    "Mistral",
    "MistralConfig",
    "ModelConfig",
    "Qwen2",
    "Qwen2Config",
    "Qwen3",
    "Qwen3Config",
    "Roberta",
    "RobertaConfig",
    "RopeScaling",
    "SentenceEncoder",
    "SequenceClassifier",
    "SequenceRegressor",
    "SpanClassifier",
    "T5Config",
    "TokenClassifier",
    "Transformer",
    "TransformerConfig",
    "build_model",
]
