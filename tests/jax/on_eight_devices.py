"""What test_sharding.py asks of a process with eight devices: prints it as JSON. The arguments are meshes."""

import json
import math
import re
import sys
import tempfile
from pathlib import Path

import numformer as nf
from numformer.jax import training

SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "d_ff": 32, "max_seq_len": 16, "dropout": 0.0}
DEEP = {"d_model": 32, "num_heads": 2, "num_layers": 3, "d_ff": 128, "max_seq_len": 64}
TEXT = "one two three four five six seven\n" * 60
COLLECTIVE = re.compile(r" = (.*?) (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)\(")
made = []


class Step(training.CompiledStep):
    """Keeps what it compiled."""

    def __init__(self, *args):
        super().__init__(*args)
        made.append(self)
        self.jitted, self._compiled = self._compiled, self.compile_and_run

    def evaluate(self, workers):
        return super().evaluate(workers) if self.train.steps > 1 else None

    def compile_and_run(self, *args):
        if not hasattr(self, "program"):
            self.program = self.jitted.lower(*args).compile()
        return self.program(*args)


def fitted(config, text=TEXT, **settings):
    """Train, and return the losses and what made the steps."""
    lm, losses = nf.LanguageModel.from_text(text, tokenizer="bytes", config=config), []
    settings = {"batch_size": 8, "lr": 3e-3, "shards": 1, "eval_every": 50, "progress": False} | settings
    lm.fit(backend="jax", **settings, on_step=lambda line: losses.append(line["loss"]) and False)
    return losses, made[-1]


def what_a_mesh_gives(mesh):
    losses, step = fitted(nf.GPTConfig(**SMALL), mesh=mesh, steps=50)
    weights, slots = step.state
    arrays = [*weights, *(each for slot in slots for each in slot.values())]
    return {
        "losses": losses,
        "measured": step.evaluate(None)["loss"],
        "shards": {
            name: array.sharding.shard_shape(array.shape) for name, array in zip(step.names, weights, strict=True)
        },
        "bytes": sum(array.addressable_shards[0].data.nbytes for array in arrays),
        "weights": sum(array.addressable_shards[0].data.nbytes for array in weights),
        "introduction": step.introduction(),
    }


def what_is_compiled(kind, mesh, **settings):
    """Return the memory of a step, and the bytes of what each kind of collective gives."""
    config = kind(**DEEP, **({"dropout": 0.0} if kind is nf.GPTConfig else {}))
    _, step = fitted(config, mesh=mesh, steps=1, **settings)
    memory, sent = step.program.memory_analysis(), {}
    for shapes, name in COLLECTIVE.findall(step.program.as_text()):
        lengths = (axes.split(",") for axes in re.findall(r"f32\[([\d,]*)\]", shapes))
        sent[name] = sent.get(name, 0) + sum(4 * math.prod(int(each) for each in axes if each) for axes in lengths)
    return {"temporary": memory.temp_size_in_bytes, "state": memory.alias_size_in_bytes, "sent": sent}


def what_resumes(folder, meshes):
    """Return the losses of a run that changes its mesh every ten steps."""
    (folder / "text.txt").write_text(TEXT)
    settings = {"text": folder / "text.txt", "out": folder / "run", "log_every": 1}
    for number, mesh in enumerate(meshes):
        fitted(nf.GPTConfig(**SMALL), mesh=mesh, steps=10 * (number + 1), resume=number > 0, **settings)
    return [json.loads(line)["loss"] for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


training.CompiledStep = Step
found = {mesh: what_a_mesh_gives(mesh) for mesh in sys.argv[1:]}
found["compiled"] = {
    name: what_is_compiled(kind, mesh, recompute=recompute)
    for name, kind, mesh, recompute in [
        ("gpt", nf.GPTConfig, "", False),
        ("gpt recompute", nf.GPTConfig, "", True),
        ("gpt data=8", nf.GPTConfig, "data=8", False),
        ("gpt fsdp=8", nf.GPTConfig, "fsdp=8", False),
        ("gpt fsdp=8 recompute", nf.GPTConfig, "fsdp=8", True),
        ("llama fsdp=4,model=2", nf.LlamaConfig, "fsdp=4,model=2", False),
    ]
}
with tempfile.TemporaryDirectory() as folder:
    found["resumed"] = what_resumes(Path(folder), ["fsdp=8", "data=4,model=2", ""])
print(json.dumps(found))
