"""What secrets, configs and flags have in common as entries of a service."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

from django.db import models
from django.db.models import (
    Case,
    Count,
    F,
    FilteredRelation,
    Func,
    IntegerField,
    OuterRef,
    Q,
    Subquery,
    When,
)
from django.utils import timezone

from apps.core.access import ScopedQuerySet, refusal, rights_of, with_rights
from apps.core.actor import Actor
from apps.core.errors import AlreadyExists, Conflict, HasDependants, InvalidInput, NotFound, VersionConflict
from apps.projects import holdings
from apps.projects.models import Project, hold, roles_now
from apps.services.models import EntryReference, Service
from apps.services.operations import RESTORABLE

E = TypeVar("E", bound=models.Model)


def lock_service(service: Service, *, actor: Actor | None = None) -> Service:
    """The live service under its project's lock: the beginning of every write of an entry.

    Raises NotFound when it, or what it is in, was deleted meanwhile, and NotPermitted when `actor` lost
    their role there.
    """
    _lock_project(service, actor=actor)
    try:
        return Service.objects.live().select_related("project__tenant").get(pk=service.pk)
    except Service.DoesNotExist:
        raise NotFound from None


def _lock_project(service: Service, *, actor: Actor | None = None) -> None:
    try:
        Project.objects.locked(service.project_id, actor=actor)
    except Project.DoesNotExist:
        raise NotFound from None


def lock_entry(rows: "ScopedQuerySet[E]", *, service: Service, key: str) -> E | None:
    """The entry `key` of `service` under its own lock, soft-deleted ones included."""
    found = rows.select_for_update(of=("self",), no_key=True).filter(service=service, key=key).first()
    if found is not None:
        # The locked service with its project, so that nothing is read twice.
        found.service = service  # type: ignore[attr-defined]
    return found


@dataclass(frozen=True, slots=True)
class Precondition:
    """What a write asks to find, judged under the lock (If-Match, If-None-Match: RFC 9110 section 13.1).

    `must_be_new` is a create's: its refusal is a conflict, where `only_create` is a failed precondition.
    """

    version: int | None = None
    row_version: int | None = None
    only_create: bool = False
    must_be_new: bool = False
    must_exist: bool = False

    def require(self, entry: Any, *, live: bool) -> None:
        """Raise VersionConflict, for `must_be_new` AlreadyExists, unless it holds for what stands there."""
        if self.must_be_new and live:
            raise AlreadyExists("The key exists already. Write to its own address to change it.")
        if self.only_create and live:
            raise VersionConflict("The key exists already. Leave out If-None-Match to overwrite it.")
        if self.must_exist and not live:
            raise VersionConflict("There is no such key to overwrite.")
        if self.version is not None and not (live and entry.active_version == self.version):
            raise VersionConflict
        if self.row_version is not None and not (live and entry.row_version == self.row_version):
            raise VersionConflict


# Whatever stands there.
NO_PRECONDITION = Precondition()


@dataclass(frozen=True, slots=True)
class Opened(Generic[E]):
    """A key of a service under the project's lock: what stands there, and what is counted beside it.

    `used` counts the project's live entries of this kind, where a new one would need a place.
    """

    service: Service
    key: str
    entry: E | None
    used: int | None

    @property
    def live(self) -> bool:
        return self.entry is not None and cast(Any, self.entry).deleted_at is None

    def require_place(self, quota: str) -> None:
        """Raise QuotaExceeded where this write makes one more than the tier allows."""
        if not self.live:
            holdings.require_place(
                quota,
                project_id=self.service.project_id,
                tier_name=self.service.project.tier,
                used=self.used,
            )

    def found(self, noun: str) -> E:
        """The live entry. Raises NotFound."""
        if self.entry is None or not self.live:
            raise NotFound(f"{self.service} has no {noun} {self.key} of its own.")
        return self.entry


def _counted(rows: "ScopedQuerySet[Any]") -> Subquery:
    """How many live entries the service's project has, for a query over services."""
    live = rows.filter(
        service__project_id=OuterRef("project_id"), service__deleted_at=None, deleted_at=None
    ).order_by()
    number = Func(F("pk"), function="COUNT", output_field=IntegerField())
    return Subquery(live.annotate(number=number).values("number"))


def _locked_with_right(
    actor: Actor, permission: str, service: Service, annotations: Mapping[str, Any]
) -> "models.QuerySet[Service]":
    _lock_project(service)
    if actor.user_id is not None:
        # Read after the lock, which whoever takes a role holds: nothing is written by a role that is gone.
        annotations = {**annotations, **roles_now(actor.user_id)}
    rows = with_rights(Service.objects.live(), actor, [permission])
    return rows.filter(pk=service.pk).select_related("project__tenant").annotate(**annotations)


def _require(found: Service | None, actor: Actor, permission: str) -> Service:
    if found is None:
        raise NotFound
    if not rights_of(found, [permission]) or not _roles_hold(actor, found):
        raise refusal(actor, permission, found)
    return found


def _roles_hold(actor: Actor, found: Any) -> bool:
    return actor.user_id is None or hold(
        actor, found.project, project_role=found.project_role_now, tenant_role=found.tenant_role_now
    )


def open_entry(
    *,
    actor: Actor,
    permission: str,
    service: Service,
    rows: "ScopedQuerySet[E]",
    key: str,
    annotations: Mapping[str, Any] | None = None,
) -> Opened[E]:
    """Lock the project and read in one query all that a write of the entry `key` is judged by.

    Whether the service still lives and the actor may, what stands at the key (soft-deleted ones
    included), and, unless that lives, how many there are. The entry itself needs no lock: who writes
    one holds the project's. `annotations` ride along on the service. Raises NotFound for a service
    that was deleted meanwhile, and NotPermitted.
    """
    relation = cast(Any, rows.model)._meta.get_field("service").related_query_name()
    query = _locked_with_right(actor, permission, service, annotations or {})
    query = query.annotate(entry=FilteredRelation(relation, condition=Q(**{f"{relation}__key": key})))
    needs_place = Q(entry__pk__isnull=True) | Q(entry__deleted_at__isnull=False)
    used = Case(When(needs_place, then=_counted(rows)), output_field=IntegerField())
    # `entry` is the join above, which no plugin of a type checker knows of.
    joined = cast(Any, query.annotate(used=used)).select_related("project__tenant", "entry")
    found: Any = _require(joined.first(), actor, permission)
    # Django sets the attribute only where the join found a row.
    entry = cast("E | None", getattr(found, "entry", None))
    if entry is not None:
        entry.service = found  # type: ignore[attr-defined]
    return Opened(found, key, entry, found.used)


@dataclass(slots=True)
class OpenedKeys(Generic[E]):
    """Many keys of a service under one lock. `used` follows what is made and deleted."""

    service: Service
    entries: dict[str, E]
    used: int

    def expect(self, deletions: Iterable[str]) -> None:
        """Count as free the places of what the same transaction deletes, whichever comes first."""
        self.used -= sum(self.at(key).live for key in deletions)

    def at(self, key: str) -> Opened[E]:
        return Opened(self.service, key, self.entries.get(key), self.used)


def open_entries(
    *,
    actor: Actor,
    permission: str,
    service: Service,
    rows: "ScopedQuerySet[E]",
    keys: Collection[str],
    annotations: Mapping[str, Any] | None = None,
) -> OpenedKeys[E]:
    """`open_entry` for many keys: three queries, however many they are."""
    query = _locked_with_right(actor, permission, service, {**(annotations or {}), "used": _counted(rows)})
    found: Any = _require(query.first(), actor, permission)
    locked = rows.select_for_update(of=("self",), no_key=True).filter(service=found, key__in=keys)
    entries: dict[str, E] = {}
    for entry in locked.order_by("pk"):
        entry.service = found  # type: ignore[attr-defined]
        entries[cast(Any, entry).key] = entry
    return OpenedKeys(found, entries, found.used)


def require_final_fits(service: Service, is_final: bool | None) -> None:
    if is_final and not service.is_umbrella:
        raise InvalidInput.of("final", "Only an entry of an umbrella can be final.")


def adopt_final(entry: Any, is_final: bool | None, *, live: bool) -> None:
    """Set `is_final` where it is given; a key that is new or revived begins without."""
    if is_final is not None:
        entry.is_final = is_final
    elif not live:
        entry.is_final = False


def final_after(opened: Opened[Any], is_final: bool | None) -> bool:
    """Whether the entry will be final once `adopt_final` was given `is_final`."""
    if is_final is not None:
        return is_final
    return bool(opened.live and opened.entry is not None and opened.entry.is_final)


# The keys of entries that refer to something, by their ids: asked of the app above that holds them.
Namer = Callable[[Iterable[UUID]], Mapping[UUID, str]]
_namers: list[Namer] = []


def register_namer(namer: Namer) -> None:
    if namer not in _namers:
        _namers.append(namer)


def seen_of(actor: Actor, services: Collection[UUID]) -> set[UUID]:
    """Those of the services whose configs `actor` may read: of others not even keys are told."""
    visible = Service.objects.filter(pk__in=services).visible_to(actor, "config:read")
    return set(visible.values_list("pk", flat=True))


def require_no_dependants(actor: Actor, service: Service, *, kind: str, key: str) -> None:
    """Raise HasDependants, naming those that `actor` may read, while templates refer to the entry.

    Those of the service itself, of its umbrella and of its children count: a template is resolved
    where it is read.
    """
    sources = Q(source_service__in=service.readers())
    if service.umbrella_id is not None:
        sources |= Q(source_service=service.umbrella_id)
    found = list(
        EntryReference.objects.filter(
            sources, target_kind=kind, target_key=key, source_service__deleted_at=None
        ).select_related("source_service")
    )
    if not found:
        return
    seen = seen_of(actor, {each.source_service_id for each in found})
    told = [each for each in found if each.source_service_id in seen]
    names: dict[UUID, str] = {}
    for namer in _namers:
        names.update(namer([reference.source_id for reference in told]))
    dependants = sorted(
        f"{each.source_service.environment}/{each.source_service.slug} {each.source_kind} "
        f"{names.get(each.source_id, each.source_id)}"
        for each in told
    )
    said, unseen = ", ".join(dependants), len(found) - len(told)
    if unseen:
        said = f"{said} and {unseen} more that you do not see" if said else f"{unseen} that you do not see"
    raise HasDependants(f"Templates refer to {key}: {said}.", dependants=dependants)


def soft_delete(entry: Any) -> None:
    """Hide the entry; its key stays reserved and it can be restored for 30 days."""
    entry.deleted_at = timezone.now()
    entry.purge_after = entry.deleted_at + RESTORABLE
    entry.save(update_fields=["deleted_at", "purge_after"])


def revive(entry: Any) -> None:
    entry.deleted_at = None
    entry.purge_after = None


def require_restorable(entry: Any) -> None:
    """Raise Conflict for an entry that is not deleted, or was for longer than it can be restored."""
    if entry.deleted_at is None:
        raise Conflict(f"{entry.key} is not deleted.")
    if entry.purge_after <= timezone.now():
        raise Conflict(f"{entry.key} was deleted more than 30 days ago. Write it anew.")


def restorable(rows: "ScopedQuerySet[E]") -> "ScopedQuerySet[E]":
    """Those of `rows` that are deleted by themselves and can still be restored."""
    live = Service.objects.live().values("pk")
    return rows.filter(deleted_at__isnull=False, purge_after__gt=timezone.now(), service__in=live)


def count_live(rows: "ScopedQuerySet[Any]", project_ids: Collection[UUID]) -> dict[UUID, int]:
    """Live own entries of all live services of each project: what the caps count."""
    live = rows.filter(service__project_id__in=project_ids, service__deleted_at=None, deleted_at=None)
    return dict(live.values_list("service__project_id").annotate(Count("pk")))
