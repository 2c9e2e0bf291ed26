"""A flag's definition (SPEC 7): read from its wire form, written back, and answered where no context matters.

Pure: no database and no clock; callers bring the time.

`type` is `boolean`, `string`, `number` or `json`. A flag of type `boolean` whose variants are exactly
`on` = true and `off` = false, in either order or left out, is a *boolean flag*; with any other variants it
is a multivariate flag of booleans. A multivariate flag's variants may be null whatever its type.
"""

import copy
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, TypeAlias, TypeGuard, TypeVar

JSONValue: TypeAlias = "bool | int | float | str | list[JSONValue] | dict[str, JSONValue] | None"
Errors: TypeAlias = defaultdict[str, list[str]]
Kind = TypeVar("Kind")

TYPES: Final = ("boolean", "string", "number", "json")
ENTRY_KEY: Final = re.compile(r"[a-zA-Z]([a-zA-Z0-9_.:-]*[a-zA-Z0-9])?")

MAX_KEY_CHARACTERS: Final = 255
MAX_SALT_CHARACTERS: Final = 255
MAX_DESCRIPTION_CHARACTERS: Final = 2_000
MAX_VARIANTS: Final = 100
MAX_METADATA_MEMBERS: Final = 100
# Of compact JSON in UTF-8: the whole may be as large as a config (SPEC 6), one value half of that.
MAX_DEFINITION_BYTES: Final = 65_536
MAX_VALUE_BYTES: Final = 32_768
# Arrays and objects within each other, the definition included; a context may have as many (SPEC 7).
MAX_DEPTH: Final = 20

# The path of an error that is about no single member.
WHOLE: Final = "definition"
TARGETING_NOT_AVAILABLE: Final = "Leave this empty: targeting is not available yet."

_WIRE_MEMBERS: Final = (
    "key", "type", "enabled", "salt", "starts_at", "ends_at", "variants", "default", "off",
    "overrides", "prerequisites", "metadata", "rules",
)  # fmt: skip
_MEMBERS: Final = (*_WIRE_MEMBERS, "description")
_VARIANT_MEMBERS: Final = ("key", "value")
_NOUNS: Final[dict[type, str]] = {bool: "true or false", str: "a string", list: "an array", dict: "an object"}
_VALUE_CLASSES: Final = {"boolean": bool, "string": str, "number": int | float}
_BOOLEAN_VARIANTS: Final[dict[str, JSONValue]] = {"on": True, "off": False}
_KEY_RULE: Final = (
    f"Give a key of at most {MAX_KEY_CHARACTERS} ASCII letters, digits and `_.:-`"
    " that begins with a letter and ends with a letter or digit."
)

_RFC_3339: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?"
    r"([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# PostgreSQL stores U+0000 neither in text nor in jsonb; an unpaired surrogate has no UTF-8
# (RFC 8259 section 8.2).
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
# 2**53 - 1: beyond it a double skips whole numbers (RFC 7493 section 2.2).
_MAX_EXACT_INTEGER: Final = 9_007_199_254_740_991


class InvalidDefinition(ValueError):
    """The document is no flag definition; `errors` maps paths (`variants.0.value`) to what to do."""

    def __init__(self, errors: Mapping[str, list[str]]) -> None:
        super().__init__(errors)
        self.errors: dict[str, list[str]] = dict(errors)

    def __str__(self) -> str:
        return " ".join(f"{path}: {' '.join(messages)}" for path, messages in self.errors.items())


@dataclass(frozen=True, slots=True)
class Variant:
    """A named value that a flag can serve."""

    key: str
    value: JSONValue


@dataclass(frozen=True, slots=True)
class FlagDefinition:
    """A definition that holds all the rules of SPEC 7; `parse_definition` makes it.

    `starts_at` and `ends_at` are in UTC, whole seconds, and bound the half-open interval in which the flag
    is on; None is no bound. `default` and `off` are keys of `variants`, or None: no variant, null value.
    """

    key: str
    type: str
    enabled: bool
    salt: str
    starts_at: datetime | None
    ends_at: datetime | None
    variants: tuple[Variant, ...]
    default: str | None
    off: str | None
    overrides: Mapping[str, JSONValue]
    prerequisites: tuple[JSONValue, ...]
    metadata: Mapping[str, str | bool | int | float]
    rules: tuple[JSONValue, ...]
    description: str = ""

    @property
    def is_boolean_flag(self) -> bool:
        return _are_boolean_variants(self.type, self.variants)

    def value_of(self, variant: str | None) -> JSONValue:
        """The value of the variant with that key; null for no variant."""
        return next((each.value for each in self.variants if each.key == variant), None)

    def to_wire(self) -> dict[str, JSONValue]:
        """The wire form of SPEC 7, all members present, sharing nothing with this definition.

        `description` stands in it only when there is one. `parse_definition` reads back an equal definition.
        """
        wire: dict[str, JSONValue] = {
            "key": self.key,
            "type": self.type,
            "enabled": self.enabled,
            "salt": self.salt,
            "starts_at": _wire_time(self.starts_at),
            "ends_at": _wire_time(self.ends_at),
            "variants": [{"key": variant.key, "value": variant.value} for variant in self.variants],
            "default": self.default,
            "off": self.off,
            "overrides": dict(self.overrides),
            "prerequisites": list(self.prerequisites),
            "metadata": dict(self.metadata),
            "rules": list(self.rules),
        }
        if self.description:
            wire["description"] = self.description
        return copy.deepcopy(wire)


@dataclass(frozen=True, slots=True)
class FlagState:
    """What a flag answers: `enabled` = enabled and in schedule; the variant served, its value, and why."""

    enabled: bool
    variant: str | None
    value: JSONValue
    reason: str


def parse_definition(document: object, *, key: str | None = None) -> FlagDefinition:
    """Read the wire form of a flag's definition (SPEC 7), filling in what it leaves out.

    `document` is parsed JSON; the result shares nothing with it. `key` is the flag's key where the caller
    knows it, from an address say: the document may then leave it out, and may not name another.
    Timestamps are RFC 3339 with an offset and whole seconds. `type` is `boolean` where not given.
    A whole number beyond 2**53 - 1 that a double's JSON text can be (10**300) becomes that double.
    Limits are the constants above. `rules`, `overrides` and `prerequisites` must be empty as yet.

    Raises InvalidDefinition, with every error found, for any other JSON value. Sizes are those of the
    finished wire form, so they are looked at once nothing else is wrong.
    """
    errors: Errors = defaultdict(list)
    members = _copied(document, (), errors)
    if not isinstance(members, dict):
        raise InvalidDefinition({WHOLE: ["Give an object with the flag's definition."]})
    _refuse_unknown(members, _MEMBERS, (), errors)

    flag_key = _read_key(members, key, errors)
    flag_type = _read_type(members, errors)
    variants = _read_variants(members, flag_type, errors)
    is_boolean_flag = _are_boolean_variants(flag_type, variants)
    starts_at, ends_at = _read_schedule(members, errors)
    definition = FlagDefinition(
        key=flag_key,
        type=flag_type,
        enabled=_read(members, "enabled", bool, False, errors),
        salt=_read_text(members, "salt", MAX_SALT_CHARACTERS, errors),
        starts_at=starts_at,
        ends_at=ends_at,
        variants=variants,
        default=_read_choice(members, "default", "on" if is_boolean_flag else None, variants, errors),
        off=_read_choice(members, "off", "off" if is_boolean_flag else None, variants, errors),
        overrides=_read_targeting(members, "overrides", dict, {}, errors),
        prerequisites=tuple(_read_targeting(members, "prerequisites", list, [], errors)),
        metadata=_read_metadata(members, errors),
        rules=tuple(_read_targeting(members, "rules", list, [], errors)),
        description=_read_text(members, "description", MAX_DESCRIPTION_CHARACTERS, errors),
    )
    # What is not sound JSON cannot be measured: its text does not exist, or does not end.
    if not errors:
        _refuse_large(definition, errors)
    if errors:
        raise InvalidDefinition(errors)
    return definition


def evaluate_state(definition: FlagDefinition, at: datetime) -> FlagState:
    """What the flag answers at `at` (aware) to everybody, targeting aside.

    Order and reasons are those of SPEC 7: `DISABLED`, then `SCHEDULED` (both serve `off`), then `default`
    with `STATIC`, or `DEFAULT` where it is null.
    """
    in_schedule = (definition.starts_at is None or definition.starts_at <= at) and (
        definition.ends_at is None or at < definition.ends_at
    )
    enabled = definition.enabled and in_schedule
    variant = definition.default if enabled else definition.off
    if not definition.enabled:
        reason = "DISABLED"
    elif not in_schedule:
        reason = "SCHEDULED"
    else:
        reason = "DEFAULT" if variant is None else "STATIC"
    return FlagState(enabled=enabled, variant=variant, value=definition.value_of(variant), reason=reason)


def schedule_edges(definition: FlagDefinition) -> tuple[int, ...]:
    """The Unix seconds at which the flag's answer changes by itself, ascending; none while it is disabled."""
    bounds = (definition.starts_at, definition.ends_at) if definition.enabled else ()
    return tuple(sorted(int(bound.timestamp()) for bound in bounds if bound is not None))


def next_edge(edges: Iterable[int], at: float) -> int | None:
    """The first of `edges` strictly after `at`; both in Unix seconds. None if none is left."""
    return min((edge for edge in edges if edge > at), default=None)


def last_edge(edges: Iterable[int], at: float) -> int:
    """The last of `edges` at or before `at`; both in Unix seconds. 0 if none has passed, as in SPEC 8."""
    return max((edge for edge in edges if edge <= at), default=0)


def _copied(value: object, path: tuple[str, ...], errors: Errors) -> JSONValue:
    """A copy of `value`, with an error for each part that is no JSON, or cannot be stored and served."""
    match value:
        case None | bool():
            return value
        case int() | float():
            return _copied_number(value, path, errors)
        case str():
            if _UNSTORABLE.search(value):
                errors[_shown(path)].append("Leave out U+0000 and unpaired surrogates.")
            return value
        case list() | Mapping() if len(path) >= MAX_DEPTH:
            errors[_shown(path)].append(f"Nest arrays and objects at most {MAX_DEPTH} deep.")
            return None
        case list():
            return [_copied(element, (*path, str(index)), errors) for index, element in enumerate(value)]
        case Mapping():
            members: dict[str, JSONValue] = {}
            for name, member in value.items():
                if not isinstance(name, str):
                    errors[_shown(path)].append("Give every member a name that is a string.")
                    continue
                if _UNSTORABLE.search(name):
                    errors[_shown((*path, name))].append("Leave U+0000 and surrogates out of the name.")
                members[name] = _copied(member, (*path, name), errors)
            return members
        case _:
            errors[_shown(path)].append("Give a JSON value.")
            return None


def _copied_number(number: int | float, path: tuple[str, ...], errors: Errors) -> int | float:
    # NaN compares false with everything, so it falls out here as well.
    if not -sys.float_info.max <= number <= sys.float_info.max:
        errors[_shown(path)].append("Give a number that a double holds; NaN and infinity are none.")
    elif isinstance(number, int) and abs(number) > _MAX_EXACT_INTEGER:
        # A jsonb column writes 1e300 out in digits: that must read back as the number it was.
        if Decimal(repr(float(number))) == number:
            return float(number)
        errors[_shown(path)].append(
            f"Give this as a string: clients round whole numbers beyond {_MAX_EXACT_INTEGER:,}."
        )
    return number


def _read(
    members: Mapping[str, JSONValue], name: str, kind: type[Kind], default: Kind, errors: Errors
) -> Kind:
    value = members.get(name, default)
    if isinstance(value, kind):
        return value
    errors[name].append(f"Give {_NOUNS[kind]}, or leave it out.")
    return default


def _read_text(members: Mapping[str, JSONValue], name: str, max_characters: int, errors: Errors) -> str:
    text = _read(members, name, str, "", errors)
    if len(text) > max_characters:
        errors[name].append(f"Give at most {max_characters:,} characters.")
    return text


def _read_key(members: Mapping[str, JSONValue], known_key: str | None, errors: Errors) -> str:
    key = members.get("key", known_key)
    if not _is_entry_key(key):
        errors["key"].append(_KEY_RULE)
        return ""
    if known_key is not None and key != known_key:
        errors["key"].append("Leave this out, or give the key that the flag is addressed by.")
    return key


def _read_type(members: Mapping[str, JSONValue], errors: Errors) -> str:
    flag_type = members.get("type", "boolean")
    if isinstance(flag_type, str) and flag_type in TYPES:
        return flag_type
    errors["type"].append(f"Choose one of {', '.join(TYPES)}.")
    # Takes any value, so that the variants are not blamed for the type.
    return "json"


def _read_variants(members: Mapping[str, JSONValue], flag_type: str, errors: Errors) -> tuple[Variant, ...]:
    if flag_type == "boolean" and "variants" not in members:
        return tuple(Variant(key, value) for key, value in _BOOLEAN_VARIANTS.items())
    entries = members.get("variants")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_VARIANTS:
        errors["variants"].append(f"Give an array of 1 to {MAX_VARIANTS} variants.")
        return ()
    variants: dict[str, Variant] = {}
    for index, entry in enumerate(entries):
        path = f"variants.{index}"
        if not isinstance(entry, dict):
            errors[path].append("Give an object with `key` and `value`.")
            continue
        _refuse_unknown(entry, _VARIANT_MEMBERS, ("variants", str(index)), errors)
        key, value = entry.get("key"), entry.get("value")
        if not _is_entry_key(key):
            errors[f"{path}.key"].append(_KEY_RULE)
        elif key in variants:
            errors[f"{path}.key"].append("Give each variant a key of its own: an earlier one has this.")
        else:
            variants[key] = Variant(key, value)
        if "value" not in entry:
            errors[f"{path}.value"].append("Give a value; null is one.")
        elif not _fits(value, flag_type):
            errors[f"{path}.value"].append(f"Give null or a value of `type` {flag_type}, or change `type`.")
    return tuple(variants.values())


def _read_choice(
    members: Mapping[str, JSONValue],
    name: str,
    fallback: str | None,
    variants: tuple[Variant, ...],
    errors: Errors,
) -> str | None:
    choice = members.get(name, fallback)
    if choice is None or (isinstance(choice, str) and any(variant.key == choice for variant in variants)):
        return choice
    # Without one readable variant there is nothing to choose from, and that has been said.
    if variants or not isinstance(choice, str):
        errors[name].append("Give the key of one of the variants, or null for none.")
    return None


def _read_schedule(
    members: Mapping[str, JSONValue], errors: Errors
) -> tuple[datetime | None, datetime | None]:
    starts_at = _read_time(members, "starts_at", errors)
    ends_at = _read_time(members, "ends_at", errors)
    if starts_at is not None and ends_at is not None and starts_at >= ends_at:
        errors["ends_at"].append("Choose a time after `starts_at`.")
    return starts_at, ends_at


def _read_time(members: Mapping[str, JSONValue], name: str, errors: Errors) -> datetime | None:
    text = members.get(name)
    if text is None:
        return None
    parts = _RFC_3339.fullmatch(text) if isinstance(text, str) else None
    if parts is None:
        errors[name].append("Give an RFC 3339 time with offset, such as 2026-01-01T00:00:00Z, or null.")
        return None
    day, time, fraction, offset = parts.groups(default="")
    # Zeros lose nothing, and JavaScript's toISOString always writes them.
    if fraction.strip(".0"):
        errors[name].append("Give whole seconds: a schedule has no fractions of them.")
        return None
    try:
        moment = datetime.fromisoformat(f"{day}T{time}{offset.upper()}").astimezone(UTC)
    except (ValueError, OverflowError):
        errors[name].append("Give a time that exists, in the years 1970 to 9999 of UTC.")
        return None
    # An edge is a positive Unix second: 0 says that none has passed.
    if moment <= _EPOCH:
        errors[name].append("Choose a time after 1970-01-01T00:00:00Z, or null for no bound.")
        return None
    return moment


def _read_targeting(
    members: Mapping[str, JSONValue], name: str, kind: type[Kind], empty: Kind, errors: Errors
) -> Kind:
    value = _read(members, name, kind, empty, errors)
    if value:
        errors[name].append(TARGETING_NOT_AVAILABLE)
    return value


def _read_metadata(
    members: Mapping[str, JSONValue], errors: Errors
) -> Mapping[str, str | bool | int | float]:
    given: dict[str, JSONValue] = _read(members, "metadata", dict, {}, errors)
    if len(given) > MAX_METADATA_MEMBERS:
        errors["metadata"].append(f"Give at most {MAX_METADATA_MEMBERS} members.")
    metadata: dict[str, str | bool | int | float] = {}
    for name, value in given.items():
        if isinstance(value, str | bool | int | float):
            metadata[name] = value
        else:
            errors[_shown(("metadata", name))].append("Give a string, a number or a boolean.")
    return metadata


def _refuse_unknown(
    members: Mapping[str, JSONValue], known: tuple[str, ...], path: tuple[str, ...], errors: Errors
) -> None:
    for name in members:
        if name not in known:
            errors[_shown((*path, name))].append(f"Remove this member; known here are {', '.join(known)}.")


def _refuse_large(definition: FlagDefinition, errors: Errors) -> None:
    for index, variant in enumerate(definition.variants):
        if _size_bytes(variant.value) > MAX_VALUE_BYTES:
            errors[f"variants.{index}.value"].append(f"Give at most {MAX_VALUE_BYTES:,} bytes of JSON.")
    if _size_bytes(definition.to_wire()) > MAX_DEFINITION_BYTES:
        errors[WHOLE].append(f"Shorten the definition to at most {MAX_DEFINITION_BYTES:,} bytes of JSON.")


def _size_bytes(value: JSONValue) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _is_entry_key(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= MAX_KEY_CHARACTERS and bool(ENTRY_KEY.fullmatch(value))


def _fits(value: JSONValue, flag_type: str) -> bool:
    if value is None or flag_type == "json":
        return True
    # Python counts a bool among the ints; JSON does not.
    if isinstance(value, bool):
        return flag_type == "boolean"
    return isinstance(value, _VALUE_CLASSES[flag_type])


def _are_boolean_variants(flag_type: str, variants: tuple[Variant, ...]) -> bool:
    return flag_type == "boolean" and {each.key: each.value for each in variants} == _BOOLEAN_VARIANTS


def _wire_time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _shown(path: tuple[str, ...]) -> str:
    """The path as an error names it: dotted, safe to encode as UTF-8, long names cut at 64 characters."""
    names = (name if len(name) <= 64 else f"{name[:64]}…" for name in path)
    return ".".join(names).encode("utf-8", "backslashreplace").decode() or WHOLE
