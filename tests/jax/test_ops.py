"""Every op against its body for JAX, by its shape lines: a new op is tested by existing."""

import numpy as np
import pytest

from numformer import testing
from numformer.autograd import OPS

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")

CASES = [(op, line) for op in OPS.values() for line in op.shape_lines]
every_case = pytest.mark.parametrize(("op", "line"), CASES, ids=[f"{op.name}: {line.text}" for op, line in CASES])


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def by_numpy(op, arguments, settings):
    """Return the values, a gradient for each, and the gradients of the arguments that are no integers or masks."""
    values, vjp = op.value_and_vjp(*arguments, **settings)
    rng = np.random.default_rng(1)
    dys = [np.asarray(rng.standard_normal(np.shape(part)), part.dtype) for part in as_tuple(values)]
    grads = as_tuple(vjp(*dys))[: len(arguments)]
    return as_tuple(values), dys, [g for g, a in zip(grads, arguments, strict=True) if a.dtype.kind == "f"]


def by_jax(op, arguments, settings, dys):
    """Return the values and the gradients that JAX derives from the body."""
    places = [place for place, a in enumerate(arguments) if a.dtype.kind == "f"]

    def value(*floats):
        given = list(arguments)
        for place, each in zip(places, floats, strict=True):
            given[place] = each
        return as_tuple(op(*given, **settings))

    def values_and_gradients(floats, dys):
        values, vjp = jax.vjp(value, *floats)
        return values, vjp(tuple(dys))

    return jax.jit(values_and_gradients)([arguments[place] for place in places], dys)


def compare(op, line, dtype, tolerance):
    arguments = testing.draw_arguments(line, np.random.default_rng(0), dtype)
    if op.name in ("log", "power"):
        arguments = [abs(a) for a in arguments]
    settings = testing.settings_of(line)
    values, dys, grads = by_numpy(op, arguments, settings)
    found_values, found_grads = by_jax(op, arguments, settings, dys)
    for expected, found in zip([*values, *grads], [*found_values, *found_grads], strict=True):
        assert found.dtype == dtype
        assert found.shape == np.shape(expected)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))


def test_every_op_has_a_body_for_jax():
    OPS["exp"](jax.numpy.ones(1))
    assert [op.name for op in OPS.values() if "jax" not in op.bodies] == []


@every_case
def test_values_and_gradients_agree_in_float64(op, line, float64):
    compare(op, line, np.float64, 1e-10)


@every_case
def test_values_and_gradients_agree_in_float32(op, line):
    compare(op, line, np.float32, 1e-5)
