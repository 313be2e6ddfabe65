"""What PyTorch has and numformer has not says what to use instead; nothing of it is there by accident."""

import re

import numpy as np
import pytest

import numformer as nf
from numformer import InputError, _absent, nn
from numformer._names import check_settings

TABLES = {
    "OF_TENSOR": (nf.Tensor([1.0]), _absent.OF_TENSOR),
    "OF_MODULE": (nn.ReLU(), _absent.OF_MODULE),
    "OF_NN": (nn, _absent.OF_NN),
    "OF_PACKAGE": (nf, _absent.OF_PACKAGE),
    "OF_OPTIMIZER": (nf.optim.SGD([nn.Parameter(np.ones(1))]), _absent.OF_OPTIMIZER),
}
CASES = [(owner, name, instead) for owner, table in TABLES.values() for name, instead in table.items()]


@pytest.mark.parametrize(("owner", "name", "instead"), CASES, ids=[f"{name}" for _, name, _ in CASES])
def test_an_absent_name_says_what_to_use_instead(owner, name, instead):
    assert not hasattr(owner, name)
    with pytest.raises(AttributeError) as raised:
        getattr(owner, name)
    assert str(raised.value).endswith(f"has no {name}: {instead}")


@pytest.mark.parametrize("owner", [nf.Tensor([1.0]), nn.ReLU(), nn, nf])
def test_any_other_name_is_an_ordinary_attribute_error(owner):
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        owner.nonsense  # noqa: B018


def test_a_misspelt_name_of_a_module_is_answered_with_the_right_one():
    with pytest.raises(AttributeError, match=r"did you mean LayerNorm\?"):
        nn.LayerNrom  # noqa: B018
    with pytest.raises(AttributeError, match=r"did you mean DataLoader\?"):
        nf.Dataloader  # noqa: B018


def test_a_subclass_may_have_what_modules_have_not():
    class Net(nn.Module):
        def __init__(self):
            self.device = "here"

        def cuda(self):
            return self.device

    assert Net().cuda() == "here"


@pytest.mark.parametrize("name", _absent.OF_SETTINGS)
def test_an_absent_setting_says_what_to_do_instead(name):
    with pytest.raises(InputError) as raised:
        check_settings([name], ["batch_size"])
    assert str(raised.value) == f"there is no setting {name}: {_absent.OF_SETTINGS[name]}"


def test_every_advice_names_what_is_there():
    """Names in the advice of tables, such as nf.ops.split, exist."""
    told = " ".join([*_absent.OF_SETTINGS.values(), *(instead for _, _, instead in CASES)])
    for path in set(re.findall(r"\b(?:nf|nn|np)\.[A-Za-z0-9_.]*\w", told)):
        found = {"nf": nf, "nn": nn, "np": np}[path[:2]]
        for part in path.split(".")[1:]:
            found = getattr(found, part)
