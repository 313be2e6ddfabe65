"""Training over several devices, which one CPU plays: the curve of one device, and a part of the weights on each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import numformer as nf
from numformer import InputError
from numformer.models.axes import AxisRules, axes_of
from numformer.training.mesh import MeshShape
from numformer.training.plan import Workload, make_plan

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")

from numformer.jax.sharding import Placement  # noqa: E402

MESHES = ["", "data=8", "data=4,model=2", "fsdp=8"]
ON_EIGHT = Path(__file__).with_name("on_eight_devices.py")


@pytest.fixture(scope="module")
def found():
    """What a small model's training was on each mesh, in a process that has eight devices."""
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    result = subprocess.run(
        [sys.executable, str(ON_EIGHT), *MESHES],
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
    assert found[mesh]["measured"] == pytest.approx(found[""]["measured"], rel=1e-4)


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


def test_the_devices_are_named_at_the_beginning(found):
    assert found["fsdp=8"]["introduction"].startswith("JAX on 8 devices (cpu, fsdp=8): ")
    assert found[""]["introduction"].startswith("JAX on 1 of 8 devices (cpu): ")


def test_a_run_goes_on_with_the_same_losses_on_other_meshes(found):
    """Ten steps each on fsdp=8, data=4,model=2, and one device."""
    assert found["resumed"] == pytest.approx(found[""]["losses"][:30], rel=1e-4)


# What is compiled, beside what was planned

COMPILED = [
    ("gpt", "", False),
    ("gpt", "", True),
    ("gpt", "data=8", False),
    ("gpt", "fsdp=8", False),
    ("gpt", "fsdp=8", True),
    ("llama", "fsdp=4,model=2", False),
]


def compiled_and_planned(found, kind, mesh, recompute=False):
    sizes = {"vocab_size": 260, "d_model": 32, "num_heads": 2, "num_layers": 3, "d_ff": 128, "max_seq_len": 64}
    config = {"gpt": nf.GPTConfig, "llama": nf.LlamaConfig}[kind](**sizes)
    work = Workload(config=config, batch_size=8, sequence_length=64, precision="float32", recompute=recompute)
    name = " ".join(filter(None, (kind, mesh, "recompute" if recompute else "")))
    return found["compiled"][name], make_plan(work, MeshShape.parse(mesh))


@pytest.mark.parametrize(("kind", "mesh", "recompute"), COMPILED)
def test_a_step_needs_the_memory_that_was_planned(found, kind, mesh, recompute):
    compiled, plan = compiled_and_planned(found, kind, mesh, recompute)
    held = plan.memory.weights + plan.memory.optimizer
    assert compiled["state"] == held
    assert 0.6 < compiled["temporary"] / (plan.memory.total - held) < 1.0  # XLA fuses


@pytest.mark.parametrize("mesh", ["", "fsdp=8"])
def test_recomputation_saves_what_was_planned(found, mesh):
    (without, planned_without), (with_it, planned) = (
        compiled_and_planned(found, "gpt", mesh, again) for again in (False, True)
    )
    saved = planned_without.memory.activations - planned.memory.activations
    assert without["temporary"] - with_it["temporary"] > 0.6 * saved


def test_gathered_weights_are_not_kept_for_the_backward_pass(found):
    """With fsdp a device needs less than with data, though both sum gradients that are whole."""
    (gathered, _), (whole, plan) = (compiled_and_planned(found, "gpt", mesh) for mesh in ("fsdp=8", "data=8"))
    assert gathered["temporary"] < whole["temporary"] - 0.5 * plan.memory.gradients


@pytest.mark.parametrize(
    ("kind", "mesh", "recompute"), [case for case in COMPILED if "fsdp" in case[1]], ids=lambda case: str(case)
)
def test_weights_are_gathered_twice_and_stay_cut_along_model(found, kind, mesh, recompute):
    """Tables and vectors, which no gradient needs, are gathered once."""
    compiled, plan = compiled_and_planned(found, kind, mesh, recompute)
    sent = compiled["sent"]["all-gather"] * (1 - 1 / plan.mesh.fsdp)
    assert sent == pytest.approx(plan.traffic.fsdp * 2 / 3, rel=0.08)


def test_gradients_are_summed_once_but_for_the_table_that_is_tied(found):
    """As a table and as output layer it has two gradients, which a CPU sums one by one; the loss is a number more."""
    compiled, plan = compiled_and_planned(found, "gpt", "data=8")
    assert compiled["sent"] == {"all-reduce": plan.memory.gradients + 4 * 260 * 32 + 4}


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
    sentence = r"cannot cut layers.0.feed_forward.linear1.weight of shape \[30, 16\] into 4 parts: 4 does not divide 30"
    with pytest.raises(InputError, match=sentence):
        of_eight("model=4").of_parameter("layers.0.feed_forward.linear1.weight", (30, 16))
