"""What a module holds by name: buffers, parts once each, and nothing in plain lists and dicts."""

import copy
import pickle

import numpy as np
import pytest

from numformer import InputError, Parameter, Tensor, nn


class RunningMean(nn.Module):
    """Subtracts a mean that moves towards that of every batch."""

    def __init__(self, width=3):
        self.scale = nn.Parameter(np.ones(width, np.float32))
        self.register_buffer("mean", np.zeros(width, np.float32))
        self.register_buffer("count", Tensor(0))
        self.register_buffer("mask", [True] * width, persistent=False)
        self.register_buffer("nothing", None)

    def forward(self, x):
        self.mean = self.mean * 0.5 + Tensor(x).detach().mean(0) * 0.5
        self.count = self.count + 1
        return (x - self.mean) * self.scale


X = np.array([[2.0, 4.0, 6.0], [0.0, 0.0, 0.0]], np.float32)


# Buffers


def test_a_buffer_is_a_tensor_and_no_parameter():
    model = nn.Sequential(RunningMean())
    assert [name for name, _ in model.named_buffers()] == ["0.mean", "0.count", "0.mask"]
    assert [name for name, _ in model.named_parameters()] == ["0.scale"]
    assert all(isinstance(buffer, Tensor) and not buffer.requires_grad for buffer in model.buffers())
    assert model.num_parameters() == 3


def test_a_buffer_of_two_modules_is_listed_once():
    model = nn.Sequential(RunningMean(), RunningMean())
    model[1].mean = model[0].mean
    assert [name for name, _ in model.named_buffers() if "mean" in name] == ["0.mean"]


def test_persistent_buffers_are_in_the_state():
    model, other = RunningMean(), RunningMean()
    model(X)
    state = model.state_dict()
    assert list(state) == ["scale", "mean", "count"]
    assert state["mean"].tolist() == [0.5, 1.0, 1.5]
    other.load_state_dict(state)
    assert other.mean.tolist() == [0.5, 1.0, 1.5]
    assert (other.count.item(), other.count.dtype) == (1, np.int64)
    model(X)
    assert state["mean"].tolist() == other.mean.tolist() == [0.5, 1.0, 1.5]  # neither is the model's own array


def test_loading_leaves_the_array_that_a_buffer_was_made_from_alone():
    given = np.zeros(3, np.float32)
    model = RunningMean()
    model.mean = given
    model.load_state_dict(model.state_dict() | {"mean": np.ones(3, np.float32)})
    assert given.tolist() == [0.0, 0.0, 0.0]
    assert model.mean.tolist() == [1.0, 1.0, 1.0]


def test_what_is_assigned_to_a_buffer_stays_one():
    model = RunningMean()
    model.mean = np.ones(3, np.float32)
    assert isinstance(model.mean, Tensor)
    assert model.state_dict()["mean"].tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(InputError, match="mean is a buffer, which takes a tensor or an array, and no Parameter"):
        model.mean = Parameter(X[0])


def test_floating_point_buffers_are_converted_with_the_model():
    model = RunningMean().astype(np.float64)
    assert (model.mean.dtype, model.count.dtype, model.mask.dtype) == (np.float64, np.int64, np.bool_)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), lambda m: m.bind({})]
)
def test_a_copy_has_buffers_of_its_own_names(copied):
    model = RunningMean()
    model(X)
    twin = copied(model)
    model(X)
    assert twin.mean.tolist() == [0.5, 1.0, 1.5]
    assert list(twin.state_dict()) == ["scale", "mean", "count"]
    twin(X)
    assert twin.count.item() == model.count.item() == 2


def test_a_buffer_can_be_bound():
    model = RunningMean()
    bound = model.bind({"mean": np.full(3, 8.0, np.float32)})
    bound(X)
    assert bound.mean.tolist() == [4.5, 5.0, 5.5]
    assert model.mean.tolist() == [0.0, 0.0, 0.0]


# Modules in plain lists


class Holder(nn.Module):
    def __init__(self, layers):
        self.layers = layers


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [nn.ReLU()], r"Holder.layers is a list that holds modules, .* make it nn.ModuleList$"),
        (lambda: (1, nn.ReLU()), r"Holder.layers is a tuple that holds modules, .* make it nn.ModuleList$"),
        (lambda: [[nn.ReLU()]], r"Holder.layers is a list that holds modules"),
        (lambda: {"a": nn.ReLU()}, r"Holder.layers is a dict that holds modules, .* make it nn.ModuleDict$"),
        (lambda: {nn.ReLU()}, r"Holder.layers is a set that holds modules"),
        (lambda: [nn.Parameter(X)], r"holds parameters, .* assign each to an attribute of its own$"),
    ],
    ids=["list", "tuple", "nested", "dict", "set", "parameters"],
)
def test_modules_in_a_plain_list_are_refused_at_once(make, message):
    with pytest.raises(InputError, match=message):
        Holder(make())


@pytest.mark.parametrize("use", [lambda m: list(m.parameters()), nn.Module.state_dict, nn.Module.train, repr])
def test_modules_that_a_plain_list_got_later_are_found(use):
    model = nn.Sequential(Holder([]))
    model[0].layers.append(nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"Holder.layers is a list that holds modules"):
        use(model)


@pytest.mark.parametrize("value", [[1, "a"], {"a": [1]}, (), [Tensor(X)]], ids=str)
def test_other_lists_and_dicts_are_attributes(value):
    model = Holder(value)
    assert model.layers is value
    assert list(model.parameters()) == []


# Walking


def test_every_module_is_visited_once():
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, nn.Sequential(shared, nn.ReLU()))
    assert [type(m).__name__ for m in model.modules()] == ["Sequential", "Linear", "Sequential", "ReLU"]
    assert list(model.children()) == [shared, model[1]]
    assert list(nn.Sequential(shared, shared).children()) == [shared]


def test_a_function_is_applied_to_the_parts_first():
    model, seen = nn.Sequential(nn.Sequential(nn.ReLU()), nn.Tanh()), []
    assert model.apply(lambda module: seen.append(type(module).__name__)) is model
    assert seen == ["ReLU", "Sequential", "Tanh", "Sequential"]


def test_a_parameter_can_be_registered():
    model = nn.ReLU()
    model.register_parameter("slope", nn.Parameter(X))
    model.register_parameter("bias", None)
    assert [name for name, _ in model.named_parameters()] == ["slope"]
    assert model.bias is None
    with pytest.raises(InputError, match=r"slope must be an nn.Parameter, got ndarray"):
        model.register_parameter("slope", X)
