"""numformer: train and run Transformers with NumPy alone."""

from typing import TYPE_CHECKING, Any

from numformer import generation, metrics, models, nn, ops, optim, tasks, tokenizers, training
from numformer._absent import OF_PACKAGE, missing
from numformer.autograd import Parameter, Tensor, gradients, inference, no_grad, recompute
from numformer.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from numformer.data import DataLoader, PaddingCollate, TensorDataset
from numformer.errors import InputError
from numformer.generation import BeamConfig, SamplingConfig
from numformer.models import (
    GPT,
    BertConfig,
    GPTConfig,
    Llama,
    LlamaConfig,
    ModelConfig,
    Transformer,
    TransformerConfig,
    build_model,
)
from numformer.nn import CrossEntropyLoss, capture, intervene
from numformer.tokenizers import ByteTokenizer, CharacterTokenizer
from numformer.training import OptimConfig, TrainConfig

if TYPE_CHECKING:
    from numformer.tasks import *  # noqa: F403

__version__ = "0.1.0"

__all__ = [
    "GPT",
    "BeamConfig",
    "BertConfig",
    "ByteTokenizer",
    "CharacterTokenizer",
    "CrossEntropyLoss",
    "DataLoader",
    "GPTConfig",
    "InputError",
    "Llama",
    "LlamaConfig",
    "ModelConfig",
    "OptimConfig",
    "PaddingCollate",
    "Parameter",
    "SamplingConfig",
    "Tensor",
    "TensorDataset",
    "TrainConfig",
    "Transformer",
    "TransformerConfig",
    "build_model",
    "capture",
    "generation",
    "gradients",
    "inference",
    "intervene",
    "load_checkpoint",
    "load_weights",
    "metrics",
    "models",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "recompute",
    "save_checkpoint",
    "save_weights",
    "tasks",
    "tokenizers",
    "training",
]


__all__ += tasks.__all__  # the classes of the tasks, and `load`


def __dir__() -> list[str]:
    """Name what is for users, that which is imported when it is asked for too."""
    return sorted([*__all__, "__version__"])


if not TYPE_CHECKING:  # a type checker knows the names, and finds misspelt ones

    def __getattr__(name: str) -> Any:
        """Import what belongs to a task when it is asked for, so that those who need none do not wait for it."""
        if name not in tasks.__all__:
            raise missing("numformer", OF_PACKAGE, name, __all__)
        return getattr(tasks, name)
