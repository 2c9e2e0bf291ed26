"""Who refers to whom, and what a write would break (SPEC 6).

A write is checked in the scope of the service that it is made in, and an umbrella's in that of each
of its children too: there a failure is a warning, because the child may mend it. All is worked out
from what is stored and from lengths; nothing is opened for it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from django.db.models import F, Q

from apps.core.access import require
from apps.core.actor import Actor
from apps.core.errors import InvalidInput
from apps.flags.models import Flag
from apps.services.inheritance import winners
from apps.services.models import EntryKind, EntryReference, Kind, Service
from apps.vault.models import Config, ConfigVersion, SecretType, SecretVersion
from apps.vault.templates import CONFIG, ConfigText, Failure, FailureCode, Reference, Scope, Survey, survey

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
    is_final: bool
    config: Text | None = None
    references: tuple[Reference, ...] = ()
    secret_size: int | None = None


class _Stored(NamedTuple):
    """An entry in the competition for its key. `content` is a Text, a size, or `enabled`."""

    key: str
    service_id: UUID
    is_final: bool
    content: Text | int | bool


def secret_text_size(secret_type: str, size_bytes: int) -> int:
    """The length of a secret where a template names it: a file stands there in base64."""
    return 4 * ((size_bytes + 2) // 3) if secret_type == SecretType.FILE else size_bytes


def require_served(*, actor: Actor, service: Service, write: Write) -> list[str]:
    """Raise unless all that `service` reads can still be served once `write` is done.

    Returns a warning for each child of an umbrella in which something could not. The caller holds
    the project's lock. Raises InvalidInput naming the path, and NotPermitted for a config that names
    a secret which `actor` may not reveal where it lives.

    Two queries while no template is concerned; then four more, however many children there are.
    """
    related = [service.pk, *([service.umbrella_id] if service.umbrella_id else [])]
    sources = Q(source_service__in=related)
    if service.is_umbrella:
        sources |= Q(source_service__umbrella_id=service.pk, source_service__deleted_at=None)
    named = EntryReference.objects.filter(sources, target_kind=write.kind, target_key=write.key)
    if not write.references and not named.exists():
        return []
    readers = [service]
    if service.is_umbrella:
        readers += service.children.filter(deleted_at=None).order_by("slug")
    entries = _entries({*related, *(reader.pk for reader in readers)})
    own, *inheriting = readers
    _require_own(actor, own, entries, write)
    return [
        f"{reader.environment}/{reader.slug}: {_said(failure)}"
        for reader in inheriting
        for failure in _broken(reader, entries, write, service.pk).values()
    ]


def _require_own(actor: Actor, service: Service, entries: "_Entries", write: Write) -> None:
    broken = _broken(service, entries, write, service.pk)
    if broken:
        failure = broken.get(write.key) or next(iter(broken.values()))
        raise InvalidInput.of("value", _said(failure))
    if write.config is None:
        return
    after = survey(entries.scope(service, write, service.pk))
    owners = {entries.owner(EntryKind.SECRET, service, key) for key in _secrets_behind(write.key, after)}
    for owner in sorted(owners):
        lives_in = service if owner == service.pk else Service.objects.get(pk=owner)
        require(actor, "secret:reveal", lives_in)


def _broken(service: Service, entries: "_Entries", write: Write, into: UUID) -> dict[str, Failure]:
    """What `service` could no longer serve, and the written config itself if it could not be."""
    before = survey(entries.scope(service, None, into)).failures
    after = survey(entries.scope(service, write, into)).failures
    return {
        key: failure
        for key, failure in after.items()
        if failure.code is not FailureCode.UNREADABLE
        and (key not in before or (key == write.key and write.kind == EntryKind.CONFIG))
    }


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

    def _effective(
        self, kind: EntryKind, service: Service, write: Write | None, into: UUID
    ) -> dict[str, tuple[_Stored, str]]:
        scope = {service.pk, service.umbrella_id}
        rows = [row for row in self._rows[kind] if row.service_id in scope]
        if write is not None and write.kind == kind:
            rows = [row for row in rows if (row.service_id, row.key) != (into, write.key)]
            content = write.config if write.config is not None else write.secret_size or 0
            rows.append(_Stored(write.key, into, write.is_final, content))
        return winners(rows, service_id=service.pk)

    def owner(self, kind: EntryKind, service: Service, key: str) -> UUID:
        return self._effective(kind, service, None, service.pk)[key][0].service_id

    def scope(self, service: Service, write: Write | None, into: UUID) -> Scope:
        configs: dict[str, ConfigText] = {}
        for key, (row, _) in self._effective(EntryKind.CONFIG, service, write, into).items():
            assert isinstance(row.content, Text)  # noqa: S101 - for the type checker
            configs[key] = row.content
        secrets: dict[str, int | None] | None = None
        if service.kind == Kind.BACKEND:
            effective = self._effective(EntryKind.SECRET, service, write, into)
            secrets = {key: int(row.content) for key, (row, _) in effective.items()}  # type: ignore[arg-type]
        flags = self._effective(EntryKind.FLAG, service, write, into)
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


def note_references(config: Config, references: Iterable[Reference]) -> None:
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
        for reference in references
    )
