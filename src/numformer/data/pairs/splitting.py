"""Clean sentence pairs as a folder of train.tsv, valid.tsv, test.tsv and report.json."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from numformer._files import remove_temporaries, write_atomically
from numformer.data.files.delimited import quoted
from numformer.data.pairs.cleaning import Cleaned, PairFilters
from numformer.data.pairs.reader import Pair
from numformer.data.split import near_duplicate_groups, split_by_group
from numformer.errors import InputError

PARTS = ("train", "valid", "test")
FILES = (*(f"{part}.tsv" for part in PARTS), "report.json")


def split_pairs(
    pairs: Sequence[Pair], valid_size: int = 1000, test_size: int = 1000, seed: int = 0
) -> dict[str, list[Pair]]:
    """Split pairs into train, valid and test, near-duplicates (near_duplicate_groups) on one side, order unchanged.

    A sentence comes into a part with all its translations, so a held-out part has fewer different sentences than
    pairs, and no pair of a group larger than the part is ever held out. Where groups do not add up to a size, the part
    is a little smaller. Raises InputError when the sizes leave nothing to train on, or when no group fits into a part.
    """
    if min(valid_size, test_size) < 0:
        raise InputError(f"held-out sizes must be at least 0, got valid_size={valid_size} and test_size={test_size}")
    if valid_size + test_size >= len(pairs):
        raise InputError(
            f"valid_size={valid_size} and test_size={test_size} leave nothing to train on of {len(pairs)} clean pairs"
        )
    groups = near_duplicate_groups(pairs)
    train = list(range(len(pairs)))
    held_out = {}
    for part, size in (("test", test_size), ("valid", valid_size)):
        rest, drawn = split_by_group([groups[i] for i in train], size / len(train), seed)
        if size and not drawn:
            raise InputError(f"every group of near-duplicates is larger than {part}_size={size}")
        train, held_out[part] = [train[i] for i in rest], [train[i] for i in drawn]
    return {part: [pairs[i] for i in {"train": train, **held_out}[part]] for part in PARTS}


def check_output(folder: Path, overwrite: bool, source: Path) -> None:
    """Raise InputError unless the parts may be written into `folder` without losing `source` or anything else."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; the parts need a folder")
    if source.resolve() in [(folder / name).resolve() for name in FILES]:
        raise InputError(f"{source} would be replaced by a part of itself: choose another folder")
    if not overwrite and folder.exists() and any(folder.iterdir()):
        raise InputError(
            f"{folder} is not empty: choose another folder, or replace {', '.join(FILES)} with --overwrite"
        )


def make_report(
    cleaned: Cleaned, parts: dict[str, list[Pair]], filters: PairFilters, **settings: Any
) -> dict[str, Any]:
    """Return what was read, dropped and kept, the sizes of the parts, and the settings."""
    return {
        "rows": cleaned.rows,
        "dropped": cleaned.dropped,
        "kept": len(cleaned.pairs),
        "parts": {part: len(pairs) for part, pairs in parts.items()},
        "settings": settings | asdict(filters),
    }


def write_parts(folder: Path, parts: dict[str, list[Pair]], report: dict[str, Any]) -> None:
    """Write the parts as TSV and the report as JSON; raises InputError when that is impossible."""
    if folder.is_dir():
        (folder / "report.json").unlink(missing_ok=True)  # its absence says that the parts may not belong together
    for part, pairs in parts.items():
        rows = (f"{quoted(source)}\t{quoted(target)}\n" for source, target in pairs)
        write_atomically(folder / f"{part}.tsv", "".join(rows))
    write_atomically(folder / "report.json", json.dumps(report, indent=2) + "\n")
    remove_temporaries(folder, FILES)
