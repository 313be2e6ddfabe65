import numpy as np
import pytest

from numformer import InputError, nn

X = np.ones((2, 3), np.float32)


def kinds(modules):
    return [type(module).__name__ for module in modules]


def test_a_list_grows_at_its_end_and_in_between():
    layers = nn.ModuleList()
    assert layers.append(nn.ReLU()) is layers
    layers.extend([nn.Tanh(), nn.Sigmoid()]).insert(1, nn.Linear(3, 3)).insert(-1, nn.GELU())
    assert kinds(layers) == ["ReLU", "Linear", "Tanh", "GELU", "Sigmoid"]
    assert [name for name, _ in layers.named_children()] == ["0", "1", "2", "3", "4"]
    assert [name for name, _ in layers.named_parameters()] == ["1.weight", "1.bias"]


def test_an_element_of_a_list_can_be_replaced():
    model = nn.Sequential(nn.ReLU(), nn.Tanh())
    model[-1] = nn.Linear(3, 2)
    assert kinds(model) == ["ReLU", "Linear"]
    assert model(X).shape == (2, 2)


def test_a_dict_holds_modules_under_names():
    heads = nn.ModuleDict({"tags": nn.Linear(3, 2)})
    heads["labels"] = nn.Linear(3, 4)
    assert heads.keys() == list(heads) == ["tags", "labels"]
    assert heads["labels"](X).shape == (2, 4)
    assert kinds(heads.values()) == ["Linear", "Linear"]
    assert dict(heads.items())["tags"] is heads["tags"]
    assert ("tags" in heads, "other" in heads, len(heads)) == (True, False, 2)
    assert list(heads.state_dict()) == ["tags.weight", "tags.bias", "labels.weight", "labels.bias"]
    del heads["tags"]
    assert heads.keys() == ["labels"]
    with pytest.raises(KeyError, match="tags"):
        heads["tags"]


@pytest.mark.parametrize("name", ["items", "a.b", "", 3, "training"])
def test_a_name_that_is_taken_or_none_is_refused(name):
    with pytest.raises(InputError, match=f"a module cannot be named {name!r}"):
        nn.ModuleDict({name: nn.ReLU()})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.ModuleList([nn.ReLU]), "a ModuleList holds modules, got <class"),
        (lambda: nn.ModuleList(nn.ReLU()), "a ModuleList takes several modules, such as a list, got ReLU"),
        (
            lambda: nn.Sequential([nn.ReLU()]),
            r"a Sequential holds modules, got \[ReLU\(\)\]: give its modules one by one",
        ),
        (lambda: nn.ModuleList().append(3), "a ModuleList holds modules, got 3"),
        (lambda: nn.ModuleDict(3), "a ModuleDict takes a dict of modules, got 3"),
        (lambda: nn.ModuleDict({"a": 3}), "a ModuleDict holds modules, got 3"),
    ],
    ids=range(6),
)
def test_what_is_no_module_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
