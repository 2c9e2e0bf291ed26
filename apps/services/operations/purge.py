"""Delete for good what was deleted softly and has had its time."""

from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.access import require, system_actor
from apps.core.erasure import erase_on_commit
from apps.projects.models import Project
from apps.services.models import Service


def purge_services(project_id: UUID) -> None:
    """Delete the project's services with all that hangs on them. Runs inside the project's purge."""
    services = Service.objects.filter(project_id=project_id)
    # Children point at umbrellas, and the database lets none of those go before them.
    services.filter(is_umbrella=False).delete()
    services.delete()


def purge_due_services(now: datetime) -> int:
    """Delete the services whose time to be restored was over at `now`; how many.

    Each in a transaction of its own, with its event, so that one which fails takes no other back. On
    SQLite the write-ahead log, where their secrets' ciphertexts still stand, is emptied after each.
    """
    due = Service.objects.filter(purge_after__lte=now).order_by("purge_after", "pk")
    return sum(_purge(pk, project_id, now) for pk, project_id in list(due.values_list("pk", "project_id")))


@transaction.atomic
def _purge(pk: UUID, project_id: UUID, now: datetime) -> bool:
    # Not `locked`: the project may be deleted itself, and its services go when their own time comes.
    project = (
        Project.objects.select_for_update(of=("self",), no_key=True)
        .select_related("tenant")
        .filter(pk=project_id)
        .first()
    )
    service = Service.objects.select_for_update(of=("self",)).filter(pk=pk, purge_after__lte=now).first()
    if project is None or service is None:
        return False
    service.project = project
    actor = system_actor("purge_deleted")
    require(actor, "service:manage", service, deleted=True)
    # Live children would have kept it from being deleted; those deleted before it still point at it.
    service.children.update(umbrella=None, row_version=F("row_version") + 1)
    record(
        actor=actor,
        action=Action.SERVICE_PURGED,
        target=service.audit_target(),
        changes={"kind": [service.kind, None], "environment": [service.environment, None]},
    )
    Service.objects.filter(pk=pk).delete()
    erase_on_commit()
    return True
