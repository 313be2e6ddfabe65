"""A GGUF file as a model, a tokenizer and a chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from numformer.errors import InputError
from numformer.pretrained.gguf_file import GGUFFile, Metadata
from numformer.pretrained.gguf_models import read_model
from numformer.pretrained.gguf_tokenizer import adds_bos, read_tokenizer
from numformer.tokenizers import SubwordTokenizer


class GGUFModel(NamedTuple):
    """What a GGUF file holds; in `metadata`, "tokenizer.ggml.add_bos_token" is set, and the vocabulary left out."""

    model: Any
    tokenizer: SubwordTokenizer
    chat_template: str | None
    metadata: Metadata


def read_gguf(path: str | Path) -> GGUFModel:
    """Return the model of a GGUF file in evaluation mode, its weights as float32, with its tokenizer and chat template.

    Raises InputError, naming the file, when it is missing, damaged, too large for the memory, or of a kind that is not read.
    """
    try:
        file = GGUFFile(path)
        tokenizer = read_tokenizer(file.metadata, _num_rows(file))
        model = read_model(file)
        template = file.metadata.want("tokenizer.chat_template", str, "") or None
        kept = Metadata({key: value for key, value in file.metadata.items() if not isinstance(value, list)})
        kept["tokenizer.ggml.add_bos_token"] = adds_bos(kept)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except MemoryError:
        raise InputError(f"{path}: the model does not fit into the memory of this machine") from None
    return GGUFModel(model, tokenizer, template, kept)


def _num_rows(file: GGUFFile) -> int:
    """Return how many tokens the model has room for."""
    if "token_embd.weight" not in file.tensors:
        raise InputError("the tensor token_embd.weight is missing")
    return file.tensors["token_embd.weight"].shape[0]
