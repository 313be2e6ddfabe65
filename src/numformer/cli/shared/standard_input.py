"""Standard input, line by line as it comes."""

from __future__ import annotations

import codecs
import select
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

from numformer._notices import say
from numformer.data.files.lines import USUAL_ENCODINGS, split_lines
from numformer.errors import InputError

BLOCK = 1 << 16  # bytes
PATIENCE = 0.2  # seconds that a line is waited for before the lines so far are answered


class StandardInput:
    r"""The lines of standard input by the rule of `read_lines`; a byte order mark is dropped.

    Raises InputError, with the line, for bytes that are not in the encoding, and for an encoding that does not exist.
    """

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self._file: Any = sys.stdin and sys.stdin.buffer  # None where it was closed
        self._whole: deque[str] = deque()  # lines that have ended, and were not yielded

    def __iter__(self) -> Iterator[str]:
        if sys.stdin and sys.stdin.isatty():
            say("reading lines from the terminal; end with Ctrl-D")
        begun: list[str] = []  # the parts of a line that has not ended
        has_line_feed = False
        mark = "\ufeff"
        for text in filter(None, self._texts()):
            first, *others = text.removeprefix(mark).split("\n")
            mark = ""
            begun.append(first)
            if others:
                has_line_feed = True
                self._whole += ["".join(begun), *others[:-1]]
                begun = [others[-1]]
            while self._whole:
                yield self._whole.popleft().removesuffix("\r")
        last = "".join(begun)
        yield from [last.removesuffix("\r")] if has_line_feed and last else split_lines(last)

    def paused(self) -> bool:
        """Tell whether no line is there, and none comes for a moment."""
        if self._whole:
            return False
        try:
            return not select.select([self._file], [], [], PATIENCE)[0]
        except (OSError, ValueError):  # it is no file, or one that cannot be waited for here
            return False

    def _texts(self) -> Iterator[str]:
        """Yield pieces of the text as soon as they are there."""
        decoder, ended = self._decoder(), 0
        block = b"" if self._file is None else None
        while block != b"":
            block = self._file.read1(BLOCK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                line = ended + error.object[: error.start].count(b"\n") + 1
                what = f"byte 0x{error.object[error.start]:02x} is not {self.encoding} text"
                raise InputError(f"standard input, line {line}: {what}; name what it is with --encoding") from None
            ended += text.count("\n")
            yield text

    def _decoder(self) -> codecs.IncrementalDecoder:
        try:
            return codecs.getincrementaldecoder(self.encoding)()
        except LookupError:
            raise InputError(f"there is no text encoding {self.encoding!r}; usual ones are {USUAL_ENCODINGS}") from None
