"""Write and read secrets and configs.

Values of secrets go in as bytes and are sealed before they reach the database; they come out by
the reads at the end of this module alone, after their event was committed.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record, record_coalesced
from apps.core import crypto, keys
from apps.core.access import require, require_presence
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, bump
from apps.core.crypto import DoesNotOpen
from apps.core.errors import InvalidInput, NotFound, ServiceKindMismatch, Unreadable, VersionConflict
from apps.core.names import require_entry_key, require_file_name
from apps.projects import holdings
from apps.services import entries
from apps.services.models import EntryKind, Kind, Service
from apps.vault.envelope import secret_binding
from apps.vault.models import Config, ConfigType, ConfigVersion, Entry, Secret, SecretType, SecretVersion
from apps.vault.resolution import StoredSecret, stored_secrets, unseal_all
from apps.vault.values import config_json, require_description, require_value_size

CREATED_BY_MAX_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Written:
    """What a write made: the entry, its new version, and whether the key was new."""

    entry: Entry
    version: int
    created: bool
    type: str


def _require_precondition(
    entry: Entry | None, *, live: bool, expected_version: int | None, only_create: bool
) -> None:
    """If-None-Match: * and If-Match (RFC 9110 section 13.1), checked again under the lock."""
    if only_create and live:
        raise VersionConflict("The key exists already. Leave out If-None-Match to write a new version.")
    if expected_version is not None and (
        entry is None or not live or entry.active_version != expected_version
    ):
        raise VersionConflict


def _adopt_final(entry: Entry, is_final: bool | None, *, live: bool) -> None:
    if is_final is not None:
        entry.is_final = is_final
    elif not live:
        entry.is_final = False


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
    only_create: bool = False,
) -> Written:
    """Make `value` the active version of the secret `key`.

    `value` is at most 65,536 bytes, UTF-8 for type `text`. It is sealed before it reaches the
    database and is never returned, logged, or copied into the audit event. A soft-deleted key
    comes back to life and its numbering goes on.

    Raises NotPermitted, ServiceKindMismatch for a frontend, InvalidInput, QuotaExceeded, and
    VersionConflict when `expected_version` (If-Match, RFC 9110 section 13.1.1) is given and
    another write came first, or `only_create` (If-None-Match: *) and the key exists.
    """
    require(actor, "secret:write", service)
    if service.kind != Kind.BACKEND:
        raise ServiceKindMismatch
    require_entry_key(key)
    _require_secret_value(type, value)
    if file_name:
        require_file_name(file_name)
        if type != SecretType.FILE:
            raise InvalidInput.of("file_name", "Only a secret of type file has a file name.")
    require_description(description)
    service = entries.lock_service(service)
    entries.require_final_fits(service, is_final)
    secret = entries.lock_entry(Secret.objects.all(), service=service, key=key)
    live = secret is not None and secret.deleted_at is None
    _require_precondition(secret, live=live, expected_version=expected_version, only_create=only_create)
    if not live:
        holdings.require_place("secrets", project_id=service.project_id, tier_name=service.project.tier)
    secret = secret or Secret(service=service, key=key)
    before = secret.active_version if live else None
    entries.revive(secret)
    _adopt_final(secret, is_final, live=live)
    secret.active_version += 1
    secret.save()
    version = _append_secret_version(
        secret, value, type=type, file_name=file_name, description=description, created_by=actor.name
    )
    record(
        actor=actor,
        action=Action.SECRET_UPDATED if live else Action.SECRET_CREATED,
        target=secret.audit_target(),
        changes={
            "version": [before, version.version],
            "type": [None, type],
            "final": [None, secret.is_final],
            "ciphertext_sha256": [None, crypto.sha256(bytes(version.sealed)).hex()],
        },
    )
    bump(origin=service, services=service.readers(), event=ChangeEvent.SECRET_UPDATED, key=key)
    return Written(secret, version.version, not live, type)


def _require_secret_value(secret_type: str, value: bytes) -> None:
    if secret_type not in SecretType.values:
        raise InvalidInput.of("type", f"Choose {' or '.join(SecretType.values)}.")
    require_value_size(len(value))
    if secret_type == SecretType.TEXT:
        try:
            value.decode("utf-8")
        except UnicodeDecodeError:
            # From None: the cause quotes bytes of the value.
            raise InvalidInput.of("value", "The text is not UTF-8. Send bytes as type file.") from None


def _append_secret_version(
    secret: Secret, value: bytes, *, type: str, file_name: str, description: str, created_by: str
) -> SecretVersion:
    project = secret.service.project
    key = keys.sealing_key(tenant_id=project.tenant_id, project_id=project.pk)
    binding = secret_binding(
        key,
        tenant_id=project.tenant_id,
        project_id=project.pk,
        service_id=secret.service_id,
        secret_id=secret.pk,
        secret_type=type,
        version=secret.active_version,
    )
    version = SecretVersion.objects.create(
        secret=secret,
        version=secret.active_version,
        type=type,
        file_name=file_name,
        sealed=crypto.seal(key.secret, value, bound_to=binding),
        data_key_id=key.id,
        size_bytes=len(value),
        description=description,
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
    if destroyed and connection.vendor == "sqlite":
        # The overwritten bytes also stand in the write-ahead log until it is checkpointed.
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
    force: bool = False,
) -> Secret:
    """Delete a secret softly: it can be restored for 30 days. Raises NotFound, VersionConflict,
    and HasDependants unless `force`."""
    require(actor, "secret:write", service)
    service = entries.lock_service(service)
    secret = entries.lock_entry(Secret.objects.live(), service=service, key=key)
    if secret is None:
        raise NotFound(f"{service} has no secret {key} of its own.")
    _require_precondition(secret, live=True, expected_version=expected_version, only_create=False)
    if not force:
        entries.require_no_dependants(service, kind=EntryKind.SECRET, key=key)
    entries.soft_delete(secret)
    record(
        actor=actor,
        action=Action.SECRET_DELETED,
        target=secret.audit_target(),
        changes={"version": [secret.active_version, None]},
    )
    bump(origin=service, services=service.readers(), event=ChangeEvent.SECRET_DELETED, key=key)
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
    only_create: bool = False,
) -> Written:
    """Make `value` the active version of the config `key`.

    `value` is a string, number, boolean, or for type `json` any JSON value, at most 65,536 bytes.
    Raises NotPermitted, InvalidInput (also for unescaped template text), QuotaExceeded, and
    VersionConflict as `set_secret` does.
    """
    require(actor, "config:write", service)
    require_entry_key(key)
    value_json = config_json(type, value)
    require_description(description)
    service = entries.lock_service(service)
    entries.require_final_fits(service, is_final)
    config = entries.lock_entry(Config.objects.all(), service=service, key=key)
    live = config is not None and config.deleted_at is None
    _require_precondition(config, live=live, expected_version=expected_version, only_create=only_create)
    if not live:
        holdings.require_place("configs", project_id=service.project_id, tier_name=service.project.tier)
    config = config or Config(service=service, key=key)
    before = config.versions.filter(version=config.active_version).first() if live else None
    entries.revive(config)
    _adopt_final(config, is_final, live=live)
    config.active_version += 1
    config.save()
    ConfigVersion.objects.create(
        config=config,
        version=config.active_version,
        type=type,
        value_json=value_json,
        size_bytes=len(value_json.encode()),
        description=description,
        created_by=actor.name[:CREATED_BY_MAX_LENGTH],
    )
    config.versions.filter(
        version__lte=config.active_version - settings.NEXUS_VERSIONS_KEPT, destroyed_at=None
    ).update(value_json="", destroyed_at=timezone.now())
    record(
        actor=actor,
        action=Action.CONFIG_UPDATED if live else Action.CONFIG_CREATED,
        target=config.audit_target(),
        changes={
            "version": [before and before.version, config.active_version],
            "type": [before and before.type, type],
            "value": [before and before.value_json, value_json],
            "final": [None, config.is_final],
        },
    )
    bump(origin=service, services=service.readers(), event=ChangeEvent.CONFIG_UPDATED, key=key)
    return Written(config, config.active_version, not live, type)


@transaction.atomic
def delete_config(*, actor: Actor, service: Service, key: str, force: bool = False) -> Config:
    """Delete a config softly. Raises NotFound, and HasDependants unless `force`."""
    require(actor, "config:write", service)
    service = entries.lock_service(service)
    config = entries.lock_entry(Config.objects.live(), service=service, key=key)
    if config is None:
        raise NotFound(f"{service} has no config {key} of its own.")
    if not force:
        entries.require_no_dependants(service, kind=EntryKind.CONFIG, key=key)
    entries.soft_delete(config)
    record(
        actor=actor,
        action=Action.CONFIG_DELETED,
        target=config.audit_target(),
        changes={"version": [config.active_version, None]},
    )
    bump(origin=service, services=service.readers(), event=ChangeEvent.CONFIG_DELETED, key=key)
    return config


# Reads of secrets by a workload. Each tells the audit log first, in a transaction that commits
# before the value leaves.


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
    project = service.project
    try:
        return unseal_all(stored, tenant_id=project.tenant_id, project_id=project.pk)
    except DoesNotOpen:
        raise Unreadable from None


def count_secrets(project_id: UUID) -> int:
    return entries.count_live(Secret.objects.all(), project_id)


def count_configs(project_id: UUID) -> int:
    return entries.count_live(Config.objects.all(), project_id)
