"""numformer: train and run Transformers with NumPy alone."""

from typing import TYPE_CHECKING, Any

from numformer import generation, models, nn, ops, optim, tokenizers, training
from numformer.autograd import Parameter, Tensor, gradients, inference, no_grad, recompute
from numformer.data import DataLoader, TensorDataset
from numformer.errors import InputError
from numformer.generation import BeamConfig, SamplingConfig
from numformer.models import GPT, BertConfig, GPTConfig, ModelConfig, Transformer, TransformerConfig, build_model
from numformer.nn import CrossEntropyLoss, capture, intervene
from numformer.tokenizers import ByteTokenizer, CharacterTokenizer
from numformer.training import OptimConfig, TrainConfig

if TYPE_CHECKING:
    from numformer.tasks import (
        Classifier,
        LanguageModel,
        MaskedLanguageModel,
        QuestionAnswerer,
        Summariser,
        Tagger,
        Translator,
    )

__version__ = "0.1.0"

__all__ = [
    "GPT",
    "BeamConfig",
    "BertConfig",
    "ByteTokenizer",
    "CharacterTokenizer",
    "Classifier",
    "CrossEntropyLoss",
    "DataLoader",
    "GPTConfig",
    "InputError",
    "LanguageModel",
    "MaskedLanguageModel",
    "ModelConfig",
    "OptimConfig",
    "Parameter",
    "QuestionAnswerer",
    "SamplingConfig",
    "Summariser",
    "Tagger",
    "Tensor",
    "TensorDataset",
    "TrainConfig",
    "Transformer",
    "TransformerConfig",
    "Translator",
    "build_model",
    "capture",
    "generation",
    "gradients",
    "inference",
    "intervene",
    "models",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "recompute",
    "tokenizers",
    "training",
]


def __getattr__(name: str) -> Any:
    """Import the tasks when one is asked for, so that those who need none do not wait for them."""
    if name not in __all__:
        raise AttributeError(f"module 'numformer' has no attribute {name!r}")
    from numformer import tasks

    return getattr(tasks, name)
