"""Shapes of bodies that mean what they say.

The framework is generous: it takes 1 for true and a number for a text. Here a body has the types that
the OpenAPI document names, and what it says of a field is what the field asks.
"""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.errors import InvalidInput
from apps.core.names import KEY_MAX_LENGTH, KEY_PATTERN, NAME_MAX_LENGTH, SLUG_MAX_LENGTH, SLUG_PATTERN

# Whoever sends ten digits means something else.
ROW_VERSION_MAX = 2**31 - 1


@extend_schema_field(
    {"type": "string", "minLength": 1, "maxLength": SLUG_MAX_LENGTH, "pattern": SLUG_PATTERN}
)
class SlugField(serializers.CharField):
    """A slug; that it is one, the operation asks."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=SLUG_MAX_LENGTH, trim_whitespace=False, **options)


# Some character beside the spaces that are taken off.
@extend_schema_field({"type": "string", "minLength": 1, "maxLength": NAME_MAX_LENGTH, "pattern": r"\S"})
class NameField(serializers.CharField):
    """A name for people; what is printable, the operation asks."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=NAME_MAX_LENGTH, **options)


KEY_SCHEMA = {"type": "string", "minLength": 1, "maxLength": KEY_MAX_LENGTH, "pattern": KEY_PATTERN}


def require_types(shape: Any, data: Any) -> None:
    """Raise InvalidInput where a member of `data` has another JSON type than `shape` says."""
    wrong: dict[str, list[str]] = {}
    _compare(shape, data, "", wrong)
    if wrong:
        raise InvalidInput(wrong)


def _compare(field: Any, value: Any, path: str, wrong: dict[str, list[str]]) -> None:
    if value is None:
        return
    match field:
        case serializers.ListSerializer() | serializers.ListField():
            for number, element in enumerate(value if isinstance(value, list) else ()):
                _compare(field.child, element, f"{path}.{number}".lstrip("."), wrong)
        case serializers.Serializer():
            for name, inner in field.fields.items() if isinstance(value, Mapping) else ():
                if name in value:
                    _compare(inner, value[name], f"{path}.{name}".lstrip("."), wrong)
        case serializers.BooleanField():
            if not isinstance(value, bool):
                wrong[path] = ["Send true or false."]
        case serializers.IntegerField():
            if isinstance(value, bool) or not (isinstance(value, int) or _is_whole(value)):
                wrong[path] = ["Send a whole number."]
        case (
            serializers.CharField()
            | serializers.ChoiceField()
            | serializers.DateTimeField()
            | serializers.UUIDField()
        ):
            if not isinstance(value, str):
                wrong[path] = ["Send a string."]


def _is_whole(value: object) -> bool:
    # JSON has one kind of number: 3.0 is 3 (RFC 8259 section 6).
    return isinstance(value, float) and value.is_integer()
