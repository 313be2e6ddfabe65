"""Predictions as they go: line by line through pipes, at pauses, and to people who look at a terminal."""

import io
import json
import os
import pty
import subprocess
import sys

import pytest

from numformer.cli.shared import standard_input
from numformer.cli.shared.counter import LiveCounter
from numformer.cli.shared.outputs import readable
from numformer.cli.shared.standard_input import StandardInput
from numformer.errors import InputError
from numformer.tasks import load


def lines_of(monkeypatch, data, encoding="utf-8", block=1 << 16):
    """Return the lines of standard input that comes in blocks of so many bytes."""
    monkeypatch.setattr(standard_input, "BLOCK", block)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    return list(StandardInput(encoding))


# Standard input.


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 16])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_lines_end_with_a_line_feed_and_keep_a_lone_carriage_return(monkeypatch, block, encoding):
    data = "Zoë\r\n\na\rb\n \r\r\nlast".encode(encoding)
    assert lines_of(monkeypatch, data, encoding, block) == ["Zoë", "", "a\rb", " \r", "last"]


@pytest.mark.parametrize("block", [1, 1 << 16])
def test_a_byte_order_mark_and_the_last_end_are_no_text(monkeypatch, block):
    assert lines_of(monkeypatch, b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", block=block) == ["a", "\ufeffb"]
    assert lines_of(monkeypatch, b"\n") == [""]
    assert lines_of(monkeypatch, b"") == []


@pytest.mark.parametrize("block", [1, 1 << 16])
@pytest.mark.parametrize(("data", "line"), [(b"a\nb\n\xe9t\xe9\n", 3), (b"a\nb\xc3", 2)])
def test_bytes_that_are_no_text_are_named_with_their_line(monkeypatch, data, line, block):
    byte = "0xe9" if line == 3 else "0xc3"
    with pytest.raises(
        InputError, match=f"standard input, line {line}: byte {byte} is not utf-8 text; name what it is"
    ):
        lines_of(monkeypatch, data, block=block)


def test_an_unknown_encoding_is_refused(monkeypatch):
    with pytest.raises(InputError, match="there is no text encoding 'klingon'"):
        lines_of(monkeypatch, b"a\n", "klingon")


def test_a_lone_carriage_return_ends_a_line_only_where_there_is_no_line_feed(monkeypatch, stdin):
    for data, expected in ((b"a\rb\rc", ["a", "b", "c"]), (b"a\rb\nc\r", ["a\rb", "c"]), (b"a\r", ["a"])):
        stdin(data)
        assert list(StandardInput("utf-8")) == expected


def test_standard_input_pauses_where_no_line_comes(monkeypatch):
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "wb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stdin", stdin)
        source = StandardInput("utf-8")
        lines = iter(source)
        pipe.write(b"one\ntwo\n")
        assert next(lines) == "one"
        assert not source.paused()  # two is there
        assert next(lines) == "two"
        assert source.paused()
        pipe.write(b"three\n")
        assert not source.paused()


# Pipes.


def start(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE):
    command = [sys.executable, "-m", "numformer", *map(str, words)]
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE)


@pytest.mark.parametrize(("command", "task"), [("predict", "classify"), ("translate", "seq2seq")])
def test_a_line_is_answered_before_the_next_one_comes(runs_of_tasks, command, task):
    with start(command, runs_of_tasks(task)) as process:
        for text in ("Ann sees it.", "Bob"):
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            answer = process.stdout.readline().decode()
            assert answer.endswith("\n")
            assert task == "seq2seq" or json.loads(answer)["text"] == text
        process.stdin.close()
        assert (process.stdout.read(), process.stderr.read(), process.wait()) == (b"", b"", 0)


@pytest.mark.parametrize(("command", "task"), [("predict", "classify"), ("translate", "seq2seq")])
def test_an_endless_input_is_answered_until_the_reader_has_seen_enough(runs_of_tasks, command, task):
    numformer = f"{sys.executable} -m numformer {command} {runs_of_tasks(task)}"
    pipe = f"yes Ann | {numformer} | head -n 1 > /dev/null; echo ${{PIPESTATUS[1]}}"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"0\n", b"")


def test_a_mistake_late_in_the_input_comes_after_the_answers_to_the_lines_before(runs_of_tasks, numformer, stdin):
    stdin(b"Ann\n" * 10 + b"\xff\n")
    result = numformer("predict", runs_of_tasks("classify"))
    assert result.status == 2
    assert result.err == (
        "numformer: standard input, line 11: byte 0xff is not utf-8 text; name what it is with --encoding\n"
    )


# A terminal.


def test_predictions_on_a_terminal_are_to_be_read(runs_of_tasks):
    controller, terminal = pty.openpty()
    with start("predict", runs_of_tasks("classify"), "Ann likes it.", "", stdout=terminal) as process:
        os.close(terminal)
        shown = os.read(controller, 10_000)
        while b"(blank)" not in shown:
            shown += os.read(controller, 10_000)
        process.stdin.close()
        assert process.wait() == 0
    os.close(controller)
    first, second = shown.decode().split("\r\n")[:2]
    assert first.startswith(("Ann likes it. → pos 0.", "Ann likes it. → neg 0."))
    assert second == "(blank)"


GOOD = {"label": "good", "score": 0.934}
MASKS = [[{"token": "n", "score": 0.75}, {"token": "b", "score": 0.2}], [{"token": "o", "score": 1.0}]]
IN_WORDS = [
    ("classify", "A film.", GOOD, "A film. → good 0.93"),
    ("classify", "A film that is longer than the line.", GOOD, "A film that is lo… → good 0.93"),
    ("classify", "日本の長い映画はとても長い", GOOD, "日本の長い映画は… → good 0.93"),
    ("classify", "two\nlines\x1b[2J", {"label": "a\nb", "score": 1.0}, "two lines�[2J → a b 1.00"),
    ("classify", None, {"label": None, "score": None}, "(blank)"),
    ("regress", "A chair.", {"value": 1234.5678}, "A chair. → 1234.57"),
    ("seq2seq", "Hello.", {"target": "Bonjour.", "score": -0.5}, "Hello. → Bonjour. -0.50"),
    ("seq2seq", "A long good day.", {"target": "Une bonne journée."}, "A long good day.\n  → Une bonne journée."),
    ("qa", ("Who?", "Ann."), {"answer": "Ann", "score": 0.5}, "Who? → Ann 0.50"),
    ("qa", "Why?", {"answer": "", "score": 0.25}, "Why? → no answer 0.25"),
    ("tag", ["Ann", "."], {"entities": [{"text": "Ann", "type": "PER"}]}, "Ann . → Ann PER"),
    ("tag", ["a", "."], {"entities": []}, "a . → no entities"),
    ("tag", "a .", {"words": ["a", "."], "tags": ["DET", "X"]}, "a . → a/DET ./X"),
    ("mlm", "A[MASK][MASK]", {"masks": MASKS}, "A[MASK][MASK]\n  → n 0.75, b 0.20 | o 1.00"),
]


@pytest.mark.parametrize(("task", "given", "prediction", "line"), IN_WORDS)
def test_a_prediction_is_read_on_a_line_of_the_terminal(runs_of_tasks, task, given, prediction, line):
    assert readable(given, prediction, load(runs_of_tasks(task)), 30) == line


def test_a_person_who_waits_sees_how_many_are_done(capsys, monkeypatch):
    clock = iter([0.0, 1.9, 2.5, 2.6, 4.0])
    monkeypatch.setattr("numformer.cli.shared.counter.time.monotonic", lambda: next(clock))
    with LiveCounter(shown=True) as counter:
        for count in (100, 2500, 2600, 4000):
            counter.show(count)
    drawn = capsys.readouterr().err
    assert drawn == "\r\033[K2,500 done, 1e+03 a second\r\033[K4,000 done, 1e+03 a second\r\033[K"


def test_nobody_sees_a_count_in_a_pipe(capsys):
    with LiveCounter(shown=False) as counter:
        counter.next = 0.0
        counter.show(5)
    assert capsys.readouterr().err == ""
