import numpy as np
import pytest

from numformer import LanguageModel


def patterned(sentences=200, seed=0):
    rng = np.random.default_rng(seed)
    words = (("cat", "dog", "owl"), ("sat", "ran", "hid"), ("mat", "hat", "log"))
    lines = (f"the {' '.join(map(str, map(rng.choice, words)))}.\n" for _ in range(sentences))
    return "".join(lines)


@pytest.fixture
def text():
    return patterned()


@pytest.fixture
def make_lm():
    def make(text=None, **settings):
        small = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 8} | settings
        return LanguageModel.from_text(text or patterned(), **small)

    return make


@pytest.fixture
def fit(make_lm):
    """Make and fit a tiny model, and return its weights by name, the result and the model."""

    def run(text=None, model=None, **settings):
        lm = make_lm(text, seed=settings.get("seed", 0), **(model or {}))
        result = lm.fit(**{"steps": 6, "batch_size": 8, "shards": 2, "eval_every": 3, "progress": False} | settings)
        return lm.model.state_dict(), result, lm

    return run
