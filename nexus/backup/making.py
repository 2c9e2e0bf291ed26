"""Make an archive: one view of the database, one file, one event."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from django.db import connections, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.audit.targets import Target
from apps.core.actor import Actor, ActorType
from apps.core.errors import AlreadyExists, InvalidInput, NotPermitted
from apps.core.models import DataKey, ServerKey
from apps.tenancy.models import Tenant
from nexus.backup.columns import Column, columns_of, permission_names
from nexus.backup.container import ArchiveWriter
from nexus.backup.tables import Table, archived, rows_of
from nexus.backup.watching import Watch, nobody
from nexus.settings.databases import READER

# Rows in memory at once; each may hold a value of 64 KiB.
ROWS_AT_ONCE = 200
INSTALLATION = Target("installation")


@dataclass(frozen=True, slots=True)
class Made:
    archive_id: UUID
    sha256: str
    size_bytes: int
    tables: dict[str, int]

    @property
    def rows(self) -> int:
        return sum(self.tables.values())


def require_command(actor: Actor, doing: str) -> None:
    """Archives hold what nobody's role covers: whoever has the host makes and restores them."""
    if actor.type is not ActorType.COMMAND:
        raise NotPermitted(f"{doing} is a command on the host.")


def make_backup(*, actor: Actor, path: Path, tenant: Tenant | None = None, watch: Watch = nobody) -> Made:
    """Write everything, or all of `tenant`, as the database is at this moment into a new file `path`.

    The file is there, whole and on disk, or not at all; it never replaces another. Memory does not
    grow with the database. Raises NotPermitted, AlreadyExists, and InvalidInput where it cannot be
    written or the passphrase is too short.
    """
    require_command(actor, "A backup")
    if os.path.lexists(path):
        raise AlreadyExists(f"There is a file {path} already. Name another.")
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise InvalidInput.of("FILE", f"It cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            made = _write(file, tenant, watch)
            file.flush()
            os.fsync(file.fileno())
        with transaction.atomic():
            record(
                actor=actor,
                action=Action.BACKUP_MADE,
                target=tenant.audit_target() if tenant else INSTALLATION,
                changes={"archive": str(made.archive_id), "sha256": made.sha256, "rows": made.rows},
            )
        _place(Path(name), path)
    except OSError as error:
        raise InvalidInput.of("FILE", f"It cannot be written: {error.strerror}.") from None
    finally:
        Path(name).unlink(missing_ok=True)
    return made


def _place(temporary: Path, path: Path) -> None:
    """Give the file its name, unless somebody took that meanwhile."""
    try:
        path.hardlink_to(temporary)
    except OSError:
        if os.path.lexists(path):
            raise AlreadyExists(f"There is a file {path} already. Name another.") from None
        # A file system without hard links.
        temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _write(file: BinaryIO, tenant: Tenant | None, watch: Watch) -> Made:
    writer = ArchiveWriter(file, of_tenant=tenant is not None)
    with transaction.atomic(using=READER):
        tables = _write_rows(writer, tenant, watch)
    digest = writer.finish()
    return Made(writer.archive_id, digest.hex(), file.tell(), tables)


def _write_rows(writer: ArchiveWriter, tenant: Tenant | None, watch: Watch) -> dict[str, int]:
    of_tenant = tenant is not None
    tenant_id = tenant.pk if tenant else None
    permissions = permission_names(READER)
    tables = archived(of_tenant=of_tenant)
    columns = {
        table.label: columns_of(table, of_tenant=of_tenant, permissions=permissions) for table in tables
    }
    # One view of the database: what is counted here is what is read below.
    counts = {table.label: rows_of(table, tenant_id=tenant_id, using=READER).count() for table in tables}
    writer.line(
        {
            "tables": [
                {
                    "table": table.label,
                    "columns": [column.name for column in columns[table.label]],
                    "rows": counts[table.label],
                }
                for table in tables
            ],
            "migrations": migrations(READER),
            "tenant": {"id": str(tenant.pk), "slug": tenant.slug} if tenant else None,
            "written_at": timezone.now().isoformat(),
        }
    )
    on_rows = watch(sum(counts.values()))
    for table in tables:
        writer.line({"table": table.label})
        for line in _lines(writer, table, columns[table.label], tenant_id):
            writer.line(line)
            on_rows(1)
    writer.line({"end": sum(counts.values())})
    return counts


def _lines(
    writer: ArchiveWriter, table: Table, columns: list[Column], tenant_id: UUID | None
) -> Iterator[list[Any]]:
    rows = rows_of(table, tenant_id=tenant_id, using=READER)
    if table.model in (DataKey, ServerKey):
        for row in rows.iterator(ROWS_AT_ONCE):
            values = {column.name: getattr(row, column.name) for column in columns}
            # Root keys are an installation's own; the key comes under that of the archive.
            values |= {"root_key_id": "", "wrapped_key": writer.keys.wrap(row)}
            yield [column.encode(values[column.name]) for column in columns]
        return
    names = [column.name for column in columns]
    encoders: list[Any] = [column.encode for column in columns]
    for values in rows.values_list(*names).iterator(ROWS_AT_ONCE):
        yield [encode(value) for encode, value in zip(encoders, values, strict=True)]


def migrations(using: str) -> dict[str, list[str]]:
    """The migrations that the database has, by app: what tells two releases apart."""
    found: dict[str, list[str]] = {}
    for app, name in sorted(MigrationRecorder(connections[using]).applied_migrations()):
        found.setdefault(app, []).append(name)
    return found
