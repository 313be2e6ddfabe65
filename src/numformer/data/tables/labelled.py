"""Texts with one label each, as in classification."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from numformer.data.files.examples import Examples, collect
from numformer.data.files.lines import read_lines, suffix_of, without_gz
from numformer.data.files.rows import clean_text, json_kind
from numformer.data.tables.columns import Texts, read_columns
from numformer.data.tables.reader import TABLES
from numformer.errors import InputError

Rows = Iterator[tuple[str, tuple[str, str] | InputError]]  # where, text and label
LabelledText = tuple[Texts, str]


def read_labelled(
    path: str | Path,
    *,
    text: str | Sequence[str] = (),
    label: str | None = None,
    pair: str | None = None,
    encoding: str = "utf-8",
    skip_bad: bool = False,
) -> Examples[LabelledText]:
    """Return texts with their labels from a .csv or .tsv file with a header, a .jsonl or .json file, or a folder.

    `text` and `label` name the columns, by default "text" and "label"; when one of these two is missing among exactly
    two columns, the other column is taken. Several columns of text are joined with a space. With `pair` the texts come
    in pairs, the second in that column. A folder holds a subfolder per
    label with a text in each file, or a file per label with a text on each line that is not blank. The label is the folder's
    or file's name without suffix, or the suffix where that is all that differs (rt-polarity.neg, rt-polarity.pos). Files
    named README or LICENSE and hidden ones are left out, as are blank texts and labels, which are counted. Raises
    InputError, naming the line, for what cannot be read so.
    """
    path = Path(path)
    if pair is not None and (path.is_dir() or suffix_of(path) not in TABLES):
        raise InputError(f"pairs of texts come in a .csv, .tsv, .jsonl or .json file, got {path}")
    if path.is_dir():
        found = collect(_folder_rows(path, encoding), _labelled, skip_bad=skip_bad)
    elif suffix_of(path) in TABLES:
        found = read_columns(path, text, "label", label, _label, pair=pair, encoding=encoding, skip_bad=skip_bad)
    elif not path.exists():
        raise InputError(f"there is no file or folder {path}")
    else:
        raise InputError(f"labelled texts come in a .csv, .tsv, .jsonl or .json file or a folder, got {path}")
    if not found:
        raise InputError(f"{path} holds no labelled texts ({found.report()})")
    return found


def _labelled(where: str, row: tuple[str, str]) -> LabelledText:
    return clean_text(row[0], "text", where), clean_text(row[1], "label", where)


def _label(value: object, where: str) -> str:
    if type(value) is int:
        return str(value)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{where}: the label must be text or an integer, got {json_kind(value)}")
    return clean_text(value, "label", where)


def _folder_rows(folder: Path, encoding: str) -> Rows:
    entries = _entries(folder)
    subfolders = [entry for entry in entries if entry.is_dir()]
    files = [entry for entry in entries if not entry.is_dir()]
    if subfolders and files:
        raise InputError(
            f"{folder} holds folders and files, such as {subfolders[0].name} and {files[0].name}; "
            "expected one folder per label or one file per label"
        )
    if subfolders:
        return _rows_of_subfolders(subfolders, encoding)
    return _rows_of_files(files, encoding)


def _rows_of_subfolders(subfolders: list[Path], encoding: str) -> Rows:
    for subfolder in subfolders:
        files = _entries(subfolder)
        if not files:
            raise InputError(f"{subfolder} holds no text, expected one in each of its files")
        for file in files:
            text = _whole_text(file, encoding)
            yield str(file), text if isinstance(text, InputError) else (text, subfolder.name)


def _whole_text(file: Path, encoding: str) -> str | InputError:
    try:
        return "" if file.is_file() and not file.stat().st_size else "\n".join(read_lines(file, encoding))
    except InputError as error:
        return error


def _rows_of_files(files: list[Path], encoding: str) -> Rows:
    names = [without_gz(file) for file in files]
    by_suffix = len(files) > 1 and len({name.stem for name in names}) == 1
    for file, name in zip(files, names, strict=True):
        label = name.suffix.removeprefix(".") if by_suffix else name.stem
        for number, line in enumerate(read_lines(file, encoding), 1):
            if line.strip():
                yield f"{file}, line {number}", (line, label)


def _entries(folder: Path) -> list[Path]:
    """Return what a folder holds, in order of name, without hidden entries and files about the data.

    Raises InputError for a table, whose rows would be taken for texts.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"could not read {folder}: {error.strerror}") from error
    for entry in entries:
        if suffix_of(entry) in TABLES:
            raise InputError(
                f"{folder} holds tables, expected texts in a folder or file per label; give {entry} itself"
            )
    return [
        entry
        for entry in entries
        if not entry.name.startswith(".")
        and (entry.is_dir() or not entry.name.upper().startswith(("README", "LICENSE")))
    ]
