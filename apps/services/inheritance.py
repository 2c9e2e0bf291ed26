"""Which entry counts for a key: a service's own, or its umbrella's."""

from collections.abc import Iterable
from typing import Protocol, TypeVar
from uuid import UUID

from apps.services.models import Service

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
