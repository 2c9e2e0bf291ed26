"""Open everything that is stored sealed, and find rows that were rolled back."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from apps.audit.events import Action
from apps.audit.models import AuditEvent
from apps.core import crypto, keys
from apps.core.crypto import DoesNotOpen
from apps.core.errors import MissingRootKey, Unreadable
from apps.core.models import KeyState, ServerKey
from apps.projects.models import Project
from apps.vault.envelope import secret_binding
from apps.vault.models import Secret, SecretVersion

_WRITES = (Action.SECRET_CREATED, Action.SECRET_UPDATED)


@dataclass(frozen=True, slots=True)
class VaultVerification:
    """`failed` holds ids of versions and keys that do not open, or whose ciphertext is not the one
    that its event tells of; `unanchored` counts versions whose event was pruned."""

    opened: int
    failed: list[str]
    unanchored: int


def verify_vault(*, on_value: Callable[[], None] = lambda: None) -> VaultVerification:
    """Open every server key and every version of every secret, soft-deleted ones included."""
    opened, failed, unanchored = 0, [], 0
    for row in ServerKey.objects.exclude(state=KeyState.DESTROYED):
        try:
            keys.server_key_by_id(row.id)
        except (Unreadable, MissingRootKey):
            failed.append(str(row.id))
    for project in Project.objects.order_by("pk"):
        written = _written_ciphertexts(project.pk)
        versions = SecretVersion.objects.filter(secret__service__project=project).select_related("secret")
        _add_rolled_back(project, written, failed)
        for version in versions.order_by("secret_id", "version").iterator(500):
            on_value()
            if version.destroyed_at is not None:
                continue
            if not _opens(version, project):
                failed.append(str(version.pk))
                continue
            opened += 1
            digest = crypto.sha256(bytes(version.sealed)).hex()
            told = written.get((str(version.secret_id), version.version))
            if told is None:
                unanchored += 1
            elif told != digest:
                failed.append(str(version.pk))
    return VaultVerification(opened, failed, unanchored)


def _written_ciphertexts(project_id: UUID) -> dict[tuple[str, int], str]:
    """The ciphertext hash that the latest event tells of, by secret and version."""
    events = AuditEvent.objects.filter(project_id=project_id, action__in=_WRITES).order_by("sequence")
    found = {}
    for object_id, changes in events.values_list("object_id", "changes").iterator(2000):
        told: dict[str, Any] = json.loads(changes)
        found[object_id, told["version"][1]] = told["ciphertext_sha256"][1]
    return found


def _add_rolled_back(project: Project, written: dict[tuple[str, int], str], failed: list[str]) -> None:
    """A secret that lacks a version, or whose events tell of newer ones, was rolled back."""
    newest: dict[str, int] = {}
    for secret_id, number in written:
        newest[secret_id] = max(number, newest.get(secret_id, 0))
    for secret in Secret.objects.filter(service__project=project).prefetch_related("versions"):
        numbers = sorted(version.version for version in secret.versions.all())
        told = newest.get(str(secret.pk), 0)
        if numbers != list(range(1, secret.active_version + 1)) or told > secret.active_version:
            failed.append(str(secret.pk))


def _opens(version: SecretVersion, project: Project) -> bool:
    secret = version.secret
    if version.data_key_id is None:
        return False
    try:
        key = keys.opening_keys({version.data_key_id}).get(version.data_key_id)
    except MissingRootKey:
        return False
    if key is None:
        return False
    binding = secret_binding(
        key,
        tenant_id=project.tenant_id,
        project_id=project.pk,
        service_id=secret.service_id,
        secret_id=secret.pk,
        secret_type=version.type,
        version=version.version,
    )
    try:
        crypto.unseal(key.secret, bytes(version.sealed), bound_to=binding)
    except DoesNotOpen:
        return False
    return True
