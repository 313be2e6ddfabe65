"""Module: named parameters, a forward of a few lines, and everything that follows from the two."""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Self

from numformer._absent import OF_MODULE, answers_for
from numformer._names import takes_synonyms
from numformer._notices import amount
from numformer.autograd import Array, ArrayLike, Parameter, Tensor, gradients, is_recording, kind_of, mode, placeholder
from numformer.autograd.array import memory_of
from numformer.autograd.conversions import on_cpu
from numformer.errors import InputError
from numformer.nn.tree import Tree


class _Thread(threading.local):
    inside_a_call = False


_thread = _Thread()


def _as_call(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return a forward that is remembered when it is called from outside, and shown to those who look inside."""

    @functools.wraps(forward)
    def call(self: Module, *args: Any, **settings: Any) -> Any:
        if not _thread.inside_a_call:
            return self(*args, **settings)
        watcher = mode.current.watcher
        if watcher is None or watcher.is_running(self):
            return forward(self, *args, **settings)
        return watcher.call(self, args, settings)

    return call


class Misfits(NamedTuple):
    """The names of a module that a state has not, and those of the state that the module has not."""

    missing_keys: list[str]
    unexpected_keys: list[str]


@answers_for(OF_MODULE)
class Module(Tree):
    """The base of every layer and model: subclasses assign Parameters and Modules to attributes and write `forward`.

    Attribute names are the names in `state_dict`. Calling a module takes Tensors or arrays; after a call on its own,
    `backward` returns the derivative with respect to what it was called with. `points` are the values on the way through
    `forward` that it shows to `capture` and `intervene` by `observe`, besides its output; those in `points_on_request`
    cost something, and are recorded only where a name asks for them.
    """

    points: ClassVar[tuple[str, ...]] = ()
    points_on_request: ClassVar[tuple[str, ...]] = ()
    training = True
    _call: tuple[list[Tensor], Tensor] | None = None
    _bound_from: tuple[Module] | None = None  # in a tuple, for a Module in an attribute would be a part of this one

    def __init_subclass__(cls) -> None:
        """Let the constructor take synonyms of its keywords, and make `layer.forward(x)` the same as `layer(x)`.

        So `backward` and those who look inside know of both, and a misspelt keyword is the same InputError as everywhere.
        """
        if "__init__" in vars(cls):
            cls.__init__ = takes_synonyms(cls.__init__)  # type: ignore[method-assign]
        if "forward" in vars(cls):
            cls._plain_forward = cls.forward
            cls.forward = _as_call(cls.forward)  # type: ignore[method-assign]

    def forward(self, *args: Any, **settings: Any) -> Any:
        """Compute the output; every subclass writes its own."""
        raise TypeError(f"{type(self).__name__} has no forward")

    _plain_forward: Callable[..., Any] = forward  # as the class wrote it

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """Run `forward`; a call from outside any module is remembered for `backward`."""
        if _thread.inside_a_call:
            if mode.current.watcher is None and "forward" not in self.__dict__:  # the shortest way of the usual call
                return self._plain_forward(*args, **settings)
            return self.forward(*args, **settings)
        vars(self)["_call"] = None  # past __setattr__, which costs time
        args = tuple(self._as_input(value) for value in args)
        settings = {name: self._as_input(value) for name, value in settings.items()}
        output = self.call_inside(*args, **settings)
        first = output[0] if isinstance(output, tuple) else output
        if is_recording() and isinstance(first, Tensor):
            inputs = [placeholder(value) for value in (*args, *settings.values()) if isinstance(value, Tensor)]
            vars(self)["_call"] = (inputs, placeholder(first))
        return output

    def call_inside(self, *args: Any, **settings: Any) -> Any:
        """Run `forward` as part of a larger call: neither this module nor one inside it remembers it for `backward`."""
        before, _thread.inside_a_call = _thread.inside_a_call, True
        try:
            return self(*args, **settings)
        finally:
            _thread.inside_a_call = before

    def observe(self, point: str, value: Any) -> Any:
        """Show a value on the way through `forward` to those who look inside; returns it, or what they put in its place."""
        watcher = mode.current.watcher
        return value if watcher is None else watcher.see(self, point, value)

    def is_observed(self, point: str) -> bool:
        """Tell whether anybody looks at a point, for values that cost something to compute."""
        watcher = mode.current.watcher
        return watcher is not None and watcher.wants(self, point)

    @property
    def unbound(self) -> Module:
        """The module that this one was made from by `bind`; itself where it was not."""
        return self._bound_from[0] if self._bound_from else self

    def backward(self, grad: ArrayLike) -> Any:
        """Pull `grad`, the derivative of the loss by the output of the last call, back through that call.

        Adds to `.grad` of every parameter and returns the derivative by the floating-point input: an array, or a tuple
        of them for several inputs, keywords last, which share no memory with `grad` or each other. The call must have
        been the module's own, not one inside a larger module. Raises InputError when there was no such call, or its graph
        was used up.
        """
        if self._call is None:
            name = type(self).__name__
            raise InputError(f"{name}.backward needs a call of this {name} itself before it")
        (inputs, output), vars(self)["_call"] = self._call, None
        wanted = [*inputs, *(p for p in self.parameters() if p.requires_grad)]
        found = gradients(output, wanted, grad, stop=inputs)
        for tensor, value in zip(wanted[len(inputs) :], found[len(inputs) :], strict=True):
            if value is not None:
                tensor.add_grad(value)
        dinputs = tuple(_own(found[: len(inputs)], grad))
        return dinputs[0] if len(dinputs) == 1 else dinputs or None

    def _as_input(self, value: Any) -> Any:
        """Make a floating-point array a leaf of this module's dtype, so that its derivative can be asked for."""
        if getattr(value, "dtype", None) is None or kind_of(value) != "numpy" or value.dtype.kind != "f":
            return value
        if isinstance(value, Tensor) and value.requires_grad:
            return value
        dtype = next((p.dtype for p in self.parameters()), value.dtype)
        array = value.data if isinstance(value, Tensor) else value
        return Tensor(array.astype(dtype, copy=False), requires_grad=is_recording())

    # State.
    def state_dict(self, copy: bool = True) -> dict[str, Array]:
        """Return all parameters and persistent buffers as arrays by name: copies, or what is written to as it changes."""
        return {name: tensor.data.copy() if copy else tensor.data for name, tensor in self.named_state()}

    def load_state_dict(self, state: Mapping[str, Array], strict: bool = True) -> Misfits:
        """Copy arrays into the parameters in place, so that ties and views stay, and into the buffers.

        A backward pass through a forward that read the values before is refused. Raises InputError listing every missing,
        unexpected and misshapen name; nothing is changed then. With `strict=False` missing and unexpected names are left
        alone. Either way they are returned.
        """
        if not isinstance(state, Mapping):
            raise InputError(f"a state maps names to arrays, got {type(state).__name__}")
        own = dict(self.named_state())
        misfits = Misfits([name for name in own if name not in state], [name for name in state if name not in own])
        shapes = {name: getattr(state[name], "shape", None) for name in own if name in state}
        misshapen = [
            f"{name} (got {_shown(shape)}, expected {list(own[name].shape)})"
            for name, shape in shapes.items()
            if shape != own[name].shape
        ]
        problems = [
            *(_listed("missing", misfits.missing_keys) if strict else ()),
            *(_listed("unexpected", misfits.unexpected_keys) if strict else ()),
            *_listed("of the wrong shape", misshapen),
        ]
        if problems:
            raise InputError(f"the weights do not fit {type(self).__name__}: {'; '.join(problems)}")
        for name in shapes:
            self._take(own[name], state[name])
        return misfits

    def _take(self, tensor: Tensor, value: Any) -> None:
        """Copy an array into a parameter; a buffer gets a new array, for its own may be one that was given."""
        value = value.data if isinstance(value, Tensor) else value
        if isinstance(tensor, Parameter):
            if not tensor.data.flags.writeable:  # as joblib hands large arrays to other processes
                tensor.data = tensor.data.copy()
            tensor.data[...] = value
            tensor.mark_changed()
        else:
            tensor.data = value.astype(tensor.dtype)

    get_parameters = state_dict
    set_parameters = load_state_dict

    def bind(self, parameters: Mapping[str, Array]) -> Self:
        """Return a copy of the module that reads its parameters from `{name: array or Tensor}`: a pure function of both.

        Buffers can be given, too. Names that are not given keep the module's own parameter; unknown names raise InputError.
        Arrays are used as they are, not copied. To those who look inside, the copy counts as the module itself.
        """
        own: dict[str, Tensor] = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        unknown = sorted(set(parameters) - set(own))
        if unknown:
            raise InputError(f"{type(self).__name__} has no parameters named {', '.join(unknown)}")
        return _copy_with(
            self, {id(own[name]): _in_place_of(own[name], value) for name, value in parameters.items()}, {}
        )

    # Modes.
    def train(self, mode: bool = True) -> Self:
        """Switch dropout on (or off) in this module and all inside it."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch dropout off."""
        return self.train(False)

    def freeze(self, *prefixes: str) -> Self:
        """Stop gradients to the parameters under these dotted names, or to all of them.

        Raises InputError for a name that no parameter starts with.
        """
        return self._set_requires_grad(prefixes, False)

    def unfreeze(self, *prefixes: str) -> Self:
        """Let gradients flow again; the opposite of `freeze`."""
        return self._set_requires_grad(prefixes, True)

    def requires_grad_(self, wanted: bool = True) -> Self:
        """Freeze or unfreeze all parameters; returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad = wanted
        return self

    def _set_requires_grad(self, prefixes: tuple[str, ...], wanted: bool) -> Self:
        for prefix in prefixes or ("",):
            chosen = [p for name, p in self.named_parameters() if f"{name}.".startswith(f"{prefix}." if prefix else "")]
            if not chosen:
                raise InputError(f"no parameter of {type(self).__name__} is named {prefix!r} or lies under it")
            for parameter in chosen:
                parameter.requires_grad = wanted
        return self

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def astype(self, dtype: Any) -> Self:
        """Give every parameter its values and its gradient in another dtype, for instance float64 for a gradient check.

        Buffers of floating-point numbers are converted, too.
        An optimizer made before keeps its own arrays: make it afterwards.
        """
        for parameter in self.parameters():
            parameter.data = parameter.data.astype(dtype)
            parameter.grad = None if parameter.grad is None else parameter.grad.astype(dtype)
            parameter.mark_changed()
        for buffer in self.buffers():
            if buffer.dtype.kind == "f":
                buffer.data = buffer.data.astype(dtype)
        return self

    def to(self, target: Any) -> Self:
        """Convert the parameters to a dtype; "cpu" is where they are. Raises InputError for another device."""
        return self if on_cpu(target) else self.astype(target)

    def cpu(self) -> Self:
        """Return the module itself, which is always in the memory of the CPU."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Leave the last call behind where the module is copied or sent to another process."""
        return {name: value for name, value in vars(self).items() if name != "_call"}

    def __repr__(self) -> str:
        lines = [self._title()]
        for name, child in self.named_children():
            first, *rest = repr(child).splitlines()
            lines += [f"  {name}: {first}", *(f"  {line}" for line in rest)]
        return "\n".join(lines)

    def _title(self) -> str:
        attributes = [(name, value) for name, value in vars(self).items() if name[0] != "_" and name != "training"]
        settings = [f"{name}={value!r}" for name, value in attributes if isinstance(value, (int, float, str))]
        shapes = [f"{name} {list(value.shape)}" for name, value in attributes if isinstance(value, Parameter)]
        count = [amount(self.num_parameters(), "parameters")] if self.num_parameters() else []
        return "  ".join([f"{type(self).__name__}({', '.join(settings)})", *count, *shapes])


def _own(values: list[Any], grad: Any) -> list[Any]:
    """Return gradients that can be written to and share no memory with each other or with the one that the caller gave."""
    grad = grad.data if isinstance(grad, Tensor) else grad
    given, owned = [memory_of(grad)], []
    for value in values:
        if value is not None and (not value.flags.writeable or any(memory_of(value) is each for each in given)):
            value = value.copy()
        given.append(memory_of(value))
        owned.append(value)
    return owned


def _copy_with(module: Any, replaced: dict[int, Any], made: dict[int, Any]) -> Any:
    """Copy a tree of modules with other parameters; a module that stands in two places is copied once."""
    if id(module) in made:
        return made[id(module)]
    twin = made[id(module)] = copy.copy(module)
    vars(twin).update(_call=None, _bound_from=(module.unbound,))
    for name, value in vars(module).items():
        if isinstance(value, Module):
            setattr(twin, name, _copy_with(value, replaced, made))
        elif isinstance(value, Tensor) and id(value) in replaced:
            setattr(twin, name, replaced[id(value)])
    return twin


def _in_place_of(own: Tensor, value: Any) -> Any:
    """Return what takes the place of a parameter or buffer: for a parameter a Tensor as one, so that it is still listed."""
    if not isinstance(own, Parameter) or not isinstance(value, Tensor) or isinstance(value, Parameter):
        return value
    parameter = Parameter(value.data, requires_grad=False)
    parameter.edge = value.edge
    return parameter


def _shown(shape: Any) -> Any:
    return "no array" if shape is None else list(shape)


def _listed(what: str, names: list[str]) -> list[str]:
    return [f"{what}: {', '.join(names)}"] if names else []
