"""What else a person loses with a role in a tenant, asked of the apps above that hold it.

`tenancy` sits below projects and services and may not import them; each registers here what leaves,
in the same transaction, with somebody who is removed from a tenant or lowered in it (SPEC 3).
"""

from collections.abc import Callable

from apps.core.actor import Actor
from apps.tenancy.models import Tenant, User

# (actor, tenant, user, removed): `removed` is False for one who stays with a lower role.
Departure = Callable[[Actor, Tenant, User, bool], None]

_departures: list[Departure] = []


def register_departure(departure: Departure) -> None:
    """Have `departure` run for whoever loses a role in a tenant. It may raise, and so refuse."""
    if departure not in _departures:
        _departures.append(departure)


def depart(*, actor: Actor, tenant: Tenant, user: User, removed: bool) -> None:
    for departure in _departures:
        departure(actor, tenant, user, removed)
