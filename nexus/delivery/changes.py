"""The tailer: a thread that follows the `Change` table and keeps this process's memory true.

It never skips a row, whatever order transactions commit in. On PostgreSQL each look remembers the
snapshot that it was taken under; the next one asks for the rows which that snapshot could not see:
those of transactions that had not begun (`>= xmax`) and those that were still running (`xip`). That
is exact, needs no memory of rows already seen, and no long transaction makes it stall or read
again (docs/decisions/0003). SQLite has one writer, so its rows appear in the order of `sequence`.
"""

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import redis
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.db.models import Q
from django.utils import timezone

from apps.core import changes, keys
from apps.core.changes import ChangeEvent
from apps.core.errors import NexusError
from apps.core.models import Purpose
from apps.services import credentials
from apps.services.models import ApiKey
from nexus.delivery.memory import Memory, Staleness

logger = logging.getLogger(__name__)

DATABASE_ERRORS = (DatabaseError, InterfaceError)
# Guessing keys costs at most one look in so long, shared by all who guess.
SHARED_LOOK_SECONDS = 0.1
# SPEC 4: lists show the last use to the minute.
LAST_USED_SECONDS = 60.0

_COLUMNS = "event, tenant_id, project_id, service_id, credential_id, revision"


@dataclass(frozen=True, slots=True)
class Position:
    """What the last look could see: up to `sequence`, or all but `running` below `next_transaction`."""

    sequence: int
    next_transaction: int = 0
    running: tuple[int, ...] = ()

    @classmethod
    def of_snapshot(cls, text: str, sequence: int) -> "Position":
        """Parse `xmin:xmax:xip,…` (PostgreSQL manual, table 9.85)."""
        _, xmax, running = text.split(":")
        return cls(sequence, int(xmax), tuple(int(part) for part in running.split(",") if part))


@dataclass(frozen=True, slots=True)
class Row:
    sequence: int
    event: str
    tenant_id: UUID | None
    project_id: UUID | None
    service_id: UUID | None
    credential_id: UUID | None
    revision: int | None


@dataclass(frozen=True, slots=True)
class Look:
    position: Position
    epoch: UUID
    pruned_through: int
    rows: list[Row]


def look_since(position: Position | None, *, using: str = "default") -> Look:
    """The changes that `position` could not see, and the position of this look.

    One statement, so that rows and position are of one view of the database. Without a position
    there are no rows: the caller loads everything after it.
    """
    connection = connections[using]
    postgresql = connection.vendor == "postgresql"
    parameters: list[Any]
    if position is None:
        condition, parameters = "FALSE" if postgresql else "0", []
    elif postgresql:
        condition = "(c.transaction_id >= %s OR c.transaction_id = ANY(%s))"
        parameters = [position.next_transaction, list(position.running)]
    else:
        condition, parameters = "c.sequence > %s", [position.sequence]
    columns = ", ".join(f"c.{name}" for name in _COLUMNS.split(", "))
    snapshot = "pg_current_snapshot()::text" if postgresql else "''"
    sql = (
        # Everything that varies is one of the fixed texts above; values are parameters.
        f"SELECT {snapshot}, i.epoch, i.changes_pruned_through, "  # noqa: S608
        f"(SELECT COALESCE(MAX(sequence), 0) FROM core_change), c.sequence, {columns} "
        f"FROM core_installation i LEFT JOIN core_change c ON {condition} ORDER BY c.sequence"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        found = cursor.fetchall()
    if not found:
        raise DatabaseError("The installation's row is missing.")
    text, epoch, pruned_through, highest = found[0][:4]
    # A table that was pruned empty still says how far it came.
    highest = max(highest, pruned_through, position.sequence if position is not None else 0)
    rows = [
        Row(row[4], row[5], _uuid(row[6]), _uuid(row[7]), _uuid(row[8]), _uuid(row[9]), row[10])
        for row in found
        if row[4] is not None
    ]
    here = Position.of_snapshot(text, highest) if postgresql else Position(highest)
    known_epoch = _uuid(epoch)
    if known_epoch is None:
        raise DatabaseError("The installation's epoch is missing.")
    return Look(here, known_epoch, pruned_through, rows)


def _uuid(value: object) -> UUID | None:
    return value if value is None or isinstance(value, UUID) else UUID(str(value))


class Tailer:
    """Follows the changes from `start` to `stop`. `look` may be called by any thread."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._position: Position | None = None
        self._epoch: UUID | None = None
        self._last_used_written = time.monotonic()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Look once, then follow in a thread of its own. A database that is away is waited for."""
        self._try_look()
        changes.register_waker(self._woken.set)
        self._threads = [threading.Thread(target=self._follow, name="tailer", daemon=True)]
        if settings.REDIS_URL:
            self._threads.append(threading.Thread(target=self._listen, name="tailer-redis", daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        changes.unregister_waker(self._woken.set)
        self._stopping.set()
        self._woken.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def wake(self) -> None:
        self._woken.set()

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self._woken.wait(settings.NEXUS_POLL_SECONDS)
            self._woken.clear()
            if not self._stopping.is_set():
                self._try_look()
                self._write_last_used()
        connections.close_all()

    def _try_look(self) -> bool:
        try:
            self.look()
        except DATABASE_ERRORS as error:
            logger.warning("The changes could not be read (%s); trying again.", type(error).__name__)
            connections.close_all()
            return False
        except NexusError as error:
            # A key that is needed does not open: its root key is missing, or its KMS is away.
            logger.error("The changes could not be applied: %s", error.detail)
            return False
        return True

    def look(self) -> None:
        """Apply everything that was committed before this call. Raises DatabaseError."""
        with self._lock:
            began_at = time.monotonic()
            look = look_since(self._position)
            if self._must_start_anew(look):
                self._load_all(look)
            else:
                self._apply(look.rows)
            self._position, self._epoch = look.position, look.epoch
            self.memory.looked_at = began_at

    def look_unless_recent(self) -> None:
        """Look, unless somebody did within the last SHARED_LOOK_SECONDS."""
        asked_at = time.monotonic()
        with self._lock:
            looked_at = self.memory.looked_at
        if asked_at - looked_at >= SHARED_LOOK_SECONDS:
            self._try_look()

    def _must_start_anew(self, look: Look) -> bool:
        position = self._position
        if position is None or look.epoch != self._epoch:
            return True
        # Rows were pruned that this process never saw, or the database went back in time.
        return (
            look.pruned_through > position.sequence
            or look.position.next_transaction < position.next_transaction
        )

    def _load_all(self, look: Look) -> None:
        keys.forget_all()
        peppers = list(keys.server_keys(Purpose.API_KEY_PEPPER))
        self.memory.credentials.replace_all(credentials.load(Q()), peppers)
        self.memory.snapshots.drop_all()

    def _apply(self, rows: list[Row]) -> None:
        if not rows:
            return
        if any(row.event == ChangeEvent.SERVER_KEY_ROTATED for row in rows):
            keys.forget_current()
            self.memory.credentials.replace_all(
                credentials.load(Q()), list(keys.server_keys(Purpose.API_KEY_PEPPER))
            )
            self.memory.snapshots.drop_all()
            return
        changed = {row.service_id for row in rows if row.service_id is not None}
        stale = Staleness()
        for row in rows:
            if row.event == ChangeEvent.CREDENTIAL_CHANGED and row.credential_id is not None:
                stale.credentials.add(row.credential_id)
            elif row.event == ChangeEvent.SERVICE_UPDATED and row.service_id is not None:
                stale.services.add(row.service_id)
            elif row.event == ChangeEvent.PROJECT_CHANGED and row.project_id is not None:
                stale.projects.add(row.project_id)
            elif row.event == ChangeEvent.TENANT_CHANGED and row.tenant_id is not None:
                stale.tenants.add(row.tenant_id)
        if stale:
            which = (
                Q(pk__in=stale.credentials)
                | Q(service_id__in=stale.services)
                | Q(service__project_id__in=stale.projects)
                | Q(service__project__tenant_id__in=stale.tenants)
            )
            changed |= self.memory.credentials.replace(stale, credentials.load(which))
        self.memory.snapshots.drop(changed)

    def _write_last_used(self) -> None:
        if time.monotonic() - self._last_used_written < LAST_USED_SECONDS:
            return
        self._last_used_written = time.monotonic()
        used = self.memory.credentials.take_used()
        try:
            for start in range(0, len(used), 500):
                ApiKey.objects.filter(pk__in=used[start : start + 500]).update(last_used_at=timezone.now())
        except DATABASE_ERRORS as error:
            logger.warning("The last use of %d keys was not written (%s).", len(used), type(error).__name__)
            connections.close_all()

    def _listen(self) -> None:
        """Wake at each message of the other processes; without Redis the poll goes on alone."""
        while not self._stopping.is_set():
            try:
                client = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=1)
                with client.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
                    channel.subscribe(changes.REDIS_CHANNEL)
                    # What was published while nobody listened is in the table.
                    self._woken.set()
                    while not self._stopping.is_set():
                        if channel.get_message(timeout=1.0) is not None:
                            self._woken.set()
            except redis.RedisError as error:
                logger.warning("Redis is away (%s); looking each second.", type(error).__name__)
                self._stopping.wait(2.0)
