"""Build a snapshot: everything that one service may read, resolved and dumped once.

The backend's and the frontend's renderer are two functions. The frontend's never queries secrets:
that no byte of one reaches a `pk_live_` key is a matter of structure, not of a condition.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import transaction

from apps.core import crypto, keys
from apps.core.crypto import DoesNotOpen
from apps.core.models import Purpose
from apps.flags.definition import evaluate_state, last_edge, next_edge, schedule_edges
from apps.flags.models import Flag
from apps.services.inheritance import winners
from apps.services.models import Kind, Service
from apps.vault.resolution import ResolvesTooLarge, resolved_configs, stored_configs, stored_secrets
from apps.vault.templates import Failure
from nexus.settings.databases import READER

NEVER = float("inf")
_CACHE_CONTROL = (b"cache-control", b"private, no-store")
_VARY = (b"vary", b"Authorization, X-Nexus-API-Key, X-API-Key, Origin")
CREDENTIALED_HEADERS = [_CACHE_CONTROL, _VARY]


class SnapshotIsTooLarge(Exception):
    """What the service reads has outgrown the limit of a snapshot."""


@dataclass(slots=True, eq=False, repr=False)
class Answer:
    """A body that is ready to be sent, with its headers for 200 and for 304."""

    etag: bytes
    body: bytes
    # The ASGI messages of either answer, made once and sent as they are.
    found: dict[str, Any]
    content: dict[str, Any]
    not_modified: dict[str, Any]


@dataclass(slots=True, eq=False, repr=False)
class Snapshot:
    """All that a service may read at `revision` and `edge`. Past `valid_until` (Unix) it is stale."""

    service_id: UUID
    revision: int
    edge: int
    valid_until: float
    etag_key: bytes
    answer: Answer
    lists: dict[str, Answer] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return len(self.answer.body) + sum(len(answer.body) for answer in self.lists.values())

    def part(self, name: str) -> Answer:
        """All configs or all flags, dumped once."""
        found = self.lists.get(name)
        if found is None:
            document = {name: orjson.loads(self.answer.body)[name]}
            found = self.lists[name] = self._answer(name, document)
        return found

    def item(self, name: str, key: str) -> Answer | None:
        """One config or flag with its key, or None where there is none."""
        entry = orjson.loads(self.answer.body)[name].get(key)
        return None if entry is None else self._answer(f"{name}/{key}", {"key": key, **entry})

    def _answer(self, form: str, document: dict[str, Any]) -> Answer:
        return make_answer(self.etag_key, self.service_id, form, orjson.dumps(document), self.revision)


def make_answer(etag_key: bytes, service_id: UUID, form: str, body: bytes, revision: int) -> Answer:
    """Give `body` its headers and its ETag: a MAC of service, format and body (SPEC 8).

    Equal content has another ETag in another service, and an ETag tells nothing of a value.
    """
    tag = crypto.mac(etag_key, "nexus.etag.1", str(service_id), form, body).hex()[:32]
    etag = f'"{tag}"'.encode()
    common = [(b"etag", etag), (b"x-nexus-revision", str(revision).encode()), *CREDENTIALED_HEADERS]
    content_headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    return Answer(
        etag=etag,
        body=body,
        found={"type": "http.response.start", "status": 200, "headers": [*content_headers, *common]},
        content={"type": "http.response.body", "body": body},
        not_modified={"type": "http.response.start", "status": 304, "headers": common},
    )


def render(service_id: UUID) -> Snapshot | None:
    """The snapshot of the service as one view of the database has it; None where it is gone.

    Raises SnapshotIsTooLarge beyond NEXUS_SNAPSHOT_MAX_BYTES, and DatabaseError.
    """
    etag_key = keys.server_key(Purpose.ETAG).secret
    now = time.time()
    with transaction.atomic(using=READER):
        service = (
            Service.objects.using(READER)
            .select_related("project__tenant")
            .live()
            .filter(pk=service_id)
            .first()
        )
        if service is None or service.is_umbrella:
            return None
        try:
            document, edge, valid_until = (
                _backend(service, now) if service.kind == Kind.BACKEND else _frontend(service, now)
            )
        except ResolvesTooLarge:
            raise SnapshotIsTooLarge from None
    body = orjson.dumps(document)
    if len(body) > settings.NEXUS_SNAPSHOT_MAX_BYTES:
        raise SnapshotIsTooLarge
    answer = make_answer(etag_key, service_id, "sync", body, service.revision)
    return Snapshot(service_id, service.revision, edge, valid_until, etag_key, answer)


def _backend(service: Service, now: float) -> tuple[dict[str, Any], int, float]:
    secrets, texts, errors = _secrets(service)
    flags, edge, valid_until = _flags(service, now)
    configs, failures = _configs(service, texts, flags)
    errors += [{"kind": "config", "key": key, "code": why.code, "path": why.path} for key, why in failures]
    document = {
        "service": _identity(service),
        "revision": service.revision,
        "edge": edge,
        "secrets": secrets,
        "configs": configs,
        "flags": flags,
        "errors": errors,
    }
    return document, edge, valid_until


def _frontend(service: Service, now: float) -> tuple[dict[str, Any], int, float]:
    flags, edge, valid_until = _flags(service, now)
    configs, failures = _configs(service, None, flags)
    document = {
        "service": _identity(service),
        "revision": service.revision,
        "edge": edge,
        "configs": configs,
        "flags": flags,
        # Without the path: it could name a secret.
        "errors": [{"kind": "config", "key": key, "code": why.code} for key, why in failures],
    }
    return document, edge, valid_until


def _identity(service: Service) -> dict[str, str]:
    return {
        "id": str(service.pk),
        "slug": service.slug,
        "kind": service.kind,
        "environment": service.environment,
        "project": service.project.slug,
        "tenant": service.project.tenant.slug,
    }


def _secrets(service: Service) -> tuple[dict[str, Any], dict[str, str | None], list[dict[str, Any]]]:
    """The secrets in effect, their texts for templates, and what is wrong.

    One that does not open is listed, its text is None, and everything else is served.
    """
    found = stored_secrets(service, using=READER)
    data_keys = keys.opening_keys({stored.data_key_id for stored, _ in found.values()}, using=READER)
    project = service.project
    opened: dict[str, Any] = {}
    texts: dict[str, str | None] = {}
    errors: list[dict[str, Any]] = []
    for key, (stored, source) in found.items():
        try:
            value = stored.unseal(data_keys, tenant_id=project.tenant_id, project_id=project.pk)
        except DoesNotOpen:
            errors.append({"kind": "secret", "key": key, "code": "unreadable", "path": [key]})
            texts[key] = None
        else:
            opened[key] = stored.wire(value, source)
            texts[key] = opened[key]["value"]
    return opened, texts, errors


def _configs(
    service: Service, secrets: Mapping[str, str | None] | None, flags: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Any], list[tuple[str, Failure]]]:
    """The configs in effect, resolved, and why some are left out. `secrets` None: it may name none."""
    found = stored_configs(service, using=READER)
    enabled = {key: bool(flag["enabled"]) for key, flag in flags.items()}
    limit = settings.NEXUS_SNAPSHOT_MAX_BYTES
    values, failures = resolved_configs(found, secrets=secrets, flags=enabled, limit_bytes=limit)
    configs = {
        key: {
            "type": stored.type,
            "value": orjson.Fragment(values[key]),
            "version": stored.version,
            "source": source,
        }
        for key, (stored, source) in found.items()
        if key in values
    }
    return configs, sorted(failures.items())


def _flags(service: Service, now: float) -> tuple[dict[str, Any], int, float]:
    """The flags in effect, the last schedule edge that passed (0 if none), and the next one."""
    scope = [service.pk, service.umbrella_id] if service.umbrella_id else [service.pk]
    rows = Flag.objects.using(READER).filter(service_id__in=scope, deleted_at=None)
    at = datetime.fromtimestamp(now, UTC)
    flags: dict[str, Any] = {}
    edges: set[int] = set()
    for key, (flag, source) in winners(rows, service_id=service.pk).items():
        definition = flag.parsed
        state = evaluate_state(definition, at)
        edges.update(schedule_edges(definition))
        flags[key] = {
            "enabled": state.enabled,
            "variant": state.variant,
            "value": state.value,
            "source": source,
        }
    following = next_edge(edges, now)
    return flags, last_edge(edges, now), NEVER if following is None else float(following)
