"""What a service has in effect, opened: results of configs, values of secrets."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.utils import timezone

from apps.core import keys, strict_json
from apps.core.crypto import DoesNotOpen
from apps.core.errors import Unreadable
from apps.flags.definition import evaluate_state
from apps.flags.models import Flag
from apps.services.inheritance import scope, winners
from apps.services.models import Kind, Service
from apps.vault.models import ConfigType
from apps.vault.resolution import (
    StoredConfig,
    StoredSecret,
    resolved_configs,
    stored_configs,
    stored_secrets,
)
from apps.vault.templates import OPENING, SECRET, Reference, TemplateError, references
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


def results(service: Service) -> dict[str, tuple[str, str]]:
    """Type and JSON text of every config that can be served, resolved in the scope of `service`.

    What does not resolve is left out, as in a snapshot. A frontend's names no secret, so none is read.
    The caller tells the audit log of a reveal.
    """
    found = stored_configs(service)
    now = timezone.now()
    enabled = {
        key: evaluate_state(flag.parsed, now).enabled for key, flag in effective_flags(service).items()
    }
    texts: dict[str, str | None] | None = None
    if service.kind == Kind.BACKEND:
        stored = {key: each for key, (each, _) in stored_secrets(service).items()}
        texts = {
            key: None if value is None else secret_wire_value(stored[key].type, value)
            for key, value in unsealed(service, stored.values()).items()
        }
    values, _ = resolved_configs(found, secrets=texts, flags=enabled)
    return {key: (found[key][0].type, value) for key, value in values.items()}


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
