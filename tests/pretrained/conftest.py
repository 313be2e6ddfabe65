"""Small GGUF files, written by the library of their inventors, and adapters that PEFT made."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest

from numformer import GPT, Llama
from numformer.models import Bert, BertConfig
from numformer.pretrained import read_safetensors, write_safetensors
from numformer.tokenizers import SubwordTokenizer

TEXT = "The cat sat on the mat, and the other cats sat there too.\n" * 3


def put(writer, key, value):
    """Add an entry to the metadata, of the kind that converters give it."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def write(path, architecture, metadata, tensors, kind="F32"):
    """Write a file; matrices are of the kind, where their rows fit it and it can be written, and vectors float32."""
    writer, kind = gguf.GGUFWriter(path, architecture), gguf.GGMLQuantizationType[kind]
    for key, value in metadata.items():
        put(writer, key, value)
    for name, array in tensors.items():
        fits = array.ndim == 2 and array.shape[1] % gguf.GGML_QUANT_SIZES[kind][0] == 0
        chosen = kind if fits else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quantize(array, chosen), raw_dtype=chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def turned(weight, num_heads):
    """Return q or k as a file of llama's has it: the rows that rotary positions turn together are neighbours."""
    return weight.reshape(num_heads, 2, -1, weight.shape[-1]).swapaxes(1, 2).reshape(weight.shape)


def renamed(state, table):
    """Return arrays under other names; `*` in the table stands for the number of a layer."""
    found = {}
    for line in filter(str.strip, table.splitlines()):
        ours, theirs = line.split()
        for number in range(2 if "*" in ours else 1):
            for end in (".weight", ".bias"):
                if (name := ours.replace("*", str(number)) + end) in state:
                    found[theirs.replace("*", str(number)) + end] = state[name]
    return found


NAMES = """
    layers.*.self_attn.q_proj      blk.*.attn_q
    layers.*.self_attn.k_proj      blk.*.attn_k
    layers.*.self_attn.v_proj      blk.*.attn_v
    layers.*.self_attn.in_proj     blk.*.attn_qkv
    layers.*.self_attn.out_proj    blk.*.attn_output
    layers.*.feed_forward.linear2  blk.*.ffn_down
"""
DECODER_NAMES = f"""{NAMES}
    token_embedding                token_embd
    position_embedding             position_embd
    norm                           output_norm
    output                         output
    layers.*.residual1.norm        blk.*.attn_norm
    layers.*.residual2.norm        blk.*.ffn_norm
"""
LLAMA_NAMES = f"""{DECODER_NAMES}
    layers.*.feed_forward.linear1  blk.*.ffn_gate
    layers.*.feed_forward.linear3  blk.*.ffn_up
"""
GPT2_NAMES = f"""{DECODER_NAMES}
    layers.*.feed_forward.linear1  blk.*.ffn_up
"""
BERT_NAMES = f"""{NAMES}
    embeddings.token_embedding     token_embd
    embeddings.position_embedding  position_embd
    embeddings.segment_embedding   token_types
    embeddings.norm                token_embd_norm
    layers.*.residual1.norm        blk.*.attn_output_norm
    layers.*.feed_forward.linear1  blk.*.ffn_up
    layers.*.residual2.norm        blk.*.layer_output_norm
"""
SIZES = {"context_length": 16, "embedding_length": 32, "block_count": 2, "attention.head_count": 4}


def described(architecture, **others):
    """Return the metadata about sizes; a `__` in the name of another stands for the dot."""
    keys = SIZES | {name.replace("__", "."): value for name, value in others.items()}
    return {f"{architecture}.{key}": value for key, value in keys.items()}


class Files:
    """What the tests write files with: `write`, and the models, metadata and tensors of one of each architecture."""

    write = staticmethod(write)
    turned = staticmethod(turned)

    def __init__(self, randomise):
        self.tokenizer = SubwordTokenizer.train("bpe", TEXT, 280)
        vocab = self.tokenizer._tokenizer.get_vocab()
        tokens = sorted(vocab, key=vocab.get)
        self.num_tokens = len(tokens)
        self.vocabulary = {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "gpt-2",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": [3 if number < 5 else 1 for number in range(len(tokens))],
            "tokenizer.ggml.merges": self.merges(),
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.ggml.unknown_token_id": 3,
            "tokenizer.ggml.padding_token_id": 0,
        }
        self._randomise = randomise

    def merges(self):
        import json

        return [" ".join(each) for each in json.loads(self.tokenizer.content)["model"]["merges"]]

    def llama(self, tied=True, **settings):
        """Return a model, and the metadata and the tensors of its file."""
        shape = {"d_model": 32, "num_heads": 4, "num_kv_heads": 2, "num_layers": 2, "d_ff": 64, "max_seq_len": 16}
        config = shape | {"vocab_size": self.num_tokens, "tie_embeddings": tied, "rms_norm_eps": 1e-5} | settings
        model = self._randomise(Llama(**config)).astype(np.float32).eval()
        tensors = renamed(model.state_dict(), LLAMA_NAMES)
        for number in range(2):
            for name, heads in (("attn_q", 4), ("attn_k", 2)):
                tensors[f"blk.{number}.{name}.weight"] = turned(tensors[f"blk.{number}.{name}.weight"], heads)
        metadata = described(
            "llama",
            feed_forward_length=64,
            attention__head_count_kv=2,
            attention__layer_norm_rms_epsilon=1e-5,
            rope__freq_base=float(settings.get("rope_theta", 10000.0)),
            rope__dimension_count=model.config.head_dim or 8,
        )
        if model.config.head_dim:
            metadata["llama.attention.key_length"] = model.config.head_dim
        return model, metadata | self.vocabulary, tensors

    def gpt2(self):
        """Return a model, and the metadata and the tensors of its file."""
        shape = {"d_model": 32, "num_heads": 4, "num_layers": 2, "d_ff": 96, "max_seq_len": 16}
        model = self._randomise(GPT(vocab_size=self.num_tokens, **shape)).astype(np.float32).eval()
        metadata = described("gpt2", feed_forward_length=96, attention__layer_norm_epsilon=1e-5)
        return model, metadata | self.vocabulary, renamed(model.state_dict(), GPT2_NAMES)

    def bert(self):
        """Return a model, and the metadata and the tensors of its file."""
        config = BertConfig(vocab_size=12, d_model=32, num_heads=4, d_ff=64, max_seq_len=16, layer_norm_eps=1e-12)
        model = self._randomise(Bert(config)).astype(np.float32).eval()
        sizes = described("bert", feed_forward_length=64, attention__layer_norm_epsilon=1e-12, attention__causal=False)
        vocabulary = {
            "tokenizer.ggml.model": "bert",
            "tokenizer.ggml.tokens": [
                "[PAD]",
                "[UNK]",
                "[CLS]",
                "[SEP]",
                "▁the",
                "▁cat",
                "s",
                "▁a",
                "▁,",
                "▁b",
                "b",
                "[x]",
            ],
            "tokenizer.ggml.token_type": [3, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1],
            "tokenizer.ggml.unknown_token_id": 1,
            "tokenizer.ggml.padding_token_id": 0,
            "tokenizer.ggml.cls_token_id": 2,
            "tokenizer.ggml.seperator_token_id": 3,
        }
        return model, sizes | vocabulary, renamed(model.state_dict(), BERT_NAMES)


@pytest.fixture
def files(randomise):
    return Files(randomise)


@pytest.fixture
def llama_file(files, tmp_path):
    _, metadata, tensors = files.llama()
    return files.write(tmp_path / "llama.gguf", "llama", metadata, tensors)


@pytest.fixture(scope="session")
def golden_adapters():
    """Return what PEFT saved and answered, and the configs of that."""
    arrays, metadata = read_safetensors(Path(__file__).parents[1] / "golden" / "adapters.safetensors")
    return arrays, json.loads(metadata["config"])


@pytest.fixture
def peft_folder(golden_adapters, tmp_path):
    """Return what writes the base and the adapter of a kind as they lay on the disk, and returns the adapter's folder."""
    arrays, config = golden_adapters

    def write_both(kind):
        for part, file in (("base", "model"), ("adapter", "adapter_model")):
            start = f"{kind}.{part}."
            folder = tmp_path / part
            folder.mkdir()
            weights = {name.removeprefix(start): value for name, value in arrays.items() if name.startswith(start)}
            write_safetensors(folder / f"{file}.safetensors", weights, {})
            keys = config[kind][part] | (
                {"base_model_name_or_path": str(tmp_path / "base")} if part == "adapter" else {}
            )
            (folder / f"{file.removesuffix('model')}config.json").write_text(json.dumps(keys))
        return tmp_path / "adapter"

    return write_both
