"""What a project holds, asked of the apps above that own it.

`projects` sits below services, flags and vault and may not import them; each registers here how
many of its things a project has, and what of it stands in the way of a smaller tier.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from apps.core.errors import QuotaExceeded
from apps.projects.tiers import QUOTAS, TIERS, Tier

Counter = Callable[[Collection[UUID]], Mapping[UUID, int]]
Blockers = Callable[[UUID, Tier], Iterator[str]]
EnvironmentsOf = Callable[[UUID], set[str]]
GrantDropper = Callable[[UUID, UUID], None]
Purger = Callable[[UUID], None]
DuePurger = Callable[[datetime], int]

_counters: dict[str, Counter] = {}
_blockers: list[Blockers] = []
_environments: list[EnvironmentsOf] = []
_grant_droppers: list[GrantDropper] = []
_purgers: list[Purger] = []
_due_purgers: list[DuePurger] = []


@dataclass(frozen=True, slots=True)
class Usage:
    quota: str
    used: int
    cap: int | None


def register_counter(quota: str, counter: Counter) -> None:
    """Count `quota` by `counter(project ids)`: live own rows of each project, umbrellas included.

    One query, however many projects; those that have none may be left out.
    """
    _counters[quota] = counter


def register_environments(environments: EnvironmentsOf) -> None:
    """Let `environments(project id)` name those that the project's live things stand in."""
    if environments not in _environments:
        _environments.append(environments)


def environments(project_id: UUID) -> set[str]:
    """The environments that something live in the project stands in."""
    return set().union(*(each(project_id) for each in _environments))


def register_blockers(blockers: Blockers) -> None:
    """Let `blockers(project id, tier)` name what the tier could not hold, one sentence each."""
    if blockers not in _blockers:
        _blockers.append(blockers)


def count(quota: str, project_id: UUID) -> int:
    return _counters[quota]([project_id]).get(project_id, 0)


def require_place(quota: str, *, project_id: UUID, tier_name: str, used: int | None = None) -> None:
    """Raise QuotaExceeded unless one more fits. The caller holds the project's lock: caps are exact.

    `used` is the count, where the caller took it under that lock already.
    """
    cap = TIERS[tier_name].cap(quota)
    if cap is None:
        return
    if (count(quota, project_id) if used is None else used) >= cap:
        raise QuotaExceeded(quota=quota, cap=cap, tier=tier_name)


def require_within(quota: str, *, project_id: UUID, tier_name: str) -> None:
    """Raise QuotaExceeded if there is more than fits: for what is put back first and counted then."""
    cap = TIERS[tier_name].cap(quota)
    if cap is not None and count(quota, project_id) > cap:
        raise QuotaExceeded(quota=quota, cap=cap, tier=tier_name)


def usage(project_id: UUID, tier_name: str) -> list[Usage]:
    return usages({project_id: tier_name})[project_id]


def usages(tiers: Mapping[UUID, str]) -> dict[UUID, list[Usage]]:
    """The usage of each project, by the name of its tier. One query a quota, however many projects."""
    counts = {quota: _counters[quota](list(tiers)) if tiers else {} for quota in QUOTAS}
    return {
        project_id: [
            Usage(quota, counts[quota].get(project_id, 0), TIERS[tier].cap(quota)) for quota in QUOTAS
        ]
        for project_id, tier in tiers.items()
    }


def in_the_way(project_id: UUID, tier: Tier) -> list[str]:
    """Everything that the project has and `tier` could not hold."""
    found = []
    for quota in QUOTAS:
        used, cap = count(quota, project_id), tier.cap(quota)
        if cap is not None and used > cap:
            found.append(f"{used} {quota}; {tier.name} allows {cap}")
    for blockers in _blockers:
        found.extend(blockers(project_id, tier))
    return found


def register_grant_dropper(drop: GrantDropper) -> None:
    """Have `drop(project id, user id)` delete a person's extra grants inside a project."""
    if drop not in _grant_droppers:
        _grant_droppers.append(drop)


def drop_grants(project_id: UUID, user_id: UUID) -> None:
    for drop in _grant_droppers:
        drop(project_id, user_id)


def register_purger(purge: Purger) -> None:
    """Have `purge(project id)` delete for good what an app above holds of a project that is purged."""
    if purge not in _purgers:
        _purgers.append(purge)


def purge(project_id: UUID) -> None:
    for each in _purgers:
        each(project_id)


def register_due_purger(purge: DuePurger) -> None:
    """Have `purge(now)` delete for good what was deleted softly by itself and whose time is over.

    It returns how many rows went, commits in pieces of its own, and may be killed between any two.
    """
    if purge not in _due_purgers:
        _due_purgers.append(purge)


def purge_due(now: datetime) -> int:
    """Delete for good what was deleted softly inside live projects and is past its time; how many rows."""
    return sum(each(now) for each in _due_purgers)
