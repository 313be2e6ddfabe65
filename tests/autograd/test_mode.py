"""What a block of code asks of the calls inside it: it nests, ends with its block, and belongs to one thread."""

import threading

import numpy as np
import pytest

from numformer import Tensor, inference, no_grad, recompute
from numformer.autograd import evaluating, is_evaluating, is_recording
from numformer.nn import Dropout

NOW = {"inference": (False, True), "no_grad": (False, False), "evaluating": (True, True)}  # recording, evaluating
BLOCKS = {"inference": inference, "no_grad": no_grad, "evaluating": evaluating}


def state():
    return is_recording(), is_evaluating()


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_says_what_it_asks_for_and_ends(name):
    assert state() == (True, False)
    with BLOCKS[name]():
        assert state() == NOW[name]
    assert state() == (True, False)


@pytest.mark.parametrize("outer", BLOCKS)
@pytest.mark.parametrize("inner", BLOCKS)
def test_blocks_nest_and_an_inner_one_takes_nothing_back(inner, outer):
    with BLOCKS[outer]():
        with BLOCKS[inner]():
            assert state() == (NOW[outer][0] and NOW[inner][0], NOW[outer][1] or NOW[inner][1])
        assert state() == NOW[outer]
    assert state() == (True, False)


def test_a_block_can_ask_for_dropout_again():
    with inference(), evaluating(False):
        assert state() == (False, False)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_ends_with_an_error(name):
    with pytest.raises(KeyError), BLOCKS[name]():
        raise KeyError
    assert state() == (True, False)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_holds_for_its_thread_alone(name):
    seen, inside, done = [], threading.Event(), threading.Event()

    def other():
        inside.wait()
        seen.append(state())
        with BLOCKS[name]():
            seen.append(state())
            done.set()
            outside.wait()
            seen.append(state())

    outside = threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    with BLOCKS[name]():
        inside.set()
        done.wait()
        assert state() == NOW[name]
    outside.set()
    thread.join()
    assert seen == [(True, False), NOW[name], NOW[name]]
    assert state() == (True, False)


def test_dropout_does_nothing_while_a_thread_evaluates_and_the_model_stays_in_its_mode():
    layer, x = Dropout(0.5), np.ones((8, 8), np.float32)
    with inference():
        y = layer(x)
        assert layer.training
    np.testing.assert_array_equal(getattr(y, "data", y), x)
    assert (layer(x).data == 0.0).any()
    with evaluating():
        tensor = Tensor(x, requires_grad=True)
        assert layer(tensor).requires_grad
        np.testing.assert_array_equal(layer(tensor).data, x)


def test_recomputation_runs_as_its_first_run_did_wherever_the_backward_pass_is_called():
    seen = []

    def function(x):
        seen.append(is_evaluating())
        return x * 2.0

    x = Tensor(np.ones(3), requires_grad=True)
    with evaluating():
        measured = recompute(function, x).sum()
    trained = recompute(function, x).sum()
    with evaluating():
        trained.backward()
    measured.backward()
    assert seen == [True, False, False, True]
    assert state() == (True, False)
