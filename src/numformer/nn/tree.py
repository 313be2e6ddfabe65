"""What a module holds, by name: parameters, buffers, and the modules inside it are its attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from numformer.autograd import Parameter, Tensor, kind_of
from numformer.errors import InputError

if TYPE_CHECKING:
    from numformer.nn.module import Module

_PLAIN = (list, tuple, dict, set)
_OWN = ("_call", "_bound_from")  # attributes of Module that hide what they hold on purpose


class Tree:
    """The part of Module that knows names: those of attributes in the order of assignment, joined by dots."""

    _buffers: Mapping[str, bool] = {}  # the name of every buffer of this module, and whether the state has it

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; raises InputError for a list, tuple, dict or set that holds modules or parameters."""
        if name in self._buffers:
            value = _as_buffer(name, value)
        elif isinstance(value, _PLAIN):
            self._check_plain(name, value)
        object.__setattr__(self, name, value)

    def _check_plain(self, name: str, value: Any) -> None:
        held = _first_held(value)
        if held is None:
            return
        what, instead = "parameters", "assign each to an attribute of its own"
        if isinstance(held, Tree):
            what, instead = "modules", f"make it nn.{'ModuleDict' if isinstance(value, dict) else 'ModuleList'}"
        raise InputError(
            f"{type(self).__name__}.{name} is a {type(value).__name__} that holds {what}, which would be neither trained "
            f"nor saved: {instead}"
        )

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Set an attribute to a parameter, or to None where there is none; raises InputError for anything else."""
        if parameter is not None and not isinstance(parameter, Parameter):
            raise InputError(f"{name} must be an nn.Parameter, got {type(parameter).__name__}")
        setattr(self, name, parameter)

    def register_buffer(self, name: str, value: Any, persistent: bool = True) -> None:
        """Set an attribute to a tensor that is no parameter but belongs to the module, such as a running mean.

        It is in the state unless `persistent` is False, is converted by `astype`, and may be given to `bind`. What is
        assigned to the attribute afterwards takes its place. (Processes that train together share parameters, not buffers.)
        """
        self._buffers = {**self._buffers, name: persistent}
        setattr(self, name, value)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules directly inside this one; raises InputError where some hide in a plain list or dict."""
        for name, value in vars(self).items():
            if isinstance(value, Tree):
                yield name, cast("Module", value)
            elif isinstance(value, _PLAIN) and name not in _OWN:
                self._check_plain(name, value)

    def children(self) -> Iterator[Module]:
        """Yield every module directly inside this one once."""
        return _once(module for _, module in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module, named `prefix`, and all modules inside it."""
        yield prefix, cast("Module", self)
        for name, child in self.named_children():
            yield from child.named_modules(join(prefix, name))

    def modules(self) -> Iterator[Module]:
        """Yield this module and every module inside it once."""
        return _once(module for _, module in self.named_modules())

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Yield every parameter once, under its dotted name; a tied one under the first."""
        seen: set[int] = set()
        for path, module in self.named_modules(prefix):
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield join(path, name), value

    def parameters(self) -> Iterator[Parameter]:
        """Yield every parameter once."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield every buffer once, under its dotted name; those that are None are left out."""
        return self._named_buffers(prefix, saved_only=False)

    def buffers(self) -> Iterator[Tensor]:
        """Yield every buffer once."""
        return (buffer for _, buffer in self.named_buffers())

    def named_state(self) -> Iterator[tuple[str, Tensor]]:
        """Yield what is saved: every parameter, then every buffer that is persistent, under its dotted name."""
        yield from self.named_parameters()
        yield from self._named_buffers("", saved_only=True)

    def _named_buffers(self, prefix: str, saved_only: bool) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix):
            for name, is_saved in module._buffers.items():
                value = getattr(module, name)
                if isinstance(value, Tensor) and id(value) not in seen and (is_saved or not saved_only):
                    seen.add(id(value))
                    yield join(path, name), value

    def num_parameters(self) -> int:
        """Count the numbers in all parameters."""
        return sum(parameter.size for parameter in self.parameters())

    def apply(self, function: Callable[[Module], object]) -> Self:
        """Call `function` with every module inside this one, then with this one itself; returns it."""
        for child in self.children():
            child.apply(function)
        function(cast("Module", self))
        return self


def join(prefix: str, name: str) -> str:
    """Return a name inside a module of the name `prefix`, which is "" for the model itself."""
    return f"{prefix}.{name}" if prefix else name


def _as_buffer(name: str, value: Any) -> Any:
    """Return a value as a tensor; None and arrays of other libraries, which `bind` takes, stay what they are."""
    if isinstance(value, Parameter):
        raise InputError(f"{name} is a buffer, which takes a tensor or an array, and no Parameter")
    return value if value is None or isinstance(value, Tensor) or kind_of(value) != "numpy" else Tensor(value)


def _first_held(value: Any) -> Any:
    """Return the first module or parameter in lists, tuples, dicts and sets, also of each other; None where none is."""
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, (Tree, Parameter)):
            return each
        if isinstance(each, _PLAIN) and (held := _first_held(each)) is not None:
            return held
    return None


def _once(modules: Iterator[Module]) -> Iterator[Module]:
    seen: set[int] = set()
    for module in modules:
        if id(module) not in seen:
            seen.add(id(module))
            yield module
