import numpy as np
import pytest

from numformer import InputError, Tensor

X = np.array([[1.5, -2.0, 0.0]], np.float32)


def test_one_number_becomes_pythons():
    loss = Tensor(np.float32(2.5))
    assert float(loss) == 2.5
    assert int(loss) == 2
    assert bool(loss) is True
    assert bool(Tensor([0.0])) is False
    assert f"{loss:.4f} {Tensor([3]):03d}" == "2.5000 003"
    assert Tensor(X).tolist() == [[1.5, -2.0, 0.0]]


def test_a_whole_number_is_an_index():
    assert [5, 6, 7][Tensor(1)] == 6
    assert list(range(Tensor([2]))) == [0, 1]
    for data in (1.0, [1, 2], True):
        with pytest.raises(TypeError, match="only one whole number is an index"):
            range(Tensor(data))


def test_a_tensor_without_a_format_is_shown():
    assert f"{Tensor([1.0, 2.5])}" == repr(Tensor([1.0, 2.5]))


@pytest.mark.parametrize("call", [float, int, Tensor.item, lambda x: f"{x:.2f}"])
@pytest.mark.parametrize("data", [X, []], ids=["three", "none"])
def test_several_numbers_are_not_one(call, data):
    with pytest.raises(InputError, match=r"a tensor of shape \(.*\) is not one number"):
        call(Tensor(data))


def test_several_numbers_are_neither_true_nor_false():
    with pytest.raises(InputError, match=r"of shape \(1, 3\) is neither true nor false: use any\(\) or all\(\)"):
        bool(Tensor(X) == X)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("float", "float32"), ("double", "float64"), ("long", "int64"), ("int", "int32"), ("bool", "bool")],
)
def test_dtypes_have_methods(name, dtype):
    converted = getattr(Tensor(X), name)()
    assert converted.dtype == dtype
    np.testing.assert_array_equal(converted.data, X.astype(dtype))
    np.testing.assert_array_equal(Tensor(X).to(dtype).data, X.astype(dtype))


def test_the_share_of_right_answers_is_written_as_in_pytorch():
    logits, labels = Tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 1.0]]), np.array([0, 1, 1])
    assert (logits.argmax(dim=-1) == labels).float().mean().item() == pytest.approx(2 / 3)


def test_the_cpu_is_where_a_tensor_is():
    x = Tensor(X, requires_grad=True)
    assert x.cpu() is x
    assert x.to("cpu") is x
    assert x.float() is x
    with pytest.raises(InputError, match=r"computes on the CPU alone: leave out .to\('cuda:0'\)"):
        x.to("cuda:0")


def test_a_tensor_in_a_graph_is_not_cut_off_by_another_dtype():
    x = Tensor(X, requires_grad=True)
    with pytest.raises(InputError, match="a float32 tensor that gradients flow to stays so: convert the model"):
        x.double()
    assert x.detach().double().dtype == np.float64
    assert x.long().tolist() == [[1, -2, 0]]


def test_what_is_no_dtype_is_refused():
    with pytest.raises(InputError, match="expected a dtype of NumPy such as float32, got 'warm'"):
        Tensor(X).to("warm")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([[1, 2], [3]], r"the rows of a tensor must have one length, got rows of 2, 1 elements; pad them first"),
        ("text", "a tensor holds numbers, got 'text'"),
        (None, "a tensor holds numbers, got None"),
        pytest.param(object(), "a tensor holds numbers, got <object", id="object"),
    ],
    ids=str,
)
def test_what_is_no_array_of_numbers_is_refused(data, message):
    with pytest.raises(InputError, match=message):
        Tensor(data)
