"""A bar on standard error while a person watches, and nothing where nobody does."""

import time
from typing import Protocol

WIDTH = 30
# Drawn so often at most: a terminal is slower than what it shows.
EVERY_SECONDS = 0.1


class Terminal(Protocol):
    def write(self, text: str) -> object: ...
    def flush(self) -> object: ...
    def isatty(self) -> bool: ...


class Progress:
    """Counts towards `total`. Call it with how many more are done; `end` clears the line."""

    def __init__(self, terminal: Terminal, total: int, noun: str) -> None:
        self._terminal = terminal if total and terminal.isatty() else None
        self._total, self._noun = total, noun
        self._done, self._drawn_at = 0, 0.0

    def __call__(self, count: int = 1) -> None:
        self._done += count
        if self._terminal is None or time.monotonic() - self._drawn_at < EVERY_SECONDS:
            return
        self._drawn_at = time.monotonic()
        # What is written meanwhile may carry the count past the total of the beginning.
        part = min(1.0, self._done / self._total)
        bar = "#" * int(part * WIDTH)
        self._terminal.write(f"\r[{bar:<{WIDTH}}] {part:4.0%} {self._done} of {self._total} {self._noun}")
        self._terminal.flush()

    def end(self) -> None:
        if self._terminal is not None and self._drawn_at:
            self._terminal.write("\r\x1b[K")
            self._terminal.flush()
