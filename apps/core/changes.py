"""Who must hear of it: revisions, the `Change` table, and waking those who follow it.

`bump` is the last line of an operation that changes what services read; `announce` of one that
changes who may read. Both write in the operation's transaction, so that a change and its
announcement are one. The rows are the truth; waking only makes it faster.
"""

import logging
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any
from uuid import UUID

import redis
from django.conf import settings
from django.db import connections, models, transaction
from django.db.models import BigIntegerField, Case, CharField, F, Func, UUIDField, Value, When
from django.db.models.functions import Cast

from apps.core.models import Change

logger = logging.getLogger(__name__)

REDIS_CHANNEL = "nexus:changes"


class ChangeEvent(StrEnum):
    """What a change was. Those of entries are the names that streams send (SPEC 8)."""

    SECRET_UPDATED = "secret.updated"  # noqa: S105 - the name of an event
    SECRET_DELETED = "secret.deleted"  # noqa: S105 - the name of an event
    CONFIG_UPDATED = "config.updated"
    CONFIG_DELETED = "config.deleted"
    FLAG_TOGGLED = "flag.toggled"
    FLAG_UPDATED = "flag.updated"
    FLAG_DELETED = "flag.deleted"
    SERVICE_UPDATED = "service.updated"
    CREDENTIAL_CHANGED = "credential.changed"
    PROJECT_CHANGED = "project.changed"
    TENANT_CHANGED = "tenant.changed"
    SERVER_KEY_ROTATED = "server_key.rotated"


class _CurrentTransactionId(Func):
    """PostgreSQL's id of this transaction; the same for all its rows, subtransactions included."""

    function = "pg_current_xact_id"
    template = "%(function)s()::text::bigint"
    output_field = BigIntegerField()


def _transaction_id() -> Any:
    if connections["default"].vendor == "postgresql":
        return _CurrentTransactionId()
    return Cast(Value(None), BigIntegerField())


def bump(*, origin: models.Model, services: models.QuerySet[Any], event: ChangeEvent, key: str = "") -> None:
    """Raise the revision of `services` and append a change for each.

    `origin` is the service that the change was made in; the others inherit it from there. Two
    statements, however many services there are.
    """
    services = services.order_by()
    services.update(revision=F("revision") + 1)
    values = {
        "event": Value(event.value, CharField()),
        "service_id": F("pk"),
        "project_id": F("project_id"),
        "tenant_id": Cast(Value(None), UUIDField()),
        "credential_id": Cast(Value(None), UUIDField()),
        "revision": F("revision"),
        "key": Value(key, CharField()),
        "source": Case(
            When(pk=origin.pk, then=Value("service")), default=Value("umbrella"), output_field=CharField()
        ),
        "transaction_id": _transaction_id(),
    }
    columns = {f"change_{name}": value for name, value in values.items()}
    select, parameters = services.annotate(**columns).values_list(*columns).query.sql_with_params()
    table = Change._meta.db_table
    with connections["default"].cursor() as cursor:
        # Column names are those above; every value is a parameter.
        cursor.execute(f"INSERT INTO {table} ({', '.join(values)}) {select}", parameters)
    transaction.on_commit(wake, robust=True)


def announce(
    *,
    event: ChangeEvent,
    tenant_id: UUID | None = None,
    project_id: UUID | None = None,
    service_id: UUID | None = None,
    credential_id: UUID | None = None,
) -> None:
    """Append a change that says who may read, not what: it raises no revision."""
    Change.objects.create(
        event=event,
        tenant_id=tenant_id,
        project_id=project_id,
        service_id=service_id,
        credential_id=credential_id,
        transaction_id=_transaction_id(),
    )
    transaction.on_commit(wake, robust=True)


_wakers: list[Callable[[], None]] = []


def register_waker(waker: Callable[[], None]) -> None:
    """Call `waker` after each commit that appended a change. It must neither block nor raise."""
    if waker not in _wakers:
        _wakers.append(waker)


def unregister_waker(waker: Callable[[], None]) -> None:
    if waker in _wakers:
        _wakers.remove(waker)


def wake() -> None:
    for waker in _wakers:
        waker()


class RedisWaker:
    """Tells the other processes by Redis pub/sub. Without Redis they look each second anyway."""

    # A write never waits longer for Redis, and after a failure leaves it alone for a while.
    TIMEOUT_SECONDS = 0.2
    PAUSE_SECONDS = 5.0

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(
            url, socket_timeout=self.TIMEOUT_SECONDS, socket_connect_timeout=self.TIMEOUT_SECONDS
        )
        self._paused_until = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        if time.monotonic() < self._paused_until:
            return
        try:
            self._client.publish(REDIS_CHANNEL, b"")
        except redis.RedisError as error:
            with self._lock:
                self._paused_until = time.monotonic() + self.PAUSE_SECONDS
            logger.warning(
                "Redis did not take a wake-up (%s); followers look each second.", type(error).__name__
            )


def register_configured_wakers() -> None:
    if settings.REDIS_URL:
        register_waker(RedisWaker(settings.REDIS_URL))
