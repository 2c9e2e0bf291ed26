"""What a service has in effect, opened: results of configs, values of secrets."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from apps.core import keys, strict_json
from apps.core.crypto import DoesNotOpen
from apps.core.errors import Unreadable
from apps.services.models import Service
from apps.vault.models import ConfigType
from apps.vault.resolution import StoredConfig, StoredSecret, stored_configs
from apps.vault.values import delivered_json


@dataclass(frozen=True, slots=True)
class EffectiveConfig:
    """A config in effect: its template and what is delivered for it."""

    stored: StoredConfig
    value: Any = field(repr=False)

    @property
    def is_template(self) -> bool:
        return any(references(self.stored.value_json))

    @property
    def names_secret(self) -> bool:
        return any(each.startswith("secret:") for each in references(self.stored.value_json))

    @property
    def text(self) -> str:
        return as_text(self.stored.type, strict_json.dumps(self.value))


def effective_configs(service: Service) -> dict[str, EffectiveConfig]:
    """The configs in effect for `service`, each with its result. The one place that asks for results."""
    return {
        key: EffectiveConfig(stored, strict_json.loads(delivered_json(stored.value_json)))
        for key, (stored, _) in stored_configs(service).items()
    }


def references(value_json: str) -> Iterator[str]:
    """What follows each `{{` without a backslash before it, in every string of a stored value."""
    if "{{" not in value_json:
        return
    for text in _strings(strict_json.loads(value_json)):
        position = text.find("{{")
        while position != -1:
            if position == 0 or text[position - 1] != "\\":
                yield text[position + 2 :]
            position = text.find("{{", position + 2)


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for member in value.values():
                yield from _strings(member)
        case list():
            for element in value:
                yield from _strings(element)


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
