"""`numformer train TASK`."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from numformer._notices import amount, say
from numformer.cli.shared.options import parse, parse_some
from numformer.cli.shared.train_options import FirstOptions, SampleOptions, options_class
from numformer.errors import InputError
from numformer.hosts.cluster import detected
from numformer.hosts.group import HostGroup
from numformer.hosts.process import kept
from numformer.hosts.roll_call import code_checksum, roll_call
from numformer.models.build import model_task, tasks_of
from numformer.models.registry import ARCHITECTURES, Architecture
from numformer.tasks import task_class
from numformer.tasks.shared.task import Task
from numformer.tasks.shared.text_task import TextConfig
from numformer.training import FitResult, RunFolder
from numformer.training.metrics import Best
from numformer.training.run_folder import OWN_FILES, read_toml
from numformer.training.settings import RECORDED, earlier_parts, from_plain

# Shorter names of what is said of the machine.
SHORT = {"--backend": "--train.backend", "--mesh": "--train.mesh"}


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
    again = _again(command, options, out)
    with _joined(options, again) as writes:
        return _train(name, options, out, writes, again)


def _train(name: str, options: Any, out: Path, writes: bool, again: str) -> int:
    """Train in the folder; of several hosts, one writes and reports."""
    if writes and not options.resume:
        RunFolder(out).check_free(options.overwrite)  # before any work
    task = _make(task_class(name), options, RunFolder(out) if options.resume else None)
    result = task.fit(
        train=options.train,
        optim=options.optim,
        out=out,
        resume=options.resume,
        overwrite=options.overwrite,
        progress=writes,
    )
    if not writes:
        return 130 if result.stopped == "interrupted" else 0
    if result.stopped == "interrupted":
        say(f"stopped at step {result.step} with a checkpoint; continue with: {again}")
        return 130
    if options.resume and not result.new_steps:  # there was nothing to do, which is said already
        return 0
    if isinstance(options, SampleOptions) and options.sample and result.step:
        _print_sample(task, options, result)
    _report(result, out)
    return 0


@contextmanager
def _joined(options: Any, again: str) -> Iterator[bool]:
    """Join the other hosts, where there are such, and yield whether this one writes the run folder."""
    own = (options.hosts, options.host, options.coordinator)
    if own == ("", None, ""):
        yield True
        return
    if options.train.backend != "jax":
        raise InputError(f"several hosts train under --backend jax, got {options.train.backend}")
    if options.hosts != "auto" and (not options.hosts.isdecimal() or options.host is None or not options.coordinator):
        raise InputError("give --hosts N --host NUMBER --coordinator ADDRESS:PORT, or --hosts auto in a cluster")
    if not 0.0 < options.host_timeout < float("inf"):
        raise InputError(f"--host-timeout must be a number of seconds above 0, got {options.host_timeout:g}")
    auto = options.hosts == "auto"
    hosts = detected() if auto else HostGroup(int(options.hosts), options.host, options.coordinator)
    streams = roll_call(hosts, _facts(options), options.host_timeout)
    with kept(hosts, streams, again):
        from numformer.jax.hosts import connected  # not before the fork

        with connected(hosts, options.host_timeout):
            yield hosts.host == 0


def _again(command: str, options: Any, out: Path) -> str:
    """Return the command that continues the run."""
    words = [*command.split(), "--out", str(out), "--resume"]
    for name in ("hosts", "host", "coordinator"):
        if (value := getattr(options, name)) not in ("", None):
            words += [f"--{name}", str(value)]
    return shlex.join(["numformer", *words])


def _facts(options: Any) -> dict[str, str]:
    """Return what all hosts must have in common before they read anything: versions, and settings by their option."""
    plain = {
        name: value for name, value in vars(options).items() if name not in ("host", "host_timeout", "coordinator")
    }
    tables = {name: vars(plain.pop(name)) for name in ("model", "optim", "train")}
    inner = {f"{table}.{key}": value for table, values in tables.items() for key, value in values.items()}
    versions = {"numformer": version("numformer"), "the code": code_checksum(), "jax": _installed("jax")}
    return versions | {
        f"--{name.replace('_', '-')}": str(value) for name, value in (plain | inner).items() if name != "train.threads"
    }


def _installed(package: str) -> str:
    """Return the version of a package, which a host may lack that says so when it comes to it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _make(kind: type[Task], options: Any, resumed: RunFolder | None) -> Task:
    """Return the untrained task that the options describe, with the tokenizer of a run that is continued."""
    fields = dataclasses.fields(kind.data_config)
    config = kind.data_config(**{field.name: getattr(options, field.name) for field in fields})
    task = kind.from_config(config, options.model, seed=options.train.seed, resumed=resumed)
    if isinstance(options, SampleOptions):
        task.source |= {"sample": options.sample, "prompt": options.prompt}  # a resumed run ends with the same one
    return task


def _print_sample(task: Any, options: SampleOptions, result: FitResult) -> None:
    weights = f", by the weights of step {result.best_step}, the best" if result.best else ""
    say(f"a sample of {amount(options.sample, 'tokens')}{weights}:\n")
    print(options.prompt, end="")
    task.generate(options.prompt, options.sample, temperature=0.8, on_text=_print_now)
    print(flush=True)


def _print_now(text: str) -> None:
    print(text, end="", flush=True)


def _report(result: FitResult, out: Path) -> None:
    best = ""
    if result.best:
        found = Best(result.best_step, result.criterion, result.best[result.criterion])
        others = [f", {name} {value:#.4g}" for name, value in result.best.items() if name != result.criterion]
        best = f"; best on held-out data: {found}{''.join(others)}"
    say(f"\n{result.stopped} after {amount(result.step, 'steps')} in {result.seconds:.0f} s of training{best}")
    say(f"in {out}: {', '.join(name for name in OWN_FILES if (out / name).exists())}")
    if not (out / "curves.png").exists():
        say("curves.png needs matplotlib: pip install 'numformer[plots]'")


def _read(command: str, task: str, arguments: list[str]) -> Any:
    """Read the options twice: first those that name a file, then all of them over what the file says.

    A setting may be wrong beside the defaults and right beside the file's, as a mesh whose backend the file names.
    """
    kind = options_class(task)
    arguments = [
        SHORT.get(name, name) + equals + value for name, equals, value in (a.partition("=") for a in arguments)
    ]
    default = kind()
    if {"-h", "--help"} & set(arguments):
        return parse(kind, command, arguments)
    first = parse_some(FirstOptions, command, arguments)
    if first.resume and first.config:
        raise InputError("--resume takes its options from the run: leave out --config")
    if first.resume:
        if first.out is None and not first.data:
            parse(kind, command, arguments)  # which may find --out misspelt
            raise InputError("--resume needs the folder of the run: --out FOLDER")
        default = options_from_file(RunFolder(_folder(first)).settings_file, task)
    elif first.config:
        default = options_from_file(first.config, task)
        _say_what_is_not_repeated(first.config)
    return parse(type(default), command, arguments, default)


def _say_what_is_not_repeated(path: Path) -> None:
    """Say which settings a run had before it was resumed with others: those in its run.toml are the last ones."""
    for part in earlier_parts(read_toml(path)):
        before = ", ".join(f"{name} {value}" for name, value in part["before"].items())
        say(f"{path}: the run had other settings up to step {part['at_step']} ({before}), which are not repeated")


def _folder(options: Any) -> Path:
    """Return the run's folder: the one asked for, or runs/NAME of the data."""
    data = Path(options.data)
    named = data if data.name not in ("", "..") else data.resolve()  # the folder `.` has a name too
    return options.out or Path("runs") / named.stem.replace(":", "-")


def options_from_file(path: Path, task: str) -> Any:
    """Return the options that a file gives; its [model] may be of another architecture than the task's own."""
    values: dict[str, Any] = read_toml(path)
    if values.get("task", task) != task:
        raise InputError(f"{path} is for the task {values['task']!r}, not {task}")
    if "loss" in values:
        raise InputError(f"{path} is of a run with the loss {values['loss']!r}, which only Python's fit(loss=…) takes")
    plain = {key: value for key, value in values.items() if key not in RECORDED}
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
