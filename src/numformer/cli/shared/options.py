"""Options of a command, from a dataclass: its fields are the options, their docstrings the help."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import io
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar, get_type_hints

import tyro

from numformer.errors import InputError
from numformer.tasks import load, task_classes

if TYPE_CHECKING:
    from numformer.tasks.shared.task import Task

Options = TypeVar("Options")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Which trained model a command asks."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, of its best/ or of any model, a GGUF file, a name from `numformer models`, or hf:owner/name."""
    last: bool = False
    """Take the weights of a run's last step, not those that did best on its held-out data."""


class TaskOption(NamedTuple):
    """An option that some tasks take, with their names."""

    kind: Any
    default: Any
    help: str
    owners: list[str]


def parse(options_class: type[Options], command: str, arguments: list[str], default: Options | None = None) -> Options:
    """Return the options that the arguments give, over `default`; raises InputError in one sentence for a wrong one."""
    settings: dict[str, Any] = {} if default is None else {"default": default}
    found: Options = _parsed(options_class, command, arguments, **settings)
    return found


def parse_some(options_class: type[Options], command: str, arguments: list[str]) -> Options:
    """Return the options of this class that are among the arguments, whatever the others are."""
    found: Options = _parsed(options_class, command, arguments, return_unknown_args=True, add_help=False)[0]
    return found


def _parsed(options_class: type[Any], command: str, arguments: list[str], **settings: Any) -> Any:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                options_class,
                prog=f"numformer {command}",
                args=arguments,
                config=(tyro.conf.AvoidSubcommands,),
                **settings,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(f"{_sentence(complaint.getvalue())}; see numformer {command} --help") from None


def open_run(options: RunOptions) -> Any:
    """Return the task of the folder that a command names; raises InputError as `load` does."""
    return load(options.run, last=options.last)


def options_of_tasks(attribute: str, having: str = "name") -> dict[str, TaskOption]:
    """Return the fields of the dataclasses that tasks have under a name, such as predict_options.

    With `having`, only those of tasks that have such a method, as `translate`.
    """
    found: dict[str, TaskOption] = {}
    for task in task_classes():
        options = getattr(task, attribute)
        if options is not None and hasattr(task, having):
            add_options(found, task, options, [field.name for field in dataclasses.fields(options)])
    return found


def add_options(found: dict[str, TaskOption], task: type[Task], options: type[Any], names: list[str]) -> None:
    """Add fields of a task's dataclass to the options found so far."""
    defaults, hints = options(), get_type_hints(options)
    for name in names:
        option = TaskOption(hints[name], getattr(defaults, name), field_help(options, name), [])
        found.setdefault(name, option).owners.append(task.name)


def with_options(base: type[Any], options: dict[str, TaskOption], say_owners: bool = True) -> type[Any]:
    """Return a dataclass of options with those of tasks too, whose help begins with the names of the tasks."""
    fields = []
    for name, option in options.items():
        help_text = option.help
        if say_owners:
            help_text = f"{', '.join(option.owners)}: {help_text[:1].lower()}{help_text[1:]}"
        default = option.default
        if isinstance(default, dict):
            default = dataclasses.field(default_factory=default.copy)
        fields.append((name, Annotated[option.kind, tyro.conf.arg(help=help_text)], default))
    made = dataclasses.make_dataclass(base.__name__, fields, bases=(base,), kw_only=True, frozen=True)
    made.__doc__ = base.__doc__
    return made


def field_help(options: type[Any], name: str) -> str:
    """Return the docstring of a dataclass's field, looked for where the field was last defined."""
    for each in options.__mro__[:-1]:
        body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        assert isinstance(body, ast.ClassDef)
        for statement, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == name:
                assert isinstance(after, ast.Expr), f"the field {name} of {each.__name__} has no docstring"
                return str(ast.literal_eval(after.value))
    raise TypeError(f"{options.__name__} has no field {name}")


def given_options(options: Any, known: dict[str, TaskOption], task: Task) -> dict[str, Any]:
    """Return the options of the task that the arguments changed; raises InputError for one that is for other tasks."""
    given = {}
    for name, option in known.items():
        if (value := getattr(options, name)) != option.default:
            if task.name not in option.owners:
                raise InputError(f"--{name.replace('_', '-')} is not for {options.run}, whose task is {task.name}")
            given[name] = value
    return given


def _sentence(complaint: str) -> str:
    """Return the first paragraph of tyro's message without its frame, and its first suggestion."""
    lines = [
        line.strip(" │╭╮╰╯─-\t") if set(line.strip()) <= set("│╭╮╰╯─- ") else line.strip(" │")
        for line in complaint.splitlines()
    ]
    paragraphs = " ".join(line or "\n" for line in lines[1:]).split("\n")
    text = next((" ".join(p.split()) for p in paragraphs if p.strip()), "the options cannot be understood")
    words = " ".join(lines).partition("Perhaps you meant:")[2].split()
    hint = f" (did you mean {words[0].rstrip(',')}?)" if words else ""
    return _plain(text[:1].lower() + text[1:].rstrip(".")) + hint


def _plain(text: str) -> str:
    """Return what tyro says of a value in plain words, and of what it does not know the options alone."""
    for complaint, kind in (
        ("invalid literal for int", "a whole number"),
        ("could not convert string to float", "a number"),
    ):
        if match := re.fullmatch(rf"error parsing (\S+): {complaint}.*?: ('.*')", text):
            return f"{match[1]} takes {kind}, got {match[2]}"
    if match := re.match(r"missing value for argument '(\S+)'", text):
        return f"{match[1]} needs a value"
    if text.startswith("unrecognized options: "):
        given = text.removeprefix("unrecognized options: ").split(", ")
        return f"unrecognized options: {', '.join([word for word in given if word.startswith('-')] or given)}"
    return text
