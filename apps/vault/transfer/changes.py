"""What writes would do to a service's own entries, and doing many of them at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import transaction

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core import strict_json
from apps.core.access import allows, is_present
from apps.core.actor import Actor
from apps.core.errors import InvalidInput
from apps.flags.models import Flag
from apps.flags.operations import set_flag
from apps.services.models import Service
from apps.vault.models import SecretType
from apps.vault.operations import set_config, set_secret
from apps.vault.resolution import stored_configs, stored_secrets
from apps.vault.transfer.effective import as_text, own, unsealed

CREATE, UPDATE, UNCHANGED = "create", "update", "unchanged"
# What is refused waits for what else the same file brings; a template's chain has 8 references (SPEC 6).
_ROUNDS: Final = 10


@dataclass(frozen=True, slots=True)
class Change:
    """What a write would do to one entry of its own.

    Configs have their templates as texts, flags their definitions; a secret has neither value.
    """

    kind: str
    key: str
    change: str
    old: Any = field(default=None, repr=False)
    new: Any = field(default=None, repr=False)

    def document(self, *, with_values: bool = True) -> dict[str, Any]:
        document = {"kind": self.kind, "key": self.key, "change": self.change}
        if with_values and self.kind != "secret":
            document |= {"old": self.old, "new": self.new}
        return document


def may_compare_secrets(actor: Actor, *services: Service) -> bool:
    """Whether equal and different may be told: that amounts to a reveal (SPEC 3), presence included."""
    return is_present(actor) and all(allows(actor, "secret:reveal", service) for service in services)


def tell_compared(actor: Actor, service: Service, compared: Mapping[str, int]) -> None:
    """One event for all values of a service that were opened to be compared; versions by key."""
    if compared:
        record(
            actor=actor,
            action=Action.SECRET_REVEAL,
            target=service.audit_target(),
            changes={"compared": dict(compared)},
        )


@dataclass(frozen=True, slots=True)
class WantedSecret:
    value: bytes = field(repr=False)
    type: str = SecretType.TEXT
    file_name: str = ""


def secret_changes(actor: Actor, service: Service, wanted: Mapping[str, WantedSecret]) -> list[Change]:
    """Unchanged are only those whose values `actor` may compare; those that it may not count as updates."""
    present = {key: stored for key, (stored, _) in stored_secrets(own(service)).items() if key in wanted}
    same: set[str] = set()
    if present and may_compare_secrets(actor, service):
        values = unsealed(service, present.values())
        tell_compared(actor, service, {key: stored.version for key, stored in present.items()})
        same = {
            key
            for key, stored in present.items()
            if wanted[key] == WantedSecret(values[key] or b"", stored.type, stored.file_name)
            and values[key] is not None
        }
    return [
        Change("secret", key, UNCHANGED if key in same else UPDATE if key in present else CREATE)
        for key in wanted
    ]


def config_changes(service: Service, wanted: Mapping[str, tuple[str, Any]]) -> list[Change]:
    present = {key: stored for key, (stored, _) in stored_configs(own(service)).items()}
    changes = []
    for key, (config_type, value) in wanted.items():
        value_json = strict_json.dumps(value)
        old, new = None, {"type": config_type, "text": as_text(config_type, value_json)}
        change = CREATE
        if key in present:
            stored = present[key]
            old = {"type": stored.type, "text": as_text(stored.type, stored.value_json)}
            change = UNCHANGED if (stored.type, stored.value_json) == (config_type, value_json) else UPDATE
        changes.append(Change("config", key, change, old, new))
    return changes


def flag_changes(service: Service, wanted: Mapping[str, Flag]) -> list[Change]:
    present = {flag.key: flag for flag in Flag.objects.live().filter(service=service, key__in=wanted)}
    changes = []
    for key, flag in wanted.items():
        old = present.get(key)
        change = CREATE if old is None else UNCHANGED if old.definition == flag.definition else UPDATE
        changes.append(Change("flag", key, change, old.wire if old else None, flag.wire))
    return changes


class _DryRunEnds(Exception):
    """Rolls back what a dry run wrote."""


Write = tuple[str, Callable[[], Any]]


def write_all(writes: Sequence[Write], *, dry_run: bool) -> None:
    try:
        with transaction.atomic():
            _write_in_rounds(writes)
            if dry_run:
                raise _DryRunEnds
    except _DryRunEnds:
        pass


def _write_in_rounds(writes: Sequence[Write]) -> None:
    """Run all; what is refused is tried again after the others, as long as that helps.

    A template may name what stands further down in the file. Raises InvalidInput with the path of
    each entry that stays refused.
    """
    waiting = list(writes)
    errors: dict[str, list[str]] = {}
    for _ in range(_ROUNDS):
        refused, errors = [], {}
        for path, run in waiting:
            try:
                run()
            except InvalidInput as refusal:
                refused.append((path, run))
                for name, messages in refusal.errors.items():
                    errors[f"{path}.{name}".rstrip(".")] = messages
        if not refused:
            return
        if len(refused) == len(waiting):
            break
        waiting = refused
    raise InvalidInput(errors)


def changed(changes: Sequence[Change]) -> list[str]:
    return [each.key for each in changes if each.change != UNCHANGED]


def secret_write(actor: Actor, service: Service, key: str, secret: WantedSecret) -> Write:
    return f"secrets.{key}", lambda: set_secret(
        actor=actor,
        service=service,
        key=key,
        value=secret.value,
        type=secret.type,
        file_name=secret.file_name,
    )


def config_write(actor: Actor, service: Service, key: str, config_type: str, value: Any) -> Write:
    return f"configs.{key}", lambda: set_config(
        actor=actor, service=service, key=key, value=value, type=config_type
    )


def flag_write(actor: Actor, service: Service, flag: Flag) -> Write:
    return f"flags.{flag.key}", lambda: set_flag(
        actor=actor, service=service, key=flag.key, definition=flag.wire
    )
