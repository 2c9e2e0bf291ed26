"""Who refers to whom, and what a write would break (SPEC 6).

A write is checked in the scope of the service that it is made in, and an umbrella's in that of each
of its children too: there a failure is a warning, because the child may mend it. All is worked out
from what is stored and from lengths; nothing is opened for it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q

from apps.core.access import require
from apps.core.actor import Actor
from apps.core.errors import InvalidInput
from apps.flags.models import Flag
from apps.services.entries import seen_of
from apps.services.inheritance import winners
from apps.services.models import EntryKind, EntryReference, Kind, Service
from apps.vault.models import Config, ConfigVersion, SecretType, SecretVersion
from apps.vault.templates import (
    CONFIG,
    OPENING,
    ConfigText,
    Failure,
    FailureCode,
    Reference,
    Scope,
    Survey,
    references,
    survey,
)
from apps.vault.values import stored_value

_SAID = {
    FailureCode.MISSING: "There is no {last} here: {chain}. Write it first.",
    FailureCode.CIRCULAR: "The references go round: {chain}. Take one of them out.",
    FailureCode.TOO_DEEP: "The chain of references is longer than 8: {chain}. Shorten it.",
    FailureCode.TOO_LARGE: "Resolved, it would hold more than 262,144 bytes: {chain}. Shorten it.",
    FailureCode.SECRET_IN_FRONTEND: (
        "A config of a frontend service names no secret, not even through others: {chain}."
    ),
    FailureCode.MALFORMED: "The stored text of {chain} is no template.",
}


class Text(NamedTuple):
    """A config as it is, or as it would be."""

    type: str
    value_json: str


@dataclass(frozen=True, slots=True)
class Write:
    """What is about to be written: a config's text, or the length of a secret's in UTF-8 bytes."""

    kind: EntryKind
    key: str
    is_final: bool = False
    config: Text | None = None
    references: tuple[Reference, ...] = ()
    secret_size: int | None = None

    @classmethod
    def of_config(cls, key: str, config_type: str, value_json: str, *, is_final: bool) -> "Write":
        text = Text(config_type, value_json)
        found = tuple(references(stored_value(value_json))) if OPENING in value_json else ()
        return cls(EntryKind.CONFIG, key, is_final, config=text, references=found)

    @classmethod
    def of_secret(cls, key: str, secret_type: str, size_bytes: int, *, is_final: bool) -> "Write":
        size = secret_text_size(secret_type, size_bytes)
        return cls(EntryKind.SECRET, key, is_final, secret_size=size)

    @property
    def content(self) -> "Text | int":
        return self.config if self.config is not None else self.secret_size or 0


class _Stored(NamedTuple):
    """An entry in the competition for its key. `content` is a Text, a size, or `enabled`."""

    key: str
    service_id: UUID
    is_final: bool
    content: Text | int | bool


def secret_text_size(secret_type: str, size_bytes: int) -> int:
    """The length of a secret where a template names it: a file stands there in base64."""
    return 4 * ((size_bytes + 2) // 3) if secret_type == SecretType.FILE else size_bytes


def referring(service: Service) -> Q:
    """References from where an entry of `service` is read: itself, its umbrella, its children."""
    sources = Q(source_service=service.pk)
    if service.umbrella_id is not None:
        sources |= Q(source_service=service.umbrella_id)
    if service.is_umbrella:
        sources |= Q(source_service__umbrella_id=service.pk, source_service__deleted_at=None)
    return sources


def require_served(
    *,
    actor: Actor,
    service: Service,
    writes: Sequence[Write],
    field: Callable[[str], str] = lambda key: "value",
    is_named: bool | None = None,
) -> list[str]:
    """Raise unless all that `service` reads can still be served once all of `writes` are done.

    Returns a warning for each child of an umbrella in which something could not; children that
    `actor` may not read are only counted. The caller holds the project's lock. `field` names the
    input of a written key, and `is_named` is what `named` said under that lock, where it rode along.
    Raises InvalidInput naming the path, and NotPermitted for a config that names a secret which `actor`
    may not reveal where it lives.

    At most one query while no template is concerned; then four more, however many children there are.
    """
    if not writes:
        return []
    if not any(write.references for write in writes):
        if is_named is None:
            is_named = _is_named(service, writes)
        if not is_named:
            return []
    readers = [service]
    if service.is_umbrella:
        readers += service.children.filter(deleted_at=None).order_by("slug")
    scope = {reader.pk for reader in readers} | ({service.umbrella_id} if service.umbrella_id else set())
    before = _entries(scope)
    after = before.with_writes(writes, into=service.pk)
    own, *inheriting = readers
    written = {write.key for write in writes if write.config is not None}
    broken = _broken(own, before, after, written)
    for key, failure in broken.items():
        culprit = key if key in written else writes[0].key
        raise InvalidInput.of(field(culprit), _said(failure))
    _require_may_name(actor, own, after, written)
    failing = {reader: _broken(reader, before, after, written) for reader in inheriting}
    return _warnings(actor, {reader: failures for reader, failures in failing.items() if failures})


def _warnings(actor: Actor, failing: Mapping[Service, Mapping[str, Failure]]) -> list[str]:
    if not failing:
        return []
    seen = seen_of(actor, [reader.pk for reader in failing])
    warnings = [
        f"{reader.environment}/{reader.slug}: {_said(failure)}"
        for reader, failures in failing.items()
        if reader.pk in seen
        for failure in failures.values()
    ]
    unseen = len(failing) - len(seen)
    if unseen:
        services = "1 service" if unseen == 1 else f"{unseen} services"
        warnings.append(f"In {services} that you do not see, something could not be served.")
    return warnings


def named(kind: EntryKind, key: str) -> Exists:
    """Whether a template that reads an entry of this kind and key names it, for a query over services."""
    sources = (
        Q(source_service=OuterRef("pk"))
        | Q(source_service=OuterRef("umbrella_id"))
        | Q(source_service__umbrella_id=OuterRef("pk"), source_service__deleted_at=None)
    )
    return Exists(EntryReference.objects.filter(sources, target_kind=kind, target_key=key))


def _is_named(service: Service, writes: Sequence[Write]) -> bool:
    """Whether a template that reads what is written refers to any of it."""
    targets = Q(pk__in=[])
    for kind in EntryKind:
        keys = [write.key for write in writes if write.kind == kind]
        if keys:
            targets |= Q(target_kind=kind, target_key__in=keys)
    return EntryReference.objects.filter(referring(service)).filter(targets).exists()


def _broken(service: Service, before: "_Entries", after: "_Entries", written: set[str]) -> dict[str, Failure]:
    """What `service` could no longer serve, and written configs themselves that could not be."""
    failed_before = survey(before.scope(service)).failures
    return {
        key: failure
        for key, failure in survey(after.scope(service)).failures.items()
        if key not in failed_before or key in written
    }


def _require_may_name(actor: Actor, service: Service, after: "_Entries", written: set[str]) -> None:
    """Who writes a config that names a secret may reveal it where it lives (SPEC 3)."""
    surveyed = survey(after.scope(service))
    named = {secret for key in written for secret in _secrets_behind(key, surveyed)}
    owners = {after.owner(EntryKind.SECRET, service, secret) for secret in named}
    for owner in sorted(owners):
        lives_in = service if owner == service.pk else Service.objects.get(pk=owner)
        require(actor, "secret:reveal", lives_in)


def _secrets_behind(key: str, surveyed: Survey) -> set[str]:
    """Keys of the secrets that go into a config, directly or through others."""
    found: set[str] = set()
    seen, waiting = {key}, [key]
    while waiting:
        node = surveyed.nodes.get(waiting.pop())
        for reference in node.counts if node else ():
            if reference.kind == CONFIG:
                if reference.key not in seen:
                    seen.add(reference.key)
                    waiting.append(reference.key)
            elif reference.kind == EntryKind.SECRET:
                found.add(reference.key)
    return found


def _said(failure: Failure) -> str:
    return _SAID[failure.code].format(chain=failure.chain, last=failure.path[-1])


class _Entries:
    """The live entries of some services, by kind."""

    def __init__(self, rows: dict[EntryKind, list[_Stored]]) -> None:
        self._rows = rows

    def with_writes(self, writes: Iterable[Write], *, into: UUID) -> "_Entries":
        """The same once `writes` are done in the service `into`."""
        rows = {kind: list(stored) for kind, stored in self._rows.items()}
        for kind in EntryKind:
            done = {write.key: write for write in writes if write.kind == kind}
            if not done:
                continue
            kept = [row for row in rows[kind] if row.service_id != into or row.key not in done]
            rows[kind] = kept + [
                _Stored(write.key, into, write.is_final, write.content) for write in done.values()
            ]
        return _Entries(rows)

    def _effective(self, kind: EntryKind, service: Service) -> dict[str, tuple[_Stored, str]]:
        scope = {service.pk, service.umbrella_id}
        rows = [row for row in self._rows[kind] if row.service_id in scope]
        return winners(rows, service_id=service.pk)

    def owner(self, kind: EntryKind, service: Service, key: str) -> UUID:
        return self._effective(kind, service)[key][0].service_id

    def scope(self, service: Service) -> Scope:
        configs: dict[str, ConfigText] = {
            key: cast(Text, row.content)
            for key, (row, _) in self._effective(EntryKind.CONFIG, service).items()
        }
        secrets: dict[str, int | None] | None = None
        if service.kind == Kind.BACKEND:
            effective = self._effective(EntryKind.SECRET, service)
            secrets = {key: cast(int, row.content) for key, (row, _) in effective.items()}
        flags = self._effective(EntryKind.FLAG, service)
        # Enabled or not is a matter of the moment; `false` is the longer of the two.
        return Scope(configs, secrets, dict.fromkeys(flags, False))


def _entries(services: Iterable[UUID]) -> _Entries:
    services = list(services)
    configs = ConfigVersion.objects.filter(
        config__service_id__in=services,
        config__deleted_at=None,
        version=F("config__active_version"),
    ).values_list("config__key", "config__service_id", "config__is_final", "type", "value_json")
    secrets = SecretVersion.objects.filter(
        secret__service_id__in=services,
        secret__deleted_at=None,
        version=F("secret__active_version"),
    ).values_list("secret__key", "secret__service_id", "secret__is_final", "type", "size_bytes")
    flags = Flag.objects.filter(service_id__in=services, deleted_at=None)
    return _Entries(
        {
            EntryKind.CONFIG: [
                _Stored(key, owner, is_final, Text(kind, value))
                for key, owner, is_final, kind, value in configs
            ],
            EntryKind.SECRET: [
                _Stored(key, owner, is_final, secret_text_size(kind, size))
                for key, owner, is_final, kind, size in secrets
            ],
            EntryKind.FLAG: [
                _Stored(*row, False) for row in flags.values_list("key", "service_id", "is_final")
            ],
        }
    )


def note_references(config: Config, found: Iterable[Reference]) -> None:
    """Let the rows that answer "who uses this key?" follow the text of the config's active version."""
    EntryReference.objects.filter(source_id=config.pk).delete()
    EntryReference.objects.bulk_create(
        EntryReference(
            source_service_id=config.service_id,
            source_kind=EntryKind.CONFIG,
            source_id=config.pk,
            target_kind=reference.kind,
            target_key=reference.key,
        )
        for reference in found
    )


def forget_references(config: Config) -> None:
    """A deleted config refers to nothing."""
    EntryReference.objects.filter(source_id=config.pk).delete()


def keys_of(ids: Iterable[UUID]) -> dict[UUID, str]:
    """The keys of configs, which are all that refers to something."""
    return dict(Config.objects.filter(pk__in=list(ids)).values_list("pk", "key"))
