"""Write entries into one flat file: `sh`, `dotenv`, `json`, `yaml` (SPEC 8).

`sh` is read back by `sh`, `dotenv` by python-dotenv without interpolation, `yaml` by readers of
YAML 1.2 and of 1.1 alike.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from apps.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Item:
    """An entry on its way out. `text` is what a person would type, `value` the same with its type."""

    kind: str
    key: str
    text: str
    value: Any

    def __repr__(self) -> str:
        # Without the value: no log and no traceback shows it.
        return f"<{self.kind} {self.key}>"


def write(form: str, items: Sequence[Item]) -> str:
    """The file of `items` in the format `form`, in their order.

    Raises InvalidInput, naming the keys, where two take one name, or where the format has no way to
    write a text.
    """
    if form not in _WRITERS:
        raise InvalidInput.of("format", f"Choose one of {', '.join(_WRITERS)}.")
    name_of, writer = _WRITERS[form]
    named: dict[str, Item] = {}
    for item in items:
        name = name_of(item.key)
        other = named.setdefault(name, item)
        if other is not item:
            raise InvalidInput.of(
                item.key,
                f"The {other.kind} {other.key} and the {item.kind} {item.key} would both be {name}. "
                "Rename one.",
            )
    return writer(named)


def variable_name(key: str) -> str:
    """The name that a key has in `sh` and `dotenv`: upper-case, other characters `_`."""
    return re.sub(r"[^A-Z0-9_]", "_", key.upper())


def _require_no_nul(item: Item, form: str) -> None:
    if "\x00" in item.text:
        raise InvalidInput.of(
            item.key, f"The {item.kind} {item.key} holds a NUL character, which {form} has no way to write."
        )


# What shells keep for themselves: not writable, or read back as something else.
_SHELL_KEEPS = re.compile(
    r"(?:BASH(?:_.*|OPTS|PID)?|SHELLOPTS|E?UID|PPID|GROUPS|DIRSTACK|FUNCNAME|PIPESTATUS|HISTCMD"
    r"|LINENO|OPTIND|S?RANDOM|SECONDS|EPOCHSECONDS|EPOCHREALTIME|COMP_.*|ERRNO)\Z"
)


def _sh(named: dict[str, Item]) -> str:
    """POSIX.1-2017, Shell Command Language 2.2.2: in single quotes nothing means anything but itself."""
    lines = []
    for name, item in named.items():
        _require_no_nul(item, "sh")
        if _SHELL_KEEPS.match(name):
            raise InvalidInput.of(
                item.key, f"The {item.kind} {item.key} would be {name}, which shells keep for themselves."
            )
        quoted = item.text.replace("'", "'\\''")
        lines.append(f"export {name}='{quoted}'\n")
    return "".join(lines)


def _dotenv(named: dict[str, Item]) -> str:
    """Quoted as python-dotenv reads it.

    Earlier releases of it take a backslash before the closing quote for an escape of that quote,
    escaped or not, wherever another such quote follows. So a text that ends with one stands without
    quotes, or where it cannot, in the last line.
    """
    lines, last = [], []
    for name, item in named.items():
        _require_no_nul(item, "dotenv")
        text = item.text
        if not re.search(r"['\\\r]", text):
            lines.append(f"{name}='{text}'\n")
        elif not text.endswith("\\"):
            lines.append(f"{name}={_double_quoted(text)}\n")
        elif _stands_unquoted(text):
            lines.append(f"{name}={text}\n")
        else:
            last.append(f"{name}={_double_quoted(text)}\n")
    return "".join([*lines, *last])


def _double_quoted(text: str) -> str:
    # A raw CR would become LF where the file is opened as text.
    for raw, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\r", "\\r"), ("\n", "\\n")):
        text = text.replace(raw, escaped)
    return f'"{text}"'


def _stands_unquoted(text: str) -> bool:
    return text == text.strip() and text[0] not in "'\"" and not re.search(r"[\r\n]|\s#", text)


def _json(named: dict[str, Item]) -> str:
    document = {name: item.value for name, item in named.items()}
    return json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


# What YAML 1.1 reads as a boolean or null, and 1.2 as a string; the others that begin with a letter
# are words to both.
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_YAML_PLAIN_KEY = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?\Z")
# Beyond it a key is no implicit one (YAML 1.2.2 section 7.4), and stands behind `?`.
_YAML_IMPLICIT_KEY_MAX = 1_000
# All that is not printable ASCII, and not letters, signs or astral characters that every reader
# takes raw: controls, NEL, the separators that 1.1 breaks lines at, the byte order mark, noncharacters.
_YAML_ESCAPED = re.compile('["\\\\\x00-\x1f\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]')
_YAML_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _yaml(named: dict[str, Item]) -> str:
    """Texts always in double quotes, so that no reader takes one for anything else."""
    lines = []
    for name, item in named.items():
        plain = _YAML_PLAIN_KEY.match(name) and name.lower() not in _YAML_WORDS
        lines.append(f"{name if plain else _yaml_text(name)}: {_yaml_value(item.value)}\n")
    return "".join(lines) or "{}\n"


def _yaml_text(text: str) -> str:
    def escape(match: re.Match[str]) -> str:
        return _YAML_SHORT.get(match[0]) or f"\\u{ord(match[0]):04x}"

    return f'"{_YAML_ESCAPED.sub(escape, text)}"'


def _yaml_value(value: Any) -> str:
    match value:
        case str():
            return _yaml_text(value)
        case bool() | None | int():
            return json.dumps(value)
        case float():
            # YAML 1.1 knows no float without a dot: 1e+16 would be a string.
            text = json.dumps(value, allow_nan=False)
            return text if "." in text else text.replace("e", ".0e")
        case list():
            return f"[{', '.join(_yaml_value(element) for element in value)}]"
        case _:
            return f"{{{', '.join(_yaml_member(name, member) for name, member in value.items())}}}"


def _yaml_member(name: str, member: Any) -> str:
    quoted = _yaml_text(name)
    mark = "? " if len(quoted) > _YAML_IMPLICIT_KEY_MAX else ""
    return f"{mark}{quoted} : {_yaml_value(member)}" if mark else f"{quoted}: {_yaml_value(member)}"


def _as_it_is(key: str) -> str:
    return key


_WRITERS: dict[str, tuple[Callable[[str], str], Callable[[dict[str, Item]], str]]] = {
    "sh": (variable_name, _sh),
    "dotenv": (variable_name, _dotenv),
    "json": (_as_it_is, _json),
    "yaml": (_as_it_is, _yaml),
}
