"""Open everything that is stored sealed, and find rows that were rolled back.

A version's ciphertext hash stands in the event of its write, or of its latest re-encryption. Both
are read beside the secrets they tell of, a few at a time: memory does not grow with the vault.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from apps.audit.events import Action, ChainKind
from apps.audit.models import AuditChain, AuditEvent
from apps.core import crypto, keys
from apps.core.crypto import DoesNotOpen
from apps.core.errors import MissingRootKey, Unreadable
from apps.core.models import DataKey, KeyState, ServerKey
from apps.projects.models import Project
from apps.vault.envelope import secret_binding
from apps.vault.models import Secret, SecretVersion

_WRITES = (Action.SECRET_CREATED, Action.SECRET_UPDATED)

# Secrets whose versions and events are compared at once.
SECRETS_AT_ONCE = 100
# Each version may hold 64 KiB.
VERSIONS_AT_ONCE = 20
# A writer may come between a secret and its event as often as that, and not again and again.
LOOKS_AGAIN = 3


@dataclass(frozen=True, slots=True)
class VaultVerification:
    """`failed` holds ids of versions and keys that do not open, or whose ciphertext is not the one
    that its event tells of; `unanchored` counts versions whose event was pruned."""

    opened: int
    failed: list[str]
    unanchored: int


@dataclass(frozen=True, slots=True)
class _Batch:
    """An event of `rotate_data_keys`: it sealed versions of the secrets from `first` to `last` anew."""

    event_id: UUID
    first: UUID
    last: UUID


def count_sealed() -> int:
    return SecretVersion.objects.filter(destroyed_at=None).count()


@dataclass(slots=True)
class _Found:
    """What a look at one secret found."""

    opened: int = 0
    unanchored: int = 0
    failed: list[str] = field(default_factory=list)


def verify_vault(*, on_value: Callable[[], None] = lambda: None) -> VaultVerification:
    """Open every key and every version of every secret, soft-deleted ones included.

    Writers and `rotate_data_keys` may go on meanwhile: what seems to fail is looked at again when
    something was written since.
    """
    opened, unanchored = 0, 0
    failed = [str(row.id) for row in _keys() if not _key_opens(row)]
    for project in Project.objects.order_by("pk").iterator(100):
        head = _head(project.pk)
        batches = _reencryptions(project.pk)
        for secrets in _in_groups(Secret.objects.filter(service__project=project).order_by("pk").iterator()):
            found = _look(project, secrets, batches, on_value)
            for _ in range(LOOKS_AGAIN):
                suspects = [secret_id for secret_id, each in found.items() if each.failed]
                if not suspects or (now := _head(project.pk)) == head:
                    break
                head, batches = now, _reencryptions(project.pk)
                fresh = list(Secret.objects.filter(pk__in=suspects).order_by("pk"))
                for secret_id in suspects:
                    del found[secret_id]
                found |= _look(project, fresh, batches)
            opened += sum(each.opened for each in found.values())
            unanchored += sum(each.unanchored for each in found.values())
            failed += [pk for each in found.values() for pk in each.failed]
    return VaultVerification(opened, failed, unanchored)


def _head(project_id: UUID) -> int | None:
    """The number of the last change in the project."""
    chains = AuditChain.objects.filter(project_id=project_id, kind=ChainKind.CHANGES)
    return chains.values_list("head_sequence", flat=True).first()


def _look(
    project: Project,
    secrets: list[Secret],
    batches: "list[_Batch]",
    on_value: Callable[[], None] = lambda: None,
) -> dict[UUID, _Found]:
    found = {secret.pk: _Found() for secret in secrets}
    if not secrets:
        return found
    told = _Told(project.pk, secrets, batches)
    numbers: dict[UUID, list[int]] = {secret.pk: [] for secret in secrets}
    by_id = {secret.pk: secret for secret in secrets}
    versions = SecretVersion.objects.filter(secret__in=secrets).order_by("secret_id", "version")
    for version in versions.iterator(VERSIONS_AT_ONCE):
        on_value()
        version.secret = by_id[version.secret_id]
        numbers[version.secret_id].append(version.version)
        if version.destroyed_at is not None:
            continue
        here = found[version.secret_id]
        if not _opens(version, project):
            here.failed.append(str(version.pk))
            continue
        here.opened += 1
        expected = told.ciphertext(version)
        if expected is None:
            here.unanchored += 1
        elif expected != crypto.sha256(bytes(version.sealed)).hex():
            here.failed.append(str(version.pk))
    for secret in secrets:
        gapless = numbers[secret.pk] == list(range(1, secret.active_version + 1))
        if not gapless or told.newest(secret) > secret.active_version:
            found[secret.pk].failed.append(str(secret.pk))
    return found


def _in_groups(secrets: Iterable[Secret]) -> Iterator[list[Secret]]:
    group = []
    for secret in secrets:
        group.append(secret)
        if len(group) == SECRETS_AT_ONCE:
            yield group
            group = []
    if group:
        yield group


class _Told:
    """What the audit log tells of the versions of a few secrets."""

    def __init__(self, project_id: UUID, secrets: list[Secret], batches: list[_Batch]) -> None:
        self._written: dict[tuple[str, int], str] = {}
        self._newest: dict[str, int] = {}
        ids = [str(secret.pk) for secret in secrets]
        events = AuditEvent.objects.filter(project_id=project_id, action__in=_WRITES, object_id__in=ids)
        for object_id, changes in events.values_list("object_id", "changes").iterator(500):
            told: dict[str, Any] = json.loads(changes)
            number = told["version"][1]
            self._written[object_id, number] = told["ciphertext_sha256"][1]
            self._newest[object_id] = max(number, self._newest.get(object_id, 0))
        self._resealed: dict[str, str] = {}
        # The batches come in the order of their numbers: a later pass tells the last word.
        touching = [
            batch.event_id
            for batch in batches
            if batch.first <= secrets[-1].pk and batch.last >= secrets[0].pk
        ]
        events = AuditEvent.objects.filter(pk__in=touching).order_by("sequence")
        for changes in events.values_list("changes", flat=True).iterator(20):
            self._resealed |= json.loads(changes)["ciphertext_sha256"]

    def ciphertext(self, version: SecretVersion) -> str | None:
        """The hash of the version's ciphertext, by its latest event; None when that was pruned."""
        written = self._written.get((str(version.secret_id), version.version))
        return self._resealed.get(str(version.pk), written)

    def newest(self, secret: Secret) -> int:
        """The highest version that was written. A secret whose own is lower was rolled back."""
        return self._newest.get(str(secret.pk), 0)


def _reencryptions(project_id: UUID) -> list[_Batch]:
    """The project's events of re-encryption, without what they tell: 200 versions each."""
    events = AuditEvent.objects.filter(project_id=project_id, action=Action.SECRET_REENCRYPTED)
    found = []
    for event_id, changes in events.order_by("sequence").values_list("pk", "changes").iterator(20):
        first, last = json.loads(changes)["secrets"]
        found.append(_Batch(event_id, UUID(first), UUID(last)))
    return found


def _keys() -> Iterator[ServerKey | DataKey]:
    """Every server key, and data keys that no version names: others are opened for their versions."""
    yield from ServerKey.objects.exclude(state=KeyState.DESTROYED)
    named = SecretVersion.objects.exclude(data_key=None).values("data_key_id")
    yield from DataKey.objects.exclude(state=KeyState.DESTROYED).exclude(pk__in=named).iterator(500)


def _key_opens(row: ServerKey | DataKey) -> bool:
    """Whether the stored bytes open; not whether this process remembers the key."""
    try:
        keys.unwrap(row)
    except (Unreadable, MissingRootKey):
        return False
    return True


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
