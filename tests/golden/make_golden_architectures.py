"""Write the golden files of the decoder-only architectures, as transformers has them, one file per architecture.

Run: python tests/golden/make_golden_architectures.py     (any Python with torch, transformers and numformer itself)

Every file holds several small models, named by what is particular about them; "plain" comes with each head that transformers
has for it. All are computed in float64 from O(1) weights that float32 can hold. `<case>.greedy` are the ids by which
transformers continues the first tokens, with its cache, up to the end of the context.

Then folders that numformer saved are loaded by transformers, and must give the same numbers there; README.md beside this
file says how that went.
"""

import importlib
import json
import math
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import transformers
from make_golden import FOLDER, Arrays, float32, save
from make_golden_models import PAD, compact, gradients, logits_of, padded, randomise
from safetensors.numpy import load_file
from torch import nn

from numformer.models import build_model
from numformer.models.disk import to_disk
from numformer.models.registry import ARCHITECTURES
from numformer.pretrained import save_model

CONTEXT, PROMPT = 16, 3
SIZES = {"vocab_size": 17, "hidden_size": 8, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 12}
SIZES |= {"max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "tie_word_embeddings": False}
GROUPED = SIZES | {"num_key_value_heads": 2, "head_dim": 4}
ALIKE = SIZES | {"num_key_value_heads": 4, "head_dim": 2}
TIED = {"tie_word_embeddings": True}
GENERAL = {"pad_token_id": PAD, "bos_token_id": None, "eos_token_id": None, "attention_dropout": 0.0}
GENERAL |= {"hidden_dropout": 0.0, "classifier_dropout": 0.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 12, "rope_theta": 20.0}
WINDOWED = {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}
GEMMA = GROUPED | TIED | {"sliding_window": 3, "query_pre_attn_scalar": 5}
TYPES = ["full_attention", "sliding_attention", "full_attention"]
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 100.0}
ROPES = {"full_attention": LINEAR, "sliding_attention": {"rope_type": "default", "rope_theta": 10.0}}
NEOX = {name: value for name, value in SIZES.items() if name != "rms_norm_eps"} | {"num_attention_heads": 2}
NEOX |= {"hidden_size": 16, "rope_parameters": {"partial_rotary_factor": 0.5, "rope_theta": 50.0}}
CASES: dict[str, dict[str, dict]] = {  # of each model_type
    "llama": {
        "stretched": GROUPED | {"rope_parameters": LLAMA3},
        "linear": ALIKE | TIED | {"rope_parameters": LINEAR},
    },
    "mistral": {
        "plain": GROUPED | {"sliding_window": 3, "rope_parameters": {"rope_theta": 50.0}},
        "tied": ALIKE | TIED | {"sliding_window": 2},  # with 1 its cache goes on seeing everything
        "no_window": GROUPED | {"sliding_window": None},
    },
    "qwen2": {
        "plain": ALIKE | {"num_key_value_heads": 2, "rope_parameters": {"rope_theta": 50.0}},
        "tied_windowed": ALIKE | TIED | WINDOWED,
        "stretched": ALIKE | {"num_key_value_heads": 1, "rope_parameters": LINEAR},
    },
    "qwen3": {
        "plain": GROUPED | {"rope_parameters": {"rope_theta": 50.0}},
        "tied_windowed": ALIKE | TIED | WINDOWED,
    },
    "gemma2": {
        "plain": GEMMA | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
        "uncapped": GEMMA | {"attn_logit_softcapping": None, "final_logit_softcapping": None, "num_hidden_layers": 3},
        "untied": GEMMA | {"tie_word_embeddings": False, "hidden_activation": "gelu", "sliding_window": 2},
    },
    "gemma3_text": {
        "plain": GEMMA | {"num_hidden_layers": 3, "layer_types": TYPES, "rope_parameters": ROPES},
        "pattern": GEMMA | {"num_hidden_layers": 6, "hidden_size": 4, "num_attention_heads": 2, "intermediate_size": 4},
    },
    "gpt_neox": {
        "plain": NEOX,
        "in_turn": NEOX | {"use_parallel_residual": False, "hidden_act": "gelu_new"},
        "tied": NEOX | TIED | {"rope_parameters": LINEAR | {"partial_rotary_factor": 0.25}},
    },
}
HEADS = ("SequenceClassification", "TokenClassification", "QuestionAnswering")


class OffsetRMSNorm(nn.Module):
    """Gemma's norm, which transformers computes in float32 whatever it is given."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.zeros(dim)), eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * (1.0 + self.weight)


def softmax(x: torch.Tensor, dim: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """The softmax in the type of its argument, which transformers computes in float32."""
    return torch.softmax(x, dim)


def make_exact(config: transformers.PretrainedConfig) -> None:
    """Let the norms and the attention of an architecture, which round to float32, compute in float64."""
    nn.functional.softmax = softmax
    folder = type(config).__module__.split(".")[2]
    module = importlib.import_module(f"transformers.models.{folder}.modeling_{folder}")
    for name in [name for name in vars(module) if name.endswith("RMSNorm")]:
        setattr(module, name, OffsetRMSNorm if folder.startswith("gemma") else nn.RMSNorm)


def make_model(model_type: str, head: str, keys: dict) -> nn.Module:
    labels = 2 if head == "QuestionAnswering" else 5
    config = transformers.AutoConfig.for_model(model_type, **(GENERAL | keys), num_labels=labels, use_cache=True)
    config._attn_implementation = "eager"  # the only one that has soft caps
    make_exact(config)
    return getattr(transformers, class_name(model_type, head))(config)


def class_name(model_type: str, head: str) -> str:
    architecture = ARCHITECTURES[model_type]
    return architecture.class_on_disk if head == "CausalLM" else f"{architecture.class_prefix}For{head}"


def greedy(model: nn.Module, tokens: np.ndarray) -> np.ndarray:
    """The ids of every row, continued from its first ones to the end of the context."""
    rows = [model.generate(torch.tensor(row[None, :PROMPT]), do_sample=False, max_length=CONTEXT) for row in tokens]
    return torch.cat(rows).numpy()


def saved(model: nn.Module) -> tuple[dict, Arrays]:
    """The keys of config.json and the weights, as transformers writes them."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        keys = json.loads((Path(folder) / "config.json").read_text())
        return keys, load_file(Path(folder) / "model.safetensors")


def of_every_head(model_type: str) -> Iterator[tuple[str, str, dict]]:
    """Every case of an architecture, its head, and its keys; heads come with the keys of the plain one."""
    cases = CASES[model_type]
    yield from ((case, "CausalLM", keys) for case, keys in cases.items())
    if "plain" in cases:
        yield from ((h, h, cases["plain"]) for h in HEADS if hasattr(transformers, class_name(model_type, h)))


def make_architecture(model_type: str) -> None:
    rng = np.random.default_rng(14)
    tokens = padded(rng, [11, 7, 9], 17)
    mask = (tokens != PAD).astype(np.int64)
    arrays: Arrays = {"tokens": tokens}
    config: dict[str, dict] = {}
    for case, head, keys in of_every_head(model_type):
        model = randomise(make_model(model_type, head, keys), rng).eval()
        written, weights = saved(model)
        logits = logits_of(model(torch.tensor(tokens), attention_mask=torch.tensor(mask)))
        dlogits = float32(rng.normal(size=tuple(logits.shape)))
        if logits.ndim == 3:  # padding gets no gradient
            dlogits *= mask[:, None] if head == "QuestionAnswering" else mask[..., None]
        logits.backward(torch.tensor(dlogits))
        arrays |= {f"{case}.weight.{name}": value for name, value in weights.items()}
        arrays |= {f"{case}.logits": logits.detach().numpy(), f"{case}.dlogits": dlogits}
        arrays[f"{case}.grad"] = gradients(model)
        if head == "CausalLM":
            arrays[f"{case}.greedy"] = greedy(model, tokens)
        config[case] = {"keys": written, "differentiated": sorted(name for name, _ in model.named_parameters())}
    save(f"{model_type}_family" if model_type == "llama" else model_type, compact(arrays), config)


def check_transformers_reads_ours(model_type: str) -> Iterator[float]:
    """Yield how far apart the logits are of models that numformer saved and transformers loaded, as shares of the largest."""
    rng = np.random.default_rng(15)
    tokens = padded(rng, [CONTEXT, 7, 12], 17)
    tasks = {"CausalLM": "lm", "SequenceClassification": "classify", "TokenClassification": "tag"}
    for _, head, keys in of_every_head(model_type):
        written, _ = saved(make_model(model_type, head, keys))
        settings = {"labels": 5} if head.endswith("Classification") else {}
        settings |= {"pooling": "first"} if head == "SequenceClassification" else {}
        model = build_model(ARCHITECTURES[model_type].config.from_disk(written), tasks.get(head, "qa"), **settings)
        for parameter in model.parameters():
            parameter.data[...] = rng.normal(size=parameter.shape) / math.sqrt(parameter.shape[-1])
        with tempfile.TemporaryDirectory() as folder:
            save_model(model.eval(), folder)
            name = to_disk(model)["architectures"][0]
            kind = getattr(transformers, name)
            theirs, report = kind.from_pretrained(folder, output_loading_info=True, attn_implementation="eager")
        assert not any(report.values()), f"{name}: {report}"
        for row in tokens:
            real = row[row != PAD][None]
            with torch.no_grad():
                expected = logits_of(theirs.eval()(torch.tensor(real))).numpy()
            yield float(abs(model(real).data - expected).max() / abs(expected).max())


def record(differences: dict[str, list[float]]) -> None:
    """Write into README.md how the folders of numformer fared in transformers."""
    texts = [f"{name} {len(each)} texts, {max(each):.1g}" for name, each in differences.items()]
    line = f"Read by transformers {transformers.__version__} as numformer saved them (largest difference of logits): "
    line += "; ".join(texts) + "."
    path = FOLDER / "README.md"
    path.write_text(re.sub(r"^Read by transformers .*$", line, path.read_text(), flags=re.MULTILINE))
    print(line)


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    for each in CASES:
        make_architecture(each)
    record({each: list(check_transformers_reads_ours(each)) for each in CASES})
