"""`numformer convert`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from numformer._files import replacing_folder
from numformer._notices import amount, in_bytes, say
from numformer.cli.shared.options import parse
from numformer.errors import InputError
from numformer.pretrained import adapter_of, save_model
from numformer.pretrained.companions import copy_companions
from numformer.pretrained.finding import GGUF, find_model
from numformer.pretrained.gguf_write import write_gguf
from numformer.pretrained.opening import Opened
from numformer.tasks.loading import has_task, open_any, task_with
from numformer.tokenizers import save_tokenizer


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Write a model with its tokenizer as a Hugging Face folder, which Transformers loads, or as a GGUF file."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
    """What to write: a run, a folder, a GGUF file, a name from `numformer models`, or hf:owner/name."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder to make, or file ending in .gguf."""
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    """Type of the weights in a folder; float32 when not given."""
    gguf: Literal["q8_0", "f16"] | None = None
    """Type of the matrices in a GGUF file."""
    last: bool = False
    """Take the weights of a run's last step, not those that did best on its held-out data."""
    overwrite: bool = False
    """Replace OUT, where it is a model."""


def run(command: str, arguments: list[str]) -> int:
    """Open and write."""
    options = parse(Convert, command, arguments)
    _check_kind(options)
    _check_out(options)
    opened = open_any(options.source, options.last)
    if adapter_of(opened.model) is not None:
        raise InputError(f"{options.source} holds adapters: convert what `numformer merge {options.source} OUT` writes")
    about = f"{options.out}: {type(opened.model).__name__}, {amount(opened.model.num_parameters(), 'parameters')}"
    if options.gguf:
        template = getattr(opened.tokenizer, "chat_template", None)
        write_gguf(opened.model, opened.tokenizer, options.out, options.gguf, template)
        say(f"{about} as {options.gguf}, {in_bytes(options.out.stat().st_size)}")
        return 0
    dtype = options.dtype or "float32"
    with replacing_folder(options.out) as folder:
        _write_folder(opened, folder, dtype)
    say(f"{about} as {dtype}, {in_bytes((options.out / 'model.safetensors').stat().st_size)}")
    return 0


def _write_folder(opened: Opened, folder: Path, dtype: str) -> None:
    if has_task(opened.model):
        task_with(opened).save(folder, dtype)
    else:
        save_tokenizer(opened.tokenizer, folder)
        save_model(opened.model, folder, dtype=dtype)
    copy_companions(opened.path, folder)


def _check_kind(options: Convert) -> None:
    """Raise InputError for options that do not go together."""
    if options.gguf and options.dtype:
        raise InputError("--dtype is the type of a folder's weights and --gguf that of a GGUF file: choose one")
    if bool(options.gguf) != (options.out.suffix == GGUF):
        raise InputError(f"a GGUF file takes a name ending in {GGUF} and --gguf q8_0 or f16, got {options.out}")


def _check_out(options: Convert) -> None:
    """Raise InputError where OUT must not be replaced, before any work."""
    out = options.out
    if not out.exists():
        return
    if not options.overwrite:
        raise InputError(f"{out} exists: choose another place, or replace it with --overwrite")
    if options.gguf and not out.is_file():
        raise InputError(f"{out} is no file: choose another place")
    if not options.gguf and not (out / "config.json").is_file():
        raise InputError(f"{out} is no model, and is not replaced: choose another place")
    if find_model(options.source).resolve().is_relative_to(out.resolve()):
        raise InputError(f"{options.source} would be replaced by what is made of it: choose another place than {out}")
    if (out / "run.toml").exists():
        raise InputError(f"{out} is a run, which keeps its own weights: choose another place")
