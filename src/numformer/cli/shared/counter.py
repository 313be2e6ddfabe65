"""How many inputs are done, on stderr, for a person who has waited for two seconds."""

from __future__ import annotations

import sys
import time
from typing import Self

from numformer.training.progress import SHOWN_AFTER

INTERVAL = 0.2  # seconds between two drawings


class LiveCounter:
    """A live line such as "1,536 done, 128 a second"; it needs no thread, which the fork of a worker could not take along."""

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self.begun = time.monotonic()
        self.next = self.begun + SHOWN_AFTER
        self.is_drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.is_drawn:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def show(self, count: int) -> None:
        """Show how many are done by now."""
        now = time.monotonic()
        if not self.shown or now < self.next:
            return
        self.next, self.is_drawn = now + INTERVAL, True
        speed = count / (now - self.begun)
        print(f"\r\033[K{count:,} done, {speed:,.3g} a second", end="", file=sys.stderr, flush=True)
