"""Queries that are asked at every request, compiled once and then only given their arguments.

Building and compiling a query of some joins costs Django a millisecond, several times what SQLite or
PostgreSQL takes to answer it. What is remembered here is the SQL that Django itself made of the
queryset, and where in its parameters the arguments stand; rows become objects by Django's own code.

A queryset whose other parameters are not always the same, the time of day for one, is never
remembered: each is compiled twice when it first comes, and asked anew each time if the two differ.
"""

import copy
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from secrets import randbelow, token_hex
from typing import Any
from uuid import UUID, uuid4
from weakref import WeakKeyDictionary

from django.core.exceptions import EmptyResultSet
from django.db import connections, models

Argument = UUID | str | bytes | datetime | tuple[UUID, ...] | tuple[bytes, ...]
# Of plans; what is beyond it, an attacker's making perhaps, is asked without one.
PLANS_MAX = 1_000


def _quicker(converter: Any, connection: Any) -> Any:
    """What does the same for SQLite, which keeps times and ids as text: Django looks at settings for each."""
    if connection.vendor == "sqlite" and connection.timezone is UTC:
        match getattr(converter, "__name__", ""):
            case "convert_datetimefield_value":
                return _utc
            case "convert_uuidfield_value":
                return _uuid
    return converter


def _utc(value: Any, expression: Any, connection: Any) -> Any:
    if value is None:
        return None
    # The driver gives a time for a column, and text for what was computed.
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _uuid(value: Any, expression: Any, connection: Any) -> Any:
    return UUID(int=int(value, 16)) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class _Plan:
    queryset: Any
    compiler: Any
    sql: str
    # A parameter as it is, or the number of the argument that stands there.
    parameters: tuple[tuple[Any, int | None], ...]
    # What turns columns into values, by connection: some of it belongs to one.
    converters: "WeakKeyDictionary[Any, Any]" = field(default_factory=WeakKeyDictionary, compare=False)

    def converters_of(self, connection: Any) -> Any:
        found = self.converters.get(connection)
        if found is None:
            compiler = copy.copy(self.compiler)
            compiler.connection = connection
            columns = [column[0] for column in compiler.select[: compiler.col_count]]
            found = {
                position: ([_quicker(each, connection) for each in converters], expression)
                for position, (converters, expression) in compiler.get_converters(columns).items()
            }
            self.converters[connection] = found
        return found


@dataclass(frozen=True, slots=True)
class Source:
    """Rows to be: what makes their queryset, of which arguments, and the name of all that differs else."""

    name: str
    build: Callable[..., Any]
    arguments: tuple[Argument, ...]

    def queryset(self) -> Any:
        return self.build(*self.arguments)


_plans: dict[Hashable, _Plan | None] = {}


class _Ready:
    """Stands for a queryset and for its query, and gives out the compiler that is ready."""

    def __init__(self, inner: Any, compiler: Any, query: Any = None) -> None:
        self._inner, self._compiler = inner, compiler
        self.query = query

    def get_compiler(self, using: Any = None, *args: Any, **kwargs: Any) -> Any:
        return self._compiler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def fetch(
    name: Hashable, build: Callable[..., "models.QuerySet[Any, Any]"], *arguments: Argument
) -> list[Any]:
    """The rows of `build(*arguments)`, as that queryset gives them. Asked of the default database.

    `name` tells apart what differs in more than the values of the arguments and the number of values in
    a tuple: everything else that `build` knows must follow from it.
    """
    connection = connections["default"]
    shape = (name, connection.vendor, *(len(each) if isinstance(each, tuple) else 1 for each in arguments))
    plan = _plans.get(shape)
    if plan is None:
        if shape not in _plans and len(_plans) < PLANS_MAX:
            plan = _plans[shape] = _plan(build, arguments, connection)
        if plan is None:
            return list(build(*arguments))
    values = [_adapted(each, connection) for each in _flat(arguments)]
    parameters = tuple(given if number is None else values[number] for given, number in plan.parameters)
    compiler = copy.copy(plan.compiler)
    compiler.connection = connection
    compiler.as_sql = lambda *args, **kwargs: (plan.sql, parameters)
    compiler.get_converters = lambda columns: plan.converters_of(connection)
    query = _Ready(plan.queryset.query, compiler)
    return list(plan.queryset._iterable_class(_Ready(plan.queryset, compiler, query)))


def _flat(arguments: tuple[Any, ...]) -> list[Any]:
    return [value for each in arguments for value in (each if isinstance(each, tuple) else (each,))]


def _plan(build: Callable[..., Any], arguments: tuple[Any, ...], connection: Any) -> _Plan | None:
    first = _compiled(build, arguments, connection)
    second = _compiled(build, arguments, connection)
    if first is None or second is None or (first.sql, first.parameters) != (second.sql, second.parameters):
        return None
    return first


def _compiled(build: Callable[..., Any], arguments: tuple[Any, ...], connection: Any) -> _Plan | None:
    stand_ins = tuple(_stand_in(each) for each in arguments)
    queryset = build(*stand_ins)
    compiler = queryset.query.get_compiler(using="default")
    try:
        sql, parameters = compiler.as_sql()
    except EmptyResultSet:
        return None
    numbers = {_comparable(_adapted(each, connection)): n for n, each in enumerate(_flat(stand_ins))}
    places = tuple(
        (None, number) if (number := numbers.get(_comparable(each))) is not None else (each, None)
        for each in parameters
    )
    # An argument that stands nowhere was not used: changed on its way, it would make the two differ.
    return _Plan(queryset, compiler, sql, places)


def _stand_in(value: Any) -> Any:
    match value:
        case tuple():
            return tuple(_stand_in(each) for each in value)
        case UUID():
            return uuid4()
        case bytes():
            return uuid4().bytes + uuid4().bytes
        case datetime():
            return datetime(2100, 1, 1, tzinfo=UTC) + timedelta(microseconds=randbelow(10**15))
        case str():
            return token_hex(16)
        case _:
            raise TypeError("No parameter of this type can be told from others.")


def _adapted(value: Any, connection: Any) -> Any:
    """A value as the driver of the database takes it."""
    match value:
        case UUID():
            return value if connection.features.has_native_uuid_field else value.hex
        case bytes():
            return connection.Database.Binary(value)
        case datetime():
            return connection.ops.adapt_datetimefield_value(value)
        case _:
            return value


def _comparable(value: Any) -> Any:
    if isinstance(value, memoryview | bytearray) or type(value).__name__ == "Binary":
        return bytes(getattr(value, "obj", value))
    return value if isinstance(value, Hashable) else repr(value)
