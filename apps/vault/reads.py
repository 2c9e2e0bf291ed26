"""Read secrets. Each read is told to the audit log and committed before its value leaves."""

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from apps.audit.events import Action
from apps.audit.operations import record, record_coalesced
from apps.core.access import require, require_presence
from apps.core.actor import Actor
from apps.core.crypto import DoesNotOpen
from apps.core.errors import NotFound, ServiceKindMismatch, Unreadable
from apps.services.models import Kind, Service
from apps.vault.models import Secret, SecretVersion
from apps.vault.resolution import StoredSecret, stored_secrets, unseal_all


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
    value = unsealed_version(secret, row)
    with transaction.atomic(durable=True):
        record(
            actor=actor,
            action=Action.SECRET_REVEAL,
            target=secret.audit_target(),
            changes={"version": row.version},
        )
    return Revealed(value, row.type, row.file_name, row.version)


def unsealed_version(secret: Secret, row: SecretVersion) -> bytes:
    """The value of a version that is not destroyed. The caller tells the audit log. Raises Unreadable."""
    if row.data_key_id is None:
        raise Unreadable
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
    return _unseal(secret.service, [stored])[secret.key]


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
