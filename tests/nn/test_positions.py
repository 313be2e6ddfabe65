import numpy as np
import pytest

from numformer import InputError, nn, random

D = 8


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("make", [lambda: nn.PositionalEncoding(D, 4), lambda: nn.LearnedPositions(4, D)])
def test_sequences_over_the_limit_are_refused(make):
    layer = make()
    layer(draw(1, 4, D))
    with pytest.raises(InputError, match="a sequence of 5 positions does not fit max_seq_len=4"):
        layer(draw(1, 5, D))


def test_positional_encoding_adds_the_sinusoidal_table():
    x = draw(2, 3, D).astype(np.float32)
    y = nn.PositionalEncoding(D, 10)(x).data - x
    np.testing.assert_allclose(y[0, :, 0], np.sin(np.arange(3)), atol=1e-6)
    np.testing.assert_allclose(y[1, :, 1], np.cos(np.arange(3)), atol=1e-6)


@pytest.mark.parametrize("make", [nn.PositionalEncoding, nn.LearnedPositions])
def test_the_longest_sequence_goes_by_either_name(make):
    with pytest.raises(InputError, match="a sequence of 5 positions does not fit max_seq_len=4"):
        make(d_model=D, max_len=4)(draw(1, 5, D))
    assert make(d_model=D, max_seq_len=5)(draw(1, 5, D)).shape == (1, 5, D)
    with pytest.raises(InputError, match="max_seq_len and max_len are the same setting"):
        make(d_model=D, max_seq_len=5, max_len=5)


@pytest.mark.parametrize("make", [nn.PositionalEncoding, nn.LearnedPositions])
def test_every_row_may_stand_at_positions_of_its_own(make):
    layer, x = make(d_model=D, max_seq_len=9), draw(2, 4, D).astype(np.float32)
    found = layer(x, np.array([[4, 5, 6, 7], [0, 1, 2, 3]])).data - x
    expected = layer(np.zeros((1, 9, D), np.float32)).data[0]
    np.testing.assert_allclose(found, np.stack([expected[4:8], expected[:4]]), atol=1e-6)


def test_learned_positions_are_drawn_as_asked_and_added():
    first, second = (nn.LearnedPositions(300, 200, std=0.1, generator=random.generator(1)) for _ in range(2))
    np.testing.assert_array_equal(first.weight.data, second.weight.data)
    assert first.weight.data.std() == pytest.approx(0.1, rel=0.02)
    x = draw(2, 3, 200).astype(np.float32)
    np.testing.assert_array_equal(first(x).data, x + first.weight.data[:3])


def test_the_sinusoidal_table_has_512_positions_unless_told():
    assert len(nn.PositionalEncoding(D).table) == 512
