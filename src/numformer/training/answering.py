"""Which weights of a run answer: the best on held-out data where it has them, or those of its last step.

A run writes down in the metadata of its weights which step they are of, and of the best ones the figure that chose them, such
as val_accuracy. So a folder can always say what it holds, even while the run goes on.
"""

from __future__ import annotations

from pathlib import Path

from numformer.errors import InputError
from numformer.pretrained import read_metadata, weights_file

FIGURE = "val_"  # before the name of the criterion, as in metrics.jsonl


def notes_of(step: int, criterion: str = "", value: float = 0.0) -> dict[str, str]:
    """Return what is written down with weights: their step, and where they are the best the figure that says so."""
    return {"step": str(step)} | ({f"{FIGURE}{criterion}": repr(value)} if criterion else {})


def step_of(folder: str | Path) -> int | None:
    """Return the step that the weights of a folder say they are of; None where there are none that can say it."""
    try:
        return int(read_metadata(weights_file(folder))["step"])
    except (InputError, KeyError, ValueError):
        return None


def answering_folder(folder: str | Path, last: bool = False) -> Path:
    """Return the folder whose weights answer for one: best/ where it is a run that has it and `last` is not asked for.

    Raises InputError when the last weights are asked of best/ itself.
    """
    path = Path(folder)
    if last and path.name == "best" and (path.parent / "run.toml").exists():
        raise InputError(f"{path} holds the best weights: the last ones are those of {path.parent}")
    # The weights are what a run writes last into best/.
    has_best = (path / "run.toml").exists() and weights_file(path / "best").exists()
    return path / "best" if has_best and not last else path


def describe_answering(folder: str | Path, last: bool = False) -> str:
    """Return a line that says which weights of a run answer; an empty one where there is nothing to choose from.

    That is a folder without best/, and a run whose last step is its best.
    """
    best = weights_file(answering_folder(folder))
    if last or best.parent == Path(folder):
        return ""
    notes, last_step = read_metadata(best), step_of(folder)
    if "step" not in notes:  # a run of an earlier version
        return f"{folder}: its best weights; --last takes the last"
    if notes["step"] == str(last_step):
        return ""
    figures = "".join(f" ({name} {float(value):#.4g})" for name, value in notes.items() if name.startswith(FIGURE))
    others = "the last" if last_step is None else f"those of step {last_step}"
    return f"{folder}: the weights of step {notes['step']}, the best{figures}; --last takes {others}"
