"""Modules, tensors, optimizers, loaders and tokenizers are copied, and sent to other processes, whole."""

import copy
import multiprocessing
import pickle

import numpy as np
import pytest

import numformer as nf
from numformer import nn, ops
from numformer.tokenizers import SubwordTokenizer, TokenizerPair, WordTokenizer


def pickled(value):
    return pickle.loads(pickle.dumps(value))


every_way = pytest.mark.parametrize("copied", [pickled, copy.deepcopy])
SIZES = {"d_model": 8, "num_heads": 2, "max_seq_len": 8}
TOKENS = np.array([[1, 2, 3]])
TEXTS = ["the cat sat on the mat, <eos> said the cat"] * 30


class Tied(nn.Module):
    """A model of one's own whose output layer has the weights of its embedding."""

    def __init__(self):
        self.embedding = nn.Embedding(11, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(ops.tanh(self.embedding(tokens)))


@every_way
@pytest.mark.parametrize(
    "make",
    [
        Tied,
        lambda: nf.GPT(vocab_size=11, num_layers=2, dropout=0.1, **SIZES).eval(),
        lambda: nf.build_model(
            nf.BertConfig(vocab_size=11, num_layers=1, **SIZES), "classification", labels=["a", "b"]
        ),
    ],
)
def test_a_copy_of_a_model_computes_the_same_and_is_another(make, copied):
    model = make().eval()
    model.freeze(next(model.named_parameters())[0])
    expected = model(TOKENS).data
    twin = copied(model)
    np.testing.assert_array_equal(twin(TOKENS).data, expected)
    assert [p.requires_grad for p in twin.parameters()] == [p.requires_grad for p in model.parameters()]
    assert not any(np.shares_memory(p.data, q.data) for p, q in zip(model.parameters(), twin.parameters(), strict=True))
    for parameter in twin.parameters():
        parameter.data[...] = 0.0
    np.testing.assert_array_equal(model(TOKENS).data, expected)


@every_way
def test_a_tie_stays_a_tie_when_the_copy_is_trained(copied):
    twin = copied(Tied())
    assert twin.head.weight is twin.embedding.weight
    optimizer = nf.optim.SGD(twin.parameters(), lr=0.1)
    assert len(optimizer.parameters) == 1
    twin(TOKENS).sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(twin.head.weight.data, twin.embedding.weight.data)


@every_way
def test_shared_embeddings_of_an_encoder_decoder_stay_shared(copied):
    model = nf.Transformer(src_vocab_size=11, tgt_vocab_size=11, share_embeddings=True, tie_output=True, **SIZES)
    assert len(list(copied(model).parameters())) == len(list(model.parameters()))


def test_a_tensor_keeps_its_values_and_whether_it_requires_a_gradient():
    for wanted in (True, False):
        tensor = pickled(nf.Tensor([1.0, 2.0], requires_grad=wanted))
        assert (tensor.data.tolist(), tensor.requires_grad, tensor.grad) == ([1.0, 2.0], wanted, None)
    deep = nf.Tensor([1.0, 2.0], requires_grad=True)
    (deep * 3.0).sum().backward()
    assert copy.deepcopy(deep).grad.tolist() == [3.0, 3.0]


@every_way
@pytest.mark.parametrize("make", [nf.optim.AdamW, nf.optim.Adam, lambda p: nf.optim.SGD(p, momentum=0.9)])
def test_a_model_and_its_optimizer_go_on_to_the_same_weights(make, copied):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(2, 2))
    model.freeze("0")
    optimizer = make(nf.optim.parameter_groups(model, [{"pattern": "1", "lr": 0.5}]))
    scheduler = nf.optim.LRScheduler(optimizer, nf.optim.ScheduleConfig(schedule="cosine"), total_steps=9)

    def advance(model, optimizer, scheduler):
        for seed in range(3):
            x = np.random.default_rng(seed).standard_normal((5, 3), dtype=np.float32)
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
            scheduler.step()

    advance(model, optimizer, scheduler)
    twins = copied((model, optimizer, scheduler))
    for part in (model, twins[0]):
        part.unfreeze("0")
    advance(model, optimizer, scheduler)
    advance(*twins)
    for p, q in zip(model.parameters(), twins[0].parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
        assert np.shares_memory(q.data, twins[1].weights)
        assert not np.shares_memory(p.data, q.data)


def test_read_only_arrays_as_joblib_makes_them_are_trained_and_loaded_into():
    model = nn.Linear(3, 2)
    state = {name: value + 1.0 for name, value in model.state_dict().items()}
    for parameter in model.parameters():
        parameter.data.setflags(write=False)
    model.load_state_dict(state)
    np.testing.assert_array_equal(model.weight.data, state["weight"])
    optimizer = nf.optim.Adam(model.parameters())
    for average in optimizer.state.values():
        average.setflags(write=False)
    twin = object.__new__(nf.optim.Adam)
    twin.__setstate__(optimizer.__getstate__())
    model(np.ones((1, 3), np.float32)).sum().backward()
    twin.step()
    assert not np.array_equal(model.weight.data, state["weight"])


@every_way
def test_a_loader_goes_on_with_the_same_order(copied):
    loader = nf.DataLoader(nf.TensorDataset(np.arange(10)), batch_size=3, shuffle=True, seed=4)
    list(loader)
    twin = copied(loader)
    for (one,), (other,) in zip(loader, twin, strict=True):
        np.testing.assert_array_equal(one, other)


@every_way
@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "words", "characters", "bytes"])
def test_a_tokenizer_reads_every_text_as_before_names_of_special_tokens_too(kind, copied):
    if kind in ("bpe", "wordpiece", "unigram"):
        pytest.importorskip("tokenizers")
        tokenizer = SubwordTokenizer.train(kind, TEXTS, 300)
    else:
        tokenizer = nf.tokenizers.make_tokenizer(kind, TEXTS, 300)
    twin = copied(tokenizer)
    assert type(twin) is type(tokenizer)
    for text in (TEXTS[0], "<eos> the cat", "the<eos>"):
        np.testing.assert_array_equal(twin.encode(text), tokenizer.encode(text))
    assert twin.decode(tokenizer.encode(TEXTS[0])) == tokenizer.decode(tokenizer.encode(TEXTS[0]))


@every_way
def test_one_tokenizer_for_both_sides_stays_one(copied):
    tokenizer = WordTokenizer(["a", "b"])
    pair = copied(TokenizerPair(tokenizer, tokenizer))
    assert pair.source is pair.target


def test_settings_are_pickled():
    optim = nf.OptimConfig(lr=0.1, groups=[{"pattern": "head", "lr": 0.5}])
    for value in (nf.TrainConfig(steps=3), optim, nf.SamplingConfig(top_k=3), nf.GPTConfig(vocab_size=7)):
        assert pickled(value) == value


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_model_works_in_another_process(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system does not {method}")
    model = nf.GPT(vocab_size=11, num_layers=1, **SIZES).eval()
    with multiprocessing.get_context(method).Pool(1) as pool:
        (there,) = pool.map(model, [TOKENS])
    np.testing.assert_allclose(there.data, model(TOKENS).data, rtol=1e-5, atol=1e-6)


def test_joblib_takes_models_too_large_to_be_pickled_each_time():
    joblib = pytest.importorskip("joblib")
    model = nf.GPT(vocab_size=2000, d_model=256, num_heads=2, num_layers=1, max_seq_len=8).eval()
    optimizer = nf.optim.Adam(model.parameters())
    (there,) = joblib.Parallel(n_jobs=2)([joblib.delayed(_train)(model, optimizer)])
    assert there.optimizer_steps == 1
    assert not np.array_equal(there.weights["norm.bias"], model.state_dict()["norm.bias"])


class _Trained:
    def __init__(self, weights, optimizer_steps):
        self.weights, self.optimizer_steps = weights, optimizer_steps


def _train(model, optimizer):
    model.load_state_dict(model.state_dict())
    model(TOKENS).sum().backward()
    optimizer.step()
    return _Trained(model.state_dict(), int(optimizer.update_counts.max()))
