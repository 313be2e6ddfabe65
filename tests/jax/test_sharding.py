"""Training over several devices, which one CPU plays: the curve of one device, and a part of the weights on each."""

import json
import os
import subprocess
import sys

import pytest

import numformer as nf
from numformer import InputError
from numformer.models.axes import AxisRules, axes_of
from numformer.training.mesh import MeshShape
from numformer.training.plan import Workload, make_plan

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")

from numformer.jax.sharding import Placement  # noqa: E402

MESHES = ["", "data=8", "data=4,model=2", "fsdp=8"]
ON_EIGHT = """
import json, sys
import numformer as nf
from numformer.jax import training

made, step = [], training.CompiledStep
training.CompiledStep = lambda *args: made.append(step(*args)) or made[-1]
found = {}
for mesh in sys.argv[1:]:
    lm = nf.LanguageModel.from_text("one two three four five six seven\\n" * 60, tokenizer="bytes", d_model=16, num_heads=2,
                                    num_layers=1, d_ff=32, max_seq_len=16, dropout=0.0)
    losses = []
    lm.fit(backend="jax", mesh=mesh, steps=50, batch_size=8, lr=3e-3, shards=1, eval_every=50, progress=False,
           on_step=lambda line: losses.append(line["loss"]) and False)
    weights, slots = made[-1].state
    shards = {name: array.sharding.shard_shape(array.shape) for name, array in zip(made[-1].names, weights)}
    own = sum(array.addressable_shards[0].data.nbytes for array in weights)
    arrays = [*weights, *(each for slot in slots for each in slot.values())]
    bytes_of_each = sum(array.addressable_shards[0].data.nbytes for array in arrays)
    found[mesh] = {"losses": losses, "shards": shards, "bytes": bytes_of_each, "weights": own, "summary": made[-1].summary()}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    """What a small model's training was on each mesh, in a process that has eight devices."""
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    result = subprocess.run(
        [sys.executable, "-c", ON_EIGHT, *MESHES],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("mesh", MESHES)
def test_every_device_holds_as_many_bytes_of_weights_as_was_planned(found, mesh):
    sizes = {"vocab_size": 260, "d_model": 16, "num_heads": 2, "num_layers": 1, "d_ff": 32, "max_seq_len": 16}
    work = Workload(config=nf.GPTConfig(**sizes), batch_size=8, sequence_length=16, precision="float32")
    assert found[mesh]["weights"] == make_plan(work, MeshShape.parse(mesh)).memory.weights


@pytest.mark.parametrize("mesh", MESHES[1:])
def test_a_mesh_gives_the_losses_of_one_device(found, mesh):
    assert len(found[""]["losses"]) == 50
    assert found[mesh]["losses"] == pytest.approx(found[""]["losses"], rel=1e-4)


@pytest.mark.parametrize(
    ("mesh", "shapes"),
    [
        ("data=8", {"layers.0.feed_forward.linear1.weight": [32, 16], "token_embedding.weight": [260, 16]}),
        ("data=4,model=2", {"layers.0.feed_forward.linear1.weight": [16, 16], "token_embedding.weight": [130, 16]}),
        (
            "data=4,model=2",
            {"layers.0.feed_forward.linear2.weight": [16, 16], "layers.0.self_attn.out_proj.weight": [16, 8]},
        ),
        ("data=4,model=2", {"layers.0.self_attn.in_proj.bias": [24], "norm.weight": [16]}),
        ("fsdp=8", {"layers.0.feed_forward.linear1.weight": [32, 2], "layers.0.feed_forward.linear2.weight": [2, 32]}),
        ("fsdp=8", {"token_embedding.weight": [260, 2], "norm.weight": [2]}),
    ],
)
def test_every_device_has_its_part_of_a_weight(found, mesh, shapes):
    assert {name: found[mesh]["shards"][name] for name in shapes} == shapes


def test_the_bytes_of_each_device_fall(found):
    whole = found[""]["bytes"]
    assert found["data=8"]["bytes"] == whole
    assert whole * 0.5 < found["data=4,model=2"]["bytes"] < whole * 0.6  # norms and positions are not cut
    assert whole / 8 <= found["fsdp=8"]["bytes"] < whole / 8 * 1.1  # biases of wide layers are not cut


def test_the_devices_are_named_at_the_end(found):
    assert found["fsdp=8"]["summary"] == "JAX compiled steps for 1 shape of batches, evaluations for 1, on 8 devices (cpu, fsdp=8)"
    assert found[""]["summary"].endswith("on 1 of 8 devices (cpu)")


# By which table weights are cut


def test_the_axes_of_a_parameter_follow_from_its_name():
    assert axes_of("backbone.layers.3.feed_forward.linear2.weight", 2) == ("embed", "ff")
    assert axes_of("layers.0.cross_attn.q_proj.bias", 1) == ("heads",)
    assert axes_of("layers.0.self_attn.q_proj.lora_A", 2) == (None, None)
    assert axes_of("head.bias", 1) == (None,)


def test_two_axes_of_one_weight_are_not_cut_along_the_same_axis_of_the_mesh():
    with pytest.raises(InputError, match="are axes of one weight, and cannot both be cut along model"):
        AxisRules(embed=("model",))


# What goes wrong


def test_a_mesh_that_is_larger_than_the_devices_is_refused_before_anything_is_written(tmp_path):
    lm = nf.LanguageModel.from_text(
        "the cat sat on the mat.\n" * 9, d_model=16, num_heads=2, num_layers=1, max_seq_len=8
    )
    with pytest.raises(InputError, match=r"the mesh data=64 has 64 devices, but JAX finds 1 \(cpu\)"):
        lm.fit(backend="jax", mesh="data=64", steps=1, progress=False, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_mesh_is_for_jax():
    with pytest.raises(InputError, match="the mesh data=2 is for the backend jax"):
        nf.TrainConfig(mesh="data=2")


@pytest.fixture
def of_eight(monkeypatch):
    """Make a Placement as if there were eight devices."""
    monkeypatch.setattr(jax, "devices", lambda: [jax.local_devices()[0]] * 8)
    monkeypatch.setattr("numformer.jax.sharding.Mesh", lambda devices, names: None)
    return Placement


def test_a_batch_that_does_not_divide_is_refused(of_eight):
    of_eight("data=4,fsdp=2").check_batch(16, 2)
    with pytest.raises(
        InputError, match="batch_size=20 cannot be cut into 8 equal parts, as the mesh data=4,fsdp=2 asks for"
    ):
        of_eight("data=4,fsdp=2").check_batch(20, 1)


def test_a_width_that_does_not_divide_is_refused(of_eight):
    with pytest.raises(
        InputError, match=r"cannot cut layers.0.feed_forward.linear1.weight of shape \[30, 16\]: 4 does not"
    ):
        of_eight("model=4").of_parameter("layers.0.feed_forward.linear1.weight", (30, 16))
