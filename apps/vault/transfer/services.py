"""Entries of two services side by side, and from one into the other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from uuid import UUID

from django.db import transaction

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core import strict_json
from apps.core.access import allows, require, require_presence
from apps.core.actor import Actor
from apps.core.errors import InvalidInput, ServiceKindMismatch
from apps.core.names import is_entry_key
from apps.flags.models import Flag
from apps.services import entries
from apps.services.inheritance import allows_inherited, lives_in, require_in_scope
from apps.services.models import Kind, Service
from apps.vault.formats import ENTRIES_MAX
from apps.vault.operations import note_secret_list
from apps.vault.resolution import StoredSecret, stored_secrets
from apps.vault.transfer.changes import (
    Change,
    WantedSecret,
    changed,
    config_changes,
    config_write,
    flag_changes,
    flag_write,
    may_compare_secrets,
    secret_changes,
    secret_write,
    tell_compared,
    write_all,
)
from apps.vault.transfer.effective import (
    EffectiveConfig,
    all_unsealed,
    as_text,
    effective_configs,
    effective_flags,
    unsealed,
)

V = TypeVar("V")


@dataclass(slots=True)
class Comparison:
    """Keys of one kind in effect in two services. `values` has what differs, as templates and definitions.

    `not_compared` are in both, with values that were not looked at.
    """

    only_left: list[str]
    only_right: list[str]
    same: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)
    values: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)


def _compared(
    left: Mapping[str, V], right: Mapping[str, V], show: "Mapping[str, tuple[Any, Any]] | None" = None
) -> Comparison:
    found = Comparison(
        only_left=sorted(left.keys() - right.keys()), only_right=sorted(right.keys() - left.keys())
    )
    for key in sorted(left.keys() & right.keys()):
        if left[key] == right[key]:
            found.same.append(key)
            continue
        found.different.append(key)
        if show is not None:
            found.values[key] = dict(zip(("left", "right"), show[key], strict=True))
    return found


def compare_services(*, actor: Actor, left: Service, right: Service) -> dict[str, Comparison | None]:
    """What two services have in effect, by kind: `secrets`, `configs`, `flags`.

    None stands for a kind that `actor` may not read in both; what comes from an umbrella of which they
    may not read that kind is left out. Secrets are compared by who may reveal in both, and in their
    umbrellas, and is present, told by one event for each service before this returns; for others
    keys alone are. Raises NotPermitted where nothing may be read.
    """
    found: dict[str, Comparison | None] = {
        "secrets": _compared_secrets(actor, left, right),
        "configs": _compared_configs(actor, left, right),
        "flags": _compared_flags(actor, left, right),
    }
    if not any(found.values()):
        for service in (left, right):
            require(actor, "config:read", service)
    return found


def _both_allow(actor: Actor, permission: str, left: Service, right: Service) -> bool:
    return allows(actor, permission, left) and allows(actor, permission, right)


def _compared_secrets(actor: Actor, left: Service, right: Service) -> Comparison | None:
    if not _both_allow(actor, "secret:list", left, right):
        return None
    stored = [_readable(actor, "secret:list", service, _secrets_of(service)) for service in (left, right)]
    common = stored[0].keys() & stored[1].keys()
    if not common or not may_compare_secrets(actor, *lives_in(left), *lives_in(right)):
        for service in (left, right):
            note_secret_list(actor=actor, service=service)
        found = _compared(dict.fromkeys(stored[0], 0), dict.fromkeys(stored[1], 1))
        found.not_compared, found.different = found.different, []
        return found
    sides = [_side(service, found, common) for service, found in zip((left, right), stored, strict=True)]
    with transaction.atomic(durable=True):
        # In one order, so that two who compare the same two never wait for each other's chains.
        for service, side in sorted(
            zip((left, right), stored, strict=True), key=lambda pair: str(pair[0].project_id)
        ):
            tell_compared(actor, service, {key: side[key].version for key in sorted(common)})
    unknown = {key for key in common if None in (sides[0][key], sides[1][key])}
    found = _compared(sides[0], sides[1])
    found.same = [key for key in found.same if key not in unknown]
    found.different = [key for key in found.different if key not in unknown]
    found.not_compared = sorted(unknown)
    return found


class _HasHome(Protocol):
    """An entry, or what stands for it, that tells whose own it is."""

    @property
    def service_id(self) -> UUID: ...


H = TypeVar("H", bound=_HasHome)


def _readable(actor: Actor, permission: str, service: Service, effective: Mapping[str, H]) -> dict[str, H]:
    """What is in effect without what lives in an umbrella on which `actor` lacks `permission`."""
    if allows_inherited(actor, permission, service):
        return dict(effective)
    return {key: each for key, each in effective.items() if each.service_id == service.pk}


def _secrets_of(service: Service) -> dict[str, StoredSecret]:
    if service.kind != Kind.BACKEND:
        return {}
    return {key: stored for key, (stored, _) in stored_secrets(service).items()}


def _side(service: Service, stored: Mapping[str, StoredSecret], common: Iterable[str]) -> dict[str, Any]:
    """Of the common keys type, file name and value, None where it does not open; of others the key."""
    values = unsealed(service, [stored[key] for key in common])
    side: dict[str, Any] = dict.fromkeys(stored, "")
    for key, value in values.items():
        side[key] = None if value is None else (stored[key].type, stored[key].file_name, value)
    return side


def _compared_configs(actor: Actor, left: Service, right: Service) -> Comparison | None:
    if not _both_allow(actor, "config:read", left, right):
        return None
    sides = [
        {
            key: (config.stored.type, config.stored.value_json)
            for key, config in _readable(actor, "config:read", each, effective_configs(each)).items()
        }
        for each in (left, right)
    ]
    common = sides[0].keys() & sides[1].keys()
    shown = [{key: {"type": side[key][0], "text": as_text(*side[key])} for key in common} for side in sides]
    return _compared(sides[0], sides[1], {key: (shown[0][key], shown[1][key]) for key in common})


def _compared_flags(actor: Actor, left: Service, right: Service) -> Comparison | None:
    if not _both_allow(actor, "flag:read", left, right):
        return None
    sides = [_readable(actor, "flag:read", service, effective_flags(service)) for service in (left, right)]
    common = sides[0].keys() & sides[1].keys()
    definitions = [{key: flag.definition for key, flag in side.items()} for side in sides]
    return _compared(
        definitions[0], definitions[1], {key: (sides[0][key].wire, sides[1][key].wire) for key in common}
    )


# ---- promotion


@transaction.atomic
def promote(
    *,
    actor: Actor,
    source: Service,
    target: Service,
    secrets: Sequence[str] = (),
    configs: Sequence[str] = (),
    flags: Sequence[str] = (),
    dry_run: bool = False,
) -> list[Change]:
    """Make chosen entries in effect for `source` own entries of `target`, all or nothing.

    Configs go as templates, flags as definitions. What is equal already is not written. Both services
    are of one project; at most ENTRIES_MAX keys.

    Raises NotPermitted: `target` needs the right to write each kind, and `source` and its umbrella
    `secret:reveal` for secrets and for configs that name one; ReauthenticationRequired for secrets in
    a session without presence; ServiceKindMismatch for secrets from or into a frontend; InvalidInput
    for keys that are not in effect in `source`, or live in an umbrella where `actor` may not read
    them; Unreadable, and what the writes raise.
    """
    _require_promotion(source, target, [*secrets, *configs, *flags])
    if secrets:
        require_in_scope(actor, "secret:reveal", source)
        require(actor, "secret:write", target)
        if Kind.FRONTEND in (source.kind, target.kind):
            raise ServiceKindMismatch
        require_presence(actor)
    for noun, keys in (("config", configs), ("flag", flags)):
        if keys:
            require(actor, f"{noun}:read", source)
            require(actor, f"{noun}:write", target)
            require(actor, f"{noun}:read", target)
    target = entries.lock_service(target, actor=actor)
    stored = _chosen("secrets", secrets, _secrets_of(source)) if secrets else {}
    templates: dict[str, EffectiveConfig] = {}
    if configs:
        readable = _readable(actor, "config:read", source, effective_configs(source))
        templates = _chosen("configs", configs, readable)
    definitions: dict[str, Flag] = {}
    if flags:
        definitions = _chosen("flags", flags, _readable(actor, "flag:read", source, effective_flags(source)))
    if any(config.names_secret for config in templates.values()):
        require_in_scope(actor, "secret:reveal", source)
    wanted = _wanted(source, stored)
    versions = {key: each.version for key, each in stored.items()}
    if dry_run:
        # Values stay where they are; what is told of them is whether they are equal.
        tell_compared(actor, source, versions)
    elif versions:
        record(
            actor=actor,
            action=Action.SECRET_EXPORTED,
            target=source.audit_target(),
            changes={"to": str(target.pk), "versions": versions},
        )
    return _carry(actor, target, wanted, templates, definitions, dry_run=dry_run)


def _require_promotion(source: Service, target: Service, keys: Sequence[str]) -> None:
    if source.pk == target.pk:
        raise InvalidInput.of("target", "Choose another service.")
    if source.project_id != target.project_id:
        raise InvalidInput.of("target", "Choose a service of the same project.")
    if not 1 <= len(keys) <= ENTRIES_MAX:
        raise InvalidInput.of("", f"Name 1 to {ENTRIES_MAX} keys in secrets, configs and flags.")


def _chosen(kind: str, keys: Sequence[str], effective: Mapping[str, V]) -> dict[str, V]:
    errors: dict[str, list[str]] = {}
    for number, key in enumerate(keys):
        if key not in effective:
            # By number where it is no key: it may be anything then.
            path = f"{kind}.{key if is_entry_key(key) else number}"
            errors[path] = ["The service has nothing of this key in effect."]
    if errors:
        raise InvalidInput(errors)
    return {key: effective[key] for key in dict.fromkeys(keys)}


def _wanted(source: Service, stored: Mapping[str, StoredSecret]) -> dict[str, WantedSecret]:
    values = all_unsealed(source, stored.values())
    return {key: WantedSecret(values[key], each.type, each.file_name) for key, each in stored.items()}


def _carry(
    actor: Actor,
    target: Service,
    secrets: Mapping[str, WantedSecret],
    templates: Mapping[str, EffectiveConfig],
    flags: Mapping[str, Flag],
    *,
    dry_run: bool,
) -> list[Change]:
    configs = {
        key: (config.stored.type, strict_json.loads(config.stored.value_json))
        for key, config in templates.items()
    }
    of_secrets = secret_changes(actor, target, secrets)
    of_configs = config_changes(target, configs)
    of_flags = flag_changes(target, flags)
    writes = [secret_write(actor, target, key, secrets[key]) for key in changed(of_secrets)]
    writes += [config_write(actor, target, key, *configs[key]) for key in changed(of_configs)]
    writes += [flag_write(actor, target, flags[key]) for key in changed(of_flags)]
    write_all(writes, dry_run=dry_run)
    return of_secrets + of_configs + of_flags
