"""Make services, link them, and issue and revoke their keys."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core import crypto, keys
from apps.core.access import SCOPE_PERMISSIONS, require, require_presence
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, announce, bump
from apps.core.client_address import parse_networks
from apps.core.errors import (
    AlreadyExists,
    InvalidInput,
    NotFound,
    SlotTaken,
    TierForbids,
    UmbrellaHasChildren,
    UmbrellaHasNoKeys,
)
from apps.core.models import Purpose
from apps.core.names import require_slug
from apps.projects import holdings
from apps.projects.models import Project
from apps.projects.tiers import Tier
from apps.services.credentials import PREFIXES, new_key_text, row_mac
from apps.services.models import ApiKey, Kind, Service, ServiceGrant, Slot, WorkloadIdentity

# SPEC 4: what is deleted softly can be restored for so long.
RESTORABLE = timedelta(days=30)


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
    `secret:reveal` on the umbrella. Raises QuotaExceeded, AlreadyExists, and TierForbids for an
    environment that the project does not have.
    """
    require(actor, "service:manage", project)
    require_slug(slug)
    require_slug(environment, field="environment")
    if kind not in Kind.values:
        raise InvalidInput.of("kind", f"Choose {' or '.join(Kind.values)}.")
    project = Project.objects.locked(project.pk)
    if not project.allows_environment(environment):
        raise TierForbids(
            f"The project {project} has no environment {environment}: its tier is {project.tier}."
        )
    if umbrella is not None:
        _require_fitting_umbrella(actor, umbrella, project, environment, kind, is_umbrella)
    if Service.objects.filter(project=project, environment=environment, slug=slug).exists():
        raise AlreadyExists(
            f"{project}/{environment} has a service {slug} already, or one was deleted recently."
        )
    holdings.require_place("services", project_id=project.pk, tier_name=project.tier)
    service = Service.objects.create(
        project=project,
        slug=slug,
        name=name or slug,
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


def _require_fitting_umbrella(
    actor: Actor, umbrella: Service, project: Project, environment: str, kind: str, is_umbrella: bool
) -> None:
    if is_umbrella:
        raise InvalidInput.of("umbrella", "An umbrella has no umbrella.")
    if not umbrella.is_umbrella:
        raise InvalidInput.of("umbrella", f"{umbrella} is not an umbrella.")
    if (umbrella.project_id, umbrella.environment, umbrella.kind) != (project.pk, environment, kind):
        raise InvalidInput.of(
            "umbrella", f"{umbrella} is of another project, environment or kind; all three must be the same."
        )
    if kind == Kind.BACKEND:
        require(actor, "secret:reveal", umbrella)


def _locked(service: Service) -> Service:
    """The live service under its project's lock and its own, in that order."""
    project = Project.objects.locked(service.project_id)
    found = Service.objects.select_for_update(of=("self",), no_key=True).live().get(pk=service.pk)
    found.project = project
    return found


@transaction.atomic
def disable_service(*, actor: Actor, service: Service) -> Service:
    """Stop serving: its keys are refused within 2 s and nothing of it is lost."""
    return _set_disabled(actor, service, timezone.now())


@transaction.atomic
def resume_service(*, actor: Actor, service: Service) -> Service:
    """Serve again; keys that were not revoked work as before."""
    return _set_disabled(actor, service, None)


def _set_disabled(actor: Actor, service: Service, at: datetime | None) -> Service:
    require(actor, "service:manage", service)
    service = _locked(service)
    if (service.disabled_at is None) == (at is None):
        return service
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
def delete_service(*, actor: Actor, service: Service) -> Service:
    """Delete softly: keys die at once, the slug stays reserved, restorable for 30 days.

    Raises UmbrellaHasChildren, listing them, for an umbrella that still has some.
    """
    require(actor, "service:manage", service)
    service = _locked(service)
    children = list(service.children.live().order_by("slug").values_list("slug", flat=True))
    if children:
        raise UmbrellaHasChildren(
            f"{service} has children: {', '.join(children)}. Unlink or delete them first.", children=children
        )
    service.deleted_at = timezone.now()
    service.purge_after = service.deleted_at + RESTORABLE
    service.save(update_fields=["deleted_at", "purge_after"])
    record(actor=actor, action=Action.SERVICE_DELETED, target=service.audit_target())
    announce(event=ChangeEvent.SERVICE_UPDATED, service_id=service.pk, project_id=service.project_id)
    return service


@transaction.atomic
def link_umbrella(*, actor: Actor, service: Service, umbrella: Service | None) -> Service:
    """Let the service inherit from `umbrella` from now on, or from none."""
    require(actor, "service:manage", service)
    service = _locked(service)
    if umbrella is not None:
        _require_fitting_umbrella(
            actor, umbrella, service.project, service.environment, service.kind, service.is_umbrella
        )
    before = service.umbrella
    if (before and before.pk) == (umbrella and umbrella.pk):
        return service
    service.umbrella = umbrella
    service.save(update_fields=["umbrella"])
    record(
        actor=actor,
        action=Action.SERVICE_UMBRELLA_CHANGED,
        target=service.audit_target(),
        changes={"umbrella": [before and before.slug, umbrella and umbrella.slug]},
    )
    bump(origin=service, services=service.readers(), event=ChangeEvent.SERVICE_UPDATED)
    return service


@transaction.atomic
def issue_api_key(
    *,
    actor: Actor,
    service: Service,
    slot: str = Slot.PRIMARY,
    scopes: Sequence[str] = ("read",),
    expires_at: datetime | None = None,
    allowed_networks: Sequence[str] = (),
) -> tuple[ApiKey, str]:
    """Issue a key into a free slot and return it with its text, which is never shown again.

    Issuing amounts to a reveal of the service's secrets, so that right and presence are asked as
    well. Raises SlotTaken, UmbrellaHasNoKeys, ReauthenticationRequired, and InvalidInput for
    scopes, times and networks that are none.
    """
    require(actor, "api_key:issue", service)
    require_presence(actor)
    if service.kind == Kind.BACKEND:
        require(actor, "secret:reveal", service)
    scopes = sorted(set(scopes) | {"read"}) if scopes else ["read"]
    _require_scopes(service, scopes)
    networks = _canonical_networks(allowed_networks)
    if slot not in Slot.values:
        raise InvalidInput.of("slot", f"Choose {' or '.join(Slot.values)}.")
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidInput.of("expires_at", "This time has passed already.")
    service = _locked(service)
    if service.is_umbrella:
        raise UmbrellaHasNoKeys
    if ApiKey.objects.filter(service=service, slot=slot, revoked_at=None, is_outgoing=False).exists():
        raise SlotTaken(
            f"The {slot} slot of {service} has a key. Rotate or revoke it, or use the other slot."
        )
    pepper = keys.server_key(Purpose.API_KEY_PEPPER)
    text = new_key_text(service.kind)
    key = ApiKey(
        service=service,
        slot=slot,
        prefix=PREFIXES[service.kind],
        last4=text[-4:],
        digest=crypto.keyed_digest(pepper.secret, text.encode()),
        pepper_id=pepper.id,
        scopes=scopes,
        allowed_networks=networks,
        expires_at=expires_at,
    )
    key.mac = row_mac(pepper, key, service.kind)
    key.save()
    record(
        actor=actor,
        action=Action.API_KEY_ISSUED,
        target=key.audit_target(),
        changes={
            "scopes": [None, scopes],
            "expires_at": [None, expires_at.isoformat() if expires_at else None],
            "allowed_networks": [None, networks],
        },
    )
    announce(event=ChangeEvent.CREDENTIAL_CHANGED, service_id=service.pk, credential_id=key.pk)
    return key, text


def _require_scopes(service: Service, scopes: Sequence[str]) -> None:
    unknown = [scope for scope in scopes if scope not in SCOPE_PERMISSIONS]
    if unknown:
        raise InvalidInput.of(
            "scopes", f"There is no scope {unknown[0]}. Choose of {', '.join(SCOPE_PERMISSIONS)}."
        )
    if service.kind == Kind.FRONTEND and scopes != ["read"]:
        raise InvalidInput.of("scopes", "A key of a frontend service can only read.")


def _canonical_networks(texts: Sequence[str]) -> list[str]:
    try:
        return [str(network) for network in parse_networks(texts)]
    except ValueError:
        raise InvalidInput.of(
            "allowed_networks", "Give networks such as 192.0.2.0/24 or 2001:db8::/32, host bits zero."
        ) from None


@transaction.atomic
def revoke_api_key(*, actor: Actor, service: Service, slot: str) -> list[ApiKey]:
    """End the slot's current key and its outgoing one: refused everywhere within 2 s.

    Raises NotFound when the slot is empty.
    """
    require(actor, "api_key:revoke", service)
    service = _locked(service)
    # The current one first: it is the one that a caller means.
    current = list(
        ApiKey.objects.select_for_update(of=("self",))
        .filter(service=service, slot=slot, revoked_at=None)
        .order_by("is_outgoing")
    )
    if not current:
        raise NotFound(f"The {slot} slot of {service} has no key.")
    for key in current:
        key.service = service
        key.revoked_at = timezone.now()
        key.save(update_fields=["revoked_at"])
        record(
            actor=actor,
            action=Action.API_KEY_REVOKED,
            target=key.audit_target(),
            changes={"revoked": [False, True]},
        )
        announce(event=ChangeEvent.CREDENTIAL_CHANGED, service_id=service.pk, credential_id=key.pk)
    return current


@transaction.atomic
def distrust_workload(*, actor: Actor, service: Service, identity_id: UUID) -> WorkloadIdentity:
    """Forget a workload identity: it gets no session any more, and its sessions die within 2 s.

    Raises NotFound when the service has none of this id.
    """
    require(actor, "workload_identity:manage", service)
    service = _locked(service)
    identity = WorkloadIdentity.objects.filter(service=service, pk=identity_id).first()
    if identity is None:
        raise NotFound(f"{service} trusts no workload identity {identity_id}.")
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
