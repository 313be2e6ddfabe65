"""Modules that hold modules: in a row, under names, and one after the other."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, overload

from numformer.errors import InputError
from numformer.nn.module import Module


class ModuleList(Module):
    """Modules in a row, named 0, 1, 2, …; raises InputError for anything that is no module."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def append(self, module: Module) -> Self:
        """Put a module at the end; returns the list."""
        setattr(self, str(len(self)), _checked(self, module))
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Put modules at the end; returns the list."""
        if not isinstance(modules, Iterable):
            raise InputError(f"a {type(self).__name__} takes several modules, such as a list, got {modules!r:.60}")
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Put a module before number `index`, which makes the later ones one higher; returns the list."""
        modules = list(self)
        modules.insert(index, _checked(self, module))
        return self._hold(modules)

    def __setitem__(self, index: int, module: Module) -> None:
        names = [name for name, _ in self.named_children()]
        setattr(self, names[index], _checked(self, module))

    def __iter__(self) -> Iterator[Any]:
        return (module for _, module in self.named_children())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return one module, or for a slice a list of the same kind that holds the same modules, numbered from 0."""
        chosen = list(self)[index]
        return copy.copy(self)._hold(chosen) if isinstance(index, slice) else chosen

    def _hold(self, modules: list[Module]) -> Self:
        """Hold these modules in place of those before."""
        for name, _ in list(self.named_children()):
            delattr(self, name)
        for number, module in enumerate(modules):
            setattr(self, str(number), module)
        return self


class Sequential(ModuleList):
    """Modules applied one after the other."""

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        """Apply every module in turn."""
        for module in self:
            x = module(x)
        return x


class ModuleDict(Module):
    """Modules under names of their own, in the order of assignment.

    Raises InputError for anything that is no module, and for a name that holds a dot or is one of the class's own.
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        if modules is not None and not isinstance(modules, Mapping):
            raise InputError(f"a {type(self).__name__} takes a dict of modules, got {modules!r:.60}")
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(name, str) or not name or "." in name or hasattr(type(self), name):
            raise InputError(f"a module cannot be named {name!r}: choose a text without a dot that is no method's name")
        setattr(self, name, _checked(self, module))

    def __getitem__(self, name: str) -> Any:
        return dict(self.named_children())[name]

    def __delitem__(self, name: str) -> None:
        self[name]  # a KeyError where there is no such module
        delattr(self, name)

    def __contains__(self, name: str) -> bool:
        return name in dict(self.named_children())

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.named_children())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def keys(self) -> list[str]:
        """Return the names."""
        return list(self)

    def values(self) -> list[Any]:
        """Return the modules."""
        return [module for _, module in self.named_children()]

    def items(self) -> list[tuple[str, Any]]:
        """Return the names with their modules."""
        return list(self.named_children())


def _checked(holder: Module, module: Any) -> Module:
    if not isinstance(module, Module):
        hint = ": give its modules one by one" if isinstance(module, (list, tuple)) else ""
        raise InputError(f"a {type(holder).__name__} holds modules, got {module!r:.60}{hint}")
    return module
