import numpy as np
import pytest

from numformer import InputError, Tensor, gradients, ops
from numformer.testing import check_gradients

N, V = 12, 7


def draw(seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, V, N)
    targets[[1, 5, 6]] = -100
    return 3.0 * rng.standard_normal((N, V)).astype(dtype), targets


def pull(logits, targets, upstream=1.0, **settings):
    leaf = Tensor(logits, requires_grad=True)
    loss = ops.cross_entropy(leaf, targets, **settings)
    return loss.item(), gradients(loss, [leaf], upstream)[0]


def by_hand(logits, targets, smoothing=0.0):
    """Sum over real tokens of -Σ q log p, with q spread by the smoothing over all classes, the right one too."""
    total = 0.0
    for row, target in zip(logits, targets, strict=True):
        if target != -100:
            log_p = row - np.log(np.exp(row).sum())
            q = np.full(V, smoothing / V)
            q[target] += 1.0 - smoothing
            total -= q @ log_p
    return total


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_loss_is_the_mean_over_real_tokens(smoothing):
    logits, targets = draw()
    expected = by_hand(logits, targets, smoothing)
    assert pull(logits, targets, label_smoothing=smoothing)[0] == pytest.approx(expected / (N - 3), rel=1e-12)
    summed = pull(logits, targets, label_smoothing=smoothing, reduction="sum")[0]
    assert summed == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradients_with_ignored_targets_agree_with_differences(smoothing, reduction):
    settings = {"label_smoothing": smoothing, "reduction": reduction}
    check_gradients(lambda x, t: ops.cross_entropy(x, t, **settings), *draw())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_what_stands_at_ignored_positions_never_matters(smoothing):
    logits, targets = draw()
    loss, grad = pull(logits, targets, label_smoothing=smoothing)
    logits[targets == -100] = 1e4 * np.random.default_rng(1).standard_normal((3, V))
    assert pull(logits, targets, label_smoothing=smoothing)[0] == loss
    assert not grad[targets == -100].any()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_nothing_but_ignored_targets_gives_loss_0_and_no_gradient(smoothing, reduction):
    loss, grad = pull(draw()[0], np.full(N, -100), label_smoothing=smoothing, reduction=reduction)
    assert loss == 0.0
    assert not grad.any()


def test_the_ignored_index_may_be_a_class_such_as_padding():
    logits, targets = draw()
    padded = np.where(targets == -100, 2, targets)
    real = padded != 2
    loss, grad = pull(logits, padded, ignore_index=2)
    assert loss == pytest.approx(pull(logits[real], padded[real])[0])
    assert not grad[~real].any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_unequal_micro_batches_give_the_gradient_of_the_whole_batch(smoothing):
    logits, targets = draw()
    count = np.count_nonzero(targets != -100)
    loss, grad = pull(logits, targets, label_smoothing=smoothing)
    parts = [
        pull(logits[part], targets[part], 1.0 / count, label_smoothing=smoothing, reduction="sum")
        for part in (slice(0, 2), slice(2, 7), slice(7, N))
    ]
    assert sum(part for part, _ in parts) / count == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(np.concatenate([g for _, g in parts]), grad, atol=1e-15)


def test_the_upstream_gradient_scales_the_gradient():
    logits, targets = draw()
    np.testing.assert_allclose(pull(logits, targets, 2.5)[1], 2.5 * pull(logits, targets)[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_ten_thousand_stay_exact(dtype):
    logits = np.array([[1e4, 0.0, -1e4], [1e4, 0.0, -1e4]], dtype)
    loss, grad = pull(logits, np.array([0, 2]))
    assert loss == 1e4  # the mean of 0 and 20,000
    np.testing.assert_array_equal(grad, [[0.0, 0.0, 0.0], [0.5, 0.0, -0.5]])


def test_equal_logits_give_the_logarithm_of_the_number_of_classes():
    assert pull(np.zeros((4, V)), np.arange(4))[0] == pytest.approx(np.log(V))


def test_an_unknown_reduction_is_named():
    with pytest.raises(InputError, match="cross_entropy: reduction must be mean or sum, got 'none'"):
        ops.cross_entropy(*draw(), reduction="none")


@pytest.mark.parametrize("target", [V, -1])
def test_targets_outside_the_classes_are_named(target):
    logits, targets = draw()
    targets[3] = target
    with pytest.raises(InputError, match=f"{target}.*, but there are {V} classes"):
        ops.cross_entropy(logits, targets)


# The losses that compare number by number

Y, T = np.array([[1.0, -2.0], [0.5, 4.0]]), np.array([[1.0, 1.0], [0.0, 2.0]])
BY_HAND = {
    "mse": (ops.mse, 9.0 + 0.25 + 4.0, np.array([[0.0, -6.0], [1.0, 4.0]])),
    "l1": (ops.l1, 3.0 + 0.5 + 2.0, np.array([[0.0, -1.0], [1.0, 1.0]])),
    "bce_with_logits": (ops.bce_with_logits, (np.log(1.0 + np.exp(Y)) - Y * T).sum(), 1.0 / (1.0 + np.exp(-Y)) - T),
}
every_difference = pytest.mark.parametrize("name", BY_HAND)


@every_difference
@pytest.mark.parametrize(("reduction", "share"), [("sum", 1.0), ("mean", 0.25)])
def test_losses_of_numbers_are_those_of_their_formulas(name, reduction, share):
    op, value, slope = BY_HAND[name]
    x, t = Tensor(Y, requires_grad=True), Tensor(T, requires_grad=True)
    loss = op(x, t, reduction=reduction)
    assert loss.item() == pytest.approx(share * value, rel=1e-12)
    dx, dt = gradients(loss, [x, t], 3.0)
    np.testing.assert_allclose(dx, 3.0 * share * slope, rtol=1e-12)
    np.testing.assert_allclose(dt, -3.0 * share * (Y if name == "bce_with_logits" else slope), rtol=1e-12)
    assert op(Y, T).item() == pytest.approx(0.25 * value, rel=1e-12)


@every_difference
def test_targets_may_be_whole_numbers_or_of_another_precision_and_gain_no_precision(name):
    op, y = BY_HAND[name][0], Y.astype(np.float32)
    for targets in (T, T.astype(int), T.tolist()):
        leaf = Tensor(y, requires_grad=True)
        loss = op(leaf, targets)
        assert loss.dtype == gradients(loss, [leaf])[0].dtype == np.float32
        assert loss.item() == op(y, T.astype(np.float32)).item()


@every_difference
def test_losses_of_numbers_refuse_what_does_not_fit(name):
    op = BY_HAND[name][0]
    with pytest.raises(InputError, match=r"the targets have shape \(2,\), but what they are for \(2, 2\)"):
        op(Y, T[0])
    with pytest.raises(InputError, match=f"{name}: reduction must be mean or sum, got 'none'"):
        op(Y, T, reduction="none")


@every_difference
def test_the_loss_of_no_numbers_is_0(name):
    leaf = Tensor(np.zeros((0, 3)), requires_grad=True)
    loss = BY_HAND[name][0](leaf, np.zeros((0, 3)))
    assert loss.item() == 0.0
    assert gradients(loss, [leaf])[0].shape == (0, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_yes_or_no_under_huge_logits_stays_exact(dtype):
    x = Tensor(np.array([1e4, -1e4, 1e4, -1e4], dtype), requires_grad=True)
    loss = ops.bce_with_logits(x, np.array([1, 0, 0, 1]), reduction="sum")
    assert loss.item() == 2e4
    np.testing.assert_array_equal(gradients(loss, [x])[0], [0.0, 0.0, 1.0, -1.0])


def test_yes_or_no_is_the_cross_entropy_of_two_classes():
    x, t = draw()[0][:, 0], np.arange(N) % 2
    two = np.stack([np.zeros(N), x], axis=1)
    assert ops.bce_with_logits(x, t).item() == pytest.approx(ops.cross_entropy(two, t).item(), rel=1e-12)
