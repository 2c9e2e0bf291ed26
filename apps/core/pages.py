"""What a page of the console consists of, as plain data that templates draw.

Admin classes say what stands on a page; `templates/console/` alone knows how it looks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

# A cell is text (escaped by the template) or markup made by one of the functions below.
Cell = str | SafeString


class Tone(StrEnum):
    """What a badge's colour says; the text says it too."""

    PLAIN = "plain"
    GOOD = "good"
    WARNING = "warning"
    DANGER = "danger"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Button:
    """Something to do or open. With `posts` it is a form of one button, sent by POST."""

    label: str
    url: str
    tone: str = "default"  # default, primary, danger
    posts: bool = False
    fields: Sequence[tuple[str, str]] = ()
    # For those who hear the page: tells buttons of the same label apart.
    about: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    cells: Sequence[Cell]
    buttons: Sequence[Button] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """A table with a heading."""

    title: str
    columns: Sequence[str] = ()
    rows: Sequence[Row] = ()
    empty: str = "Nothing yet."
    note: Cell = ""
    buttons: Sequence[Button] = ()

    @property
    def has_buttons(self) -> bool:
        return any(row.buttons for row in self.rows)


@dataclass(frozen=True, slots=True)
class Meter:
    """How much of a quota is used. `cap` None is no cap."""

    label: str
    used: int
    cap: int | None

    @property
    def percent(self) -> int:
        return min(100, round(100 * self.used / self.cap)) if self.cap else 0

    @property
    def tone(self) -> str:
        # SPEC 11: above 80 % somebody should look.
        return Tone.DANGER if self.percent >= 100 else Tone.WARNING if self.percent > 80 else Tone.GOOD


@dataclass(frozen=True, slots=True)
class Tab:
    label: str
    url: str
    is_active: bool
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page about one thing."""

    title: str
    kicker: str = ""
    crumbs: Sequence[tuple[str, str]] = ()
    badges: Sequence[SafeString] = ()
    facts: Sequence[tuple[str, Cell]] = ()
    buttons: Sequence[Button] = ()
    tabs: Sequence[Tab] = ()
    meters: Sequence[Meter] = ()
    panels: Sequence[Panel] = ()
    extra: dict[str, Any] = field(default_factory=dict)


def link(url: str, text: object) -> SafeString:
    return format_html('<a class="nx-link" href="{}">{}</a>', url, text)


def badge(text: object, tone: str = Tone.PLAIN) -> SafeString:
    return format_html('<span class="nx-badge nx-{}">{}</span>', tone, text)


def code(text: object) -> SafeString:
    return format_html('<code class="nx-code">{}</code>', text)


def marked(name: Cell, marks: Sequence[SafeString]) -> SafeString:
    """A name with its badges behind it."""
    return format_html("{} {}", name, format_html_join(" ", "{}", ((mark,) for mark in marks)))


def mono_block(text: object) -> SafeString:
    return format_html('<pre class="nx-block" tabindex="0">{}</pre>', text)


def clipped(text: str) -> SafeString:
    """One line of what may be 64 KiB, the rest by its page."""
    return format_html('<code class="nx-code nx-clip">{}</code>', text[:120])


def masked() -> SafeString:
    """Where a secret's value would stand; always of one length."""
    return format_html('<span class="nx-masked" aria-label="hidden">{}</span>', "••••••••")


_ENVIRONMENT_TONES = {"production": Tone.DANGER, "staging": Tone.WARNING, "develop": Tone.GOOD}


def environment_badge(name: str) -> SafeString:
    return badge(name, _ENVIRONMENT_TONES.get(name, Tone.INFO))


def when(at: datetime | None, *, never: str = "never") -> Cell:
    """A time in UTC to the minute, the full one on hovering."""
    if at is None:
        return never
    at = at.astimezone(timezone.get_default_timezone())
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        at.isoformat(),
        at.strftime("%Y-%m-%d %H:%M:%S"),
        at.strftime("%d %b %Y, %H:%M"),
    )
