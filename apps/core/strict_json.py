"""JSON as RFC 8259 means it, where Python is lax: no NaN, no duplicate members, no lone surrogates."""

import json
import math
from collections.abc import Mapping
from typing import Any

from apps.core.errors import InvalidInput, MalformedRequest

# Deeper documents are attacks on parsers, not configs.
MAX_DEPTH = 64


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidInput.of(
                    name if name.isprintable() else "", "This member stands twice. Keep one."
                )
            seen.add(name)
    return members


def _constant(name: str) -> Any:
    raise InvalidInput.of("", f"{name} is no JSON number. Use null or a string.")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise InvalidInput.of("", "A number is beyond what a double can hold. Write it as a string.")
    return value


def loads(data: bytes | str) -> Any:
    """Parse a JSON text.

    Raises MalformedRequest for what is no JSON in UTF-8 (or nests deeper than MAX_DEPTH), and
    InvalidInput for what parses and is still wrong: NaN, a duplicate member, a lone surrogate.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(text, object_pairs_hook=_members, parse_constant=_constant, parse_float=_float)
    except (ValueError, RecursionError):
        # The parser's message quotes what it met, which may be part of a secret.
        raise MalformedRequest("The body is not JSON in UTF-8.") from None
    require_sane(value)
    return value


def require_sane(value: Any, *, path: str = "", depth: int = 0) -> None:
    """Raise unless `value` can travel as JSON: depth, finite numbers, no lone surrogates."""
    if depth >= MAX_DEPTH and isinstance(value, Mapping | list):
        raise MalformedRequest(f"The document nests deeper than {MAX_DEPTH} levels.")
    match value:
        case str():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise InvalidInput.of(path, "A text has a lone surrogate, which is no character.") from None
        case float() if not math.isfinite(value):
            raise InvalidInput.of(path, "A number is not finite.")
        case Mapping():
            for name, member in value.items():
                require_sane(name, path=path, depth=depth)
                require_sane(member, path=f"{path}.{name}".lstrip("."), depth=depth + 1)
        case list():
            for number, element in enumerate(value):
                require_sane(element, path=f"{path}.{number}".lstrip("."), depth=depth + 1)
        case _:
            return


def dumps(value: Any) -> str:
    """The text that is stored and served: compact, members in the order they were given."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
