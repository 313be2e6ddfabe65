import pytest

from numformer.generation.window import window_start


@pytest.mark.parametrize(
    ("length", "start"), [(1, 0), (8, 0), (9, 4), (12, 4), (13, 8), (16, 8), (17, 12), (100, 92), (101, 96)]
)
def test_half_a_context_is_dropped_when_a_sequence_outgrows_it(length, start):
    assert window_start(length, 8) == start


@pytest.mark.parametrize("context", [1, 2, 3, 7, 8])
def test_the_window_never_outgrows_the_context_nor_gets_empty(context):
    for length in range(1, 50):
        assert max(1, context - context // 2) <= length - window_start(length, context) + (length < context) * context
        assert 1 <= length - window_start(length, context) <= context
