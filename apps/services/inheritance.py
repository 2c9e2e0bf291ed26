"""Which entry counts for a key: a service's own, or its umbrella's."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID

from apps.core.access import allows, refusal, require
from apps.core.actor import Actor, ActorType
from apps.services.models import EntryKind, Service

OWN, INHERITED = "service", "umbrella"


class Candidate(Protocol):
    """A row that competes for its key."""

    @property
    def key(self) -> str: ...
    @property
    def service_id(self) -> UUID: ...
    @property
    def is_final(self) -> bool: ...


C = TypeVar("C", bound=Candidate)


def scope(service: Service) -> list[UUID]:
    """The services whose entries `service` reads."""
    return [service.pk] if service.umbrella_id is None else [service.pk, service.umbrella_id]


# A credential of the service itself reads what its service inherits: that is what it is for.
_OF_SERVICES = (ActorType.API_KEY, ActorType.WORKLOAD_SESSION)


def lives_in(service: Service) -> list[Service]:
    """Where what `service` reads may live: itself, and its umbrella."""
    return [service] if service.umbrella is None else [service, service.umbrella]


def allows_inherited(actor: Actor, permission: str, service: Service) -> bool:
    """Whether `actor` has `permission` where what `service` inherits lives; True if it inherits nothing."""
    if actor.type in _OF_SERVICES:
        return True
    return all(allows(actor, permission, umbrella) for umbrella in lives_in(service)[1:])


def require_in_scope(actor: Actor, permission: str, service: Service) -> None:
    """Raise NotPermitted unless `actor` has `permission` wherever what `service` reads may live.

    A right on a child alone opens nothing of its umbrella (SPEC 3: where the secret lives).
    """
    require(actor, permission, service)
    if not allows_inherited(actor, permission, service):
        raise refusal(actor, permission, lives_in(service)[-1])


def winners(candidates: Iterable[C], *, service_id: UUID) -> dict[str, tuple[C, str]]:
    """The entry in effect for each key, with its source, in the order of keys by code point.

    A child's own entry wins over the umbrella's of the same key, unless that one is final.
    """
    own: dict[str, C] = {}
    inherited: dict[str, C] = {}
    for candidate in candidates:
        (own if candidate.service_id == service_id else inherited)[candidate.key] = candidate
    found: dict[str, tuple[C, str]] = {}
    for key in sorted(own.keys() | inherited.keys()):
        above = inherited.get(key)
        if above is not None and (key not in own or above.is_final):
            found[key] = (above, INHERITED)
        else:
            found[key] = (own[key], OWN)
    return found


class EntryKey(NamedTuple):
    """That a service has a live entry of this key."""

    key: str
    service_id: UUID
    is_final: bool


KeysOf = Callable[[Collection[UUID]], Iterable[EntryKey]]

_keys_of: dict[EntryKind, KeysOf] = {}


def register_entry_keys(kind: EntryKind, keys_of: KeysOf) -> None:
    """Let `keys_of(service ids)` list live entries of `kind`.

    `services` sits below flags and vault and may not import them; each registers here.
    """
    _keys_of[kind] = keys_of


def entry_keys(kind: EntryKind, service_ids: Collection[UUID]) -> list[EntryKey]:
    """The live entries of `kind` that these services have as their own. One query."""
    return list(_keys_of[kind](service_ids))


@dataclass(frozen=True, slots=True)
class Effect:
    """What another umbrella does to the keys that a child reads, each in the order of keys.

    `changes` are keys that it reads before and after, from elsewhere or beside another entry:
    `overridden` (its own gives way to the umbrella's final one), `overrides` (its own stands before
    the umbrella's), `released` (its own no longer gives way) and `replaced` (inherited from another
    umbrella than before).
    """

    gains: tuple[str, ...]
    loses: tuple[str, ...]
    changes: tuple[tuple[str, str], ...]


def effect_of_link(
    candidates: Iterable[EntryKey], *, service_id: UUID, before: UUID | None, after: UUID | None
) -> Effect:
    """What it does to the service `service_id` to read from the umbrella `after` in the place of `before`."""
    by_owner: dict[UUID | None, dict[str, EntryKey]] = {}
    for candidate in candidates:
        by_owner.setdefault(candidate.service_id, {})[candidate.key] = candidate
    own = by_owner.get(service_id, {})
    # None owns nothing.
    old, new = by_owner.get(before, {}), by_owner.get(after, {})
    had, has = own.keys() | old.keys(), own.keys() | new.keys()
    changes = []
    for key in sorted(had & has if before != after else ()):
        was_hidden = key in old and old[key].is_final
        if key not in own:
            changes.append((key, "replaced"))
        elif key in new:
            changes.append((key, "overridden" if new[key].is_final else "overrides"))
        elif was_hidden:
            changes.append((key, "released"))
    return Effect(tuple(sorted(has - had)), tuple(sorted(had - has)), tuple(changes))
