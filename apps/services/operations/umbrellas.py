"""Link services to umbrellas, and tell before it what that does to the child."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.access import permitted, require
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, bump
from apps.core.errors import InvalidInput
from apps.projects.models import Project
from apps.services.inheritance import Effect, effect_of_link, entry_keys
from apps.services.models import EntryKind, Kind, Service

# Who may read which keys are there, by kind of entry.
_LIST_PERMISSIONS: Mapping[EntryKind, str] = {
    EntryKind.SECRET: "secret:list",
    EntryKind.CONFIG: "config:read",
    EntryKind.FLAG: "flag:read",
}


@dataclass(frozen=True, slots=True)
class Linked:
    """What a link did, or would do. `readable` are the kinds whose keys the actor may list in full."""

    service: Service
    umbrella_id: UUID | None
    applied: bool
    effects: Mapping[EntryKind, Effect]
    readable: frozenset[EntryKind]


def require_fitting_umbrella(
    actor: Actor, umbrella: Service, project: Project, environment: str, kind: str, is_umbrella: bool
) -> None:
    """Raise InvalidInput unless such a service can inherit from `umbrella`.

    All that is compared never changes, so that this holds before the locks as after them. What a
    backend inherits it can read, so that linking amounts to a reveal: raises NotPermitted without
    `secret:reveal` on the umbrella.
    """
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


@transaction.atomic
def change_umbrella(
    *,
    actor: Actor,
    service: Service,
    umbrella: Service | None,
    dry_run: bool = False,
    expected_row_version: int | None = None,
) -> Linked:
    """Let the service inherit from `umbrella` from now on, or from none, and tell what that does.

    With `dry_run` nothing changes and no event is left; the same rights are asked. Raises
    InvalidInput for an umbrella that does not fit, NotFound when either was deleted meanwhile, and
    VersionConflict.
    """
    require(actor, "service:manage", service)
    if umbrella is not None:
        require_fitting_umbrella(
            actor, umbrella, service.project, service.environment, service.kind, service.is_umbrella
        )
    service = Service.objects.locked(
        service, *([umbrella] if umbrella else []), actor=actor, expected_row_version=expected_row_version
    )
    before = service.umbrella
    linked = Linked(
        service=service,
        umbrella_id=umbrella.pk if umbrella else None,
        applied=not dry_run,
        effects=_effects(service, umbrella),
        readable=_readable(actor, service, before, umbrella),
    )
    if dry_run or service.umbrella_id == linked.umbrella_id:
        return linked
    service.umbrella = umbrella
    service.save(update_fields=["umbrella"])
    record(
        actor=actor,
        action=Action.SERVICE_UMBRELLA_CHANGED,
        target=service.audit_target(),
        changes={"umbrella": [before and before.slug, umbrella and umbrella.slug]},
    )
    bump(origin=service, services=service.readers(), event=ChangeEvent.SERVICE_UPDATED)
    service.refresh_from_db(fields=["revision"])
    return linked


def link_umbrella(*, actor: Actor, service: Service, umbrella: Service | None) -> Service:
    """`change_umbrella` for those whom its effects do not interest."""
    return change_umbrella(actor=actor, service=service, umbrella=umbrella).service


def _effects(service: Service, umbrella: Service | None) -> dict[EntryKind, Effect]:
    after = umbrella.pk if umbrella else None
    owners = [pk for pk in (service.pk, service.umbrella_id, after) if pk is not None]
    return {
        kind: effect_of_link(
            entry_keys(kind, owners), service_id=service.pk, before=service.umbrella_id, after=after
        )
        for kind in EntryKind
    }


def _readable(actor: Actor, service: Service, *umbrellas: Service | None) -> frozenset[EntryKind]:
    """The kinds that the actor may list wherever keys of them come from."""
    held = permitted(actor, set(_LIST_PERMISSIONS.values()), service)
    for umbrella in {each.pk: each for each in umbrellas if each is not None}.values():
        held &= permitted(actor, held, umbrella)
    return frozenset(kind for kind, permission in _LIST_PERMISSIONS.items() if permission in held)
