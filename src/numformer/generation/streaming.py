"""From token ids, one at a time, to text that can be printed and never has to be taken back."""

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from numformer.errors import InputError
from numformer.tokenizers import printable

# The end of a decoded text that more ids may still turn into a character: up to three bytes escaped as surrogates
# (byte tokenizers), or replacement characters (subword tokenizers, some of which replace a whole run of bytes).
_UNDECIDED_END = re.compile("[\udc80-\udcff]{1,3}\\Z|\ufffd+\\Z")

_MAX_WINDOW = 32
_SHORT_WINDOW = 8


class TextDecoder(Protocol):
    """The part of a tokenizer that streaming needs."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of the ids."""
        ...


class TextStream:
    """The text of one growing sample, given out in pieces that later tokens cannot change.

    It follows the text of the tokens `prompt`: a space between the two is kept, which many tokenizers drop at the start of
    a text. Bytes that are not UTF-8 become U+FFFD, one for each. Held back are an incomplete UTF-8 character and whatever
    could be the start of a stop string. The sample is finished when the first stop string is complete; its text ends before
    it. However the text is cut into tokens, the pieces join to the same text.

    Raises InputError for an empty stop string, or one string where a list of them is expected.
    """

    def __init__(self, tokenizer: TextDecoder, stop: Iterable[str] = (), prompt: Sequence[int] = ()) -> None:
        stop = stop if isinstance(stop, str) else tuple(stop)
        if isinstance(stop, str) or "" in stop:
            raise InputError(f"got stop={stop!r}, expected a list of strings of at least one character each")
        self.finished = False
        self._window = _Window(tokenizer, prompt)
        self._stop = stop
        self._held = ""
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """All the text given out so far."""
        return "".join(self._pieces)

    def push(self, token_id: int) -> str:
        """Take the next token and return the text that became certain; nothing once finished."""
        if self.finished:
            return ""
        return self._give_out(*self._before_stop(self._window.push(token_id)))

    def flush(self) -> str:
        """Return what was held back, after the last token."""
        if self.finished:
            return ""
        safe, held = self._before_stop(self._window.flush())
        return self._give_out(safe + held, "")

    def _before_stop(self, new: str) -> tuple[str, str]:
        """Split the held text and the new into what is certain and what to hold; finish at a stop string."""
        text = self._held + printable(new)
        found = [(start + len(stop), start) for stop in self._stop if (start := text.find(stop)) >= 0]
        if found:
            self.finished = True
            _, start = min(found)
            return text[:start], ""
        cut = len(text) - _stop_prefix_length(text, self._stop)
        return text[:cut], text[cut:]

    def _give_out(self, safe: str, held: str) -> str:
        self._held = held
        self._pieces.append(safe)
        return safe


def _stop_prefix_length(text: str, stop: Sequence[str]) -> int:
    """Return the length of the longest end of the text with which a stop string begins."""
    longest = max(map(len, stop), default=1) - 1
    return next((n for n in range(min(longest, len(text)), 0, -1) if any(s.startswith(text[-n:]) for s in stop)), 0)


class _Window:
    """Decodes ids as they come, holding back an incomplete character, at a constant cost per token.

    Only the last few ids are decoded: those not yet decided, after a little context, because many tokenizers drop
    the space at the start of a text. `_done` counts the characters of their text that were given out.
    """

    def __init__(self, tokenizer: TextDecoder, before: Sequence[int]) -> None:
        self._decode = tokenizer.decode
        self._ids: list[int] = []
        self._context = 0
        self._done = 0
        self._undecided = ""
        context = [int(token) for token in before[-_SHORT_WINDOW:]]
        text = tokenizer.decode(context) if context else ""
        if not _UNDECIDED_END.search(text):  # after half a character the new text stands alone
            self._ids, self._context, self._done = context, len(context), len(text)

    def push(self, token_id: int) -> str:
        self._ids.append(token_id)
        text = self._decode(self._ids)
        match = _UNDECIDED_END.search(text)
        safe = max(self._done, match.start() if match else len(text))
        new, self._undecided = text[self._done : safe], text[safe:]
        self._done = safe
        if new and not self._undecided:
            self._shorten(self._context)
            self._context = len(self._ids)
        elif len(self._ids) > _MAX_WINDOW:
            new += self._shorten_undecided()
        return new

    def flush(self) -> str:
        self._done += len(self._undecided)
        rest, self._undecided = self._undecided, ""
        return rest

    def _shorten(self, start: int) -> None:
        self._ids = self._ids[start:]
        self._done = len(self._decode(self._ids)) - len(self._undecided)

    def _shorten_undecided(self) -> str:
        """Bound a window that never ends in a whole character; return undecided text that the cut would lose."""
        short = self._ids[-_SHORT_WINDOW:]
        lost = "" if self._decode(short).endswith(self._undecided) else self.flush()
        self._shorten(-_SHORT_WINDOW)
        self._context = 0
        return lost
