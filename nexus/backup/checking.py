"""Read an archive to its end and believe nothing: before this is done no row is written."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS

from apps.core.ids import parse_uuid
from apps.core.models import DataKey, KeyState, ServerKey
from nexus.backup.columns import Column, columns_of, decoded, permission_names
from nexus.backup.container import ArchiveReader
from nexus.backup.errors import ArchiveIsDamaged, ArchiveIsOfAnotherRelease
from nexus.backup.making import migrations
from nexus.backup.rules import Row, Rules
from nexus.backup.tables import TENANT, Table, archived, references


@dataclass(frozen=True, slots=True)
class Content:
    """What an archive holds, after it was checked. Of rows it keeps ids, never values."""

    tables: list[Table]
    columns: dict[str, list[Column]]
    counts: dict[str, int]
    tenant_id: UUID | None
    tenant_slug: str
    # Which secrets a data key opens: a key that is gone here takes them with it.
    secrets_of_key: dict[UUID, set[UUID]] = field(default_factory=lambda: defaultdict(set))

    @property
    def rows(self) -> int:
        return sum(self.counts.values())


def check(archive: ArchiveReader) -> Content:
    """Check every frame, count, type and reference of `archive`; nothing is written.

    Memory grows with the entries, not with their versions or with the audit log. Raises
    ArchiveIsDamaged, ArchiveIsOfAnotherRelease, ArchiveIsLocked and MissingRootKey.
    """
    lines = archive.lines()
    content = _contents(next(lines, None), of_tenant=archive.header.of_tenant)
    links = _Links(content)
    # Everything that one's own database held comes back as it was, or nothing would.
    rules = Rules() if content.tenant_id or archive.is_foreign() else None
    for table, row in _rows(lines, content):
        links.add(table, row)
        if rules is not None:
            rules.add(table, row)
        if table.model is DataKey or table.model is ServerKey:
            key: DataKey | ServerKey = table.model(**row)
            if key.state != KeyState.DESTROYED:
                archive.keys.unwrap(key)
        if table.label == "vault.SecretVersion" and content.tenant_id and row["data_key_id"]:
            content.secrets_of_key[row["data_key_id"]].add(row["secret_id"])
    links.require_whole()
    if rules is not None:
        rules.require_whole()
    return content


def rows_again(archive: ArchiveReader, content: Content) -> Iterator[tuple[Table, Row]]:
    """The rows of an archive that was checked, once more; what changed since then is noticed too."""
    lines = archive.lines()
    next(lines, None)
    yield from _rows(lines, content)


def _contents(line: Any, *, of_tenant: bool) -> Content:
    permissions = permission_names(DEFAULT_DB_ALIAS)
    tables = archived(of_tenant=of_tenant)
    columns = {
        table.label: columns_of(table, of_tenant=of_tenant, permissions=permissions) for table in tables
    }
    ours = [(table.label, [column.name for column in columns[table.label]]) for table in tables]
    try:
        theirs = [(each["table"], each["columns"]) for each in line["tables"]]
        counts = {str(each["table"]): int(each["rows"]) for each in line["tables"]}
        other = dict(line["migrations"])
        tenant_id = parse_uuid(line["tenant"]["id"]) if of_tenant else None
        slug = str(line["tenant"]["slug"]) if of_tenant else ""
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ArchiveIsDamaged("The contents of the archive cannot be read.") from None
    if theirs != ours:
        raise ArchiveIsOfAnotherRelease(
            f"The archive's tables are not those of this release ({_differing(other)}). Restore it with the "
            "release that made it, then migrate."
        )
    if of_tenant and (tenant_id is None or counts[TENANT] != 1):
        raise ArchiveIsDamaged("The archive does not say whose it is.")
    return Content(tables, columns, counts, tenant_id, slug)


def _differing(other: dict[str, Any]) -> str:
    """Where the migrations part, as `app: name`; never more than a line of it."""
    ours = migrations(DEFAULT_DB_ALIAS)
    parts = []
    for app in sorted(ours.keys() | other.keys()):
        here, there = ours.get(app, []), other.get(app, [])
        if here != there and isinstance(there, list):
            parts.append(
                f"{app}: {there[-1] if there else 'none'} there, {here[-1] if here else 'none'} here"
            )
    return "; ".join(parts)[:500] or "with the same migrations"


def _rows(lines: Iterator[Any], content: Content) -> Iterator[tuple[Table, Row]]:
    """The rows of all tables, decoded. Raises ArchiveIsDamaged unless they are as many as announced."""
    for table in content.tables:
        if next(lines, None) != {"table": table.label}:
            raise ArchiveIsDamaged(f"The table {table.label} is not where it should be.")
        columns = content.columns[table.label]
        for _ in range(content.counts[table.label]):
            row = decoded(columns, next(lines, None))
            if content.tenant_id is not None:
                _require_of_tenant(table, row, content.tenant_id)
            yield table, row
    if next(lines, None) != {"end": content.rows} or next(lines, None) is not None:
        raise ArchiveIsDamaged("The archive does not end where it should.")


def _require_of_tenant(table: Table, row: Row, tenant_id: UUID) -> None:
    """A row that names a tenant names the archive's."""
    own = row["id"] if table.label == TENANT else row.get("tenant_id", tenant_id)
    if own != tenant_id:
        raise ArchiveIsDamaged(f"A row of {table.label} belongs to another tenant.")


class _Links:
    """Which ids there are, and which are named: each that is named must be there."""

    def __init__(self, content: Content) -> None:
        self._columns: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        for table in content.tables:
            links: dict[str, tuple[str, ...]] = {
                column: (label,) for column, label in references(table.model)
            }
            if content.tenant_id is not None:
                # Columns that name a row without a foreign key; of a purged project they may stay alone.
                links |= table.parents
            kept = {column.name for column in content.columns[table.label]}
            self._columns[table.label] = [link for link in links.items() if link[0] in kept]
        named = {label for links in self._columns.values() for _, labels in links for label in labels}
        self._ids: dict[str, set[Any]] = {label: set() for label in named}
        self._pending: set[tuple[str, Any]] = set()

    def add(self, table: Table, row: Row) -> None:
        ids = self._ids.get(table.label)
        if ids is not None:
            if row["id"] in ids:
                raise ArchiveIsDamaged(f"A row of {table.label} stands there twice.")
            ids.add(row["id"])
        for column, labels in self._columns[table.label]:
            value = row[column]
            if value is None or any(value in self._ids[label] for label in labels):
                continue
            if labels != (table.label,):
                raise ArchiveIsDamaged(f"A row of {table.label} names one that is not in the archive.")
            # A row of the same table may come later.
            self._pending.add((table.label, value))

    def require_whole(self) -> None:
        if any(value not in self._ids[label] for label, value in self._pending):
            raise ArchiveIsDamaged("A row names one that is not in the archive.")
