"""How a value of a column is written, the same for every database, and read back with suspicion."""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Permission
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.backends.base.operations import BaseDatabaseOperations

from apps.core.ids import parse_uuid
from nexus.backup.errors import ArchiveIsDamaged
from nexus.backup.tables import PERMISSION, Table

PermissionName = tuple[str, str, str]


class Unfit(Exception):
    """A value that the column does not take. It is never told which: it may be somebody's."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its model field, and how its values are written and read."""

    field: Any
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]

    @property
    def name(self) -> str:
        return str(self.field.attname)

    def encode(self, value: Any) -> Any:
        return None if value is None else self.write(value)

    def decode(self, value: Any) -> Any:
        """The value of a row. Raises Unfit."""
        if value is None:
            if not self.field.null:
                raise Unfit
            return None
        return self.read(value)


def permission_names(using: str) -> dict[int, PermissionName]:
    """How permissions are called wherever they are; their numbers are one database's own."""
    rows = Permission.objects.using(using).values_list(
        "pk", "content_type__app_label", "content_type__model", "codename"
    )
    return {pk: (app, model, codename) for pk, app, model, codename in rows}


def columns_of(table: Table, *, of_tenant: bool, permissions: Mapping[int, PermissionName]) -> list[Column]:
    """The columns of `table` in an archive. Raises ImproperlyConfigured for a type without a form."""
    withheld = table.withheld if of_tenant else ()
    fields = [each for each in table.model._meta.concrete_fields if each.attname not in withheld]
    return [_column(each, permissions) for each in fields]


def decoded(columns: list[Column], row: Any) -> dict[str, Any]:
    """A row's values by column. Raises ArchiveIsDamaged, naming the column and not the value."""
    if not isinstance(row, list) or len(row) != len(columns):
        raise ArchiveIsDamaged("A row does not have as many values as its table has columns.")
    values = {}
    for column, value in zip(columns, row, strict=True):
        try:
            values[column.name] = column.decode(value)
        except Unfit:
            name = f"{column.field.model._meta.label}.{column.name}"
            raise ArchiveIsDamaged(f"A row holds something that {name} does not take.") from None
    return values


def _column(each: Any, permissions: Mapping[int, PermissionName]) -> Column:
    base = each
    while base.remote_field is not None:
        if base.remote_field.model._meta.label == PERMISSION:
            numbers = {name: number for number, name in permissions.items()}
            return Column(each, partial(_name, permissions), partial(_number, numbers))
        base = base.target_field
    for kind, write, read in _FORMS:
        if isinstance(base, kind):
            return Column(each, write, partial(read, base))
    raise ImproperlyConfigured(f"nexus.backup.columns has no form for {each}.")


def _name(names: Mapping[int, PermissionName], number: int) -> list[str]:
    return list(names[number])


def _number(numbers: Mapping[PermissionName, int], name: Any) -> int:
    if not isinstance(name, list) or not all(isinstance(part, str) for part in name):
        raise Unfit
    found = numbers.get(tuple(name))
    if found is None:
        raise Unfit
    return found


def _write_time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _read_time(_: Any, value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise Unfit from None
    if found.tzinfo is None:
        raise Unfit
    return found.astimezone(UTC)


def _read_date(_: Any, value: Any) -> date:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise Unfit from None


def _read_uuid(_: Any, value: Any) -> UUID:
    found = parse_uuid(value) if isinstance(value, str) else None
    if found is None:
        raise Unfit
    return found


def _write_bytes(value: bytes | memoryview) -> str:
    return base64.b64encode(bytes(value)).decode("ascii")


def read_bytes(text: Any) -> bytes:
    """Bytes in base64. Raises Unfit."""
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Unfit from None


def _read_bytes(each: Any, value: Any) -> bytes:
    data = read_bytes(value)
    if each.max_length is not None and len(data) > each.max_length:
        raise Unfit
    return data


def _write_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _read_json(_: Any, value: Any) -> Any:
    if not isinstance(value, str) or "\\u0000" in value:
        raise Unfit
    try:
        found = json.loads(value, parse_constant=_refuse)
        # Half a character can be escaped, and then be sent to nobody.
        _write_json(found).encode()
    except (ValueError, RecursionError):
        raise Unfit from None
    return found


def _refuse(_: str) -> None:
    raise ValueError


def _read_text(each: Any, value: Any) -> str:
    # PostgreSQL takes no NUL, SQLite no notice of a length.
    if not isinstance(value, str) or "\0" in value:
        raise Unfit
    if each.max_length is not None and len(value) > each.max_length:
        raise Unfit
    if each.choices and value not in dict(each.flatchoices):
        raise Unfit
    return value


def _read_boolean(_: Any, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unfit
    return value


def _read_integer(each: Any, value: Any) -> int:
    low, high = BaseDatabaseOperations.integer_field_ranges[each.get_internal_type()]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Unfit
    return value


def _read_float(_: Any, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unfit
    return float(value)


def _read_decimal(each: Any, value: Any) -> Decimal:
    try:
        found = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        found = None
    if found is None or not found.is_finite():
        raise Unfit
    return found


def _as_it_is(value: Any) -> Any:
    return value


# The first that fits: a DateTimeField is a DateField too.
_FORMS: tuple[tuple[type[Any], Callable[[Any], Any], Callable[[Any, Any], Any]], ...] = (
    (models.UUIDField, str, _read_uuid),
    (models.DateTimeField, _write_time, _read_time),
    (models.DateField, date.isoformat, _read_date),
    (models.BinaryField, _write_bytes, _read_bytes),
    (models.JSONField, _write_json, _read_json),
    (models.BooleanField, _as_it_is, _read_boolean),
    (models.DecimalField, str, _read_decimal),
    (models.FloatField, _as_it_is, _read_float),
    (models.IntegerField, _as_it_is, _read_integer),
    (models.CharField, _as_it_is, _read_text),
    (models.TextField, _as_it_is, _read_text),
)
