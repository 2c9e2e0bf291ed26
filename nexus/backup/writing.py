"""Put rows into tables as they are: no `save`, no time stamp, no event of their own."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.core.management.color import no_style
from django.db import DEFAULT_DB_ALIAS, connections, models

# Rows of one statement; each may hold a value of 64 KiB.
ROWS_AT_ONCE = 200


class TableWriter:
    """Inserts rows of one table, some at a time. `end` writes what is left."""

    def __init__(self, model: type[models.Model], columns: Sequence[str]) -> None:
        self._connection = connections[DEFAULT_DB_ALIAS]
        by_name = {each.attname: each for each in model._meta.concrete_fields}
        self._fields: list[Any] = [by_name[name] for name in columns]
        quote = self._connection.ops.quote_name
        names = ", ".join(quote(each.column) for each in self._fields)
        places = ", ".join(["%s"] * len(self._fields))
        # Table and columns are those of the model; every value is a parameter.
        self._sql = f"INSERT INTO {quote(model._meta.db_table)} ({names}) VALUES ({places})"  # noqa: S608
        self._rows: list[list[Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(
            [each.get_db_prep_save(row[each.attname], self._connection) for each in self._fields]
        )
        if len(self._rows) >= ROWS_AT_ONCE:
            self.end()

    def end(self) -> None:
        if self._rows:
            with self._connection.cursor() as cursor:
                cursor.executemany(self._sql, self._rows)
            self._rows.clear()


def require_references() -> None:
    """Check every foreign key now. Raises IntegrityError."""
    connections[DEFAULT_DB_ALIAS].check_constraints()


def set_sequences(tables: Iterable[type[models.Model]]) -> None:
    """Let numbered tables go on after the highest number that they hold. SQLite does by itself."""
    connection = connections[DEFAULT_DB_ALIAS]
    statements = connection.ops.sequence_reset_sql(no_style(), list(tables))
    if statements:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
