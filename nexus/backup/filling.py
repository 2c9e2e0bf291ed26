"""Restore everything into an empty database."""

from collections.abc import Callable

from django.db import transaction
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core import keys
from apps.core.actor import Actor
from apps.core.ids import uuid7
from apps.core.models import Installation, ServerKey
from nexus.backup.checking import Content, rows_again
from nexus.backup.container import ArchiveReader
from nexus.backup.errors import ArchiveIsDamaged, DatabaseIsNotEmpty
from nexus.backup.making import INSTALLATION
from nexus.backup.outcome import Fate, Restored, adopt_key
from nexus.backup.rules import Row
from nexus.backup.tables import archived
from nexus.backup.watching import Watch
from nexus.backup.writing import TableWriter, require_references, set_sequences


@transaction.atomic
def fill_database(
    *, actor: Actor, archive: ArchiveReader, content: Content, restored: Restored, watch: Watch
) -> None:
    """Make an empty database what the archive's was, in another epoch.

    Raises DatabaseIsNotEmpty, ArchiveIsDamaged, and IntegrityError or DataError for rows that do not
    fit together.
    """
    Installation.current()
    installation = Installation.objects.select_for_update().get()
    _require_empty()
    # `migrate` and the commands after it may have made server keys; nothing was made with them yet.
    ServerKey.objects.all().delete()
    keys.forget_all()
    disable = _disabler(restored)
    writers = {
        table.label: TableWriter(table.model, [column.name for column in content.columns[table.label]])
        for table in content.tables
    }
    on_rows = watch(content.rows)
    for table, row in rows_again(archive, content):
        adopt_key(table, row, archive)
        disable(table.label, row)
        writers[table.label].add(row)
        on_rows(1)
    for writer in writers.values():
        writer.end()
    set_sequences([table.model for table in content.tables])
    require_references()
    for table in content.tables:
        count = table.model._base_manager.count()
        if count != content.counts[table.label]:
            raise ArchiveIsDamaged(f"{table.label} holds {count} rows after the restore.")
        restored.tables[table.label] = Fate(added=count)
    installation.epoch, installation.changes_pruned_through = uuid7(), 0
    installation.save(update_fields=["epoch", "changes_pruned_through"])
    keys.create_missing_server_keys()
    record(
        actor=actor,
        action=Action.BACKUP_RESTORED,
        target=INSTALLATION,
        changes={
            "archive": str(restored.archive_id),
            "sha256": archive.digest.hex(),
            "rows": content.rows,
            "foreign": restored.is_foreign,
            "credentials": "kept" if restored.credentials_kept else "disabled",
        },
    )


def _require_empty() -> None:
    found = []
    for table in archived(of_tenant=False):
        count = 0 if table.model is ServerKey else table.model._base_manager.count()
        if count:
            found.append(f"{count} in {table.label}")
    if found:
        raise DatabaseIsNotEmpty(
            "A full archive goes into a database that only `migrate` has touched. "
            f"Here are {', '.join(found)}."
        )


def _disabler(restored: Restored) -> Callable[[str, Row], None]:
    """What a full restore ends: invitations in any case, and credentials unless they are kept."""
    now = timezone.now()
    ends = {"tenancy.Invitation": "revoked_at"}
    if not restored.credentials_kept:
        ends |= {
            "services.ApiKey": "revoked_at",
            "services.WorkloadIdentity": "disabled_at",
            "tenancy.AccessToken": "revoked_at",
        }

    def disable(label: str, row: Row) -> None:
        column = ends.get(label)
        if column is not None and row[column] is None:
            row[column] = now

    return disable
