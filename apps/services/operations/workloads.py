"""Say which workloads a service trusts."""

from uuid import UUID

from django.db import transaction

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.access import require
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, announce
from apps.core.errors import NotFound, VersionConflict
from apps.services.models import Service, WorkloadIdentity


@transaction.atomic
def distrust_workload(
    *, actor: Actor, service: Service, identity_id: UUID, expected_row_version: int | None = None
) -> WorkloadIdentity:
    """Forget a workload identity: it gets no session any more, and its sessions die within 2 s.

    Raises NotFound when the service has none of this id, and VersionConflict.
    """
    require(actor, "workload_identity:manage", service)
    service = Service.objects.locked(service, actor=actor)
    identity = WorkloadIdentity.objects.filter(service=service, pk=identity_id).first()
    if identity is None:
        raise NotFound(f"{service} trusts no workload identity {identity_id}.")
    if expected_row_version is not None and identity.row_version != expected_row_version:
        raise VersionConflict
    identity.service = service
    record(
        actor=actor,
        action=Action.WORKLOAD_IDENTITY_DISTRUSTED,
        target=identity.audit_target(),
        changes={
            "provider": [identity.provider, None],
            "issuer": [identity.issuer, None],
            "subject": [identity.subject, None],
        },
    )
    announce(event=ChangeEvent.CREDENTIAL_CHANGED, service_id=service.pk, credential_id=identity.pk)
    WorkloadIdentity.objects.filter(pk=identity.pk).delete()
    return identity
