"""Write flags."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.access import require
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, bump
from apps.core.errors import InvalidInput, NotFound, VersionConflict
from apps.core.names import require_entry_key
from apps.flags.definition import FlagDefinition, InvalidDefinition, parse_definition
from apps.flags.models import Flag
from apps.projects import holdings
from apps.services import entries
from apps.services.inheritance import EntryKey
from apps.services.models import EntryKind, Service


class Unchanged:
    """Stands for "leave it": None already means "no bound"."""


UNCHANGED: Final = Unchanged()


def parsed(document: Mapping[str, Any], *, key: str) -> FlagDefinition:
    """The definition in `document`. Raises InvalidInput with the path of each thing that is wrong."""
    try:
        return parse_definition(document, key=key)
    except InvalidDefinition as invalid:
        raise InvalidInput(invalid.errors) from None


@transaction.atomic
def set_flag(
    *,
    actor: Actor,
    service: Service,
    key: str,
    definition: Mapping[str, Any],
    is_final: bool | None = None,
    expected_row_version: int | None = None,
    only_create: bool = False,
) -> Flag:
    """Make `definition` (the wire form of SPEC 7) the flag `key` of the service.

    Raises NotPermitted, InvalidInput, QuotaExceeded, and VersionConflict when
    `expected_row_version` is given and another write came first, or `only_create` and the key exists.
    """
    require(actor, "flag:write", service)
    require_entry_key(key)
    adopted = parsed(definition, key=key)
    return _write(actor, service, key, adopted, is_final, expected_row_version, only_create)


@transaction.atomic
def set_flag_state(
    *,
    actor: Actor,
    service: Service,
    key: str,
    enabled: bool,
    starts_at: datetime | Unchanged | None = UNCHANGED,
    ends_at: datetime | Unchanged | None = UNCHANGED,
    is_final: bool | None = None,
) -> Flag:
    """Switch a flag on or off, and set its schedule where one is given.

    A flag that does not exist is made as a boolean one.
    """
    require(actor, "flag:write", service)
    require_entry_key(key)
    service = entries.lock_service(service)
    flag = entries.lock_entry(Flag.objects.all(), service=service, key=key)
    if flag is not None and flag.deleted_at is None:
        before = flag.parsed
    else:
        before = parsed({"key": key, "type": "boolean"}, key=key)
    schedule = {
        name: bound
        for name, bound in (("starts_at", starts_at), ("ends_at", ends_at))
        if not isinstance(bound, Unchanged)
    }
    # Through the wire form, so that a schedule from here is checked as one from a definition.
    changed = replace(before, enabled=enabled, **schedule)  # type: ignore[arg-type]
    return _write(actor, service, key, parsed(changed.to_wire(), key=key), is_final, None)


def _write(
    actor: Actor,
    service: Service,
    key: str,
    definition: FlagDefinition,
    is_final: bool | None,
    expected_row_version: int | None,
    only_create: bool = False,
) -> Flag:
    service = entries.lock_service(service)
    entries.require_final_fits(service, is_final)
    flag = entries.lock_entry(Flag.objects.all(), service=service, key=key)
    live = flag is not None and flag.deleted_at is None
    if expected_row_version is not None and (
        not live or flag is None or flag.row_version != expected_row_version
    ):
        raise VersionConflict
    if only_create and live:
        raise VersionConflict("The key exists already. Open it to change it.")
    if not live:
        holdings.require_place("flags", project_id=service.project_id, tier_name=service.project.tier)
    before = flag.wire if flag is not None and live else {}
    if flag is None:
        flag = Flag(service=service, key=key)
    entries.revive(flag)
    flag.adopt(definition)
    if is_final is not None:
        flag.is_final = is_final
    elif not live:
        flag.is_final = False
    flag.save()
    after = flag.wire
    record(
        actor=actor,
        action=Action.FLAG_UPDATED if live else Action.FLAG_CREATED,
        target=flag.audit_target(),
        changes={
            name: [before.get(name), value] for name, value in after.items() if before.get(name) != value
        },
    )
    toggled = live and {name for name in after if before.get(name) != after[name]} <= {"enabled"}
    bump(
        origin=service,
        services=service.readers(),
        event=ChangeEvent.FLAG_TOGGLED if toggled else ChangeEvent.FLAG_UPDATED,
        key=key,
    )
    return flag


@transaction.atomic
def delete_flag(*, actor: Actor, service: Service, key: str, force: bool = False) -> Flag:
    """Delete a flag softly. Raises NotFound, and HasDependants unless `force`."""
    require(actor, "flag:write", service)
    service = entries.lock_service(service)
    flag = entries.lock_entry(Flag.objects.live(), service=service, key=key)
    if flag is None:
        raise NotFound(f"{service} has no flag {key} of its own.")
    if not force:
        entries.require_no_dependants(service, kind=EntryKind.FLAG, key=key)
    entries.soft_delete(flag)
    record(actor=actor, action=Action.FLAG_DELETED, target=flag.audit_target())
    bump(origin=service, services=service.readers(), event=ChangeEvent.FLAG_DELETED, key=key)
    return flag


def count_flags(project_id: UUID) -> int:
    return entries.count_live(Flag.objects.all(), project_id)


def flag_keys(service_ids: Collection[UUID]) -> Iterator[EntryKey]:
    """The live flags that these services have as their own: keys alone. One query."""
    flags = Flag.objects.filter(service_id__in=service_ids, deleted_at=None)
    return (EntryKey(*row) for row in flags.values_list("key", "service_id", "is_final"))
