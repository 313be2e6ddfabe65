"""Layers: modules that own parameters and call ops."""

from numformer.autograd import Parameter
from numformer.nn import init
from numformer.nn.attention import MultiHeadAttention
from numformer.nn.capture import Capture, capture, intervene, record_attention
from numformer.nn.feed_forward import FeedForward
from numformer.nn.layers import (
    GELU,
    CrossEntropyLoss,
    Dropout,
    Embedding,
    LayerNorm,
    LearnedPositions,
    Linear,
    PositionalEncoding,
    ReLU,
    RMSNorm,
    SiLU,
)
from numformer.nn.module import Module, ModuleList, Sequential
from numformer.nn.stack import Stack, set_recompute
from numformer.nn.transformer import DecoderLayer, EncoderLayer

__all__ = [
    "GELU",
    "Capture",
    "CrossEntropyLoss",
    "DecoderLayer",
    "Dropout",
    "Embedding",
    "EncoderLayer",
    "FeedForward",
    "LayerNorm",
    "LearnedPositions",
    "Linear",
    "Module",
    "ModuleList",
    "MultiHeadAttention",
    "Parameter",
    "PositionalEncoding",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Stack",
    "capture",
    "init",
    "intervene",
    "record_attention",
    "set_recompute",
]
