"""Names that people know from PyTorch and that numformer has not, each with what to do instead."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

Made = TypeVar("Made")

_ON_CPU = "numformer computes on the CPU alone: leave it out"
_IN_PLACE = "tensors are not changed in place: give the result a name, as in x = x + 1"
_IN_THIS_PROCESS = "batches are made in the process that asks for them: leave it out"
_MODULE_HOOK = "use nf.capture to see what a module computes, and nf.intervene to replace it"
_NO_RECURRENT = "numformer is made for Transformers and has no recurrent layers: use nn.EncoderLayer or nf.GPT"
_NO_CONVOLUTION = "numformer is made for Transformers and has no convolutions: cut the input into pieces for nn.Linear"
_OTHER_NORM = "use nn.LayerNorm or nn.RMSNorm"
_DATASET = "any object with __len__ and __getitem__ is a dataset, no base class is needed; nf.DataLoader takes it"
_NUMPY = "make an array with NumPy, which every module takes, or wrap it in nf.Tensor"

OF_TENSOR: dict[str, str] = {
    **dict.fromkeys(("add_", "sub_", "mul_", "div_", "zero_", "fill_", "copy_", "clamp_", "normal_"), _IN_PLACE),
    **dict.fromkeys(("cuda", "device", "is_cuda", "pin_memory"), _ON_CPU),
    **dict.fromkeys(("half", "bfloat16"), "use nn.Module.astype, or float16 storage of activations"),
    **dict.fromkeys(("values", "indices"), "x.max(axis) is the values alone, and x.argmax(axis) the indices"),
    **dict.fromkeys(("matmul", "mm", "bmm"), "write x @ y"),
    **{name: f"write x {sign} y" for name, sign in {"add": "+", "sub": "-", "mul": "*", "div": "/"}.items()},
    **{name: f"write x {sign} y" for name, sign in {"eq": "==", "ne": "!=", "gt": ">", "lt": "<"}.items()},
    "pow": "write x ** y",
    "t": "use x.T",
    "amax": "use x.max(axis)",
    "amin": "use x.min(axis)",
    "type": "use x.dtype and x.astype(dtype)",
    "grad_fn": "use x.edge, which names the op that x came from",
    "is_leaf": "a tensor that no op computed is a leaf",
    "retain_grad": "use nf.gradients(loss, [x]), which takes any tensor on the way",
    "register_hook": "use nf.gradients(loss, [x]), which takes any tensor on the way",
    "gather": "use x[rows, columns] with arrays of indices",
    "index_select": "use x[indices]",
    "chunk": "use nf.ops.split(x, sections=n), which cuts the last axis, or x[:, :n]",
    "split": "use nf.ops.split(x, sections=n), which cuts the last axis, or x[:, :n]",
    "topk": "use np.argsort(x.numpy())",
    "sort": "use np.sort(x.numpy())",
    "argsort": "use np.argsort(x.numpy())",
    "norm": "use (x ** 2).sum().sqrt()",
}

OF_MODULE: dict[str, str] = {
    **dict.fromkeys(("cuda", "device"), _ON_CPU),
    **dict.fromkeys(("half", "float", "double"), "use astype with a dtype of NumPy"),
    "share_memory": "training processes share the weights by themselves",
    **dict.fromkeys(
        ("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"), _MODULE_HOOK
    ),
    "add_module": "use setattr(module, name, part)",
    "register_module": "use setattr(module, name, part)",
    "get_submodule": "use dict(module.named_modules())[name]",
    "get_parameter": "use dict(module.named_parameters())[name]",
}

OF_NN: dict[str, str] = {
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d", "MaxPool1d", "MaxPool2d", "AvgPool2d"), _NO_CONVOLUTION),
    **dict.fromkeys(("RNN", "LSTM", "GRU", "LSTMCell", "GRUCell"), _NO_RECURRENT),
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "GroupNorm", "InstanceNorm1d"), _OTHER_NORM),
    "MultiheadAttention": "it is called nn.MultiHeadAttention",
    "TransformerEncoderLayer": "it is called nn.EncoderLayer",
    "TransformerDecoderLayer": "it is called nn.DecoderLayer",
    "TransformerEncoder": "use nn.Stack(nn.EncoderLayer(...) for _ in range(n))",
    "TransformerDecoder": "use nn.Stack(nn.DecoderLayer(...) for _ in range(n))",
    "Transformer": "it is called nf.Transformer",
    "EmbeddingBag": "use nf.ops.embedding_bag",
    "LogSoftmax": "use nf.ops.log_softmax, or nn.CrossEntropyLoss, which takes logits",
    "NLLLoss": "use nn.CrossEntropyLoss, which takes logits",
    "BCELoss": "use nn.BCEWithLogitsLoss, which takes logits",
    **dict.fromkeys(("SmoothL1Loss", "HuberLoss"), "use nn.L1Loss or nn.MSELoss"),
    "KLDivLoss": "write it with ops: (p * (p.log() - q.log())).sum()",
    "functional": "the functions of layers are in nf.ops",
    "utils": "clip_grad_norm is in nf.optim, and pad rows with nf.PaddingCollate",
    **dict.fromkeys(("DataParallel", "parallel"), "fit uses all cores by itself: see its setting shards"),
    **dict.fromkeys(("ParameterList", "ParameterDict"), "assign each parameter to an attribute of its own"),
}

OF_PACKAGE: dict[str, str] = {
    **dict.fromkeys(("cuda", "device", "backends"), _ON_CPU),
    **dict.fromkeys(("tensor", "as_tensor", "from_numpy", "FloatTensor", "LongTensor"), "use nf.Tensor"),
    **dict.fromkeys(("zeros", "ones", "full", "arange", "randn", "rand", "randint", "eye", "linspace"), _NUMPY),
    **dict.fromkeys(("zeros_like", "ones_like", "full_like"), "use the function of NumPy, as np.ones_like(x.numpy())"),
    **dict.fromkeys(("randn_like", "rand_like", "empty_like", "empty"), _NUMPY),
    **{name: f"use nf.ops.{name}" for name in ("cat", "stack", "where", "softmax", "exp", "matmul", "sum", "mean")},
    "save": "use np.savez(path, **model.state_dict()), or save of a task",
    **dict.fromkeys(("Dataset", "IterableDataset", "utils"), _DATASET),
    **dict.fromkeys(("float32", "float64", "int64", "bool"), "use the dtypes of NumPy"),
    "argmax": "use x.argmax(axis)",
    "manual_seed": "every random part takes a seed or a generator of its own",
    "inference_mode": "use nf.inference()",
    "compile": "there is nothing to compile: leave it out",
    "Adam": "use nf.optim.Adam",
    "AdamW": "use nf.optim.AdamW",
}

OF_OPTIMIZER: dict[str, str] = {
    "add_param_group": "give all groups when it is made: nf.optim.AdamW([{'params': a}, {'params': b, 'lr': 1e-4}])",
    "register_step_post_hook": "call what comes after a step in your loop",
    "register_step_pre_hook": "call what comes before a step in your loop",
}

OF_SETTINGS: dict[str, str] = {
    **dict.fromkeys(("num_workers", "worker_init_fn", "prefetch_factor", "persistent_workers"), _IN_THIS_PROCESS),
    **dict.fromkeys(("multiprocessing_context", "timeout"), _IN_THIS_PROCESS),
    **dict.fromkeys(("pin_memory", "pin_memory_device", "device"), _ON_CPU),
    "sampler": "give the dataset in the order that you want, or shuffle=True with a generator",
    "batch_sampler": "give an iterable of batches, each a list of examples, and loop over it without a loader",
    "batch_first": "the batch is always the first axis: leave it out",
    "inplace": _IN_PLACE,
    **dict.fromkeys(("retain_graph", "create_graph"), "a graph is used up once: add losses up, then call backward"),
    "unbiased": "give correction=1 (the default) or correction=0",
    "size_average": "give reduction",
    "reduce": "give reduction",
}


class _Absent:
    """An attribute that is not there, whose AttributeError says what to use instead.

    A `__getattr__` would say the same, but make every attribute of the class slower to read.
    """

    def __init__(self, name: str, instead: str) -> None:
        self.name, self.instead = name, instead

    def __get__(self, held_by: object, owner: type) -> Any:
        raise AttributeError(f"{owner.__name__} has no {self.name}: {self.instead}")


def answers_for(names: dict[str, str]) -> Callable[[type[Made]], type[Made]]:
    """Return a decorator of classes that answers for absent attributes with what to use instead."""

    def decorate(made: type[Made]) -> type[Made]:
        for name, instead in names.items():
            setattr(made, name, _Absent(name, instead))
        return made

    return decorate


def missing(module: str, names: dict[str, str], name: str, known: Iterable[str]) -> AttributeError:
    """Return the error for a name that a module has not, with what to use instead or what may have been meant."""
    if name in names:
        return AttributeError(f"{module} has no {name}: {names[name]}")
    close = difflib.get_close_matches(name, known, n=1)
    return AttributeError(
        f"module {module!r} has no attribute {name!r}" + (f"; did you mean {close[0]}?" if close else "")
    )
