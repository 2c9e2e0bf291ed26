"""Write flags."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, bump
from apps.core.errors import InvalidInput, NotFound
from apps.core.names import require_entry_key
from apps.flags.definition import FlagDefinition, InvalidDefinition, parse_definition
from apps.flags.models import Flag
from apps.services import bulk, entries
from apps.services.bulk import Deletion, Result
from apps.services.entries import NO_PRECONDITION, Opened, Precondition
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
def put_flag(
    *,
    actor: Actor,
    service: Service,
    key: str,
    definition: Mapping[str, Any],
    is_final: bool | None = None,
    expected_row_version: int | None = None,
    only_create: bool = False,
    must_be_new: bool = False,
    must_exist: bool = False,
) -> "WrittenFlag":
    """Make `definition` (the wire form of SPEC 7) the flag `key`, and tell whether the key was new.

    Raises NotPermitted, InvalidInput, QuotaExceeded, and VersionConflict when
    `expected_row_version` is given and another write came first, `only_create` and the key exists,
    or `must_exist` and it does not. `must_be_new` raises AlreadyExists.
    """
    precondition = Precondition(None, expected_row_version, only_create, must_be_new, must_exist)
    draft = FlagDraft(key, definition, is_final, precondition)
    adopted = draft.sound_definition()
    opened = _open(actor, service, key)
    return write_flag(actor, opened, draft, adopted)


def set_flag(*, actor: Actor, service: Service, key: str, definition: Mapping[str, Any], **more: Any) -> Flag:
    """The flag that `put_flag` made or changed."""
    return put_flag(actor=actor, service=service, key=key, definition=definition, **more).flag


@transaction.atomic
def set_flag_state(
    *,
    actor: Actor,
    service: Service,
    key: str,
    enabled: bool | Unchanged = UNCHANGED,
    starts_at: datetime | Unchanged | None = UNCHANGED,
    ends_at: datetime | Unchanged | None = UNCHANGED,
    is_final: bool | None = None,
    expected_row_version: int | None = None,
    must_exist: bool = False,
) -> Flag:
    """Switch a flag on or off, and set its schedule where one is given.

    A flag that does not exist is made as a boolean one, unless `must_exist`, which raises NotFound.
    """
    require_entry_key(key)
    opened = _open(actor, service, key)
    if must_exist:
        opened.found("flag")
    if opened.entry is not None and opened.live:
        before = opened.entry.parsed
    else:
        before = parsed({"key": key, "type": "boolean"}, key=key)
    changes = {
        name: value
        for name, value in (("enabled", enabled), ("starts_at", starts_at), ("ends_at", ends_at))
        if not isinstance(value, Unchanged)
    }
    # Through the wire form, so that a schedule from here is checked as one from a definition.
    changed = replace(before, **changes)  # type: ignore[arg-type]
    draft = FlagDraft(key, changed.to_wire(), is_final, Precondition(row_version=expected_row_version))
    return write_flag(actor, opened, draft, draft.sound_definition()).flag


def _open(actor: Actor, service: Service, key: str) -> Opened[Flag]:
    return entries.open_entry(
        actor=actor, permission="flag:write", service=service, rows=Flag.objects.all(), key=key
    )


@dataclass(frozen=True, slots=True)
class FlagDraft:
    """A flag to be, as somebody asks for it."""

    key: str
    definition: Mapping[str, Any]
    is_final: bool | None = None
    precondition: Precondition = NO_PRECONDITION

    def sound_definition(self) -> FlagDefinition:
        """The definition that is asked for. Raises InvalidInput with the path of each thing that is wrong."""
        require_entry_key(self.key)
        return parsed(self.definition, key=self.key)


@dataclass(frozen=True, slots=True)
class WrittenFlag:
    flag: Flag
    created: bool


def write_flag(
    actor: Actor, opened: Opened[Flag], draft: FlagDraft, definition: FlagDefinition
) -> WrittenFlag:
    """Adopt the sound `definition` of `draft`, in the caller's transaction and under its lock."""
    service, live = opened.service, opened.live
    entries.require_final_fits(service, draft.is_final)
    draft.precondition.require(opened.entry, live=live)
    opened.require_place("flags")
    flag = opened.entry or Flag(service=service, key=draft.key)
    before = flag.wire if live else {}
    entries.revive(flag)
    flag.adopt(definition)
    entries.adopt_final(flag, draft.is_final, live=live)
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
        key=draft.key,
    )
    return WrittenFlag(flag, not live)


@transaction.atomic
def delete_flag(
    *,
    actor: Actor,
    service: Service,
    key: str,
    expected_row_version: int | None = None,
    force: bool = False,
) -> Flag:
    """Delete a flag softly. Raises NotFound, VersionConflict, and HasDependants unless `force`."""
    opened = _open(actor, service, key)
    return drop_flag(actor, opened, Precondition(row_version=expected_row_version), force=force)


def drop_flag(actor: Actor, opened: Opened[Flag], precondition: Precondition, *, force: bool = False) -> Flag:
    """Delete what was opened, in the caller's transaction and under its lock."""
    flag, service = opened.found("flag"), opened.service
    precondition.require(flag, live=True)
    if not force:
        entries.require_no_dependants(actor, service, kind=EntryKind.FLAG, key=opened.key)
    entries.soft_delete(flag)
    record(actor=actor, action=Action.FLAG_DELETED, target=flag.audit_target())
    bump(origin=service, services=service.readers(), event=ChangeEvent.FLAG_DELETED, key=opened.key)
    return flag


@transaction.atomic
def restore_flag(
    *, actor: Actor, service: Service, key: str, expected_row_version: int | None = None
) -> Flag:
    """Bring a softly deleted flag back as it was, its state included.

    Raises NotPermitted, NotFound, VersionConflict, Conflict for one that is not deleted or whose 30 days
    are over, and QuotaExceeded.
    """
    opened = _open(actor, service, key)
    flag = opened.entry
    if flag is None:
        raise NotFound(f"{opened.service} has no flag {key} of its own.")
    Precondition(row_version=expected_row_version).require(flag, live=True)
    entries.require_restorable(flag)
    opened.require_place("flags")
    entries.revive(flag)
    flag.save(update_fields=["deleted_at", "purge_after"])
    record(actor=actor, action=Action.FLAG_RESTORED, target=flag.audit_target())
    bump(origin=opened.service, services=opened.service.readers(), event=ChangeEvent.FLAG_UPDATED, key=key)
    return flag


@transaction.atomic
def write_flags(
    *, actor: Actor, service: Service, writes: Sequence[FlagDraft], deletions: Sequence[Deletion]
) -> list[Result]:
    """Write and delete many flags, all or nothing. Raises as `set_flag` and `delete_flag` do, by item."""
    keys = bulk.require_distinct([draft.key for draft in writes], deletions)
    sound = bulk.each("write", writes, lambda draft: (draft, draft.sound_definition()))
    opened = entries.open_entries(
        actor=actor, permission="flag:write", service=service, rows=Flag.objects.all(), keys=keys
    )
    opened.expect(deletion.key for deletion in deletions)

    def write(pair: tuple[FlagDraft, FlagDefinition]) -> Result:
        draft, definition = pair
        written = write_flag(actor, opened.at(draft.key), draft, definition)
        opened.used += written.created
        return Result(draft.key, None, written.flag.row_version, written.created)

    def drop(deletion: Deletion) -> Result:
        precondition = Precondition(row_version=deletion.row_version)
        flag = drop_flag(actor, opened.at(deletion.key), precondition)
        return Result(deletion.key, None, flag.row_version, False)

    return [*bulk.each("write", sound, write), *bulk.each("delete", deletions, drop)]


def count_flags(project_ids: Collection[UUID]) -> dict[UUID, int]:
    return entries.count_live(Flag.objects.all(), project_ids)


def flag_keys(service_ids: Collection[UUID]) -> Iterator[EntryKey]:
    """The live flags that these services have as their own: keys alone. One query."""
    flags = Flag.objects.filter(service_id__in=service_ids, deleted_at=None)
    return (EntryKey(*row) for row in flags.values_list("key", "service_id", "is_final"))
