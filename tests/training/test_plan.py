"""What a training step takes on a mesh, by arithmetic."""

from dataclasses import replace

import pytest

from numformer import InputError
from numformer.models import build_model
from numformer.models.anatomy import ParameterShape, anatomy_of
from numformer.models.build import tasks_of
from numformer.models.published import PUBLISHED
from numformer.models.registry import ARCHITECTURES
from numformer.training.mesh import MeshShape
from numformer.training.plan import Workload, divided, make_plan, nearest_fit

SMALL = {"vocab_size": 12, "src_vocab_size": 12, "tgt_vocab_size": 12, "d_model": 16, "num_heads": 2, "max_seq_len": 8}
KNOWN = {  # as their authors' files have them
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496,
}
CASES = [(name, task) for name, each in ARCHITECTURES.items() for task in tasks_of(each)]


def small_config(name):
    kind = ARCHITECTURES[name].config
    return kind(**{key: value for key, value in SMALL.items() if key in kind.__dataclass_fields__})


def workload(name="gpt2", **settings):
    return Workload(config=PUBLISHED[name], **{"batch_size": 64, "sequence_length": 1024} | settings)


def memory(mesh="", **settings):
    return make_plan(workload(**settings), MeshShape.parse(mesh)).memory


# Parameters


@pytest.mark.parametrize("name", KNOWN)
def test_published_models_have_the_parameters_that_they_are_known_for(name):
    assert anatomy_of(PUBLISHED[name]).num_parameters == KNOWN[name]
    assert PUBLISHED.keys() == KNOWN.keys()


@pytest.mark.parametrize(("name", "task"), CASES, ids=[f"{name} {task}" for name, task in CASES])
def test_parameters_are_those_of_the_model_that_is_built(name, task):
    model, found = build_model(small_config(name), task), anatomy_of(small_config(name), task)
    assert found.num_parameters == model.num_parameters()
    assert sum(count for count in found.parameters.values()) == len(list(model.named_parameters()))
    assert found.layers.total() == sum(getattr(model.config, n) for n in model.config.lengths if n.endswith("layers"))


def test_every_matrix_is_divided_by_both_axes_and_a_norm_by_one():
    mesh = MeshShape(fsdp=4, model=2)
    for parameter in anatomy_of(PUBLISHED["llama-3-8b"]).parameters:
        assert divided(parameter, mesh) == (mesh if len(parameter.shape) == 2 else MeshShape(fsdp=4))


def test_a_vocabulary_that_an_axis_does_not_divide_stays_whole():
    table = ParameterShape((50257, 768), ("vocab", "embed"))
    assert divided(table, MeshShape(fsdp=4, model=2)) == MeshShape(fsdp=4)


# Memory, by hand for GPT-2


def test_one_device_holds_all_weights_gradients_and_averages():
    found, size = memory(), 4 * KNOWN["gpt2"]
    assert (found.weights, found.gradients, found.optimizer) == (size, size, 2 * size)
    assert found.copies == size / 2
    assert found.total == 4.5 * size + found.activations + found.logits
    assert memory(optimizer="sgd").optimizer == size
    assert memory(precision="float32").copies == 0


def test_activations_are_those_of_twelve_layers():
    """Two branches of four vectors, three of them float32; q, k, v, heads, 12 rows of 11 bytes; 4 D, six times for tanh."""
    tokens, layer = 64 * 1024, 2 * 14 * 768 + 2 * (4 * 768 + 24 * 768) + 11 * 12 * 1024
    assert memory().activations == tokens * 12 * layer
    assert memory(recompute=True).activations == tokens * (12 * 2 * 768 + layer)


def test_logits_are_kept_with_their_log_softmax_and_gradient():
    assert memory().logits == 64 * 1024 * 50257 * (2 + 4 + 2)
    assert memory(precision="float32").logits == 64 * 1024 * 50257 * 12


@pytest.mark.parametrize("axis", ["data", "fsdp"])
def test_an_axis_of_the_batch_divides_activations_and_logits(axis):
    whole, part = memory(), memory(f"{axis}=8")
    assert (8 * part.activations, 8 * part.logits) == (whole.activations, whole.logits)


def test_pieces_of_a_batch_are_at_work_one_after_the_other():
    assert 4 * memory(accumulation=4).activations == memory().activations
    assert memory(accumulation=4).gradients == 2 * memory().gradients  # of a piece, beside the sum so far


def test_fsdp_divides_what_data_repeats():
    data, fsdp = memory("data=8"), memory("fsdp=8")
    assert data.weights == memory().weights
    assert fsdp.weights == pytest.approx(data.weights / 8, rel=0.01)  # but for norms and biases
    assert fsdp.optimizer == 2 * fsdp.gradients == 2 * fsdp.weights


def test_model_divides_heads_and_widths_but_not_the_stream():
    whole, part = memory(name="llama-3-8b"), memory("model=8", name="llama-3-8b")
    assert part.weights == pytest.approx(whole.weights / 8, rel=0.001)
    assert whole.activations / 8 < part.activations < whole.activations / 3  # the stream is whole
    assert part.logits * 8 == whole.logits


def test_a_gathered_layer_is_there_twice():
    layer = 12 * 768**2 + 13 * 768
    outside = KNOWN["gpt2"] - 12 * layer
    assert memory("fsdp=8").copies == 2 * 2 * max(layer, outside)


# What is sent


def sent(mesh, **settings):
    return make_plan(workload(**settings), MeshShape.parse(mesh)).traffic


def test_one_device_sends_nothing():
    found = sent("")
    assert (found.data, found.fsdp, found.model) == (0, 0, 0)


def test_gradients_are_summed_along_data_for_every_piece_in_the_precision_of_the_layers():
    assert sent("data=4").data == 2 * 3 / 4 * 2 * KNOWN["gpt2"]
    assert sent("data=4", precision="float32").data == 2 * sent("data=4").data
    assert sent("data=4", accumulation=2).data == 2 * sent("data=4").data


def test_weights_are_gathered_twice_for_every_piece_and_gradients_scattered():
    once = sent("fsdp=4").fsdp
    assert once == pytest.approx(3 / 4 * 6 * KNOWN["gpt2"], rel=0.01)
    assert sent("fsdp=4", accumulation=2).fsdp == 2 * once


def test_branches_are_summed_along_model():
    stream = 2 * 64 * 1024 * 768
    assert sent("model=2").model == 2 * 1 / 2 * stream * (2 * 24 + 2)
    assert sent("model=2", recompute=True).model == 2 * 1 / 2 * stream * (3 * 24 + 2)
    assert sent("model=2", accumulation=4).model == sent("model=2").model


# What fits


def test_the_nearest_fit_recomputes_before_it_takes_another_mesh():
    work = workload(batch_size=128)
    found = nearest_fit(work, MeshShape(data=4), 80e9)
    assert (found.mesh, found.workload.recompute) == (MeshShape(data=4), True)


def test_the_nearest_fit_takes_other_meshes_before_more_devices():
    work = workload("llama-3-8b", batch_size=8, recompute=True)
    assert not make_plan(work, MeshShape(data=8)).fits(80e9)
    assert nearest_fit(work, MeshShape(data=8), 80e9).mesh == MeshShape(data=4, fsdp=2)
    assert nearest_fit(work, MeshShape(), 80e9).mesh == MeshShape(fsdp=4)


def test_nothing_fits_what_no_number_of_devices_divides():
    assert nearest_fit(workload("llama-3-70b", batch_size=1), MeshShape(), 1e9) is None


def test_a_tenth_of_a_device_is_left():
    plan = make_plan(workload(), MeshShape())
    assert plan.fits(plan.memory.total / 0.9 + 1)
    assert not plan.fits(plan.memory.total / 0.9 - 1)


# What cannot be divided, or meant


@pytest.mark.parametrize(
    ("mesh", "settings", "message"),
    [
        ("model=5", {}, "num_heads=12 cannot be divided over model=5"),
        ("model=16", {"name": "llama-3-8b"}, "num_kv_heads=8 cannot be divided over model=16"),
        (
            "fsdp=5",
            {"batch_size": 5},
            r"the mesh fsdp=5 cannot cut weights of shape \[50257, 768\] into 5 parts: 5 does not divide 768",
        ),
        ("data=3", {}, "batch_size=64 cannot be divided over 3 devices along data and fsdp: take a multiple of 3"),
        ("", {"accumulation": 3}, "batch_size=64 cannot be divided over 1 device along data and fsdp in 3 pieces each"),
        ("fsdp=8", {"accumulation": 16}, "in 16 pieces each: take a multiple of 128"),
    ],
)
def test_a_mesh_that_does_not_divide_the_work_is_refused(mesh, settings, message):
    with pytest.raises(InputError, match=message):
        make_plan(workload(**settings), MeshShape.parse(mesh))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"sequence_length": 1025}, "sequence_length=1025 is over max_seq_len=1024"),
        ({"precision": "float16"}, "unknown precision 'float16'"),
        ({"optimizer": "lion"}, "unknown optimizer 'lion'"),
    ],
)
def test_a_workload_out_of_range_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        workload(**settings)


def test_a_vocabulary_that_is_not_known_yet_is_refused():
    with pytest.raises(InputError, match="vocab_size of at least 1"):
        anatomy_of(replace(PUBLISHED["gpt2"], vocab_size=0))


# Meshes


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", MeshShape()), ("data=4,model=2", MeshShape(data=4, model=2)), (" fsdp = 8 ,", MeshShape(fsdp=8))],
)
def test_a_mesh_is_read(text, expected):
    assert MeshShape.parse(text) == expected
    assert MeshShape.parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date=4", "a mesh has the axes data, fsdp, model, such as data=4,model=2; got 'date=4'"),
        ("data", "the axis data of a mesh takes a whole number, got ''"),
        ("data=4,data=2", "names the axis data twice"),
        ("data=-1", "takes a whole number, got '-1'"),
        ("model=0", "the axis model of a mesh must be a whole number of at least 1, got 0"),
    ],
)
def test_a_mesh_that_says_nothing_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        MeshShape.parse(text)
