"""What the tests of models under JAX share; all are skipped where JAX is absent."""

import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")


@pytest.fixture
def float64():
    """Let JAX keep float64, for this test alone."""
    with jax.enable_x64(True):
        yield
