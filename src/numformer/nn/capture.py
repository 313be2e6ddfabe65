"""Looking inside a model: recording what its modules compute by name, and putting something else in its place.

    with capture(model) as seen:
        loss = cross_entropy(model(tokens), targets)
    gradients(loss, seen.tensors)

A name is that of `named_modules`, "" for the model itself, and stands for the output of the module. Inside a module lie
points, named below it:

    layers.3.self_attn.heads         the output of every head before the output projection [B T H K]
    layers.3.self_attn.weights       the attention weights before dropout [B H T S], only where a name asks for them
    layers.3.residual1.before        the residual stream before the first part of a layer [B T D]
    layers.3.residual1, .residual2   the stream after the first and the second part; the last is that of the layer

The second call of a module is named `layers.3#2`, the third `layers.3#3`. Of a tuple, the name stands for the first value
and `name:1` for the second. Ops are named after the module that they run in: `layers.3.self_attn.q_proj:linear`.

Both contexts belong to the thread that enters them. In them nothing is computed a second time (`recompute`), and work that
would be shared with other threads or processes stays in this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeAlias

from numformer.autograd import Array, Tensor, is_recording, kind_of, mode
from numformer.errors import InputError
from numformer.nn.module import Module
from numformer.nn.points import Place, first_names, places_of, points_of

Replacement: TypeAlias = Callable[[Tensor], "Tensor | Array"]


class Capture:
    """What a `capture` block has seen so far: `tensors` by name, in the order in which they were computed."""

    def __init__(self, model: Module, names: Iterable[str] | None = None, ops: bool = False) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._model = model  # kept alive, for places are known by id
        self._patterns = None if names is None else list(names)
        self._places = places_of(model, self._patterns, may_be_ops=ops)
        self._ops = {id(module.unbound): name for name, module in first_names(model)} if ops else {}
        self._counts: dict[str, int] = {}

    def wants(self, place: Place) -> bool:
        """Tell whether a place is recorded."""
        return place in self._places

    def see(self, place: Place, value: Any) -> Any:
        """Record what was computed at a place and return it."""
        return self._record(self._places[place], value) if place in self._places else value

    def see_op(self, module: Module, name: str, value: Any) -> Any:
        """Record what an op computed while a module ran, and return it."""
        if (owner := self._ops.get(id(module.unbound))) is None:
            return value
        name = f"{owner}:{name}"
        wanted = self._patterns is None or any(fnmatchcase(name, pattern) for pattern in self._patterns)
        return self._record(name, value) if wanted else value

    def check_used(self) -> None:
        """Raise InputError where nothing was recorded for a name that is no pattern."""
        plain = [name for name in self._patterns or () if not set("*?[") & set(name)]
        if unused := [name for name in plain if name not in self._counts]:
            raise InputError(f"nothing named {' or '.join(map(repr, unused))} was computed in this thread")

    def _record(self, name: str, value: Any) -> Any:
        """Record a value, or those of a tuple under one number."""
        count = self._counts[name] = self._counts.get(name, 0) + 1
        number = "" if count == 1 else f"#{count}"
        if not isinstance(value, tuple):
            return self._keep(name, number, value)
        names = [name, *(f"{name}:{place}" for place in range(1, len(value)))]
        parts = [self._keep(each, number, part) for each, part in zip(names, value, strict=True)]
        return _like(value, parts)

    def _keep(self, name: str, number: str, value: Any) -> Any:
        """Keep a value that is an array, and return it in a form in which its gradient can be asked for."""
        if getattr(value, "dtype", None) is None:
            return value
        if kind_of(value) == "numpy":
            value = _differentiable(value)
            self.tensors[name + number] = value if isinstance(value, Tensor) else Tensor(value)
        else:
            self.tensors[name + number] = value
        return value


class _LastWeights(Capture):
    """Keeps the weights of the last call of every attention."""

    def _keep(self, name: str, number: str, value: Any) -> Any:
        return super()._keep(name, "", value)


class _Intervention:
    """Functions that replace what is computed at some places of a model."""

    def __init__(self, model: Module, replacements: Mapping[str, Replacement]) -> None:
        self._model = model
        self._functions: dict[Place, list[tuple[str, str, Replacement]]] = {}
        self._unused = dict.fromkeys(replacements)  # patterns, in order
        for pattern, function in replacements.items():
            for place, name in places_of(model, [pattern]).items():
                self._functions.setdefault(place, []).append((pattern, name, function))

    def check_used(self) -> None:
        """Raise InputError where nothing that a pattern fits was computed: what follows would be taken for its effect."""
        if self._unused:
            raise InputError(
                f"nothing named {' or '.join(map(repr, self._unused))} was computed in this thread, so nothing was replaced"
            )

    def wants(self, place: Place) -> bool:
        """Tell whether something is put in the place of what is computed there."""
        return place in self._functions

    def see(self, place: Place, value: Any) -> Any:
        """Return what is put in the place of a value, of the first one in a tuple."""
        for pattern, name, function in self._functions.get(place, ()):
            self._unused.pop(pattern, None)
            first = value[0] if isinstance(value, tuple) else value
            new = _replaced(name, function, first)
            value = _like(value, [new, *value[1:]]) if isinstance(value, tuple) else new
        return value


class _Watch(NamedTuple):
    """All that looks inside on one thread: every intervention acts, in the order of their blocks, before any capture."""

    interventions: tuple[_Intervention, ...] = ()
    captures: tuple[Capture, ...] = ()
    running: tuple[Module, ...] = ()  # the module whose `forward` runs, in a tuple; empty outside

    def call(self, module: Module, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run a module's `forward` and show its output."""
        with mode.watched_by(self._replace(running=(module,))):
            output = module.forward(*args, **settings)
        return self._show((id(module.unbound), ""), output)

    def is_running(self, module: Module) -> bool:
        """Tell whether it is the `forward` of this very module that runs."""
        return bool(self.running) and self.running[0] is module

    def see(self, module: Module, point: str, value: Any) -> Any:
        """Show a value at a point; raises InputError when the module's class does not list it."""
        if point not in (*module.points, *module.points_on_request):
            raise InputError(f"{type(module).__name__} observes {point!r}, which is not among its points")
        return self._show((id(module.unbound), point), value)

    def see_op(self, name: str, value: Any) -> Any:
        """Show what an op computed, if it runs in a module."""
        for capture in self.captures if self.running else ():
            value = capture.see_op(self.running[0], name, value)
        return value

    def wants(self, module: Module, point: str) -> bool:
        """Tell whether anybody looks at a point."""
        return any(each.wants((id(module.unbound), point)) for each in self._all)

    @property
    def _all(self) -> tuple[_Intervention | Capture, ...]:
        return (*self.interventions, *self.captures)

    def _show(self, place: Place, value: Any) -> Any:
        for each in self._all:
            value = each.see(place, value)
        return value


@contextmanager
def capture(model: Module, names: str | Iterable[str] | None = None, *, ops: bool = False) -> Iterator[Capture]:
    """Record by name what the modules of a model compute in the block, as Tensors that `gradients` takes.

    `names` are names or patterns such as "layers.*.self_attn" ("*" stands for any characters, dots too); without them
    every module and every point is recorded but the attention weights. With `ops` every op inside is recorded too. What is
    recorded can be differentiated even where all parameters are frozen, but not under `no_grad` or `inference`.
    Raises InputError for a name that fits nothing in the model, and at the end of the block where nothing of a name without
    "*" was computed in it: heads ask their `backbone` for `encode`, for instance, so it has no output of its own.
    """
    _check_model(model, "capture")
    if isinstance(names, str):
        names = [names]
    elif isinstance(names, Iterable):
        names = list(names)
    if names is not None and not (isinstance(names, Iterable) and all(isinstance(name, str) for name in names)):
        raise InputError(f"capture takes names of modules or patterns of them, got {names!r:.60}")
    seen = Capture(model, names, ops)
    with _watching(captures=(seen,)):
        yield seen
    seen.check_used()


@contextmanager
def intervene(model: Module, replacements: Mapping[str, Replacement]) -> Iterator[None]:
    """Put `function(output)` in the place of what the modules or points of these names compute in the block.

    Names may be patterns, as in `capture`. A function gets a Tensor, does not write into it, and returns a Tensor or an
    array of the same shape; gradients flow through its ops. It is called at every call of the module, and not watched
    itself. Raises InputError for a name that fits nothing, where a function returns None or another shape, and at the end
    of the block where nothing of a name was computed in it.
    """
    _check_model(model, "intervene")
    if not isinstance(replacements, Mapping) or not all(map(callable, replacements.values())):
        raise InputError(
            f"intervene takes a function for each name, such as {{name: function}}, got {replacements!r:.60}"
        )
    intervention = _Intervention(model, replacements)
    with _watching(interventions=(intervention,)):
        yield
    intervention.check_used()


@contextmanager
def record_attention(model: Module) -> Iterator[dict[str, Any]]:
    """Collect the weights [B H T S] of every attention of a model that runs inside the block, by the layer's name.

    The dict is filled at the end of the block; of several calls the last one counts. An attention of one's own is recorded
    where it has "weights" among its points and shows them by `observe`. Raises InputError for a model without attention.
    """
    _check_model(model, "record_attention")
    names = [name for name, _, point in points_of(model) if point == "weights"]
    if not names:
        raise InputError(
            f"{type(model).__name__} has no attention to record: MultiHeadAttention, or a module that has the point "
            '"weights" and shows it by observe'
        )
    seen, found = _LastWeights(model, names), dict[str, Any]()
    with _watching(captures=(seen,)):
        yield found
    for name, value in seen.tensors.items():
        found[name.rpartition(".")[0]] = value.data if isinstance(value, Tensor) else value


@contextmanager
def _watching(interventions: tuple[_Intervention, ...] = (), captures: tuple[Capture, ...] = ()) -> Iterator[None]:
    """Look on in the block, together with those who do so already."""
    before = mode.current.watcher or _Watch()
    with mode.watched_by(
        before._replace(
            interventions=before.interventions + interventions,
            captures=before.captures + captures,
        )
    ):
        yield


def _check_model(model: object, name: str) -> None:
    if not isinstance(model, Module):
        raise InputError(f"{name} looks into a module, got {model!r:.60}")


def _differentiable(value: Any) -> Any:
    """Return a value as a Tensor with a gradient, where one is recorded; what frozen modules compute becomes a leaf."""
    if not is_recording() or value.dtype.kind != "f" or (isinstance(value, Tensor) and value.requires_grad):
        return value
    return Tensor(value.data if isinstance(value, Tensor) else value, requires_grad=True)


def _replaced(name: str, function: Replacement, value: Any) -> Any:
    """Return what the function makes of a value, checked."""
    if getattr(value, "dtype", None) is None:
        raise InputError(f"{name!r} cannot be replaced: it is no array but a {type(value).__name__}")
    is_numpy = kind_of(value) == "numpy"
    with mode.watched_by(None):
        new: Any = function(Tensor(value) if is_numpy and not isinstance(value, Tensor) else value)
    if getattr(new, "shape", None) is None:
        raise InputError(
            f"the function for {name!r} must return an array of shape {list(value.shape)}, got {new!r:.60}"
        )
    if tuple(new.shape) != tuple(value.shape):
        raise InputError(f"the function for {name!r} must return the shape {list(value.shape)}, got {list(new.shape)}")
    if not is_numpy:
        return new
    if not isinstance(new, Tensor):
        return Tensor(new.astype(value.dtype, copy=False))
    if new.dtype != value.dtype:
        raise InputError(f"the function for {name!r} must return {value.dtype}, got {new.dtype}")
    return new


def _like(value: Any, parts: list[Any]) -> Any:
    """Return parts as a tuple of the same kind."""
    return value._make(parts) if hasattr(value, "_make") else tuple(parts)
