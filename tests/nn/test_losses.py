import numpy as np
import pytest

from numformer import InputError, Tensor, gradients, nn, ops
from numformer.testing import check_gradients

D = 8


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


LOSSES = {
    "CrossEntropyLoss": (nn.CrossEntropyLoss, np.array([[1, 2, 3, -100], [0, 1, 1, 4]]), (2, 4, 5)),
    "MSELoss": (nn.MSELoss, draw(2, 4, 5, seed=1), (2, 4, 5)),
    "L1Loss": (nn.L1Loss, draw(2, 4, 5, seed=1), (2, 4, 5)),
    "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss, (draw(2, 4, 5, seed=1) > 0).astype(int), (2, 4, 5)),
}
every_loss = pytest.mark.parametrize(("make", "targets", "shape"), LOSSES.values(), ids=LOSSES)


def test_the_cross_entropy_passes_its_settings_on():
    logits, targets = draw(4, 7), np.array([1, 2, 3, 3])
    loss = nn.CrossEntropyLoss(ignore_index=3, reduction="sum", label_smoothing=0.1)
    expected = nn.CrossEntropyLoss(reduction="sum", label_smoothing=0.1)(logits[:2], targets[:2])
    assert loss(logits, targets).item() == pytest.approx(expected.item())


@every_loss
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_agree_with_differences(make, targets, shape, reduction):
    check_gradients(make(reduction=reduction), draw(*shape), targets)


@every_loss
@pytest.mark.parametrize("as_given", [np.asarray, Tensor, np.ndarray.tolist], ids=["array", "Tensor", "list"])
def test_backward_gives_the_one_gradient_that_a_model_takes(make, targets, shape, as_given):
    x, loss = draw(*shape), make()
    leaf = Tensor(x, requires_grad=True)
    (expected,) = gradients(make()(leaf, targets), [leaf])
    loss(x, as_given(targets))
    np.testing.assert_allclose(loss.backward(1.0), expected, rtol=1e-6)
    loss(x, as_given(targets))
    np.testing.assert_allclose(loss.backward(), expected, rtol=1e-6)
    loss(x, as_given(targets))
    np.testing.assert_allclose(loss.backward(-2.0), -2.0 * expected, rtol=1e-6)


@every_loss
def test_a_model_is_trained_by_hand_as_by_the_tape(make, targets, shape):
    model, loss = nn.Linear(3, shape[-1]), make()
    x = draw(*shape[:-1], 3).astype(np.float32)
    loss(model(x), targets)
    dx = model.backward(loss.backward(1.0))
    assert dx.shape == x.shape
    by_hand = [p.grad for p in model.parameters()]
    model.zero_grad()
    loss(model(x), targets).backward()
    for ours, expected in zip(by_hand, (p.grad for p in model.parameters()), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_every_loss_is_its_op_with_the_reduction_that_was_chosen():
    x, t, classes = draw(2, 4, 5), np.abs(draw(2, 4, 5, seed=1)), np.array([[1, 2, 3, -100], [0, 1, 1, 4]])
    flat = x.reshape(8, 5), classes.ravel()
    for reduction in ("mean", "sum"):
        for loss, expected in (
            (nn.MSELoss(reduction)(x, t), ops.mse(x, t, reduction=reduction)),
            (nn.L1Loss(reduction)(x, t), ops.l1(x, t, reduction=reduction)),
            (nn.BCEWithLogitsLoss(reduction)(x, t), ops.bce_with_logits(x, t, reduction=reduction)),
            (nn.CrossEntropyLoss(reduction=reduction)(x, classes), ops.cross_entropy(*flat, reduction=reduction)),
        ):
            assert loss.item() == expected
    smooth = nn.CrossEntropyLoss(label_smoothing=0.1)(x, classes)
    assert smooth.item() == ops.cross_entropy(*flat, label_smoothing=0.1)


def test_logits_may_have_axes_before_the_classes():
    logits, targets = draw(2, 4, 5), np.array([[1, 2, 3, -100], [0, 1, 1, 4]])
    loss = nn.CrossEntropyLoss()
    flat = loss(logits.reshape(-1, 5), targets.reshape(-1)).item()
    assert loss(logits, targets).item() == loss(logits, Tensor(targets)).item() == loss(logits, targets.tolist()).item()
    assert loss(logits, targets).item() == flat
    assert loss(logits[0, 0], 1).item() == pytest.approx(np.log(np.exp(logits[0, 0]).sum()) - logits[0, 0, 1])


@pytest.mark.parametrize("shape", [(4, 2), (8,), (2, 4, 1)])
def test_targets_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match=r"logits of shape \(2, 4, 5\) need targets \(2, 4\), got"):
        nn.CrossEntropyLoss()(draw(2, 4, 5), np.zeros(shape, int))
    for make in (nn.MSELoss, nn.L1Loss, nn.BCEWithLogitsLoss):
        with pytest.raises(InputError, match="the targets have shape"):
            make()(draw(2, 4), np.zeros(shape))


@pytest.mark.parametrize(("reduction", "expected"), [("mean", 0.83008707), ("sum", 2.9053047)])
def test_targets_count_as_much_as_their_class_weighs(reduction, expected):
    logits = np.array([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [3.0, 0.0, 0.0]], np.float32)
    targets, weight = np.array([2, 1, 0, -100]), np.array([1.0, 2.0, 0.5])
    loss = nn.CrossEntropyLoss(weight=weight, reduction=reduction)
    plain = [nn.CrossEntropyLoss()(logits[i : i + 1], targets[i : i + 1]).item() for i in range(3)]
    total = 0.5 * plain[0] + 2.0 * plain[1] + plain[2]
    assert loss(logits, targets).item() == pytest.approx(total / 3.5 if reduction == "mean" else total)
    assert loss(logits, targets).item() == pytest.approx(expected, rel=1e-4)  # what PyTorch answers
    assert loss(logits[None], targets[None]).item() == pytest.approx(loss(logits, targets).item())
    assert list(loss.state_dict()) == ["weight"]


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, 2.0], "weight has 2 numbers, but the logits 3 classes"),
        ([[1.0]], "weight holds a number from 0 up for each class"),
        ([1.0, -2.0, 1.0], "weight holds a number from 0 up for each class"),
    ],
)
def test_weights_that_fit_no_classes_are_refused(weight, message):
    with pytest.raises(InputError, match=message):
        nn.CrossEntropyLoss(weight=weight)(np.zeros((2, 3), np.float32), [0, 1])


def test_class_weights_in_the_place_that_they_have_in_pytorch_are_refused():
    with pytest.raises(
        InputError, match=r"ignore_index must be a whole number, got \[1.0, 2.0\]; class weights are given as"
    ):
        nn.CrossEntropyLoss([1.0, 2.0])
