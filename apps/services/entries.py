"""What secrets, configs and flags have in common as entries of a service."""

from collections.abc import Collection
from typing import Any, TypeVar
from uuid import UUID

from django.db import models
from django.db.models import Count, Q
from django.utils import timezone

from apps.core.access import ScopedQuerySet
from apps.core.errors import HasDependants, InvalidInput, NotFound
from apps.projects.models import Project
from apps.services.models import EntryReference, Service
from apps.services.operations import RESTORABLE

E = TypeVar("E", bound=models.Model)


def lock_service(service: Service) -> Service:
    """The live service under its project's lock: the beginning of every write of an entry.

    Raises NotFound when it, or what it is in, was deleted meanwhile.
    """
    try:
        project = Project.objects.locked(service.project_id)
        locked = Service.objects.live().get(pk=service.pk)
    except (Project.DoesNotExist, Service.DoesNotExist):
        raise NotFound from None
    locked.project = project
    return locked


def lock_entry(rows: "ScopedQuerySet[E]", *, service: Service, key: str) -> E | None:
    """The entry `key` of `service` under its own lock, soft-deleted ones included."""
    found = rows.select_for_update(of=("self",), no_key=True).filter(service=service, key=key).first()
    if found is not None:
        # The locked service with its project, so that nothing is read twice.
        found.service = service  # type: ignore[attr-defined]
    return found


def require_final_fits(service: Service, is_final: bool | None) -> None:
    if is_final and not service.is_umbrella:
        raise InvalidInput.of("final", "Only an entry of an umbrella can be final.")


def require_no_dependants(service: Service, *, kind: str, key: str) -> None:
    """Raise HasDependants, naming them, while templates refer to the entry.

    Those of the service itself, of its umbrella and of its children count: a template is resolved
    where it is read.
    """
    sources = Q(source_service__in=service.readers())
    if service.umbrella_id is not None:
        sources |= Q(source_service=service.umbrella_id)
    references = EntryReference.objects.filter(sources, target_kind=kind, target_key=key)
    dependants = sorted(
        f"{reference.source_service.slug} {reference.source_kind} {reference.source_id}"
        for reference in references.select_related("source_service")
    )
    if dependants:
        raise HasDependants(f"Templates refer to {key}: {', '.join(dependants)}.", dependants=dependants)


def soft_delete(entry: Any) -> None:
    """Hide the entry; its key stays reserved and it can be restored for 30 days."""
    entry.deleted_at = timezone.now()
    entry.purge_after = entry.deleted_at + RESTORABLE
    entry.save(update_fields=["deleted_at", "purge_after"])


def revive(entry: Any) -> None:
    entry.deleted_at = None
    entry.purge_after = None


def count_live(rows: "ScopedQuerySet[Any]", project_ids: Collection[UUID]) -> dict[UUID, int]:
    """Live own entries of all live services of each project: what the caps count."""
    live = rows.filter(service__project_id__in=project_ids, service__deleted_at=None, deleted_at=None)
    return dict(live.values_list("service__project_id").annotate(Count("pk")))
