"""Write adapters.safetensors: adapters that PEFT made and trained, with the logits of the models that have them.

Run: python tests/golden/make_golden_adapters.py     (any Python with torch, transformers, peft and numformer itself)

It holds for small models the weights, the adapter's tensors under their names in PEFT's file, and the logits in float64:
a Llama and a GPT-2 that write, and models with a new head, which PEFT saves with the adapter. Then adapters that numformer
saved are loaded by PEFT, and must give the same logits there, merged too; README.md beside this file says how that went.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import peft
import torch
import transformers
from make_golden import FOLDER, save
from safetensors.numpy import load_file

from numformer import inference
from numformer.models import heads
from numformer.nn.lora import lora_layers
from numformer.pretrained import LoRAConfig, adapt, load_model, save_model

SIZES = {"vocab_size": 17, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
CONFIGS = {
    "llama": transformers.LlamaConfig(
        **SIZES, hidden_size=8, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2,
        intermediate_size=12, max_position_embeddings=16, tie_word_embeddings=False,
    ),
    "gpt2": transformers.GPT2Config(**SIZES, n_embd=8, n_head=2, n_layer=2, n_positions=16),
}  # fmt: skip
TARGETS = {"llama": ["q_proj", "v_proj", "down_proj"], "gpt2": ["c_attn", "mlp.c_proj"]}
TOKENS = np.random.default_rng(0).integers(0, 17, (2, 7))

ENCODER = {
    "vocab_size": 17, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 12,
    "max_position_embeddings": 16, "pad_token_id": 0,
}  # fmt: skip
BACKBONES = {
    "bert": (transformers.BertConfig(**ENCODER), ["query", "attention.output.dense"]),
    "roberta": (transformers.RobertaConfig(**ENCODER), ["query", "value"]),
    "distilbert": (
        transformers.DistilBertConfig(
            vocab_size=17, dim=8, n_heads=2, n_layers=2, hidden_dim=12, max_position_embeddings=16
        ),
        ["q_lin", "lin2"],
    ),
    "gpt2": (CONFIGS["gpt2"], ["c_attn"]),
}
HEADS = {
    "classify": (transformers.AutoModelForSequenceClassification, "SEQ_CLS"),
    "tag": (transformers.AutoModelForTokenClassification, "TOKEN_CLS"),
    "qa": (transformers.AutoModelForQuestionAnswering, "QUESTION_ANS"),
}
HEADED = [(kind, "classify") for kind in BACKBONES] + [("bert", "tag"), ("bert", "qa")]
TEXTS = np.random.default_rng(0).integers(2, 17, (2, 7))  # without padding, which would be looked for


def randomised(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


def logits_of(model: torch.nn.Module, tokens: np.ndarray = TOKENS) -> np.ndarray:
    with torch.no_grad():
        found = model.double()(input_ids=torch.tensor(tokens))
    if "start_logits" in found:
        return np.stack([found.start_logits.numpy(), found.end_logits.numpy()], axis=1)
    return found.logits.numpy()


def adapters_of_peft(kind: str, folder: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Return the weights, the adapter and the logits of a language model with an adapter that PEFT made."""
    base = randomised(transformers.AutoModelForCausalLM.from_config(CONFIGS[kind]), seed=1)
    base.save_pretrained(folder / "base")
    config = peft.LoraConfig(r=3, lora_alpha=6, lora_dropout=0.1, target_modules=TARGETS[kind], task_type="CAUSAL_LM",
                             fan_in_fan_out=kind == "gpt2")  # fmt: skip
    return trained_by_peft(peft.get_peft_model(base, config), folder, TOKENS)


def headed_of_peft(kind: str, head: str, folder: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Return the same of a backbone that PEFT gave a head of three labels and an adapter."""
    shape, targets = BACKBONES[kind]
    randomised(transformers.AutoModel.from_config(shape), seed=1).save_pretrained(folder / "base")
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=targets, task_type=HEADS[head][1],
                             fan_in_fan_out=kind == "gpt2")  # fmt: skip
    return trained_by_peft(peft.get_peft_model(with_head(head, folder), config), folder, TEXTS)


def with_head(head: str, folder: Path) -> torch.nn.Module:
    labels = {} if head == "qa" else {"num_labels": 3}
    return HEADS[head][0].from_pretrained(folder / "base", pad_token_id=0, **labels)


def trained_by_peft(model: torch.nn.Module, folder: Path, tokens: np.ndarray) -> tuple[dict[str, np.ndarray], dict]:
    """Draw what an adapter trains, save it, and return it with its base and its logits."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    model.eval().save_pretrained(folder / "adapter")
    arrays = {f"base.{name}": value for name, value in load_file(folder / "base" / "model.safetensors").items()}
    adapter = load_file(folder / "adapter" / "adapter_model.safetensors")
    arrays |= {f"adapter.{name}": value for name, value in adapter.items()} | {"logits": logits_of(model, tokens)}
    keys = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    keys = {name: keys[name] for name in keys if name != "base_model_name_or_path"}
    keys |= {name: sorted(keys[name]) for name in ("target_modules", "modules_to_save") if keys[name]}
    return arrays, {"base": json.loads((folder / "base" / "config.json").read_text()), "adapter": keys}


def difference_in_peft(kind: str, folder: Path) -> float:
    """Return how much the logits differ, plain or merged, of an adapter that numformer saved and PEFT loads."""
    model = load_model(folder / "base")
    adapt(model, LoRAConfig(rank=2, alpha=5.0), folder / "base")
    for number, (_, layer) in enumerate(lora_layers(model)):
        layer.lora_B.data[...] = np.random.default_rng(number).standard_normal(layer.lora_B.shape)
    save_model(model, folder / "ours")
    with inference():
        ours = model(TOKENS).data
    base = transformers.AutoModelForCausalLM.from_pretrained(folder / "base")
    loaded = peft.PeftModel.from_pretrained(base, folder / "ours")
    found = [logits_of(loaded.eval()), logits_of(loaded.merge_and_unload())]
    return max(float(np.abs(each - ours).max()) for each in found)


def difference_with_head(kind: str, head: str, folder: Path) -> float:
    """Return how much the logits differ, plain or merged, of an adapter with a head, saved by numformer and loaded by PEFT.

    Where the base looks both ways, its layer that makes summaries is new, like the head.
    """
    if kind != "gpt2":
        transformers.AutoModelForMaskedLM.from_pretrained(folder / "base").save_pretrained(folder / "base")
    settings = {"qa": {}, "tag": {"labels": 3}, "classify": {"labels": 3, "pooling": "first"}}[head]
    model = heads.HEADS[head](load_model(folder / "base").backbone, **settings)
    adapt(model, LoRAConfig(rank=2, alpha=5.0), folder / "base")
    for number, (_, layer) in enumerate(lora_layers(model)):
        layer.lora_B.data[...] = np.random.default_rng(number).standard_normal(layer.lora_B.shape)
    save_model(model.eval(), folder / "ours")
    with inference():
        ours = model(TEXTS).data
    found = []
    for is_merged in (False, True):
        loaded = peft.PeftModel.from_pretrained(with_head(head, folder), folder / "ours").eval()
        found.append(logits_of(loaded.merge_and_unload() if is_merged else loaded, TEXTS))
    return max(float(np.abs(each - ours).max()) for each in found)


if __name__ == "__main__":
    arrays, config, differences = {}, {}, []
    for kind in CONFIGS:
        with tempfile.TemporaryDirectory() as folder:
            own, config[kind] = adapters_of_peft(kind, Path(folder))
            arrays |= {f"{kind}.{name}": value for name, value in own.items()}
            differences.append(f"{kind} {difference_in_peft(kind, Path(folder)):.0e}")
    for kind, head in HEADED:
        name = f"{kind}_{head}"
        with tempfile.TemporaryDirectory() as folder:
            own, config[name] = headed_of_peft(kind, head, Path(folder))
            arrays |= {f"{name}.{key}": value for key, value in own.items()}
            differences.append(f"{name} {difference_with_head(kind, head, Path(folder)):.0e}")
    tokens = {"tokens": TOKENS.tolist(), "texts": TEXTS.tolist()}
    save("adapters", arrays, config | tokens | {"peft": peft.__version__})
    print(f"read by peft {peft.__version__} as numformer saved them: {', '.join(differences)}; written to {FOLDER}")
