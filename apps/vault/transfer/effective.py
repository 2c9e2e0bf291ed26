"""What a service has in effect, opened: results of configs, values of secrets."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from apps.core import keys, strict_json
from apps.core.crypto import DoesNotOpen
from apps.core.errors import SnapshotTooLarge, Unreadable
from apps.flags.definition import evaluate_state
from apps.flags.models import Flag
from apps.services.inheritance import scope, winners
from apps.services.models import Kind, Service
from apps.vault.models import ConfigType
from apps.vault.resolution import (
    ResolvesTooLarge,
    StoredConfig,
    StoredSecret,
    resolved_configs,
    stored_configs,
)
from apps.vault.templates import CONFIG, OPENING, SECRET, Reference, TemplateError, references
from apps.vault.values import secret_wire_value, stored_value


@dataclass(frozen=True, slots=True)
class EffectiveConfig:
    """A config in effect, as its template."""

    stored: StoredConfig

    @property
    def service_id(self) -> UUID:
        return self.stored.service_id

    @property
    def references(self) -> list[Reference]:
        """What it refers to. Nothing, where the stored text is no template: no write takes it further."""
        if OPENING not in self.stored.value_json:
            return []
        try:
            return references(stored_value(self.stored.value_json))
        except TemplateError:
            return []

    @property
    def names_secret(self) -> bool:
        return any(each.kind == SECRET for each in self.references)


def effective_configs(service: Service) -> dict[str, EffectiveConfig]:
    """The configs in effect for `service`."""
    return {key: EffectiveConfig(stored) for key, (stored, _) in stored_configs(service).items()}


def effective_flags(service: Service) -> dict[str, Flag]:
    """The flags in effect for `service`. One query."""
    rows = Flag.objects.filter(service_id__in=scope(service), deleted_at=None)
    return {key: flag for key, (flag, _) in winners(rows, service_id=service.pk).items()}


@dataclass(frozen=True, slots=True)
class Results:
    """What a service's configs deliver: type and JSON text by key. `secrets` are the versions of those
    that went into them."""

    texts: dict[str, tuple[str, str]]
    secrets: dict[str, int]


def results(service: Service, secrets: Mapping[str, StoredSecret] | None) -> Results:
    """Every config that can be served, resolved in the scope of `service`.

    Without `secrets`, those in effect, no value is opened, and what refers to anything is left out, by the
    very rows that are resolved: no write beside it makes a template of what was none. What does not
    resolve is left out, as in a snapshot. The caller tells the audit log of a reveal.
    """
    found = stored_configs(service)
    if secrets is None:
        found = {key: each for key, each in found.items() if not EffectiveConfig(each[0]).references}
    now = timezone.now()
    enabled = {
        key: evaluate_state(flag.parsed, now).enabled for key, flag in effective_flags(service).items()
    }
    texts: dict[str, str | None] | None = None
    if service.kind == Kind.BACKEND:
        stored = secrets or {}
        texts = {
            key: None if value is None else secret_wire_value(stored[key].type, value)
            for key, value in unsealed(service, stored.values()).items()
        }
    try:
        values, _ = resolved_configs(
            found, secrets=texts, flags=enabled, limit_bytes=settings.NEXUS_SNAPSHOT_MAX_BYTES
        )
    except ResolvesTooLarge:
        limit = settings.NEXUS_SNAPSHOT_MAX_BYTES
        raise SnapshotTooLarge(f"It would hold more than {limit} bytes.", limit_bytes=limit) from None
    named = {reference.key for key in values for reference in _behind(key, found) if reference.kind == SECRET}
    versions = {key: each.version for key, each in (secrets or {}).items() if key in named}
    return Results({key: (found[key][0].type, value) for key, value in values.items()}, versions)


def _behind(key: str, found: Mapping[str, tuple[StoredConfig, str]]) -> Iterator[Reference]:
    """All that goes into a config, through others too."""
    seen, waiting = {key}, [key]
    while waiting:
        config = found.get(waiting.pop())
        for reference in EffectiveConfig(config[0]).references if config else ():
            yield reference
            if reference.kind == CONFIG and reference.key not in seen:
                seen.add(reference.key)
                waiting.append(reference.key)


def as_text(config_type: str, value_json: str) -> str:
    """A config as a person writes it: a string as it is, everything else as JSON."""
    return str(strict_json.loads(value_json)) if config_type == ConfigType.STRING else value_json


def own(service: Service) -> Service:
    """The service without its umbrella, for reads of its own entries."""
    return Service(pk=service.pk)


def unsealed(service: Service, stored: Collection[StoredSecret]) -> dict[str, bytes | None]:
    """Values by key; None for what does not open."""
    data_keys = keys.opening_keys({each.data_key_id for each in stored})
    project = service.project
    found: dict[str, bytes | None] = {}
    for each in stored:
        try:
            found[each.key] = each.unseal(data_keys, tenant_id=project.tenant_id, project_id=project.pk)
        except DoesNotOpen:
            found[each.key] = None
    return found


def all_unsealed(service: Service, stored: Collection[StoredSecret]) -> dict[str, bytes]:
    found = {key: value for key, value in unsealed(service, stored).items() if value is not None}
    if len(found) < len(stored):
        raise Unreadable
    return found
