"""What a restore does with rows, whichever kind it is, and what it tells of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from apps.core.models import DataKey, ServerKey
from nexus.backup.checking import Content, Row, rows_again
from nexus.backup.container import ArchiveReader
from nexus.backup.tables import Table


@dataclass(slots=True)
class Fate:
    """What became of a table's rows: written, here already, or left out."""

    added: int = 0
    present: int = 0
    left_out: int = 0


@dataclass(slots=True)
class Restored:
    archive_id: UUID
    # Empty after a full restore.
    tenant: str
    is_foreign: bool
    credentials_kept: bool
    tables: dict[str, Fate] = field(default_factory=dict)

    def total(self, what: str) -> int:
        return sum(getattr(fate, what) for fate in self.tables.values())


def restorable_rows(archive: ArchiveReader, content: Content) -> Iterator[tuple[Table, Row]]:
    """The rows of a checked archive, its data and server keys under our own root key."""
    for table, row in rows_again(archive, content):
        if table.model is DataKey or table.model is ServerKey:
            key: DataKey | ServerKey = table.model(**row)
            archive.keys.rewrap(key)
            row |= {"root_key_id": key.root_key_id, "wrapped_key": key.wrapped_key}
        yield table, row
