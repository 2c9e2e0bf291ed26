"""Write and read secrets and configs.

Values of secrets go in as bytes and are sealed before they reach the database; they come out by
the reads at the end of this module alone, after their event was committed.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import OuterRef

from apps.audit.events import Action
from apps.audit.operations import record, record_coalesced
from apps.core import crypto, keys
from apps.core.access import require, require_presence
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, bump
from apps.core.crypto import DoesNotOpen
from apps.core.errors import NotFound, ServiceKindMismatch, Unreadable
from apps.services import entries
from apps.services.entries import Opened, Precondition
from apps.services.models import EntryKind, Kind, Service
from apps.vault.drafts import ConfigDraft, SecretDraft
from apps.vault.models import Config, ConfigType, Entry, Secret, SecretType, SecretVersion
from apps.vault.resolution import StoredSecret, stored_secrets
from apps.vault.versions import append_config_version, append_secret_version


@dataclass(frozen=True, slots=True)
class Written:
    """What a write made: the entry, its new version and that version's row, and whether the key was new."""

    entry: Entry
    version: int
    created: bool
    type: str
    row: Any


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
    expected_version: int | None = None,
    expected_row_version: int | None = None,
    only_create: bool = False,
    must_be_new: bool = False,
    must_exist: bool = False,
) -> Written:
    """Make `value` the active version of the secret `key`.

    `value` is at most 65,536 bytes, UTF-8 for type `text`. It is sealed before it reaches the
    database and is never returned, logged, or copied into the audit event. A soft-deleted key
    comes back to life and its numbering goes on.

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
        annotations={"data_key_id": keys.current_data_key_id(OuterRef("project_id"))},
    )
    return write_secret(actor, opened, draft, sealing_key(opened.service, uses=1))


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


def write_secret(actor: Actor, opened: Opened[Secret], draft: SecretDraft, key: keys.Key) -> Written:
    """Append the sound `draft`, in the caller's transaction and under its lock."""
    service, live = opened.service, opened.live
    entries.require_final_fits(service, draft.is_final)
    draft.precondition.require(opened.entry, live=live)
    opened.require_place("secrets")
    secret = opened.entry or Secret(service=service, key=draft.key)
    before = secret.active_version if live else None
    entries.revive(secret)
    entries.adopt_final(secret, draft.is_final, live=live)
    secret.active_version += 1
    secret.save()
    version = append_secret_version(secret, draft, key, created_by=actor.name)
    record(
        actor=actor,
        action=Action.SECRET_UPDATED if live else Action.SECRET_CREATED,
        target=secret.audit_target(),
        changes={
            "version": [before, version.version],
            "type": [None, draft.type],
            "final": [None, secret.is_final],
            "ciphertext_sha256": [None, crypto.sha256(bytes(version.sealed)).hex()],
        },
    )
    bump(origin=service, services=service.readers(), event=ChangeEvent.SECRET_UPDATED, key=draft.key)
    return Written(secret, version.version, not live, draft.type, version)


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
        entries.require_no_dependants(service, kind=EntryKind.SECRET, key=opened.key)
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
    Raises NotPermitted, InvalidInput (also for unescaped template text), QuotaExceeded, and
    VersionConflict or AlreadyExists as `set_secret` does.
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
        actor=actor, permission="config:write", service=service, rows=Config.objects.all(), key=key
    )
    return write_config(actor, opened, draft, value_json)


def write_config(actor: Actor, opened: Opened[Config], draft: ConfigDraft, value_json: str) -> Written:
    """Append the sound `draft`, in the caller's transaction and under its lock."""
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
    version = append_config_version(config, draft, value_json, created_by=actor.name)
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
    return Written(config, config.active_version, not live, draft.type, version)


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
        entries.require_no_dependants(service, kind=EntryKind.CONFIG, key=opened.key)
    entries.soft_delete(config)
    record(
        actor=actor,
        action=Action.CONFIG_DELETED,
        target=config.audit_target(),
        changes={"version": [config.active_version, None]},
    )
    bump(origin=service, services=service.readers(), event=ChangeEvent.CONFIG_DELETED, key=opened.key)
    return config


# Reads of secrets. Each tells the audit log first, in a transaction that commits before the value leaves.


def _require_readable(actor: Actor, service: Service, permission: str) -> None:
    if service.kind != Kind.BACKEND:
        raise ServiceKindMismatch
    require(actor, permission, service)


def list_secrets(*, actor: Actor, service: Service) -> dict[str, tuple[StoredSecret, str]]:
    """Keys and metadata of the secrets in effect, sealed. Told once a minute per credential."""
    _require_readable(actor, service, "secret:list")
    found = stored_secrets(service)
    record_coalesced(actor=actor, action=Action.SECRET_LIST, target=service.audit_target())
    return found


def read_secret(*, actor: Actor, service: Service, key: str) -> dict[str, Any]:
    """The snapshot's members of one secret in effect.

    The first read per credential, version and minute is told before the value leaves; further
    ones are added to its successor's count (SPEC 12). Raises NotFound, and Unreadable when the
    stored value does not open.
    """
    _require_readable(actor, service, "secret:reveal")
    found = stored_secrets(service, key=key).get(key)
    if found is None:
        raise NotFound
    stored, source = found
    value = _unseal(service, [stored])[stored.key]
    target = Secret(pk=stored.secret_id, key=key, service=service).audit_target()
    record_coalesced(
        actor=actor, action=Action.SECRET_READ, target=target, subject=f"{stored.secret_id}:{stored.version}"
    )
    return {"key": key, **stored.wire(value, source)}


@dataclass(frozen=True, slots=True, repr=False)
class Revealed:
    """A value on its way to a person. Without a repr: no log and no traceback shows it."""

    value: bytes
    type: str
    file_name: str
    version: int


def reveal_secret(*, actor: Actor, secret: Secret, version: int | None = None) -> Revealed:
    """The value of the secret's active version, or of `version`, for a person who is there.

    The event is committed before this returns (SPEC 5): a reveal without its event does not happen.
    Raises NotPermitted, ReauthenticationRequired without a proof of presence within 15 minutes,
    NotFound for a version that is not or no longer there, and Unreadable.
    """
    require(actor, "secret:reveal", secret)
    require_presence(actor)
    number = secret.active_version if version is None else version
    row = SecretVersion.objects.filter(secret=secret, version=number, destroyed_at=None).first()
    if row is None or row.data_key_id is None:
        raise NotFound(f"The secret {secret.key} has no readable version {number}.")
    stored = StoredSecret(
        secret.key,
        secret.service_id,
        secret.is_final,
        secret.pk,
        row.version,
        row.type,
        row.file_name,
        bytes(row.sealed),
        row.data_key_id,
    )
    value = _unseal(secret.service, [stored])[secret.key]
    with transaction.atomic(durable=True):
        record(
            actor=actor,
            action=Action.SECRET_REVEAL,
            target=secret.audit_target(),
            changes={"version": row.version},
        )
    return Revealed(value, row.type, row.file_name, row.version)


def note_secret_list(*, actor: Actor, service: Service) -> None:
    """Tell, once a minute, that a person looked at the keys of the service's secrets."""
    record_coalesced(actor=actor, action=Action.SECRET_LIST, target=service.audit_target())


def export_secrets(*, actor: Actor, service: Service) -> dict[str, str]:
    """All values in effect by key, files in base64, told as one event before they leave.

    Raises Unreadable when one does not open: a map with a key missing would be taken for whole.
    """
    _require_readable(actor, service, "secret:reveal")
    found = stored_secrets(service)
    values = _unseal(service, [stored for stored, _ in found.values()])
    with transaction.atomic():
        record(
            actor=actor,
            action=Action.SECRET_EXPORTED,
            target=service.audit_target(),
            changes={"versions": {key: stored.version for key, (stored, _) in found.items()}},
        )
    return {key: stored.wire(values[key], source)["value"] for key, (stored, source) in found.items()}


def _unseal(service: Service, stored: list[StoredSecret]) -> dict[str, bytes]:
    data_keys = keys.opening_keys({each.data_key_id for each in stored})
    project = service.project
    try:
        return {
            each.key: each.unseal(data_keys, tenant_id=project.tenant_id, project_id=project.pk)
            for each in stored
        }
    except DoesNotOpen:
        raise Unreadable from None


def count_secrets(project_id: UUID) -> int:
    return entries.count_live(Secret.objects.all(), project_id)


def count_configs(project_id: UUID) -> int:
    return entries.count_live(Config.objects.all(), project_id)
