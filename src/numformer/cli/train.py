"""`numformer train TASK`."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

from numformer.cli.options import parse, warn
from numformer.cli.train_options import SampleOptions, options_class
from numformer.errors import InputError
from numformer.models.build import model_task, tasks_of
from numformer.models.registry import ARCHITECTURES, Architecture
from numformer.tasks import task_class
from numformer.tasks.shared.task import Task
from numformer.tasks.shared.text_task import TextConfig
from numformer.training import FitResult, RunFolder
from numformer.training.run_folder import OWN_FILES, read_toml
from numformer.training.settings import from_plain

NOT_OPTIONS = ("task", "crc32")  # what run.toml says besides options


def run(command: str, arguments: list[str]) -> int:
    """Train; returns 130 when interrupted."""
    name = command.removeprefix("train ")
    options = _read(command, name, arguments)
    if isinstance(options, SampleOptions) and options.sample < 0:
        raise InputError(f"sample must be at least 0, got {options.sample}")
    if options.resume and options.overwrite:
        raise InputError("--resume continues the run and --overwrite replaces it: choose one")
    if not options.data:
        known = ", or a name from `numformer data list`" if isinstance(options, TextConfig) else ""
        raise InputError(f"{command} needs {'a text' if known else 'data'}: --data FILE{known}")
    out = _folder(options)
    if options.pretrained and Path(options.pretrained).resolve().is_relative_to(out.resolve()):
        raise InputError(f"--from {options.pretrained} would be replaced by what starts from it: choose another --out")
    if not options.resume:
        RunFolder(out).check_free(options.overwrite)  # before any work
    task = _make(task_class(name), options)
    result = task.fit(
        train=options.train, optim=options.optim, out=out, resume=options.resume, overwrite=options.overwrite
    )
    if result.stopped == "interrupted":
        again = f"numformer {command} --out {shlex.quote(str(out))} --resume"
        warn(f"stopped at step {result.step} with a checkpoint; continue with: {again}")
        return 130
    if isinstance(options, SampleOptions) and options.sample and result.step:
        _print_sample(task, options)
    _report(result, out)
    return 0


def _make(kind: type[Task], options: Any) -> Task:
    """Return the untrained task that the options describe."""
    fields = dataclasses.fields(kind.data_config)
    config = kind.data_config(**{field.name: getattr(options, field.name) for field in fields})
    return kind.from_config(config, options.model, seed=options.train.seed)


def _print_sample(task: Any, options: SampleOptions) -> None:
    warn(f"a sample of {options.sample} tokens:\n")
    print(options.prompt, end="")
    task.generate(options.prompt, options.sample, temperature=0.8, on_text=_print_now)
    print(flush=True)


def _print_now(text: str) -> None:
    print(text, end="", flush=True)


def _report(result: FitResult, out: Path) -> None:
    best = ""
    if result.best:
        others = [f", {name} {value:.4f}" for name, value in result.best.items() if name != "loss"]
        best = f", best validation loss {result.best_loss:.4f}{''.join(others)} at step {result.best_step}"
    warn(f"\n{result.stopped} after {result.step} steps in {result.seconds:.0f} s of training{best}")
    warn(f"in {out}: {', '.join(name for name in OWN_FILES if (out / name).exists())}")
    if not (out / "curves.png").exists():
        warn("curves.png needs matplotlib: pip install 'numformer[plots]'")


def _read(command: str, task: str, arguments: list[str]) -> Any:
    """Read the options twice: first for --config, --resume and --out, then over what those files say."""
    kind = options_class(task)
    first = parse(kind, command, arguments)
    default = kind()
    if first.resume and first.config:
        raise InputError("--resume takes its options from the run: leave out --config")
    if first.resume:
        if first.out is None and not first.data:
            raise InputError("--resume needs the folder of the run: --out FOLDER")
        default = _from_file(RunFolder(_folder(first)).settings_file, task)
    elif first.config:
        default = _from_file(first.config, task)
    return parse(type(default), command, arguments, default)


def _folder(options: Any) -> Path:
    """Return the run's folder: the one asked for, or runs/NAME of the data."""
    data = Path(options.data)
    named = data if data.name not in ("", "..") else data.resolve()  # the folder `.` has a name too
    return options.out or Path("runs") / named.stem.replace(":", "-")


def _from_file(path: Path, task: str) -> Any:
    """Return the options that a file gives; its [model] may be of another architecture than the task's own."""
    values: dict[str, Any] = read_toml(path)
    if values.get("task", task) != task:
        raise InputError(f"{path} is for the task {values['task']!r}, not {task}")
    plain = {key: value for key, value in values.items() if key not in NOT_OPTIONS}
    shape = plain.get("model")
    if not isinstance(shape, dict) or "model_type" not in shape:
        return from_plain(options_class(task), plain, str(path))
    plain["model"] = {key: value for key, value in shape.items() if key != "model_type"}
    model = _architecture(shape["model_type"], task, path).config()
    return from_plain(options_class(task, model), plain, str(path))


def _architecture(model_type: Any, task: str, path: Path) -> Architecture:
    """Return the architecture that a file names; raises InputError for one that is unknown or does not do the task."""
    able = {name: each for name, each in ARCHITECTURES.items() if model_task(task) in tasks_of(each)}
    if not isinstance(model_type, str) or model_type not in able:
        raise InputError(f"{path} [model]: model_type is {model_type!r}, for {task} choose {', '.join(sorted(able))}")
    return able[model_type]
