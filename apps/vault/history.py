"""What was written before: bringing back, renaming and destroying (SPEC 5).

Every operation here holds the project's lock, as every write of an entry does, and judges by what it
reads under it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record, record_coalesced
from apps.core.access import require
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, bump
from apps.core.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from apps.core.names import require_entry_key
from apps.services import entries
from apps.services.entries import Opened, Precondition
from apps.services.models import EntryKind, Service
from apps.vault import dependants, operations, sizes
from apps.vault.dependants import Write
from apps.vault.models import Config, Entry, Secret, SecretVersion
from apps.vault.operations import Written
from apps.vault.reads import unsealed_version
from apps.vault.values import stored_value

# Of a history for workloads; with the usual 100 that are kept, as many tombstones again.
VERSIONS_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Kind:
    """What differs between secrets and configs here."""

    model: type[Entry]
    kind: EntryKind
    write: str
    destroy: str
    quota: str
    restored: Action
    renamed: Action
    version_destroyed: Action
    updated: ChangeEvent
    deleted: ChangeEvent
    # What a tombstone holds in place of the value.
    emptied: Mapping[str, Any]


SECRETS = Kind(
    Secret,
    EntryKind.SECRET,
    "secret:write",
    "secret:destroy",
    "secrets",
    Action.SECRET_RESTORED,
    Action.SECRET_RENAMED,
    Action.SECRET_VERSION_DESTROYED,
    ChangeEvent.SECRET_UPDATED,
    ChangeEvent.SECRET_DELETED,
    {"sealed": b"", "data_key": None},
)
CONFIGS = Kind(
    Config,
    EntryKind.CONFIG,
    "config:write",
    "config:write",
    "configs",
    Action.CONFIG_RESTORED,
    Action.CONFIG_RENAMED,
    Action.CONFIG_VERSION_DESTROYED,
    ChangeEvent.CONFIG_UPDATED,
    ChangeEvent.CONFIG_DELETED,
    {"value_json": ""},
)


def versions_of(entry: Entry) -> "QuerySet[Any]":
    return cast("QuerySet[Any]", cast(Any, entry).versions)


def readable_version(entry: Entry, number: int) -> Any:
    """The row of a version that is not destroyed. Raises NotFound."""
    row = versions_of(entry).filter(version=number, destroyed_at=None).first()
    if row is None:
        raise NotFound(f"{entry.key} has no readable version {number}.")
    return row


def _open(actor: Actor, of: Kind, permission: str, service: Service, key: str) -> Opened[Any]:
    if of is SECRETS:
        operations.require_backend(service)
    return entries.open_entry(
        actor=actor,
        permission=permission,
        service=service,
        rows=cast(Any, of.model).objects.all(),
        key=key,
        annotations={"stored_bytes": sizes.stored_bytes()},
    )


def list_versions(*, actor: Actor, service: Service, key: str) -> list[SecretVersion]:
    """The versions of one of the service's own secrets without their values, the newest first.

    For a workload, and told as a list once a minute. Raises NotPermitted, ServiceKindMismatch, NotFound.
    """
    operations.require_backend(service)
    require(actor, "secret:write", service)
    secret = Secret.objects.live().filter(service=service, key=key).first()
    if secret is None:
        raise NotFound
    shown = max(VERSIONS_SHOWN, settings.NEXUS_VERSIONS_KEPT)
    found = list(secret.versions.defer("sealed").order_by("-version")[:shown])
    record_coalesced(actor=actor, action=Action.SECRET_LIST, target=service.audit_target())
    return found


@transaction.atomic
def restore_version(
    *,
    actor: Actor,
    of: Kind,
    service: Service,
    key: str,
    version: int,
    expected_version: int | None = None,
    expected_row_version: int | None = None,
) -> Written:
    """Append a version that holds the value of `version`. Nothing is revealed by it.

    A config's references are checked as at any write. Raises NotPermitted, NotFound for a version that
    is not or no longer there, Unreadable, VersionConflict, and what `set_secret` and `set_config` raise.
    """
    opened = _open(actor, of, of.write, service, key)
    entry = opened.found(of.kind)
    Precondition(expected_version, expected_row_version).require(entry, live=True)
    row = readable_version(entry, version)
    again: dict[str, Any] = {
        "actor": actor,
        "service": opened.service,
        "key": key,
        "type": row.type,
        "description": f"Version {version} again.",
    }
    if of is CONFIGS:
        return operations.set_config(value=stored_value(row.value_json), **again)
    return operations.set_secret(value=unsealed_version(entry, row), file_name=row.file_name, **again)


@transaction.atomic
def destroy_version(
    *,
    actor: Actor,
    of: Kind,
    service: Service,
    key: str,
    version: int,
    expected_version: int | None = None,
    expected_row_version: int | None = None,
) -> None:
    """Overwrite the value of one version that is not the active one; its row stays as a tombstone.

    Raises NotPermitted, NotFound, VersionConflict, and Conflict for the active version. Destroying twice
    is once.
    """
    entry = _open(actor, of, of.destroy, service, key).found(of.kind)
    Precondition(expected_version, expected_row_version).require(entry, live=True)
    if version == entry.active_version:
        raise Conflict("This version is the active one. Write another first, or delete the entry.")
    rows = versions_of(entry).filter(version=version)
    if not rows.exists():
        raise NotFound(f"{key} has no version {version}.")
    if not rows.filter(destroyed_at=None).update(**of.emptied, destroyed_at=timezone.now()):
        return
    operations.forget_overwritten()
    record(
        actor=actor,
        action=of.version_destroyed,
        target=entry.audit_target(),
        changes={"version": [version, None]},
    )


@transaction.atomic
def restore_entry(
    *, actor: Actor, of: Kind, service: Service, key: str, expected_row_version: int | None = None
) -> Written:
    """Bring a softly deleted entry back, with all its versions.

    Raises NotPermitted, NotFound, VersionConflict, Conflict for one that is not deleted or whose 30 days
    are over, QuotaExceeded, InvalidInput where its references no longer hold, and SnapshotTooLarge.
    """
    opened = _open(actor, of, of.write, service, key)
    entry = opened.entry
    if entry is None:
        raise NotFound(f"{opened.service} has no {of.kind} {key} of its own.")
    Precondition(row_version=expected_row_version).require(entry, live=True)
    entries.require_restorable(entry)
    opened.require_place(of.quota)
    row = versions_of(entry).get(version=entry.active_version)
    planned = _planned(entry, row, key)
    warnings = dependants.require_served(
        actor=actor, service=opened.service, writes=[planned], field=lambda key: "key"
    )
    entries.revive(entry)
    entry.save(update_fields=["deleted_at", "purge_after"])
    if isinstance(entry, Config):
        dependants.note_references(entry, planned.references)
    record(
        actor=actor,
        action=of.restored,
        target=entry.audit_target(),
        changes={"version": [None, entry.active_version]},
    )
    bump(origin=opened.service, services=opened.service.readers(), event=of.updated, key=key)
    operations.require_fits(opened.service, row.size_bytes, has_templates=bool(planned.references))
    return Written(entry, row.version, True, row.type, row, tuple(warnings))


def _planned(entry: Entry, row: Any, key: str) -> Write:
    """What templates will find of an entry at `key`."""
    if isinstance(entry, Config):
        return Write.of_config(key, row.type, row.value_json, is_final=entry.is_final)
    return Write.of_secret(key, row.type, row.size_bytes, is_final=entry.is_final)


@transaction.atomic
def rename_entry(
    *,
    actor: Actor,
    of: Kind,
    service: Service,
    key: str,
    new_key: str,
    force: bool = False,
    expected_row_version: int | None = None,
) -> Written:
    """Give an entry another key; versions and values stay as they are.

    Raises NotPermitted, NotFound, InvalidInput, AlreadyExists where the key is taken by a live or
    softly deleted entry, HasDependants unless `force`, VersionConflict, and SnapshotTooLarge. At its new
    key it is checked as a write is: it may cover an inherited one that templates name.
    """
    require_entry_key(new_key, field="new_key")
    opened = _open(actor, of, of.write, service, key)
    entry, service = opened.found(of.kind), opened.service
    Precondition(row_version=expected_row_version).require(entry, live=True)
    if new_key == key:
        raise InvalidInput.of("new_key", "This is the key that it has.")
    if cast(Any, of.model).objects.filter(service=service, key=new_key).exists():
        raise AlreadyExists(
            f"{service} has a {of.kind} {new_key} already, or one was deleted within 30 days. Choose another."
        )
    if not force:
        entries.require_no_dependants(actor, service, kind=of.kind, key=key)
    row = versions_of(entry).get(version=entry.active_version)
    planned = _planned(entry, row, new_key)
    warnings = dependants.require_served(
        actor=actor, service=service, writes=[planned], field=lambda key: "new_key"
    )
    entry.key = new_key
    entry.save(update_fields=["key"])
    record(
        actor=actor,
        action=of.renamed,
        target=entry.audit_target(),
        changes={"key": [key, new_key]},
    )
    readers = service.readers()
    bump(origin=service, services=readers, event=of.deleted, key=key)
    bump(origin=service, services=readers, event=of.updated, key=new_key)
    # What the old key covered, an umbrella's for one, is read again.
    operations.require_fits(service, 0, has_templates=bool(planned.references))
    return Written(entry, row.version, False, row.type, row, tuple(warnings))
