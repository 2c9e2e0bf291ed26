"""What was written before: histories, differences, and bringing back, renaming or destroying (SPEC 5)."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.access import require, require_presence
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, bump
from apps.core.errors import AlreadyExists, Conflict, InvalidInput, NotFound, VersionConflict
from apps.core.names import require_entry_key
from apps.projects import holdings
from apps.services import entries
from apps.services.models import EntryKind, Service
from apps.vault import dependants, operations
from apps.vault.dependants import Write
from apps.vault.models import Config, ConfigVersion, Entry, Secret, SecretVersion
from apps.vault.operations import Written
from apps.vault.reads import unsealed_version
from apps.vault.values import stored_value

# Lines around a difference, as `diff -u` gives them.
_CONTEXT_LINES = 3


@dataclass(frozen=True, slots=True)
class _Kind:
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


SECRETS = _Kind(
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
)
CONFIGS = _Kind(
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
)
Kinds = _Kind


def _versions(entry: Entry) -> "QuerySet[Any]":
    return cast("QuerySet[Any]", cast(Any, entry).versions)


def _locked(of: Kinds, service: Service, key: str, *, deleted: bool = False) -> Entry:
    """The entry under its lock, inside the locked `service`. Raises NotFound."""
    rows = cast(Any, of.model).objects
    entry: Entry | None = entries.lock_entry(
        rows.all() if deleted else rows.filter(deleted_at=None), service=service, key=key
    )
    if entry is None:
        raise NotFound(f"{service} has no {of.kind} {key} of its own.")
    return entry


def _require_row_version(entry: Entry, expected_row_version: int | None) -> None:
    if expected_row_version is not None and entry.row_version != expected_row_version:
        raise VersionConflict


def _readable_version(entry: Entry, number: int) -> Any:
    row = _versions(entry).filter(version=number, destroyed_at=None).first()
    if row is None:
        raise NotFound(f"{entry.key} has no readable version {number}.")
    return row


@transaction.atomic
def restore_secret_version(
    *,
    actor: Actor,
    service: Service,
    key: str,
    version: int,
    expected_row_version: int | None = None,
) -> Written:
    """Append a version that holds the value of `version`. Nothing is revealed by it.

    Raises NotPermitted, NotFound for a version that is not or no longer there, Unreadable,
    VersionConflict, and what `set_secret` raises.
    """
    require(actor, "secret:write", service)
    service = entries.lock_service(service)
    secret = cast(Secret, _locked(SECRETS, service, key))
    _require_row_version(secret, expected_row_version)
    row: SecretVersion = _readable_version(secret, version)
    return operations.set_secret(
        actor=actor,
        service=service,
        key=key,
        value=unsealed_version(secret, row),
        type=row.type,
        file_name=row.file_name,
        description=f"Version {version} again.",
    )


@transaction.atomic
def restore_config_version(
    *,
    actor: Actor,
    service: Service,
    key: str,
    version: int,
    expected_row_version: int | None = None,
) -> Written:
    """Append a version that holds the value of `version`, its references checked as at any write."""
    require(actor, "config:write", service)
    service = entries.lock_service(service)
    config = _locked(CONFIGS, service, key)
    _require_row_version(config, expected_row_version)
    row: ConfigVersion = _readable_version(config, version)
    return operations.set_config(
        actor=actor,
        service=service,
        key=key,
        value=stored_value(row.value_json),
        type=row.type,
        description=f"Version {version} again.",
    )


@transaction.atomic
def destroy_version(*, actor: Actor, of: Kinds, service: Service, key: str, version: int) -> None:
    """Overwrite the value of one version that is not the active one; its row stays as a tombstone.

    Raises NotPermitted, NotFound, and Conflict for the active version. Destroying twice is once.
    """
    require(actor, of.destroy, service)
    service = entries.lock_service(service)
    entry = _locked(of, service, key)
    if version == entry.active_version:
        raise Conflict("This version is the active one. Write another first, or delete the entry.")
    rows = _versions(entry).filter(version=version)
    if not rows.exists():
        raise NotFound(f"{key} has no version {version}.")
    emptied: Mapping[str, Any] = {"sealed": b"", "data_key": None} if of is SECRETS else {"value_json": ""}
    if not rows.filter(destroyed_at=None).update(**emptied, destroyed_at=timezone.now()):
        return
    operations.forget_overwritten()
    record(
        actor=actor,
        action=of.version_destroyed,
        target=entry.audit_target(),
        changes={"version": [version, None]},
    )


@transaction.atomic
def restore_entry(*, actor: Actor, of: Kinds, service: Service, key: str) -> Entry:
    """Bring a softly deleted entry back, with all its versions.

    Raises NotPermitted, NotFound, Conflict for one that is not deleted or whose 30 days are over,
    and QuotaExceeded.
    """
    require(actor, of.write, service)
    service = entries.lock_service(service)
    entry = _locked(of, service, key, deleted=True)
    if entry.deleted_at is None:
        raise Conflict(f"{key} is not deleted.")
    if entry.purge_after is not None and entry.purge_after <= timezone.now():
        raise Conflict(f"{key} was deleted more than 30 days ago. Write it anew.")
    holdings.require_place(of.quota, project_id=service.project_id, tier_name=service.project.tier)
    entries.revive(entry)
    planned = _planned(entry)
    dependants.require_served(actor=actor, service=service, writes=[planned], field=lambda key: "key")
    if isinstance(entry, Config):
        dependants.note_references(entry, planned.references)
    entry.save(update_fields=["deleted_at", "purge_after"])
    record(
        actor=actor,
        action=of.restored,
        target=entry.audit_target(),
        changes={"version": [None, entry.active_version]},
    )
    bump(origin=service, services=service.readers(), event=of.updated, key=key)
    return entry


def _planned(entry: Entry) -> Write:
    """What templates will find of an entry that comes back."""
    row = _versions(entry).get(version=entry.active_version)
    if isinstance(entry, Config):
        return Write.of_config(entry.key, row.type, row.value_json, is_final=entry.is_final)
    return Write.of_secret(entry.key, row.type, row.size_bytes, is_final=entry.is_final)


@transaction.atomic
def rename_entry(
    *,
    actor: Actor,
    of: Kinds,
    service: Service,
    key: str,
    new_key: str,
    force: bool = False,
    expected_row_version: int | None = None,
) -> Entry:
    """Give an entry another key; versions and values stay as they are.

    Raises NotPermitted, NotFound, InvalidInput, AlreadyExists where the key is taken by a live or
    softly deleted entry, HasDependants unless `force`, and VersionConflict.
    """
    require(actor, of.write, service)
    require_entry_key(new_key, field="new_key")
    service = entries.lock_service(service)
    entry = _locked(of, service, key)
    _require_row_version(entry, expected_row_version)
    if new_key == key:
        raise InvalidInput.of("new_key", "This is the key that it has.")
    if cast(Any, of.model).objects.filter(service=service, key=new_key).exists():
        raise AlreadyExists(
            f"{service} has a {of.kind} {new_key} already, or one was deleted within 30 days. Choose another."
        )
    if not force:
        entries.require_no_dependants(actor, service, kind=of.kind, key=key)
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
    return entry


@dataclass(frozen=True, slots=True)
class SecretDifference:
    """How two versions of a secret differ; the values' lengths, never the values."""

    is_same: bool
    left_bytes: int
    right_bytes: int


def diff_configs(*, actor: Actor, config: Config, left: int, right: int) -> str:
    """How two versions of a config differ, as text in the unified form. Templates stay unresolved."""
    require(actor, "config:read", config)
    before, after = (_readable_version(config, number) for number in (left, right))
    return "\n".join(
        difflib.unified_diff(
            before.text.splitlines(),
            after.text.splitlines(),
            f"{config.key} version {left}",
            f"{config.key} version {right}",
            lineterm="",
            n=_CONTEXT_LINES,
        )
    )


def diff_secrets(*, actor: Actor, secret: Secret, left: int, right: int) -> SecretDifference:
    """Whether two versions of a secret are the same, and their lengths.

    That they are the same says something of a value, so it asks for `secret:reveal` and presence, and
    is told to the audit log as a reveal of neither: `secret.compared`.
    """
    require(actor, "secret:reveal", secret)
    require_presence(actor)
    rows = [_readable_version(secret, number) for number in (left, right)]
    values = [unsealed_version(secret, row) for row in rows]
    with transaction.atomic(durable=True):
        record(
            actor=actor,
            action=Action.SECRET_COMPARED,
            target=secret.audit_target(),
            changes={"versions": [left, right]},
        )
    return SecretDifference(values[0] == values[1], rows[0].size_bytes, rows[1].size_bytes)
