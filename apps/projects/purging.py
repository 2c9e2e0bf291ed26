"""Delete for good what was deleted softly, once nobody may restore it any more (SPEC 4).

Each project and tenant goes in a transaction of its own: killed anywhere, the next run takes up what
is left. Rows are taken with SKIP LOCKED, so that two runs at once do not wait for each other, and
nothing that is being restored is touched. Audit events and their chains stay for their window.
"""

import logging
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction
from django.db.models import ProtectedError, Q
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core import keys
from apps.core.access import require, system_actor
from apps.core.actor import Actor
from apps.core.idempotency import KEPT
from apps.core.models import IdempotencyRecord
from apps.projects import holdings
from apps.projects.models import Project
from apps.tenancy.models import Invitation, Tenant, User

logger = logging.getLogger(__name__)

# Of one DELETE, so that it holds no lock for long.
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Purged:
    rows: int
    projects: int
    tenants: int
    idempotency_records: int


def purge_deleted() -> Purged:
    """Purge everything whose `purge_after` has passed, and Idempotency-Keys older than 24 hours."""
    actor, now = system_actor("purge_deleted"), timezone.now()
    return Purged(
        rows=holdings.purge_due(now),
        projects=sum(_purge_project(actor, pk, now) for pk in _due_projects(now)),
        tenants=sum(_purge_tenant(actor, pk, now) for pk in _due_tenants(now)),
        idempotency_records=_forget_idempotency_keys(now),
    )


def _is_over(now: datetime) -> Q:
    # A project inside a tenant that is over goes with it, whatever its own end is.
    return Q(purge_after__lte=now) | Q(tenant__purge_after__lte=now)


def _due_projects(now: datetime) -> list[UUID]:
    return list(Project.objects.filter(_is_over(now)).order_by("pk").values_list("pk", flat=True))


def _due_tenants(now: datetime) -> list[UUID]:
    due = Tenant.objects.filter(purge_after__lte=now, projects=None)
    return list(due.order_by("pk").values_list("pk", flat=True))


def _purge_project(actor: Actor, pk: UUID, now: datetime) -> bool:
    """Whether the project is gone by this call; False where it was restored, or another run has it."""
    try:
        with transaction.atomic():
            rows = Project.objects.select_for_update(of=("self",), skip_locked=True)
            project = rows.select_related("tenant").filter(_is_over(now), pk=pk).first()
            if project is None:
                return False
            require(actor, "project:delete", project, deleted=True)
            target = project.audit_target()
            holdings.purge(project.pk)
            keys.destroy_data_keys(project.pk)
            Invitation.objects.filter(project_id=project.pk).delete()
            project.delete()
            record(actor=actor, action=Action.PROJECT_PURGED, target=target)
            _overwrite_at_commit()
    except ProtectedError:
        # An app above left rows that it should have purged: nothing of this project is lost by waiting.
        logger.error("The project %s cannot be purged: something in it is still held.", pk)
        return False
    return True


def _purge_tenant(actor: Actor, pk: UUID, now: datetime) -> bool:
    with transaction.atomic():
        rows = Tenant.objects.select_for_update(skip_locked=True)
        tenant = rows.filter(pk=pk, purge_after__lte=now).first()
        if tenant is None or tenant.projects.exists():
            return False
        require(actor, "tenant:delete", tenant, deleted=True)
        target = tenant.audit_target()
        bodies = list(tenant.service_accounts.values_list("user_id", flat=True))
        tenant.delete()
        # What service accounts acted by: their tokens go with it.
        User.objects.filter(pk__in=bodies, is_service_account=True).delete()
        record(actor=actor, action=Action.TENANT_PURGED, target=target)
    return True


def _forget_idempotency_keys(now: datetime) -> int:
    forgotten = 0
    while True:
        old = IdempotencyRecord.objects.filter(created_at__lt=now - KEPT).values_list("pk", flat=True)
        deleted, _ = IdempotencyRecord.objects.filter(pk__in=list(old[:BATCH])).delete()
        forgotten += deleted
        if deleted < BATCH:
            return forgotten


def _overwrite_at_commit() -> None:
    if connection.vendor == "sqlite":
        # The overwritten key also stands in the write-ahead log until it is checkpointed.
        transaction.on_commit(_truncate_write_ahead_log, robust=True)


def _truncate_write_ahead_log() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
