"""Do the readers lose or glue anything? Read files that were generated and then damaged, and check what is said of them.

    python benchmarks/files.py --count 3000
    python benchmarks/files.py csv squad --count 200 --seed 7 --keep

Every file is read with its malformed rows left out. It must be read with a report that adds up (examples + left out = rows
there, where the generator knows the rows), or refused in one sentence; every text holds the mark of its row, so two marks in
one example are glued rows. What is only written in another way (encoding, line ends, compression, empty lines, blank
fields) must give exactly the examples that the generator knows. A line of the table says how many files were read whole,
read with rows left out, and refused, and the longest time and the most memory of one file; a file that breaks a rule is
printed with its rule, and with `--keep` it stays in the folder `failed`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import random
import re
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from numformer.data import Examples, TaggedSentence, read_conll, read_labelled, read_pairs, read_squad
from numformer.data.tables.valued import read_valued
from numformer.errors import InputError

WORDS = ["tea", "rice", "Zoë", '5" disc', "a, b", "so; so", "no|yes", "Où?", "日本", "x\u2028y", '"quoted"', "#1"]
MARK = re.compile(r"r\d{4}r")  # in the text of every row, another in each
SECONDS, MEGABYTES = 5.0, 20.0  # a file has some kilobytes, or a line of some more
LABELS, NUMBERS = ["pos", "neg"], ["1", "2.5", "-3e2"]


class Made(NamedTuple):
    """The text of a file, how many rows are there, and the examples that are to be read of it (where that is known)."""

    text: str
    rows: int
    expected: list[Any] | None = None


class Kind(NamedTuple):
    """A format: the suffix, how a file is made and read, and the texts of an example.

    `delimiter` is for formats in which every line that is not blank is a row, after those of the header. `rows_keep` says
    that no damage of a sound file makes one row of two; an empty line does that is taken out between two sentences.
    """

    suffix: str
    make: Callable[[random.Random], Made]
    read: Callable[..., Examples[Any]]
    texts: Callable[[Any], Iterable[str]]
    delimiter: str = ""
    header: int = 0
    rows_keep: bool = True


def sentence(rng: random.Random, row: int) -> str:
    """Return some words with the mark of a row among them."""
    words = rng.choices(WORDS, k=rng.randint(0, 5))
    words.insert(rng.randint(0, len(words)), f"r{row:04}r")
    return " ".join(words)


# How files are made.


def table_of(rng: random.Random, values: list[str], kind: str) -> tuple[list[list[str]], list[tuple[str, str | float]]]:
    """Return header and rows, some of them blank or malformed, and the examples."""
    number = values is NUMBERS
    other = "value" if number else "label"
    names = rng.choice([["text", other], [other, "text"], ["id", "text", other], ["id", other, "text", ""]])
    table, expected = [names], []
    for row in range(rng.randint(4, 40)):
        text, value = sentence(rng, row), rng.choice(values)
        if kind == "csv" and rng.random() < 0.1:
            text += "\nand more\n\nlines"
        blank = rng.random()
        text, value = ("" if blank < 0.05 else text), (" " if 0.05 < blank < 0.1 else value)
        fields = {"text": text, other: value, "id": str(row), "": rng.choice(["", "note"])}
        table.append([fields[name] for name in names])
        if rng.random() < 0.05 and table[-1][0].strip():
            table[-1] = table[-1][:1] if kind == "json" or rng.random() < 0.5 else [*table[-1], "more"]
        elif text and value.strip():
            expected.append((text, float(value) if number else value))
    return table, expected


def make_csv(rng: random.Random, values: list[str]) -> Made:
    """Return a table as spreadsheets and pandas write it, with one delimiter of four."""
    table, expected = table_of(rng, values, "csv")
    out, delimiter = io.StringIO(newline=""), rng.choice(",;\t|")
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator="\n").writerows(table)
    told = f"sep={delimiter}\n" if rng.random() < 0.1 else ""
    return Made(told + out.getvalue(), len(table) - 1, expected)


def make_csv_by_hand(rng: random.Random, values: list[str]) -> Made:
    """Return a table whose writer did not know that a quotation mark at the beginning of a field means something."""
    delimiter, words = rng.choice(",;\t|"), [*["tea", "rice", "Zoë", "#1"] * 3, '"Hello', 'bye"', '"so"', '5"']
    rows = [("text", "label" if values is LABELS else "value")]
    for row in range(rng.randint(20, 60)):
        chosen = [*rng.choices(words, k=3), f"r{row:04}r"]
        rng.shuffle(chosen)
        rows.append((" ".join(chosen), rng.choice(values)))
    order = rng.choice([1, -1])
    return Made("".join(delimiter.join(fields[::order]) + "\n" for fields in rows), len(rows) - 1)


def make_tsv(rng: random.Random) -> Made:
    """Return a table with TABs, some fields of which are quoted."""
    table, expected = table_of(rng, LABELS, "tsv")
    return Made(tab_lines(rng, table), len(table) - 1, expected)


def tab_lines(rng: random.Random, rows: Iterable[list[str]]) -> str:
    """Return rows as lines of TSV; a field between quotation marks is quoted, and others sometimes."""
    lines = []
    for row in rows:
        quoted = [field[:1] == field[-1:] == '"' or rng.random() < 0.2 for field in row]
        doubled = ['"' + field.replace('"', '""') + '"' for field in row]
        lines.append("\t".join(b if needed else a for a, b, needed in zip(row, doubled, quoted, strict=True)) + "\n")
    return "".join(lines)


def make_json(rng: random.Random) -> Made:
    """Return objects with texts and labels; the first, which tells the keys, is blank."""
    table, expected = table_of(rng, LABELS, "json")
    objects: list[dict[str, Any]] = [dict(zip(table[0], fields, strict=False)) for fields in table[1:]]
    for item in objects:
        if item.get("text") and rng.random() < 0.2:
            item["text"] = item["text"].split(" ")
    return Made(as_json(rng, [dict.fromkeys(table[0], ""), *objects]), len(table), expected)


def as_json(rng: random.Random, objects: list[Any]) -> str:
    """Return objects as JSON Lines, or as an array on one line or on many."""
    if rng.random() < 0.3:
        return json.dumps(objects, indent=rng.choice([None, 1])) + "\n"
    ascii_only = rng.random() < 0.5
    return "".join(json.dumps(each, ensure_ascii=ascii_only) + "\n" for each in objects)


def make_pairs(rng: random.Random, kind: str) -> Made:
    """Return pairs on lines with a TAB, or as objects."""
    rows, expected = [], []
    for row in range(rng.randint(4, 40)):
        pair = [sentence(rng, row), sentence(rng, row)]
        if rng.random() < 0.05:
            pair[rng.randint(0, 1)] = " "
        filled = all(side.strip() for side in pair)
        if filled and rng.random() < 0.05:
            pair = pair[:1]
        elif filled:
            expected.append((pair[0], pair[1]))
        rows.append(pair)
    if kind == "tsv":
        return Made(tab_lines(rng, rows), len(rows), expected)
    objects = [dict(zip(("source", "target"), pair, strict=False)) for pair in rows]
    return Made(as_json(rng, objects), len(rows), expected)


def make_columns(rng: random.Random, kind: str) -> Made:
    """Return sentences of words with tags, one on a line, or as CoNLL-U."""
    lines, sentences = [], rng.randint(4, 30)
    for row in range(sentences):
        words = re.sub(r"[^\w ]", "", sentence(rng, row)).split()
        if kind == "conllu":
            lines.append(f"# sent_id = {row}")
            lines += [f"{i}\t{word}\t_\tX" + 6 * "\t_" for i, word in enumerate(words, 1)]
        else:
            lines += [f"{word}\t{rng.choice(['O', 'B-PER'])}" for word in words]
        lines.append("")
    return Made("\n".join(lines), sentences)


def make_squad(rng: random.Random) -> Made:
    """Return questions about contexts; some answers do not stand where they should."""
    paragraphs, questions = [], 0
    for row in range(rng.randint(2, 12)):
        context = sentence(rng, row)
        asked = []
        for _ in range(rng.randint(1, 3)):
            start = (
                rng.choice([context.index(f"r{row:04}r")] * 3 + [999]) if questions else context.index(f"r{row:04}r")
            )
            answer = {"text": f"r{row:04}r", "answer_start": start}
            asked.append({"id": str(questions), "question": "Who?", "answers": [answer]})
            questions += 1
        paragraphs.append({"context": context, "qas": asked})
    return Made(json.dumps({"data": [{"paragraphs": paragraphs}]}, indent=rng.choice([None, 1])), questions)


def first(example: tuple[str, Any]) -> list[str]:
    """Return the text of an example with a label or number."""
    return [example[0]]


def words_of(example: TaggedSentence) -> list[str]:
    """Return the words of a sentence."""
    return example.words


KINDS = {
    "csv": Kind(".csv", partial(make_csv, values=LABELS), read_labelled, first),
    "csv of numbers": Kind(".csv", partial(make_csv, values=NUMBERS), read_valued, first),
    "csv by hand": Kind(".csv", partial(make_csv_by_hand, values=LABELS), read_labelled, first, rows_keep=False),
    "numbers by hand": Kind(".csv", partial(make_csv_by_hand, values=NUMBERS), read_valued, first, rows_keep=False),
    "tsv": Kind(".tsv", make_tsv, read_labelled, first, "\t", header=1),
    "json": Kind(".jsonl", make_json, read_labelled, first, "{"),
    "pairs": Kind(".tsv", partial(make_pairs, kind="tsv"), read_pairs, tuple, "\t"),
    "pairs json": Kind(".json", partial(make_pairs, kind="json"), read_pairs, tuple, "{"),
    "conll": Kind(".conll", partial(make_columns, kind="conll"), read_conll, words_of, rows_keep=False),
    "conllu": Kind(".conllu", partial(make_columns, kind="conllu"), read_conll, words_of, rows_keep=False),
    "squad": Kind(".json", make_squad, read_squad, lambda question: [question.context], rows_keep=False),
}


# How they are written, and damaged.


def damage(rng: random.Random, text: str) -> str:
    """Return a text with a few things put in or repeated, single characters taken out or replaced, or its end cut off.

    Taking out more at once could take out what stands between two rows, whose texts are then one in truth.
    """
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(text))
        before, here, after = text[:at], text[at : at + 1], text[at + 1 :]
        put = rng.choice([*'""""\0\r\n\t,; {[\\', '""', "\ufeff", "a" * 50_000, text[at : at + rng.randint(1, 20)]])
        text = rng.choice([before + put + here + after, before + put + after, before + after, before])
    return text


def written(rng: random.Random, text: str) -> tuple[bytes, str, bool]:
    """Return a text in some encoding and with some line ends, the encoding to ask for, and whether it is compressed."""
    text += rng.choice(["", "", "\n", "\n \n\n"])
    text = text.replace("\n", rng.choice(["\n", "\n", "\r\n", "\r"]) if "\r" not in text else "\n")
    encoding, asked = rng.choice(
        [*[("utf-8", "utf-8")] * 4, ("utf-8-sig", "utf-8"), ("utf-16", "utf-8"), ("utf-16-le",) * 2]
    )
    data, compressed = text.encode(encoding), rng.random() < 0.2
    return gzip.compress(data, 1) if compressed else data, asked, compressed


def damage_bytes(rng: random.Random, data: bytes) -> bytes:
    """Return bytes with one changed, put in or cut off."""
    at = rng.randint(0, len(data))
    return rng.choice(
        [data[:at], data[:at] + rng.randbytes(1) + data[at + 1 :], data[:at] + rng.randbytes(2) + data[at:]]
    )


# What is checked.


class Outcome(NamedTuple):
    """What became of a file, and of the time and memory that it took; `fault` is the rule that it broke."""

    result: str
    seconds: float
    peak: int
    fault: str = ""


def check(kind: Kind, seed: int, folder: Path, measure: bool = True) -> Outcome:
    """Make the file of a seed, read it, and check what is said of it."""
    rng = random.Random(f"{kind.suffix} {seed}")
    made, damaged = kind.make(rng), rng.random() < 0.6
    data, encoding, compressed = written(rng, damage(rng, made.text) if damaged else made.text)
    if damaged and rng.random() < 0.3:
        data = damage_bytes(rng, data)
    file = folder / f"file{seed}{kind.suffix}{'.gz' if compressed else ''}"
    file.write_bytes(data)
    if measure:
        tracemalloc.start()
    start, result, fault = time.perf_counter(), "read", ""
    try:
        found = kind.read(file, encoding=encoding, skip_bad=True)
        result = "left out" if found.left_out else "read"
        fault = broken_rule(kind, made, found, None if damaged else made.rows, lines_of(data, encoding, compressed))
    except InputError as error:
        result = "refused"
        fault = "a refusal of several lines" if len(str(error).splitlines()) > 1 else ""
        fault = fault or ("" if damaged or made.expected == [] else f"a sound file was refused: {error}")
    except Exception as error:  # any other is a fault
        result, fault = "failed", f"{type(error).__name__}: {error}"
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1] if measure else 0
    tracemalloc.stop()
    if seconds > SECONDS or peak > MEGABYTES * 1e6:
        fault = f"{seconds:.1f} s and {peak / 1e6:.1f} MB for {len(data):,} bytes"
    if not fault:
        file.unlink()
    return Outcome(result, seconds, peak, fault)


def lines_of(data: bytes, encoding: str, compressed: bool) -> list[str]:
    """Return the lines of a file, read in the plainest way."""
    data = gzip.decompress(data) if compressed else data
    marked = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else encoding
    text = data.decode(marked).removeprefix("\ufeff")
    return text.split("\n" if "\n" in text else "\r")


def broken_rule(kind: Kind, made: Made, found: Examples[Any], rows: int | None, lines: list[str]) -> str:
    """Return the rule that what was read breaks, or nothing; `rows` is their number where the file is sound."""
    if rows is not None and found.rows != rows:
        return f"{rows} rows are there, {found.report()}"
    if rows is not None and made.expected is not None and list(found) != made.expected:
        return "the examples are others than those of the file"
    if kind.delimiter and not (kind.delimiter == "{" and "".join(lines).lstrip().startswith("[")):
        there = sum(1 for line in lines if line.strip() or kind.delimiter in line) - kind.header
        if found.rows != there:
            return f"{there} lines are rows, {found.report()}"
    if kind.rows_keep and found.rows < len({marked[0] for line in lines if (marked := MARK.search(line))}):
        return f"rows are lost, {found.report()}"
    for example in found:
        marks = set(MARK.findall(" ".join(kind.texts(example))))
        on_one_line = any(all(mark in line for mark in marks) for line in lines)
        if len(marks) > 1 and (rows is not None or (kind.rows_keep and not on_one_line)):
            return f"rows are glued: {str(example)[:200]!r}"
    return ""


def main() -> int:
    """Check files of all kinds, or of those that are named, and print a line for each; returns 1 when a rule was broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"some of {', '.join(KINDS)}; all unless given")
    parser.add_argument("--count", type=int, default=3000, help="files in all")
    parser.add_argument("--seed", type=int, default=0, help="number of the first file")
    parser.add_argument("--keep", action="store_true", help="leave the files that break a rule in the folder failed")
    options = parser.parse_args()
    names, faults = options.kinds or list(KINDS), 0
    print(f"{'kind':<16}{'files':>7}{'read':>7}{'left out':>10}{'refused':>9}{'longest':>10}{'most memory':>13}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path("failed" if options.keep else temporary)
        folder.mkdir(exist_ok=True)
        for name in names:
            seeds = range(options.seed, options.seed + -(-options.count // len(names)))
            outcomes = {seed: check(KINDS[name], seed, folder) for seed in seeds}
            results = Counter(outcome.result for outcome in outcomes.values())
            longest = max(outcome.seconds for outcome in outcomes.values())
            most = max(outcome.peak for outcome in outcomes.values())
            print(
                f"{name:<16}{len(outcomes):>7}{results['read']:>7}{results['left out']:>10}{results['refused']:>9}"
                f"{longest:>8.2f} s{most / 1e6:>10.1f} MB"
            )
            for seed, outcome in outcomes.items():
                if outcome.fault:
                    faults += 1
                    print(f"  {name} {seed}: {outcome.fault[:300]}")
    print(f"{faults} broken rules")
    return min(faults, 1)


if __name__ == "__main__":
    sys.exit(main())
