"""Write adapters.safetensors: adapters that PEFT made and trained, with the logits of the models that have them.

Run: python tests/golden/make_golden_adapters.py     (any Python with torch, transformers, peft and numformer itself)

It holds for a small Llama and a small GPT-2 the weights, the adapter's tensors under their names in PEFT's file, and the
logits in float64. Then adapters that numformer saved are loaded by PEFT, and must give the same logits there, merged too;
README.md beside this file says how that went.
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


def randomised(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


def logits_of(model: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        return model.double()(input_ids=torch.tensor(TOKENS)).logits.numpy()


def adapters_of_peft(kind: str, folder: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Return the weights, the adapter and the logits of a model with an adapter that PEFT made."""
    base = randomised(transformers.AutoModelForCausalLM.from_config(CONFIGS[kind]), seed=1)
    base.save_pretrained(folder / "base")
    config = peft.LoraConfig(r=3, lora_alpha=6, lora_dropout=0.1, target_modules=TARGETS[kind], task_type="CAUSAL_LM",
                             fan_in_fan_out=kind == "gpt2")  # fmt: skip
    model = peft.get_peft_model(base, config)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    model.eval().save_pretrained(folder / "adapter")
    arrays = {f"base.{name}": value for name, value in load_file(folder / "base" / "model.safetensors").items()}
    adapter = load_file(folder / "adapter" / "adapter_model.safetensors")
    arrays |= {f"adapter.{name}": value for name, value in adapter.items()} | {"logits": logits_of(model)}
    keys = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    keys = {name: keys[name] for name in keys if name != "base_model_name_or_path"}
    keys["target_modules"] = sorted(keys["target_modules"])
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


if __name__ == "__main__":
    arrays, config, differences = {}, {}, []
    for kind in CONFIGS:
        with tempfile.TemporaryDirectory() as folder:
            own, config[kind] = adapters_of_peft(kind, Path(folder))
            arrays |= {f"{kind}.{name}": value for name, value in own.items()}
            differences.append(f"{kind} {difference_in_peft(kind, Path(folder)):.0e}")
    save("adapters", arrays, config | {"tokens": TOKENS.tolist(), "peft": peft.__version__})
    print(f"read by peft {peft.__version__} as numformer saved them: {', '.join(differences)}; written to {FOLDER}")
