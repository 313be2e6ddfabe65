"""Lines of code of NumPy and of JAX for the same jobs, and of what both share, as a table.

    python benchmarks/lines.py

A line counts when code stands on it: no blank lines, no comments, no docstrings.
"""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "numformer"
SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
JOBS = {
    "ops": (["ops"], ["jax/bodies", "jax/precision.py", "jax/keys.py"]),
    "the graph and its walk, what is kept, recomputation": (
        [*(f"autograd/{name}.py" for name in ("graph", "decorator", "blocks", "storage", "recompute"))],
        ["jax/recompute.py"],
    ),
    "a training's step: shards and workers; compilation, padding, evaluation": (
        ["training/step.py", "training/workers.py", "training/team.py"],
        ["jax/training.py", "jax/evaluation.py", "jax/batches.py"],
    ),
    "several devices and hosts": (
        [],
        ["jax/sharding.py", "jax/gathering.py", "jax/hosts.py", "jax/detection.py", "hosts"],
    ),
    "update rules, clipping": (["optim/adam.py", "optim/sgd.py", "optim/clipping.py"], ["jax/rules.py"]),
    "cache": (["nn/cache.py"], ["jax/cache.py"]),
    "rows of a session": (["generation/rows.py"], ["jax/rows.py"]),
}


def files(names: Iterable[str]) -> list[Path]:
    """Return the Python files of these names, and all in those that are folders."""
    return [path for name in names for path in (sorted((PACKAGE / name).rglob("*.py")) or [PACKAGE / name])]


def code_lines(path: Path) -> set[int]:
    """Return the numbers of the lines on which code stands."""
    with tokenize.open(path) as file:
        tokens = [token for token in tokenize.generate_tokens(file.readline) if token.type not in SILENT]
    found = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


def count(paths: Iterable[Path]) -> int:
    return sum(len(code_lines(path)) for path in paths)


def pullback_lines(paths: Iterable[Path]) -> int:
    """Return how many lines stand in functions called `vjp`, and in lambdas that an op returns as such."""
    total = 0
    for path in paths:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        returned = [node.value for node in nodes if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple)]
        lambdas = [part for pair in returned for part in pair.elts if isinstance(part, ast.Lambda)]
        own = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == "vjp"]
        lines = {line for node in [*own, *lambdas] for line in range(node.lineno, (node.end_lineno or 0) + 1)}
        total += len(lines & code_lines(path))
    return total


def main() -> None:
    print("| job | NumPy | JAX |\n|---|---|---|")
    for job, (ours, jax) in JOBS.items():
        part = f", {pullback_lines(files(ours))} of them pullbacks" if job == "ops" else ""
        print(f"| {job} | {count(files(ours))}{part} | {count(files(jax))} |")
    own = {path for ours, jax in JOBS.values() for path in files([*ours, *jax])}
    shared = count(path for path in PACKAGE.rglob("*.py") if path not in own)
    print(f"| shared: all else, such as {count(files(['nn', 'models']))} of layers and models | {shared:,} | |")


if __name__ == "__main__":
    main()
