"""What the test database holds when a test begins: what the migrations left, and then a recording.

A recording is made once per process and put back in a few milliseconds: the rows that its making
wrote, and a fresh copy of the objects that it returned. Its ids, times and keys are therefore the same
in all tests of a process.
"""

import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from django.db import connection, transaction

from apps.core import triggers

T = TypeVar("T")
Rows = Any
Inserts = Any

# Which migrations have run is for those tests to put right that run some.
_LEFT_ALONE = {"django_migrations"}


class _Tables(ABC):
    """Whole tables in the database's own spelling; no model, no signal and no query log sees it."""

    @abstractmethod
    def read(self, table: str) -> Rows: ...

    @abstractmethod
    def inserts(self, rows: dict[str, Rows]) -> Inserts:
        """What `run` needs to add the rows, keys included; later keys come after theirs."""

    @abstractmethod
    def run(self, inserts: Inserts) -> None: ...

    @abstractmethod
    def replace(self, rows: dict[str, Rows]) -> None:
        """Leave in each of the tables these rows and no other. Foreign keys wait for the commit."""


class _PostgreSQL(_Tables):
    def read(self, table: str) -> Rows:
        with connection.cursor() as cursor:
            # A row as text is exact for every type, and reads back as the row.
            cursor.execute(f'SELECT t::text FROM "{table}" t ORDER BY 1')
            return [row[0] for row in cursor.fetchall()]

    def inserts(self, rows: dict[str, Rows]) -> Inserts:
        statements = []
        for table, found in rows.items():
            if found:
                texts = ", ".join("'" + row.replace("'", "''") + "'" for row in found)
                statements.append(
                    f'INSERT INTO "{table}" SELECT (t.r).* FROM'
                    f' (SELECT r::"{table}" AS r FROM unnest(ARRAY[{texts}]) r OFFSET 0) t'
                )
                statements += self._sequences(table)
        return "; ".join(statements)

    def run(self, inserts: Inserts) -> None:
        if inserts:
            with connection.cursor() as cursor:
                cursor.execute(inserts)

    def replace(self, rows: dict[str, Rows]) -> None:
        deletes = "; ".join(f'DELETE FROM "{table}"' for table in rows)
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL session_replication_role = replica; {deletes}")
        self.run(self.inserts(rows))

    def _sequences(self, table: str) -> list[str]:
        with connection.cursor() as cursor:
            found = connection.introspection.get_sequences(cursor, table)
        return [
            f'SELECT setval(\'"{each["name"]}"\', greatest((SELECT last_value FROM "{each["name"]}"),'
            f' (SELECT max("{each["column"]}") FROM "{table}")))'
            for each in found
        ]


class _SQLite(_Tables):
    def read(self, table: str) -> Rows:
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT name FROM pragma_table_info("{table}") ORDER BY cid')
            # With a sign before it a column has no type, and the driver converts nothing.
            columns = ", ".join(f'+"{row[0]}"' for row in cursor.fetchall())
            cursor.execute(f'SELECT {columns} FROM "{table}"')
            return cursor.fetchall()

    def inserts(self, rows: dict[str, Rows]) -> Inserts:
        return [
            (f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(found[0]))})', found)
            for table, found in rows.items()
            if found
        ]

    def run(self, inserts: Inserts) -> None:
        for statement, rows in inserts:
            # The driver's own: Django's cursor marks parameters in another way.
            connection.connection.executemany(statement, rows)

    def replace(self, rows: dict[str, Rows]) -> None:
        with triggers.lifted(), connection.cursor() as cursor:
            for table in rows:
                cursor.execute(f'DELETE FROM "{table}"')
            self.run(self.inserts(rows))


@dataclass(frozen=True, slots=True)
class _Recording:
    inserts: Inserts
    made: bytes


class Stage:
    """The database `default`, with the tables that it had when it was set up."""

    def __init__(self) -> None:
        self._tables: _Tables = _PostgreSQL() if connection.vendor == "postgresql" else _SQLite()
        self._names = sorted(set(connection.introspection.table_names()) - _LEFT_ALONE)
        # Every test begins with this.
        self._migrated = {table: self._tables.read(table) for table in self._filled()}
        self._recordings: dict[str, _Recording] = {}

    def play(self, name: str, make: Callable[[], T]) -> T:
        """What `make` returns, with the rows that it writes: by `make` itself, or from its recording.

        On top of other rows `make` itself always runs, and nothing is recorded.
        """
        if self._filled() - self._migrated.keys():
            return make()
        if (recording := self._recordings.get(name)) is not None:
            with transaction.atomic():
                self._tables.run(recording.inserts)
            return cast(T, pickle.loads(recording.made))
        made = make()
        new = self._filled() - self._migrated.keys()
        rows = {table: self._tables.read(table) for table in sorted(new)}
        self._recordings[name] = _Recording(self._tables.inserts(rows), pickle.dumps(made))
        return made

    def clear(self) -> None:
        """Nothing of what a test committed is left, in append-only tables either."""
        rows = {table: self._migrated.get(table, []) for table in self._filled() - self._migrated.keys()}
        rows |= {table: kept for table, kept in self._migrated.items() if self._tables.read(table) != kept}
        if rows:
            with transaction.atomic():
                self._tables.replace(rows)

    def _filled(self) -> set[str]:
        """The tables that have rows."""
        asked = (f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM \"{table}\")" for table in self._names)
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(asked))
            return {row[0] for row in cursor.fetchall()}
