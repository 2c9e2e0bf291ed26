"""Make services, name them, stop and start them, delete and restore them."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.access import require
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, announce, bump
from apps.core.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    NotFound,
    TierForbids,
    UmbrellaHasChildren,
    VersionConflict,
)
from apps.core.names import require_name, require_slug
from apps.projects import holdings
from apps.projects.models import Project
from apps.projects.tiers import Tier
from apps.services.models import Kind, Service, ServiceGrant, ServiceQuerySet
from apps.services.operations.umbrellas import require_fitting_umbrella

# SPEC 4: what is deleted softly can be restored for so long.
RESTORABLE = timedelta(days=30)
# What comes back with a service, and so must have a place again.
_RETURNING = ("services", "secrets", "configs", "flags")


@transaction.atomic
def create_service(
    *,
    actor: Actor,
    project: Project,
    environment: str,
    slug: str,
    kind: str,
    name: str = "",
    is_umbrella: bool = False,
    umbrella: Service | None = None,
) -> Service:
    """Make a service. Kind and environment hold for its life.

    With `umbrella` it inherits from there; linking amounts to a reveal, so the actor needs
    `secret:reveal` on the umbrella. Raises QuotaExceeded, AlreadyExists, TierForbids for an
    environment that the project does not have, and NotFound when project or umbrella were deleted
    meanwhile.
    """
    require(actor, "service:manage", project)
    require_slug(slug)
    require_slug(environment, field="environment")
    if kind not in Kind.values:
        raise InvalidInput.of("kind", f"Choose {' or '.join(Kind.values)}.")
    name = require_name(name) if name else slug
    if umbrella is not None:
        require_fitting_umbrella(actor, umbrella, project, environment, kind, is_umbrella)
    project = Service.objects.locked_project(project.pk, actor=actor)
    if umbrella is not None:
        umbrella = Service.objects.locked(umbrella, actor=actor)
    _require_environment(project, environment)
    if Service.objects.filter(project=project, environment=environment, slug=slug).exists():
        raise AlreadyExists(
            f"{project}/{environment} has a service {slug} already, or one was deleted recently."
        )
    holdings.require_place("services", project_id=project.pk, tier_name=project.tier)
    service = Service.objects.create(
        project=project,
        slug=slug,
        name=name,
        environment=environment,
        kind=kind,
        is_umbrella=is_umbrella,
        umbrella=umbrella,
    )
    record(
        actor=actor,
        action=Action.SERVICE_CREATED,
        target=service.audit_target(),
        changes={
            "kind": [None, kind],
            "environment": [None, environment],
            "is_umbrella": [None, is_umbrella],
            "umbrella": [None, umbrella.slug if umbrella else None],
        },
    )
    announce(event=ChangeEvent.SERVICE_UPDATED, service_id=service.pk, project_id=project.pk)
    return service


def _require_environment(project: Project, environment: str) -> None:
    if not project.allows_environment(environment):
        raise TierForbids(
            f"The project {project} has no environment {environment}: its tier is {project.tier}."
        )


@transaction.atomic
def change_service(
    *, actor: Actor, service: Service, name: str, expected_row_version: int | None = None
) -> Service:
    """Give the service another name for people. Raises InvalidInput and VersionConflict."""
    require(actor, "service:manage", service)
    name = require_name(name)
    service = Service.objects.locked(service, actor=actor, expected_row_version=expected_row_version)
    if service.name == name:
        return service
    before, service.name = service.name, name
    service.save(update_fields=["name"])
    record(
        actor=actor,
        action=Action.SERVICE_UPDATED,
        target=service.audit_target(),
        changes={"name": [before, name]},
    )
    return service


@transaction.atomic
def disable_service(*, actor: Actor, service: Service, expected_row_version: int | None = None) -> Service:
    """Stop serving: its keys are refused within 2 s and nothing of it is lost.

    Raises Conflict for an umbrella, which serves nobody itself, and VersionConflict.
    """
    return _set_disabled(actor, service, timezone.now(), expected_row_version)


@transaction.atomic
def resume_service(*, actor: Actor, service: Service, expected_row_version: int | None = None) -> Service:
    """Serve again; keys that were not revoked work as before. Raises VersionConflict."""
    return _set_disabled(actor, service, None, expected_row_version)


def _set_disabled(
    actor: Actor, service: Service, at: datetime | None, expected_row_version: int | None
) -> Service:
    require(actor, "service:manage", service)
    service = Service.objects.locked(service, actor=actor, expected_row_version=expected_row_version)
    if (service.disabled_at is None) == (at is None):
        return service
    if at is not None and service.is_umbrella:
        raise Conflict("An umbrella serves nobody. Disable its children, or unlink them.")
    service.disabled_at = at
    service.save(update_fields=["disabled_at"])
    record(
        actor=actor,
        action=Action.SERVICE_DISABLED if at else Action.SERVICE_RESUMED,
        target=service.audit_target(),
        changes={"disabled": [at is None, at is not None]},
    )
    announce(event=ChangeEvent.SERVICE_UPDATED, service_id=service.pk, project_id=service.project_id)
    return service


@transaction.atomic
def delete_service(*, actor: Actor, service: Service, expected_row_version: int | None = None) -> Service:
    """Delete softly: keys die at once, the slug stays reserved, restorable for 30 days.

    Raises UmbrellaHasChildren for an umbrella that still has some, listing those that the actor
    sees, and VersionConflict.
    """
    require(actor, "service:manage", service)
    service = Service.objects.locked(service, actor=actor, expected_row_version=expected_row_version)
    children = service.children.live()
    count = children.count()
    if count:
        # An extra grant may be for the umbrella alone; its holder learns how many children, not which.
        slugs = list(
            children.visible_to(actor, "service:read").order_by("slug").values_list("slug", flat=True)
        )
        named = f" ({', '.join(slugs)})" if slugs else ""
        raise UmbrellaHasChildren(
            f"{service} has {count} children{named}. Unlink or delete them first.", children=slugs
        )
    service.deleted_at = timezone.now()
    service.purge_after = service.deleted_at + RESTORABLE
    service.save(update_fields=["deleted_at", "purge_after"])
    record(actor=actor, action=Action.SERVICE_DELETED, target=service.audit_target())
    announce(event=ChangeEvent.SERVICE_UPDATED, service_id=service.pk, project_id=service.project_id)
    return service


def restorable(services: ServiceQuerySet) -> ServiceQuerySet:
    """Those of `services` that were deleted and can still come back."""
    return services.filter(
        deleted_at__isnull=False,
        purge_after__gt=timezone.now(),
        project__deleted_at=None,
        project__tenant__deleted_at=None,
    )


@transaction.atomic
def restore_service(
    *, actor: Actor, service: Service, expected_row_version: int | None = None
) -> tuple[Service, bool]:
    """Bring a deleted service back with its entries and keys; those that were not revoked work again.

    Returns it, and whether it had to leave its umbrella, because that one is deleted. A service that
    lives already stays as it is. Raises NotFound when its 30 days are over or its project is gone,
    QuotaExceeded when it or its entries have no place any more, TierForbids when the project no
    longer has its environment, and VersionConflict.
    """
    require(actor, "service:manage", service, deleted=True)
    project = Service.objects.locked_project(service.project_id, actor=actor)
    rows = Service.objects.select_for_update(of=("self",), no_key=True)
    found = rows.filter(pk=service.pk).first()
    if found is None:
        raise NotFound
    service, service.project = found, project
    if expected_row_version is not None and service.row_version != expected_row_version:
        raise VersionConflict
    if service.deleted_at is None:
        return service, False
    if not restorable(Service.objects.filter(pk=service.pk)).exists():
        raise NotFound
    _require_environment(project, service.environment)
    umbrella = service.umbrella
    unlinked = umbrella is not None and umbrella.deleted_at is not None
    changes: dict[str, list[object]] = {"deleted": [True, False]}
    if umbrella is not None and unlinked:
        changes["umbrella"] = [umbrella.slug, None]
        service.umbrella = None
    service.deleted_at = service.purge_after = None
    service.save(update_fields=["deleted_at", "purge_after", "umbrella"])
    # Counted with it back in place: a refusal undoes that.
    for quota in _RETURNING:
        holdings.require_within(quota, project_id=project.pk, tier_name=project.tier)
    record(actor=actor, action=Action.SERVICE_RESTORED, target=service.audit_target(), changes=changes)
    bump(origin=service, services=service.readers(), event=ChangeEvent.SERVICE_UPDATED)
    service.refresh_from_db(fields=["revision"])
    return service, unlinked


def count_services(project_ids: Collection[UUID]) -> dict[UUID, int]:
    services = Service.objects.filter(project_id__in=project_ids, deleted_at=None)
    return dict(services.values_list("project_id").annotate(Count("pk")))


def service_environments(project_id: UUID) -> set[str]:
    """Environments that live services of the project stand in."""
    services = Service.objects.filter(project_id=project_id, deleted_at=None)
    return set(services.values_list("environment", flat=True).distinct())


def service_blockers(project_id: UUID, tier: Tier) -> Iterator[str]:
    """Live services in environments that `tier` lacks."""
    services = Service.objects.filter(project_id=project_id, deleted_at=None)
    for environment, slug in services.order_by("environment", "slug").values_list("environment", "slug"):
        if not tier.has_environment(environment):
            yield f"the service {environment}/{slug}"


def drop_service_grants(project_id: UUID, user_id: UUID) -> None:
    ServiceGrant.objects.filter(content_object__project_id=project_id, user_id=user_id).delete()
