"""Write secrets and configs, and read secrets (`apps.vault.reads`, whose operations stand here as well).

Values of secrets go in as bytes and are sealed before they reach the database.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import OuterRef
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core import crypto, keys
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, bump
from apps.core.errors import ServiceKindMismatch
from apps.services import entries
from apps.services.entries import Opened, Precondition
from apps.services.models import EntryKind, Kind, Service
from apps.vault import dependants, sizes
from apps.vault.dependants import Write
from apps.vault.drafts import ConfigDraft, SecretDraft
from apps.vault.envelope import secret_binding
from apps.vault.models import Config, ConfigType, ConfigVersion, Entry, Secret, SecretType, SecretVersion
from apps.vault.reads import (
    Revealed,
    export_secrets,
    list_secrets,
    note_secret_list,
    read_secret,
    reveal_secret,
)
from apps.vault.reminders import Reminders, adopt_reminders

__all__ = [
    "Revealed",
    "Written",
    "delete_config",
    "delete_secret",
    "export_secrets",
    "list_secrets",
    "note_secret_list",
    "read_secret",
    "reveal_secret",
    "set_config",
    "set_secret",
]

CREATED_BY_MAX_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Written:
    """What a write made: the entry, its new version and that version's row, and whether the key was new."""

    entry: Entry
    version: int
    created: bool
    type: str
    row: Any
    # What a child of an umbrella can no longer serve.
    warnings: tuple[str, ...] = ()


@transaction.atomic
def set_secret(
    *,
    actor: Actor,
    service: Service,
    key: str,
    value: bytes,
    type: str = SecretType.TEXT,
    file_name: str = "",
    description: str = "",
    is_final: bool | None = None,
    reminders: Reminders | None = None,
    expected_version: int | None = None,
    expected_row_version: int | None = None,
    only_create: bool = False,
    must_be_new: bool = False,
    must_exist: bool = False,
) -> Written:
    """Make `value` the active version of the secret `key`.

    `value` is at most 65,536 bytes, UTF-8 for type `text`. It is sealed before it reaches the
    database and is never returned, logged, or copied into the audit event. A soft-deleted key
    comes back to life and its numbering goes on. `reminders` may set or clear `expires_at` and `rotate_by`.

    Raises NotPermitted, ServiceKindMismatch for a frontend, InvalidInput, QuotaExceeded, and
    VersionConflict when `expected_version` or `expected_row_version` (If-Match, RFC 9110 section
    13.1.1) is given and another write came first, `only_create` (If-None-Match: *) and the key
    exists, or `must_exist` (If-Match: *) and it does not. `must_be_new` raises AlreadyExists.
    """
    draft = SecretDraft(
        key=key,
        value=value,
        type=type,
        file_name=file_name,
        description=description,
        is_final=is_final,
        reminders=reminders or {},
        precondition=Precondition(
            expected_version, expected_row_version, only_create, must_be_new, must_exist
        ),
    )
    require_backend(service)
    draft.require_sound()
    opened = entries.open_entry(
        actor=actor,
        permission="secret:write",
        service=service,
        rows=Secret.objects.all(),
        key=key,
        annotations={
            "data_key_id": keys.current_data_key_id(OuterRef("project_id")),
            "stored_bytes": sizes.stored_bytes(),
            "is_named": dependants.named(EntryKind.SECRET, key),
        },
    )
    draft.precondition.require(opened.entry, live=opened.live)
    warnings = _require_served(actor, opened.service, draft.planned(opened))
    written = write_secret(actor, opened, draft, sealing_key(opened.service, uses=1), warnings)
    require_fits(opened.service, len(draft.value), has_templates=False)
    return written


def _require_served(actor: Actor, service: Any, planned: Write) -> list[str]:
    """`dependants.require_served` for one write to a service that was read with its `is_named`."""
    return dependants.require_served(
        actor=actor, service=service, writes=[planned], is_named=service.is_named
    )


def require_fits(service: Any, added_bytes: int, *, has_templates: bool) -> None:
    """Raise SnapshotTooLarge for a service that was read with its `stored_bytes` before the write."""
    sizes.require_fits(
        service, before_bytes=service.stored_bytes, added_bytes=added_bytes, has_templates=has_templates
    )


def require_backend(service: Service) -> None:
    """Raise ServiceKindMismatch for a frontend: it has no secrets (SPEC 5)."""
    if service.kind != Kind.BACKEND:
        raise ServiceKindMismatch


def sealing_key(service: Any, *, uses: int) -> keys.Key:
    """The data key for `uses` seals, of a service that was read with its `data_key_id` under the lock."""
    return keys.sealing_key(
        tenant_id=service.project.tenant_id,
        project_id=service.project_id,
        current_id=service.data_key_id,
        uses=uses,
    )


def write_secret(
    actor: Actor,
    opened: Opened[Secret],
    draft: SecretDraft,
    key: keys.Key,
    warnings: Sequence[str] = (),
) -> Written:
    """Append the sound `draft`, in the caller's transaction and under its lock.

    The caller had `dependants.require_served` look at it; `warnings` are what that said.
    """
    service, live = opened.service, opened.live
    entries.require_final_fits(service, draft.is_final)
    draft.precondition.require(opened.entry, live=live)
    opened.require_place("secrets")
    secret = opened.entry or Secret(service=service, key=draft.key)
    before = secret.active_version if live else None
    entries.revive(secret)
    entries.adopt_final(secret, draft.is_final, live=live)
    reminded = adopt_reminders(secret, draft.reminders, live=live)
    secret.active_version += 1
    secret.save()
    version = _append_secret_version(secret, draft, key, created_by=actor.name)
    record(
        actor=actor,
        action=Action.SECRET_UPDATED if live else Action.SECRET_CREATED,
        target=secret.audit_target(),
        changes={
            "version": [before, version.version],
            "type": [None, draft.type],
            "final": [None, secret.is_final],
            "ciphertext_sha256": [None, crypto.sha256(bytes(version.sealed)).hex()],
            **reminded,
        },
    )
    bump(origin=service, services=service.readers(), event=ChangeEvent.SECRET_UPDATED, key=draft.key)
    return Written(secret, version.version, not live, draft.type, version, tuple(warnings))


def _append_secret_version(
    secret: Secret, draft: SecretDraft, key: keys.Key, *, created_by: str
) -> SecretVersion:
    project = secret.service.project
    binding = secret_binding(
        key,
        tenant_id=project.tenant_id,
        project_id=project.pk,
        service_id=secret.service_id,
        secret_id=secret.pk,
        secret_type=draft.type,
        version=secret.active_version,
    )
    version = SecretVersion.objects.create(
        secret=secret,
        version=secret.active_version,
        type=draft.type,
        file_name=draft.file_name,
        sealed=crypto.seal(key.secret, draft.value, bound_to=binding),
        data_key_id=key.id,
        size_bytes=len(draft.value),
        description=draft.description,
        created_by=created_by[:CREATED_BY_MAX_LENGTH],
    )
    _destroy_surplus_secret_versions(secret)
    return version


def _destroy_surplus_secret_versions(secret: Secret) -> None:
    """Overwrite what is older than the newest versions that are kept (SPEC 5: 100)."""
    through = secret.active_version - settings.NEXUS_VERSIONS_KEPT
    if through < 1:
        return
    destroyed = secret.versions.filter(version__lte=through, destroyed_at=None).update(
        sealed=b"", data_key=None, destroyed_at=timezone.now()
    )
    if destroyed:
        forget_overwritten()


def forget_overwritten() -> None:
    """After this transaction, empty SQLite's write-ahead log: overwritten bytes stand there as well."""
    if connection.vendor == "sqlite":
        transaction.on_commit(_truncate_write_ahead_log, robust=True)


def _truncate_write_ahead_log() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@transaction.atomic
def delete_secret(
    *,
    actor: Actor,
    service: Service,
    key: str,
    expected_version: int | None = None,
    expected_row_version: int | None = None,
    force: bool = False,
) -> Secret:
    """Delete a secret softly: it can be restored for 30 days. Raises NotFound, VersionConflict,
    and HasDependants unless `force`."""
    opened = entries.open_entry(
        actor=actor, permission="secret:write", service=service, rows=Secret.objects.all(), key=key
    )
    return drop_secret(actor, opened, Precondition(expected_version, expected_row_version), force=force)


def drop_secret(
    actor: Actor, opened: Opened[Secret], precondition: Precondition, *, force: bool = False
) -> Secret:
    """Delete what was opened, in the caller's transaction and under its lock."""
    secret, service = opened.found("secret"), opened.service
    precondition.require(secret, live=True)
    if not force:
        entries.require_no_dependants(actor, service, kind=EntryKind.SECRET, key=opened.key)
    entries.soft_delete(secret)
    record(
        actor=actor,
        action=Action.SECRET_DELETED,
        target=secret.audit_target(),
        changes={"version": [secret.active_version, None]},
    )
    bump(origin=service, services=service.readers(), event=ChangeEvent.SECRET_DELETED, key=opened.key)
    return secret


@transaction.atomic
def set_config(
    *,
    actor: Actor,
    service: Service,
    key: str,
    value: Any,
    type: str = ConfigType.STRING,
    description: str = "",
    is_final: bool | None = None,
    expected_version: int | None = None,
    expected_row_version: int | None = None,
    only_create: bool = False,
    must_be_new: bool = False,
    must_exist: bool = False,
) -> Written:
    """Make `value` the active version of the config `key`.

    `value` is a string, number, boolean, or for type `json` any JSON value, at most 65,536 bytes.
    Templates in it are checked in the scope of the service (SPEC 6). Raises NotPermitted (also where it
    names a secret that the actor may not reveal), InvalidInput, QuotaExceeded, and VersionConflict or
    AlreadyExists as `set_secret` does.
    """
    draft = ConfigDraft(
        key=key,
        value=value,
        type=type,
        description=description,
        is_final=is_final,
        precondition=Precondition(
            expected_version, expected_row_version, only_create, must_be_new, must_exist
        ),
    )
    value_json = draft.sound_json()
    opened = entries.open_entry(
        actor=actor,
        permission="config:write",
        service=service,
        rows=Config.objects.all(),
        key=key,
        annotations={
            "stored_bytes": sizes.stored_bytes(),
            "is_named": dependants.named(EntryKind.CONFIG, key),
        },
    )
    draft.precondition.require(opened.entry, live=opened.live)
    planned = draft.planned(opened, value_json)
    warnings = _require_served(actor, opened.service, planned)
    written = write_config(actor, opened, draft, planned, warnings)
    require_fits(opened.service, len(value_json), has_templates=bool(planned.references))
    return written


def write_config(
    actor: Actor, opened: Opened[Config], draft: ConfigDraft, planned: Write, warnings: Sequence[str] = ()
) -> Written:
    """Append the sound `draft`, in the caller's transaction and under its lock, as `write_secret` does."""
    assert planned.config is not None  # noqa: S101 - the plan is the draft's
    value_json = planned.config.value_json
    service, live = opened.service, opened.live
    entries.require_final_fits(service, draft.is_final)
    draft.precondition.require(opened.entry, live=live)
    opened.require_place("configs")
    config = opened.entry or Config(service=service, key=draft.key)
    before = config.versions.filter(version=config.active_version).first() if live else None
    entries.revive(config)
    entries.adopt_final(config, draft.is_final, live=live)
    config.active_version += 1
    config.save()
    version = ConfigVersion.objects.create(
        config=config,
        version=config.active_version,
        type=draft.type,
        value_json=value_json,
        size_bytes=len(value_json.encode()),
        description=draft.description,
        created_by=actor.name[:CREATED_BY_MAX_LENGTH],
    )
    _destroy_surplus_config_versions(config)
    if live or planned.references:
        dependants.note_references(config, planned.references)
    record(
        actor=actor,
        action=Action.CONFIG_UPDATED if live else Action.CONFIG_CREATED,
        target=config.audit_target(),
        changes={
            "version": [before and before.version, config.active_version],
            "type": [before and before.type, draft.type],
            "value": [before and before.value_json, value_json],
            "final": [None, config.is_final],
        },
    )
    bump(origin=service, services=service.readers(), event=ChangeEvent.CONFIG_UPDATED, key=draft.key)
    return Written(config, config.active_version, not live, draft.type, version, tuple(warnings))


def _destroy_surplus_config_versions(config: Config) -> None:
    through = config.active_version - settings.NEXUS_VERSIONS_KEPT
    if through >= 1:
        config.versions.filter(version__lte=through, destroyed_at=None).update(
            value_json="", destroyed_at=timezone.now()
        )


@transaction.atomic
def delete_config(
    *,
    actor: Actor,
    service: Service,
    key: str,
    expected_row_version: int | None = None,
    force: bool = False,
) -> Config:
    """Delete a config softly. Raises NotFound, VersionConflict, and HasDependants unless `force`."""
    opened = entries.open_entry(
        actor=actor, permission="config:write", service=service, rows=Config.objects.all(), key=key
    )
    return drop_config(actor, opened, Precondition(row_version=expected_row_version), force=force)


def drop_config(
    actor: Actor, opened: Opened[Config], precondition: Precondition, *, force: bool = False
) -> Config:
    """Delete what was opened, in the caller's transaction and under its lock."""
    config, service = opened.found("config"), opened.service
    precondition.require(config, live=True)
    if not force:
        entries.require_no_dependants(actor, service, kind=EntryKind.CONFIG, key=opened.key)
    entries.soft_delete(config)
    dependants.forget_references(config)
    record(
        actor=actor,
        action=Action.CONFIG_DELETED,
        target=config.audit_target(),
        changes={"version": [config.active_version, None]},
    )
    bump(origin=service, services=service.readers(), event=ChangeEvent.CONFIG_DELETED, key=opened.key)
    return config


def count_secrets(project_ids: Collection[UUID]) -> dict[UUID, int]:
    return entries.count_live(Secret.objects.all(), project_ids)


def count_configs(project_ids: Collection[UUID]) -> dict[UUID, int]:
    return entries.count_live(Config.objects.all(), project_ids)
