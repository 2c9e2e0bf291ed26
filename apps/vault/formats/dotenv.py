"""Read dotenv as python-dotenv does without interpolation. Nothing is executed, nothing expanded."""

import re

from apps.core.errors import InvalidInput
from apps.core.names import KEY_RULE, is_entry_key

_BETWEEN = re.compile(r"\s*+(?:#[^\r\n]*+\s*+)*+")
_NAME = re.compile(r"(?:export[^\S\r\n]++)?([^=#\s]++)[^\S\r\n]*+=([^\S\r\n]*+)")
_QUOTED = {
    "'": re.compile(r"'((?:[^'\\]++|\\.)*+)'", re.DOTALL),
    '"': re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL),
}
_ESCAPES = {"'": re.compile(r"\\([\\'])"), '"': re.compile(r"\\([\\'\"abfnrtv])")}
_MEANS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_REST = re.compile(r"[^\S\r\n]*+(?:#[^\r\n]*+)?(?:[\r\n]|\Z)")
_LINE = re.compile(r"[^\r\n]*+")
_COMMENT = re.compile(r"(?<=\s)#")
_LINE_BREAK = re.compile(r"\r\n|\n|\r")


def parse_dotenv(text: str) -> dict[str, str]:
    """Names and values in the order of the file.

    Raises InvalidInput with the number of the line, never with what stands there.
    """
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    counter = _Lines(text)
    position = _between(text, 0)
    while position < len(text):
        line = counter.at(position)
        match = _NAME.match(text, position)
        if match is None:
            raise wrong(line, "Write NAME=value, or # before a comment.")
        name = match[1]
        if not is_entry_key(name):
            raise wrong(line, f"The name is no key. {KEY_RULE}")
        if name in found:
            raise wrong(line, f"{name} stands in line {lines[name]} already. Keep one.")
        found[name], position = _value(text, match.end(), line, spaced=bool(match[2]))
        lines[name] = line
        position = _between(text, position)
    return found


def wrong(line: int, message: str) -> InvalidInput:
    return InvalidInput.of("content", f"Line {line}: {message}")


class _Lines:
    """Numbers of lines for rising positions, each stretch of text looked at once."""

    def __init__(self, text: str) -> None:
        self.text, self.position, self.line = text, 0, 1

    def at(self, position: int) -> int:
        self.line += sum(1 for _ in _LINE_BREAK.finditer(self.text, self.position, position))
        self.position = position
        return self.line


def _between(text: str, position: int) -> int:
    match = _BETWEEN.match(text, position)
    return match.end() if match else position


def _value(text: str, position: int, line: int, *, spaced: bool) -> tuple[str, int]:
    """The value at `position` and where it ends; `spaced` tells that spaces stand before it."""
    quote = text[position : position + 1]
    if quote == "#" and spaced:
        return "", position
    if quote not in _QUOTED:
        return _unquoted(text, position)
    match = _QUOTED[quote].match(text, position)
    if match is None:
        raise wrong(line, "The quote that begins here does not end.")
    value = _ESCAPES[quote].sub(lambda escape: _MEANS.get(escape[1], escape[1]), match[1])
    rest = _REST.match(text, match.end())
    if rest is None:
        raise wrong(line, "Something stands behind the closing quote. Escape quotes inside with a backslash.")
    return value, rest.end()


def _unquoted(text: str, position: int) -> tuple[str, int]:
    match = _LINE.match(text, position)
    if match is None:
        return "", position
    comment = _COMMENT.search(match[0])
    return (match[0][: comment.start()] if comment else match[0]).rstrip(), match.end()
