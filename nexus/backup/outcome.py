"""What a restore does with rows, whichever kind it is, and what it tells of them."""

from dataclasses import dataclass, field
from uuid import UUID

from apps.core.models import DataKey, ServerKey
from nexus.backup.container import ArchiveReader
from nexus.backup.rules import Row
from nexus.backup.tables import Table


@dataclass(slots=True)
class Fate:
    """What became of a table's rows: written, here already, or left out.

    `unlinked` of those written are services that came without their umbrella, which lives here.
    """

    added: int = 0
    present: int = 0
    left_out: int = 0
    unlinked: int = 0


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


def adopt_key(table: Table, row: Row, archive: ArchiveReader) -> None:
    """Put a data or server key that is about to be written under our own root key."""
    if table.model is DataKey or table.model is ServerKey:
        key: DataKey | ServerKey = table.model(**row)
        archive.keys.rewrap(key)
        row |= {"root_key_id": key.root_key_id, "wrapped_key": key.wrapped_key}
