"""A bar for whoever watches a backup or a restore: how many rows there are shows only on the way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from apps.core.progress import Progress, Terminal

# Called with the number of rows to come; what it returns is called with how many more are done.
Watch = Callable[[int], Callable[[int], None]]


def nobody(total: int) -> Callable[[int], None]:
    return lambda count: None


@contextmanager
def shown_on(terminal: Terminal) -> Iterator[Watch]:
    bars: list[Progress] = []

    def watch(total: int) -> Callable[[int], None]:
        bars.append(Progress(terminal, total, "rows"))
        return bars[-1]

    try:
        yield watch
    finally:
        for bar in bars:
            bar.end()
