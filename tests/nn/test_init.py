import threading

import numpy as np
import pytest

from numformer import nn, random
from numformer.nn import init

DRAWN = {
    "normal": lambda g: init.normal(3, 4, std=0.5, generator=g),
    "uniform": lambda g: init.uniform(3, 4, bound=0.5, generator=g),
    "xavier_uniform": lambda g: init.xavier_uniform(3, 4, g),
}
DRAW = {
    "normal": lambda p, g: init.draw_normal(p, 0.5, g),
    "uniform": lambda p, g: init.draw_uniform(p, 0.5, g),
    "xavier_uniform": init.draw_xavier,
}
every_rule = pytest.mark.parametrize("rule", DRAWN)


@every_rule
def test_a_parameter_drawn_later_is_that_drawn_at_once(rule):
    with init.undrawn():
        parameter = DRAWN[rule](None)
    assert not parameter.data.any()
    DRAW[rule](parameter, random.generator(3))
    np.testing.assert_array_equal(parameter.data, DRAWN[rule](random.generator(3)).data)
    assert parameter.dtype == np.float32


@every_rule
def test_undrawn_parameters_take_no_number_from_a_generator(rule):
    generator = random.generator(3)
    with init.undrawn():
        DRAW[rule](DRAWN[rule](generator), generator)
    np.testing.assert_array_equal(DRAWN[rule](generator).data, DRAWN[rule](random.generator(3)).data)


def test_what_is_not_drawn_is_as_ever():
    with init.undrawn():
        layer = nn.LayerNorm(4)
    assert (layer.weight.data == 1.0).all()
    assert not layer.bias.data.any()


def test_other_threads_go_on_drawing():
    found = []
    with init.undrawn():
        thread = threading.Thread(target=lambda: found.append(nn.Linear(3, 3).weight.data.any()))
        thread.start()
        thread.join()
    assert found == [True]
    assert nn.Linear(3, 3).weight.data.any()
