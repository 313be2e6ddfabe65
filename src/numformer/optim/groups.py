"""Parameter groups: parameters of one optimizer with settings of their own, given as dicts or by patterns of names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Generic, Self, TypeAlias, TypedDict, TypeVar, cast, overload

from numformer._names import check_settings, takes_synonyms
from numformer.autograd import Parameter, Tensor
from numformer.errors import InputError
from numformer.nn import Module, Stack

Value = TypeVar("Value")
Group: TypeAlias = dict[str, Any]
Parameters: TypeAlias = Iterable[Parameter] | Iterable[Mapping[str, Any]]


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Parameters that are chosen by their names, and how they are trained; what is None is as for all others."""

    pattern: str
    """Name of a parameter or of a part of the model; * stands for any characters, dots too."""
    lr: float | None = None
    """Peak learning rate."""
    weight_decay: float | None = None
    """Decay of matrices; norms and biases never decay."""
    freeze: bool = False
    """Leave the parameters as they are."""

    def fits(self, name: str) -> bool:
        """Tell whether the group is for the parameter of a name."""
        return any(fnmatchcase(name, pattern) for pattern in (self.pattern, f"{self.pattern}.*"))


class GroupSettings(TypedDict, total=False):
    """The fields of ParameterGroup as the keys of a dict."""

    pattern: str
    lr: float | None
    weight_decay: float | None
    freeze: bool


def as_groups(given: Iterable[ParameterGroup | GroupSettings]) -> tuple[ParameterGroup, ...]:
    """Return groups that may be given as dicts of their fields; raises InputError for a misspelt or missing one."""
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        raise InputError(f"groups is a list of ParameterGroups or dicts of their fields, got {repr(given)[:60]}")
    return tuple(map(_as_group, given))


def _as_group(given: Any) -> ParameterGroup:
    if isinstance(given, ParameterGroup):
        return given
    if not isinstance(given, Mapping):
        raise InputError(f"a group is a ParameterGroup or a dict of its fields, got {repr(given)[:60]}")
    check_settings(given, ParameterGroup.__annotations__)
    if not isinstance(given.get("pattern"), str):
        raise InputError(f"a group needs a pattern of the names of its parameters, got {dict(given)}")
    return ParameterGroup(**given)


def parameter_groups(model: Module, groups: Iterable[ParameterGroup | GroupSettings]) -> list[Group]:
    """Return the parameters of a model in the form that optimizers take: a dict for each group, the others in a last one.

    A parameter belongs to the first group whose pattern fits its name. Raises InputError for a group that gets none.
    """
    chosen = as_groups(groups)
    members: list[list[Parameter]] = [[] for _ in (*chosen, "the others")]
    names = []
    for name, parameter in model.named_parameters():
        members[next((n for n, group in enumerate(chosen) if group.fits(name)), len(chosen))].append(parameter)
        names.append(name)
    for group, found in zip(chosen, members, strict=False):
        if not found:
            raise InputError(_no_members(model, group, names))
    settings = [{name: value for name, value in asdict(g).items() if value is not None} for g in chosen]
    dicts = [{"params": found} | own for found, own in zip(members, [*settings, {}], strict=True)]
    for each in dicts:
        each.pop("pattern", None)
    return dicts if members[-1] else dicts[:-1]


def layerwise_decay(model: Module, lr: float, rate: float) -> list[GroupSettings]:
    """Return groups whose learning rates fall by a factor from each layer to the one below it (Howard and Ruder 2018).

    What is above the layers keeps `lr`, the last layer has lr·rate, the first of n lr·rateⁿ, and embeddings lr·rateⁿ⁺¹.
    Raises InputError for a rate that is not above 0 and at most 1, and for a model without a stack of layers.
    """
    if not 0.0 < rate <= 1.0:
        raise InputError(f"layer_decay must be above 0 and at most 1, got {rate}")
    stacks = [(name, len(module)) for name, module in model.named_modules() if isinstance(module, Stack)]
    if not stacks:
        raise InputError(f"layer_decay needs a model with a stack of layers, which {type(model).__name__} has not")
    groups = [
        GroupSettings(pattern=f"{name}.{number}", lr=lr * rate ** (count - number))
        for name, count in stacks
        for number in range(count)
    ]
    return [*groups, GroupSettings(pattern="*embedding*", lr=lr * rate ** (max(count for _, count in stacks) + 1))]


def _no_members(model: Module, group: ParameterGroup, names: Sequence[str]) -> str:
    if any(group.fits(name) for name in names):
        return f"the pattern {group.pattern!r} fits only parameters that an earlier group has: put it before that one"
    kinds = dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name in names)  # alike in all layers
    return f"no parameter of {type(model).__name__} fits the pattern {group.pattern!r}; there are {', '.join(kinds)}"


def as_dicts(parameters: Parameters, known: Iterable[str]) -> list[Group]:
    """Return what an optimizer is given as a list of dicts, whose "params" are tuples.

    Raises InputError for anything but parameters, for a parameter given twice, and for a key that is not `known`.
    """
    given = _listed(parameters)
    dicts = [dict(each) for each in given if isinstance(each, Mapping)]
    if dicts and len(dicts) < len(given):
        raise InputError("an optimizer takes parameters or dicts with some each, got both")
    dicts = dicts or [{"params": given}]
    seen: set[int] = set()
    for group in dicts:
        check_settings(group, {"params", "freeze", *known})
        group["params"] = tuple(_listed(group.get("params", ())))
        for parameter in group["params"]:
            if not isinstance(parameter, Parameter):
                raise InputError(
                    "an optimizer takes parameters, such as model.parameters(), or dicts with some each as "
                    f'{{"params": model.head.parameters(), "lr": 1e-4}}; got a {type(parameter).__name__}'
                )
            if id(parameter) in seen:
                raise InputError(f"an optimizer got a parameter of shape {list(parameter.shape)} twice")
            seen.add(id(parameter))
    for parameter in [p for group in dicts if group.pop("freeze", False) for p in group["params"]]:
        parameter.requires_grad = False
    return dicts


def _listed(given: Any) -> list[Any]:
    """Return what is given as a list, a thing alone as a list of one."""
    return list(given) if isinstance(given, Iterable) and not isinstance(given, Tensor) else [given]


@contextmanager
def frozen(parameters: Iterable[Parameter]) -> Iterator[None]:
    """Stop gradients to some parameters in the block, and let them again after it where they were let before."""
    stopped = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in stopped:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in stopped:
            parameter.requires_grad = True


class Setting(Generic[Value]):
    """A setting of all groups, as an attribute of their optimizer; where they differ, asking for it is an InputError."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, optimizer: None, owner: type) -> Self: ...
    @overload
    def __get__(self, optimizer: Any, owner: type) -> Value: ...
    def __get__(self, optimizer: Any, owner: type) -> Self | Value:
        """Return the value that all groups have."""
        if optimizer is None:
            return self
        first, *others = [group[self.name] for group in optimizer.param_groups]
        if any(other != first for other in others):
            raise InputError(
                f"the groups of this optimizer have a {self.name} each ({', '.join(map(str, (first, *others)))}): "
                f'use group["{self.name}"] for each group in optimizer.param_groups'
            )
        return cast(Value, first)

    def __set__(self, optimizer: Any, value: Value) -> None:
        self.__get__(optimizer, type(optimizer))  # complains where one value would take the place of several
        for group in optimizer.param_groups:
            group[self.name] = value
