"""Every derivative in the library: ops, each a forward and its hand-derived pullback in one scope.

The legend of the shape lines, here and everywhere:

B batch              T query length       S key length         D model width
H heads              G key/value heads    K head width         F feed-forward width
V vocabulary         N tokens             C classes            ... any leading axes
"""

from numformer.ops.activation import gelu, leaky_relu, log_softmax, relu, sigmoid, silu, soft_cap, softmax, tanh
from numformer.ops.arithmetic import abs, add, div, exp, log, matmul, mul, power, sub, where
from numformer.ops.attention import attention, merge_heads, split_heads
from numformer.ops.attention_values import attention_values
from numformer.ops.dropout import dropout
from numformer.ops.embedding import embedding
from numformer.ops.embedding_bag import embedding_bag
from numformer.ops.inputs import (
    as_ids,
    as_mask,
    causal_mask,
    key_mask,
    padding_mask,
    segment_places,
    target_mask,
    window_mask,
)
from numformer.ops.linear import linear
from numformer.ops.loss import bce_with_logits, cross_entropy, l1, mse
from numformer.ops.norm import layer_norm, rms_norm
from numformer.ops.pooling import last_true, masked_mean, take_position
from numformer.ops.position import relative_buckets, rope, rope_frequencies, sinusoidal_positions
from numformer.ops.rearrangement import cat, concat, index, reshape, split, stack, transpose
from numformer.ops.reductions import max, mean, min, sum

__all__ = [
    "abs",
    "add",
    "as_ids",
    "as_mask",
    "attention",
    "attention_values",
    "bce_with_logits",
    "cat",
    "causal_mask",
    "concat",
    "cross_entropy",
    "div",
    "dropout",
    "embedding",
    "embedding_bag",
    "exp",
    "gelu",
    "index",
    "key_mask",
    "l1",
    "last_true",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log",
    "log_softmax",
    "masked_mean",
    "matmul",
    "max",
    "mean",
    "merge_heads",
    "min",
    "mse",
    "mul",
    "padding_mask",
    "power",
    "relative_buckets",
    "relu",
    "reshape",
    "rms_norm",
    "rope",
    "rope_frequencies",
    "segment_places",
    "sigmoid",
    "silu",
    "sinusoidal_positions",
    "soft_cap",
    "softmax",
    "split",
    "split_heads",
    "stack",
    "sub",
    "sum",
    "take_position",
    "tanh",
    "target_mask",
    "transpose",
    "where",
    "window_mask",
]
