"""Read YAML 1.2 by its core schema: data alone, no tags, and aliases within bounds.

The library's parser gives events; what they mean is decided here, so that no word of YAML 1.1
(`yes`, `0777`, dates, merge keys) slips in.
"""

import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scanner import Scanner

from apps.core.errors import InvalidInput
from apps.core.names import is_entry_key
from apps.core.strict_json import MAX_DEPTH
from apps.vault.formats.dotenv import wrong

# With aliases counted as often as they are used: a file of 2,000 entries has a tenth of it.
NODES_MAX = 50_000
# Python turns no longer text into a whole number either.
_DIGITS_MAX = 4_000

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# YAML 1.2.2 section 10.3.2
_DECIMAL = re.compile(r"[-+]?[0-9]+\Z", re.ASCII)
_OCTAL = re.compile(r"0o[0-7]+\Z", re.ASCII)
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+\Z", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z", re.ASCII)
_NOT_FINITE = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")


class _BoundedScanner(Scanner):
    """Stops before brackets nest deeper than any document may: the library's time grows with both
    length and depth, and it looks far ahead before it gives the first event."""

    def fetch_flow_collection_start(self, *arguments: Any, **options: Any) -> None:
        if len(self.flow_context) >= MAX_DEPTH:
            raise _too_deep()
        super().fetch_flow_collection_start(*arguments, **options)


def _too_deep() -> InvalidInput:
    return InvalidInput.of("content", f"The document nests deeper than {MAX_DEPTH} levels.")


def parse_yaml(text: str) -> Any:
    """The one document in `text`, or None where there is none.

    Raises InvalidInput with the number of the line, never with what stands there: for tags,
    duplicate keys, keys that are no scalars, numbers that are not finite, and for more than
    NODES_MAX nodes.
    """
    if "\x85" in text:
        # The library takes it for a line break, as YAML 1.1 does.
        line = text.count("\n", 0, text.index("\x85")) + 1
        raise wrong(line, "Write U+0085 as \\N in double quotes: readers of YAML disagree about it.")
    reader = YAML(typ="safe", pure=True)
    reader.Scanner = _BoundedScanner
    try:
        return _Builder(reader.parse(text)).document()
    except ReaderError as error:
        raise wrong(
            text.count("\n", 0, error.position) + 1, "A character may stand in YAML as an escape only."
        ) from None
    except MarkedYAMLError as error:
        # Not the library's words, which quote the line.
        mark = error.problem_mark or error.context_mark
        raise wrong(mark.line + 1 if mark else 1, "This is no YAML 1.2.") from None
    except (YAMLError, ValueError, OverflowError, IndexError, RecursionError):
        # The library lets some of its own mistakes through, at escapes beyond U+10FFFF for one.
        raise InvalidInput.of("content", "This is no YAML 1.2.") from None


class _Builder:
    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.nodes = 0
        # What an anchor names, and how many nodes that is; None while it is not finished.
        self.anchors: dict[str, tuple[Any, int] | None] = {}

    def document(self) -> Any:
        next(self.events)
        first = next(self.events)
        if not isinstance(first, DocumentStartEvent):
            return None
        if first.version not in (None, (1, 2)):
            raise _wrong_at(first, "Only YAML 1.2 is read.")
        value = self._node(next(self.events), 0)
        next(self.events)
        following = next(self.events)
        if isinstance(following, DocumentStartEvent):
            raise _wrong_at(following, "A second document begins. Send one.")
        return value

    def _count(self, event: Any, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > NODES_MAX:
            raise _wrong_at(event, f"More than {NODES_MAX} nodes do not fit, aliases counted in full.")

    def _node(self, event: Any, depth: int) -> Any:
        if isinstance(event, AliasEvent):
            return self._alias(event)
        if event.tag is not None:
            raise _wrong_at(event, "Tags are not read. Quotes make a text of anything.")
        before = self.nodes
        self._count(event, 1)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if isinstance(event, CollectionStartEvent) and depth >= MAX_DEPTH:
            raise _too_deep()
        value: Any
        if isinstance(event, MappingStartEvent):
            value = self._mapping(depth)
        elif isinstance(event, SequenceStartEvent):
            value = self._sequence(depth)
        else:
            value = _scalar(event)
        if event.anchor is not None:
            self.anchors[event.anchor] = value, self.nodes - before
        return value

    def _alias(self, event: AliasEvent) -> Any:
        named = self.anchors.get(event.anchor)
        if named is None:
            raise _wrong_at(event, "The alias names nothing that stands complete before it.")
        self._count(event, named[1])
        return named[0]

    def _sequence(self, depth: int) -> list[Any]:
        elements = []
        while not _ends(event := next(self.events)):
            elements.append(self._node(event, depth + 1))
        return elements

    def _mapping(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        while not _ends(event := next(self.events)):
            name = self._name(event)
            if name in members:
                told = f"The key {name}" if is_entry_key(name) else "This key"
                raise _wrong_at(event, f"{told} stands twice in its mapping. Keep one.")
            members[name] = self._node(next(self.events), depth + 1)
        return members

    def _name(self, event: Any) -> str:
        if not isinstance(event, ScalarEvent):
            raise _wrong_at(event, "A key is a text.")
        if event.tag is not None:
            raise _wrong_at(event, "Tags are not read. Quotes make a text of anything.")
        if event.anchor is not None:
            raise _wrong_at(event, "A key takes no anchor.")
        if event.style is None and event.value == "<<":
            raise _wrong_at(event, "YAML 1.2 has no merge keys. Write the members out.")
        self._count(event, 1)
        return _text(event)


def _ends(event: Any) -> bool:
    return type(event).__name__ in ("MappingEndEvent", "SequenceEndEvent")


def _wrong_at(event: Any, message: str) -> InvalidInput:
    return wrong(event.start_mark.line + 1, message)


def _text(event: ScalarEvent) -> str:
    value = str(event.value)
    if _SURROGATE.search(value) is None:
        return value
    try:
        # JSON's way to write what lies beyond U+FFFF, which YAML 1.2 has to read.
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise _wrong_at(event, "A text has a lone surrogate, which is no character.") from None


def _scalar(event: ScalarEvent) -> Any:
    """The value of a scalar by the core schema (YAML 1.2.2 section 10.3.2)."""
    text = _text(event)
    if event.style is not None:
        return text
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _NOT_FINITE.match(text):
        raise _wrong_at(event, "A number is not finite. Put it in quotes.")
    base = 10 if _DECIMAL.match(text) else 8 if _OCTAL.match(text) else 16 if _HEXADECIMAL.match(text) else 0
    if base:
        if len(text) > _DIGITS_MAX:
            raise _wrong_at(event, f"A number of more than {_DIGITS_MAX} digits stands in quotes.")
        return int(text if base == 10 else text[2:], base)
    if _FLOAT.match(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise _wrong_at(event, "A number is beyond what a double can hold. Put it in quotes.")
        return number
    return text
