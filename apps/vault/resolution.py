"""What a service has in effect: its own entries and those of its umbrella.

A child's own entry wins over the umbrella's of the same key, unless that one is final.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db.models import F, QuerySet

from apps.core import crypto, keys
from apps.core.crypto import DoesNotOpen
from apps.services.inheritance import EntryKey, scope, winners
from apps.services.models import Service
from apps.vault.envelope import secret_binding
from apps.vault.models import Config, ConfigVersion, Secret, SecretVersion
from apps.vault.templates import ConfigText, Failure, Scope, resolve, survey
from apps.vault.values import secret_wire_value


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """The active version of a secret, still sealed."""

    key: str
    service_id: UUID
    is_final: bool
    secret_id: UUID
    version: int
    type: str
    file_name: str
    sealed: bytes
    data_key_id: UUID

    def unseal(self, data_keys: Mapping[UUID, keys.Key], *, tenant_id: UUID, project_id: UUID) -> bytes:
        """The value. Raises DoesNotOpen when its key is gone or the row is not what was sealed."""
        key = data_keys.get(self.data_key_id)
        if key is None:
            raise DoesNotOpen
        binding = secret_binding(
            key,
            tenant_id=tenant_id,
            project_id=project_id,
            service_id=self.service_id,
            secret_id=self.secret_id,
            secret_type=self.type,
            version=self.version,
        )
        return crypto.unseal(key.secret, self.sealed, bound_to=binding)

    def wire(self, value: bytes, source: str) -> dict[str, Any]:
        """The snapshot's members of this secret (SPEC 8)."""
        members: dict[str, Any] = {"type": self.type, "value": secret_wire_value(self.type, value)}
        if self.file_name:
            members["file_name"] = self.file_name
        return {**members, "version": self.version, "source": source}


def unseal_all(stored: Iterable[StoredSecret], *, tenant_id: UUID, project_id: UUID) -> dict[str, bytes]:
    """The values by key. Raises DoesNotOpen when one does not open.

    A row that was read before `rotate_data_keys` sealed it anew may name a key that is destroyed by
    the time it is asked for; what is there now is then read once more.
    """
    stored = list(stored)
    data_keys = keys.opening_keys({each.data_key_id for each in stored})
    stored = [each if each.data_key_id in data_keys else _as_it_is_now(each) for each in stored]
    data_keys |= keys.opening_keys({each.data_key_id for each in stored} - data_keys.keys())
    return {each.key: each.unseal(data_keys, tenant_id=tenant_id, project_id=project_id) for each in stored}


def _as_it_is_now(stored: StoredSecret) -> StoredSecret:
    row = (
        SecretVersion.objects.filter(secret_id=stored.secret_id, version=stored.version, destroyed_at=None)
        .values_list("sealed", "data_key_id")
        .first()
    )
    return stored if row is None else replace(stored, sealed=bytes(row[0]), data_key_id=row[1])


@dataclass(frozen=True, slots=True)
class StoredConfig:
    """The active version of a config."""

    key: str
    service_id: UUID
    is_final: bool
    version: int
    type: str
    value_json: str


def stored_secrets(
    service: Service, *, key: str | None = None, using: str = "default"
) -> dict[str, tuple[StoredSecret, str]]:
    """The secrets in effect for `service`, sealed; with `key` that one alone. One query."""
    rows = SecretVersion.objects.using(using).filter(
        secret__service_id__in=scope(service),
        secret__deleted_at=None,
        version=F("secret__active_version"),
        destroyed_at=None,
    )
    if key is not None:
        rows = rows.filter(secret__key=key)
    columns = (
        "secret__key",
        "secret__service_id",
        "secret__is_final",
        "secret_id",
        "version",
        "type",
        "file_name",
        "sealed",
        "data_key_id",
    )
    stored = []
    for name, owner, is_final, secret_id, version, kind, file_name, sealed, data_key in rows.values_list(
        *columns
    ):
        stored.append(
            StoredSecret(name, owner, is_final, secret_id, version, kind, file_name, bytes(sealed), data_key)
        )
    return winners(stored, service_id=service.pk)


def stored_configs(service: Service, *, using: str = "default") -> dict[str, tuple[StoredConfig, str]]:
    """The configs in effect for `service`. One query."""
    rows = ConfigVersion.objects.using(using).filter(
        config__service_id__in=scope(service),
        config__deleted_at=None,
        version=F("config__active_version"),
        destroyed_at=None,
    )
    columns = ("config__key", "config__service_id", "config__is_final", "version", "type", "value_json")
    return winners((StoredConfig(*row) for row in rows.values_list(*columns)), service_id=service.pk)


def secret_keys(service_ids: Collection[UUID]) -> Iterator[EntryKey]:
    """The live secrets that these services have as their own: keys alone. One query."""
    return _own_keys(Secret.objects.filter(service_id__in=service_ids))


def config_keys(service_ids: Collection[UUID]) -> Iterator[EntryKey]:
    """The live configs that these services have as their own: keys alone. One query."""
    return _own_keys(Config.objects.filter(service_id__in=service_ids))


def _own_keys(entries: QuerySet[Any]) -> Iterator[EntryKey]:
    rows = entries.filter(deleted_at=None).values_list("key", "service_id", "is_final")
    return (EntryKey(*row) for row in rows)


class ResolvesTooLarge(Exception):
    """What a service reads would hold more than a snapshot does, told by lengths alone."""


def resolved_configs(
    found: Mapping[str, tuple[StoredConfig, str]],
    *,
    secrets: Mapping[str, str | None] | None,
    flags: Mapping[str, bool],
    limit_bytes: int,
) -> tuple[dict[str, str], dict[str, Failure]]:
    """The JSON text of every config that can be served, and why the others cannot (SPEC 6).

    `secrets` are the texts of those in effect, None for one that does not open; a frontend service
    has no secrets at all, and says so by None for the whole. Raises ResolvesTooLarge, before any text
    is joined, where all of it together would hold more than `limit_bytes`.
    """
    configs: dict[str, ConfigText] = {key: stored for key, (stored, _) in found.items()}
    scope = Scope(
        configs,
        None
        if secrets is None
        else {key: None if text is None else len(text.encode()) for key, text in secrets.items()},
        flags,
    )
    surveyed = survey(scope)
    texts = {key: text for key, text in (secrets or {}).items() if text is not None}
    failures = surveyed.failures
    if sum(map(len, texts.values())) + surveyed.total_bytes > limit_bytes:
        raise ResolvesTooLarge
    values = resolve(surveyed, secrets=texts, flags=flags)
    return {
        key: values.get(key, config.value_json) for key, config in configs.items() if key not in failures
    }, failures
