"""Do the tests notice? Change one thing in the code at a time, run the tests, and list the changes that no test noticed.

    python benchmarks/mutation.py autograd ops --count 30
    python benchmarks/mutation.py generation/session.py models/layouts.py --tests tests/generation tests/models --count 20

Each name is a folder or a file of the package; `--count` single mutations of each are chosen by `--seed`: another operator,
comparison or constant, and for or, a `not` or a minus taken away, a statement, keyword argument, border of a slice or copy
dropped, True for False. Each runs against the tests of its room in a copy of the tree, until the first test that fails or
the time limit. A survivor is printed with its place and its lines before and after: it is a hole in the tests, or it changes
nothing.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = Path("src/numformer")
COPIED = (
    "src",
    "tests",
    "docs",
    "examples",
    "benchmarks",
    "recipes",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "LOG.md",
)
MORE_TESTS = {"autograd": ["tests/ops"], "ops": ["tests/autograd"]}  # besides the tests of the same name
OPERATORS = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*")} | {
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
}
COMPARISONS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
WORDS = {ast.And: ("and", "or"), ast.Or: ("or", "and")}
ANNOTATIONS = ("annotation", "returns", "decorator_list")


class Mutation(NamedTuple):
    """One change: bytes start..stop of a file that held `before` become `text`."""

    path: Path
    before: bytes
    start: int
    stop: int
    text: str

    def line(self) -> int:
        """Return the number of the line that changes."""
        return self.before[: self.start].count(b"\n") + 1

    def lines(self) -> str:
        """Return the changed lines before and after."""
        before, after = self.before, self.applied()
        first = before.rfind(b"\n", 0, self.start) + 1
        last = before.find(b"\n", self.stop)
        moved = last + len(after) - len(before)
        return "\n".join(
            f"    {sign} {line.strip()}"
            for sign, part in (("-", before[first:last]), ("+", after[first:moved]))
            for line in part.decode().splitlines()
        )

    def applied(self) -> bytes:
        """Return the content of the file with the change."""
        return self.before[: self.start] + self.text.encode() + self.before[self.stop :]


class Places:
    """Turns nodes of a syntax tree into places in the bytes of a file."""

    def __init__(self, path: Path) -> None:
        self.path, self.source = path, path.read_bytes()
        self.starts = [0, *(match.end() for match in re.finditer(rb"\n", self.source))]

    def start(self, node: Any) -> int:
        """Return where a node begins."""
        return self.starts[node.lineno - 1] + node.col_offset

    def stop(self, node: Any) -> int:
        """Return where a node ends."""
        return self.starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: Any) -> str:
        """Return the source of a node."""
        return self.source[self.start(node) : self.stop(node)].decode()

    def replaced(self, node: Any, text: str) -> Mutation:
        """Return the mutation that puts a text in the place of a node."""
        return Mutation(self.path, self.source, self.start(node), self.stop(node), text)

    def between(self, left: Any, right: Any, words: tuple[str, str]) -> Iterator[Mutation]:
        """Yield the mutation of an operator that stands between two nodes."""
        start, stop = self.stop(left), self.start(right)
        at = self.source[start:stop].find(words[0].encode())
        if at >= 0:
            yield Mutation(self.path, self.source, start + at, start + at + len(words[0].encode()), words[1])


def mutations_of(path: Path) -> list[Mutation]:
    """Return every mutation that this script knows for a file."""
    places = Places(path)
    return [mutation for node in code_of(ast.parse(places.source)) for mutation in mutated(node, places)]


def code_of(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that compute something: no annotations, decorators, imports, messages of errors or docstrings."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Raise, ast.JoinedStr)):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        for name, value in ast.iter_fields(node):
            if name not in ANNOTATIONS:
                waiting += [
                    each for each in (value if isinstance(value, list) else [value]) if isinstance(each, ast.AST)
                ]


def mutated(node: Any, places: Places) -> Iterator[Mutation]:
    """Yield the mutations of one node."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield from places.between(node.left, node.right, OPERATORS[type(node.op)])
    elif isinstance(node, ast.Compare):
        for left, comparison, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            yield from places.between(left, right, COMPARISONS[type(comparison)])
    elif isinstance(node, ast.BoolOp):
        yield from places.between(node.values[0], node.values[1], WORDS[type(node.op)])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield places.replaced(node, places.text(node.operand))
    elif isinstance(node, ast.Constant):
        yield from (places.replaced(node, text) for text in other_constants(node.value))
    elif isinstance(node, (ast.If, ast.IfExp)):
        yield places.replaced(node.test, f"not ({places.text(node.test)})")
    elif isinstance(node, ast.Slice):
        yield from (places.replaced(border, "") for border in (node.lower, node.upper) if border is not None)
    elif isinstance(node, ast.Call):
        yield from fewer_arguments(node, places)
    elif isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
        yield from places.between(node.target, node.value, OPERATORS[type(node.op)])
    if is_droppable(node):
        yield places.replaced(node, "pass")


def other_constants(value: Any) -> list[str]:
    """Return what may stand in the place of a constant."""
    if isinstance(value, bool):
        return [repr(not value)]
    if isinstance(value, (int, float)):
        return [repr(value + 1)]
    return []


def fewer_arguments(node: ast.Call, places: Places) -> Iterator[Mutation]:
    """Yield the call without each of its keyword arguments; for `x.copy()`, x."""
    if isinstance(node.func, ast.Attribute) and node.func.attr == "copy" and not node.args:
        yield places.replaced(node, places.text(node.func.value))
    for keyword in node.keywords:
        if keyword.arg is not None:
            start, stop = places.start(keyword), places.stop(keyword)
            rest = re.match(rb"\s*,\s*", places.source[stop:])
            yield Mutation(places.path, places.source, start, stop + (rest.end() if rest else 0), "")


def is_droppable(node: ast.AST) -> bool:
    """Tell whether a statement can be left out without a name being missed at once."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    if isinstance(node, ast.Assign):
        return all(isinstance(target, (ast.Attribute, ast.Subscript)) for target in node.targets)
    return isinstance(node, (ast.AugAssign, ast.Delete, ast.Continue))


def copy_of_the_tree() -> Path:
    """Return a folder of its own with what the tests need."""
    folder = Path(tempfile.mkdtemp(prefix="mutation-"))
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif source.exists():
            shutil.copy(source, folder / name)
    return folder


def run_tests(folder: Path, tests: list[str], limit: float) -> str | None:
    """Return None when all tests pass, else the first that failed, or that they ran out of time."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", *tests]
    path = os.pathsep.join(filter(None, [str(folder / "src"), os.environ.get("PYTHONPATH", "")]))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        result = subprocess.run(
            command, cwd=folder, env=environment, timeout=limit, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except subprocess.TimeoutExpired:
        return "out of time"
    if result.returncode == 0:
        return None
    failed = re.search(rb"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", result.stdout, re.MULTILINE)
    return failed[1].decode() if failed else result.stdout.decode(errors="replace").strip().splitlines()[-1]


def chosen(name: str, count: int, seed: int) -> list[Mutation]:
    """Return some mutations of a folder or file of the package, each of which is still Python."""
    target = ROOT / PACKAGE / name
    files = sorted(target.rglob("*.py")) if target.is_dir() else [target]
    possible = [mutation for path in files for mutation in mutations_of(path)]
    random.Random(f"{seed} {name}").shuffle(possible)
    return [mutation for mutation in possible if is_python(mutation)][:count]


def is_python(mutation: Mutation) -> bool:
    """Tell whether the changed file can be compiled and is not the same program."""
    try:
        return ast.dump(ast.parse(mutation.applied())) != ast.dump(ast.parse(mutation.before))
    except SyntaxError:
        return False


def judge(mutation: Mutation, tests: list[str], limit: float, folders: SimpleQueue[Path]) -> str | None:
    """Return the test that noticed a mutation, None when none did."""
    folder = folders.get()
    target = folder / mutation.path.relative_to(ROOT)
    likely = [f"{each}/test_{mutation.path.stem}.py" for each in tests]  # these first: most mutations die there
    try:
        target.write_bytes(mutation.applied())
        return run_tests(folder, [*(each for each in likely if (folder / each).exists()), *tests], limit)
    finally:
        target.write_bytes(mutation.before)
        folders.put(folder)


def check(name: str, arguments: argparse.Namespace, folders: SimpleQueue[Path], pool: ThreadPoolExecutor) -> str:
    """Judge the mutations of one name, print each, and return its line of the summary."""
    room = name.partition("/")[0]
    tests = arguments.tests or [f"tests/{room}", *MORE_TESTS.get(room, [])]
    folder, began = folders.get(), time.perf_counter()
    failed = run_tests(folder, tests, 1800.0)
    folders.put(folder)
    if failed:
        raise SystemExit(f"{name}: the tests fail without any mutation: {failed}")
    limit = 30.0 + 4.0 * (time.perf_counter() - began)
    mutations = chosen(name, arguments.count, arguments.seed)
    judgement: Callable[[Mutation], str | None] = lambda mutation: judge(mutation, tests, limit, folders)  # noqa: E731
    survivors = 0
    for mutation, noticed in zip(mutations, pool.map(judgement, mutations), strict=True):
        survivors += noticed is None
        place = f"{mutation.path.relative_to(ROOT)}:{mutation.line()}"
        print(
            f"{'SURVIVED' if noticed is None else 'killed  '} {place}  {noticed or ''}\n{mutation.lines()}", flush=True
        )
    return f"{name:<28} {len(mutations):>9} {len(mutations) - survivors:>7} {survivors:>9}"


def main() -> None:
    """Judge the mutations of every name that was given."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "names", nargs="+", help="folders or files of the package, such as ops or generation/session.py"
    )
    parser.add_argument("--count", type=int, default=30, help="mutations of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tests", nargs="+", help="instead of the tests of the room")
    parser.add_argument("--parallel", type=int, default=2)
    arguments = parser.parse_args()
    folders: SimpleQueue[Path] = SimpleQueue()
    made = [copy_of_the_tree() for _ in range(arguments.parallel)]
    try:
        for folder in made:
            folders.put(folder)
        with ThreadPoolExecutor(arguments.parallel) as pool:
            rows = [check(name, arguments, folders, pool) for name in arguments.names]
        print(f"\n{'':<28} {'mutations':>9} {'killed':>7} {'survived':>9}", *rows, sep="\n")
    finally:
        for folder in made:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
