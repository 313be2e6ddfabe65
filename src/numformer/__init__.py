"""numformer: train and run Transformers with NumPy alone."""

from numformer import generation, models, nn, ops, optim, tokenizers, training
from numformer.data import DataLoader, TensorDataset
from numformer.errors import InputError
from numformer.generation import SamplingConfig
from numformer.models import GPT, GPTConfig
from numformer.nn import CrossEntropyLoss
from numformer.tape import gradients, no_grad, recompute
from numformer.tasks import LanguageModel
from numformer.tensor import Parameter, Tensor
from numformer.tokenizers import ByteTokenizer, CharacterTokenizer
from numformer.training import OptimConfig, TrainConfig

__version__ = "0.1.0"

__all__ = [
    "GPT",
    "ByteTokenizer",
    "CharacterTokenizer",
    "CrossEntropyLoss",
    "DataLoader",
    "GPTConfig",
    "InputError",
    "LanguageModel",
    "OptimConfig",
    "Parameter",
    "SamplingConfig",
    "Tensor",
    "TensorDataset",
    "TrainConfig",
    "generation",
    "gradients",
    "models",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "recompute",
    "tokenizers",
    "training",
]
