"""Delete for good the entries whose time to be restored has passed (SPEC 4, 5)."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.access import require, system_actor
from apps.projects.models import Project
from apps.services.models import EntryReference

# Of one project and one transaction: its lock is held for some milliseconds only.
BATCH = 100


def purge_rows(
    rows: Any, *, action: Action, now: datetime, overwritten: Callable[[], None] = lambda: None
) -> int:
    """Delete those of `rows` whose `purge_after` is not after `now`, with their versions; how many.

    Each batch is a transaction with one event an entry: killed at any moment, the next run goes on.
    `overwritten` runs in each, for what has to happen once the rows' bytes are gone.
    """
    purged = 0
    due = rows.filter(deleted_at__isnull=False, purge_after__lte=now)
    while (project_id := due.values_list("service__project_id", flat=True).first()) is not None:
        deleted = _purge_batch(due, project_id, action, overwritten)
        if not deleted:
            break
        purged += deleted
    return purged


@transaction.atomic
def _purge_batch(due: Any, project_id: UUID, action: Action, overwritten: Callable[[], None]) -> int:
    actor = system_actor("purge_deleted")
    # The project itself may be deleted softly by now.
    project = Project.objects.select_for_update(of=("self",), no_key=True).get(pk=project_id)
    require(actor, "service:manage", project, deleted=True)
    # Read under the lock: what was revived meanwhile stays.
    entries = list(
        due.select_for_update(of=("self",))
        .filter(service__project=project_id)
        .select_related("service__project")
        .order_by("pk")[:BATCH]
    )
    targets = [entry.audit_target() for entry in entries]
    ids = [entry.pk for entry in entries]
    EntryReference.objects.filter(source_id__in=ids).delete()
    due.model.objects.filter(pk__in=ids).delete()
    for target in targets:
        record(actor=actor, action=action, target=target)
    overwritten()
    return len(entries)
