"""Layers: modules that own parameters and call ops."""

from typing import TYPE_CHECKING, Any

from numformer._absent import OF_NN, missing
from numformer.autograd import Parameter
from numformer.nn import init
from numformer.nn.activations import GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Tanh, make_activation
from numformer.nn.attention import FusedAttention, MultiHeadAttention
from numformer.nn.capture import Capture, capture, intervene, record_attention
from numformer.nn.containers import ModuleDict, ModuleList, Sequential
from numformer.nn.dropout import Dropout
from numformer.nn.feed_forward import FeedForward
from numformer.nn.layers import Embedding, Flatten, Identity, LayerNorm, Linear, RMSNorm
from numformer.nn.losses import BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss
from numformer.nn.module import Module
from numformer.nn.positions import LearnedPositions, PositionalEncoding
from numformer.nn.stack import Stack, set_recompute
from numformer.nn.transformer import DecoderLayer, EncoderLayer, Layer, Residual

__all__ = [
    "GELU",
    "BCEWithLogitsLoss",
    "Capture",
    "CrossEntropyLoss",
    "DecoderLayer",
    "Dropout",
    "Embedding",
    "EncoderLayer",
    "FeedForward",
    "Flatten",
    "FusedAttention",
    "Identity",
    "L1Loss",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "LearnedPositions",
    "Linear",
    "MSELoss",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiHeadAttention",
    "Parameter",
    "PositionalEncoding",
    "RMSNorm",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Stack",
    "Tanh",
    "capture",
    "init",
    "intervene",
    "make_activation",
    "record_attention",
    "set_recompute",
]


if not TYPE_CHECKING:  # a type checker knows the names, and finds misspelt ones

    def __getattr__(name: str) -> Any:
        """Say what to use in place of what PyTorch has."""
        raise missing("numformer.nn", OF_NN, name, __all__)
