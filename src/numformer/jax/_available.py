"""One sentence where JAX is missing or too old; imported before anything that imports it."""

from importlib import import_module

from numformer.errors import InputError

OLDEST = (0, 10)
INSTALL = "pip install 'numformer[jax]'"


def check() -> None:
    """Raise InputError unless a JAX that is new enough is installed."""
    oldest = ".".join(map(str, OLDEST))
    try:
        found = import_module("jax")
    except ImportError as error:
        raise InputError(f"models under JAX need the package jax, {oldest} or newer: {INSTALL}") from error
    if tuple(found.__version_info__[:2]) < OLDEST:
        raise InputError(f"models under JAX need jax {oldest} or newer, got {found.__version__}: {INSTALL}")


check()
