"""`numformer train lm`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numformer.cli.options import from_plain, parse, warn
from numformer.errors import InputError
from numformer.models import GPTConfig
from numformer.tasks import LanguageModel
from numformer.training import FitResult, OptimConfig, RunFolder, TrainConfig
from numformer.training.run_folder import OWN_FILES, read_toml

NOT_OPTIONS = ("task", "crc32")  # what run.toml says besides options


@dataclass(kw_only=True)
class TrainLM:
    """Train a language model on a text and leave a run folder that other commands and Hugging Face can read.

    Ctrl-C stops after the current step with a checkpoint; --resume continues to the same bytes as if nothing happened.
    """

    data: str = ""
    """Text file, or the name of a known text (see `numformer data list`)."""
    out: Path | None = None
    """Folder of the run; runs/NAME of the text when not given."""
    config: Path | None = None
    """TOML file of options, such as a recipe or another run's run.toml; options on the command line win."""
    resume: bool = False
    """Continue the run in --out from its last checkpoint."""
    overwrite: bool = False
    """Replace the run in --out."""
    tokenizer: str = "characters"
    """characters, bytes, or the folder of a saved tokenizer."""
    valid: str | None = None
    """File of held-out text; the end of the text when not given."""
    valid_fraction: float = 0.1
    """Share of the text that is held out at its end."""
    sample: int = 300
    """Tokens of sample text to print at the end."""
    prompt: str = ""
    """Text that the sample continues."""
    model: GPTConfig = field(default_factory=GPTConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


def run(command: str, arguments: list[str]) -> int:
    """Train; returns 130 when interrupted."""
    options = _read(command, arguments)
    if options.sample < 0:
        raise InputError(f"sample must be at least 0, got {options.sample}")
    if options.resume and options.overwrite:
        raise InputError("--resume continues the run and --overwrite replaces it: choose one")
    if not options.data:
        raise InputError("train lm needs a text: --data FILE, or a name from `numformer data list`")
    out = options.out or Path("runs") / Path(options.data).stem
    if not options.resume:
        RunFolder(out).check_free(options.overwrite)  # before any work
    lm = LanguageModel.from_text(
        Path(options.data),
        tokenizer=options.tokenizer,
        valid=options.valid,
        valid_fraction=options.valid_fraction,
        seed=options.train.seed,
        config=options.model,
    )
    result = lm.fit(
        train=options.train, optim=options.optim, out=out, resume=options.resume, overwrite=options.overwrite
    )
    return _report(lm, result, options, out)


def _report(lm: LanguageModel, result: FitResult, options: TrainLM, out: Path) -> int:
    if result.stopped == "interrupted":
        again = f"numformer train lm --out {shlex.quote(str(out))} --resume"
        warn(f"stopped at step {result.step} with a checkpoint; continue with: {again}")
        return 130
    if options.sample and result.step:
        warn(f"a sample of {options.sample} tokens:\n")
        print(options.prompt, end="")
        lm.generate(options.prompt, options.sample, temperature=0.8, on_text=_print_now)
        print(flush=True)
    best = (
        "" if result.best_loss is None else f", best validation loss {result.best_loss:.4f} at step {result.best_step}"
    )
    warn(f"\n{result.stopped} after {result.step} steps in {result.seconds:.0f} s of training{best}")
    warn(f"in {out}: {', '.join(name for name in OWN_FILES if (out / name).exists())}")
    if not (out / "curves.png").exists():
        warn("curves.png needs matplotlib: pip install 'numformer[plots]'")
    return 0


def _print_now(text: str) -> None:
    print(text, end="", flush=True)


def _read(command: str, arguments: list[str]) -> TrainLM:
    """Read the options twice: first for --config, --resume and --out, then over what those files say."""
    first = parse(TrainLM, command, arguments)
    default = TrainLM()
    if first.resume and first.config:
        raise InputError("--resume takes its options from the run: leave out --config")
    if first.resume:
        default = _from_file(RunFolder(_resumed_folder(first)).settings_file)
    elif first.config:
        default = _from_file(first.config)
    return parse(TrainLM, command, arguments, default)


def _resumed_folder(options: TrainLM) -> Path:
    if options.out is None and not options.data:
        raise InputError("--resume needs the folder of the run: --out FOLDER")
    return options.out or Path("runs") / Path(options.data).stem


def _from_file(path: Path) -> TrainLM:
    values: dict[str, Any] = read_toml(path)
    if values.get("task", "lm") != "lm":
        raise InputError(f"{path} is for the task {values['task']!r}, not lm")
    return from_plain(TrainLM, {key: value for key, value in values.items() if key not in NOT_OPTIONS}, str(path))
