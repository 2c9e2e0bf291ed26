"""What the rounds say: medians, quartiles, ratios, bars, and the tables that show them."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """One promise with its measured value. `is_minimum` tells on which side of the limit it is kept."""

    name: str
    measured: float
    limit: float
    is_minimum: bool
    unit: str = ""

    @property
    def holds(self) -> bool:
        return self.measured >= self.limit if self.is_minimum else self.measured <= self.limit

    @property
    def text(self) -> str:
        return f"{'≥' if self.is_minimum else '≤'} {self.limit:g}{self.unit}"

    @property
    def verdict(self) -> str:
        return "pass" if self.holds else "**FAIL**"


def lower_quartile(values: Sequence[float]) -> float:
    if len(values) < 2:
        return values[0]
    return statistics.quantiles(values, n=4, method="inclusive")[0]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; every column but the first holds numbers and is aligned to the right."""
    lines = [header, ["---", *["---:" for _ in header[1:]]], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
