"""What a delivery process knows: credentials and snapshots, kept true by the tailer.

The event loop reads, the tailer's thread writes. Each step that must be whole stands under one
lock; a warm read takes none.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from apps.core import keys
from apps.core.crypto import keyed_digest, sha256
from apps.services.credentials import Credential
from nexus.delivery.render import Snapshot

Message = dict[str, Any]


@dataclass(frozen=True, slots=True, repr=False)
class WarmRead:
    """What an ordinary `GET /sync` with one key is answered, until `ends_at` (Unix seconds; None: always).

    `full` and `unchanged` are the two messages of a 200 and of a 304, as they are sent.
    """

    credential: Credential
    ends_at: float | None
    etag: bytes
    full: tuple[Message, Message]
    unchanged: tuple[Message, Message]


class WarmReads:
    """Ordinary reads that need no decision any more, by the SHA-256 of their key.

    Whoever remembers one takes `by_digest` *before* reading credential and snapshot, and writes
    into that very dict. `forget` puts a new one in its place: what was decided on an older state
    then lands in a dict that nobody asks. Each change of a credential and each snapshot that leaves
    memory forgets all; the next read of each finds its way back by the tables.
    """

    def __init__(self) -> None:
        self.by_digest: dict[bytes, WarmRead] = {}

    def forget(self) -> None:
        self.by_digest = {}


class Credentials:
    """Every live credential by the digest of its text, as of the tailer's last look."""

    def __init__(self, warm: WarmReads) -> None:
        self._warm = warm
        self.peppers: list[bytes] = []
        self._by_digest: dict[bytes, Credential] = {}
        # SHA-256 of a text → its credential, for texts that were found before: an HMAC costs four
        # times as much. It holds no more than the table above, and falls with every change of it.
        self.recent: dict[bytes, Credential] = {}

    def __len__(self) -> int:
        return len(self._by_digest)

    def find(self, text: bytes) -> Credential | None:
        # Read before the table: what is found in an old table must not be remembered past it.
        recent = self.recent
        short = sha256(text)
        known = recent.get(short)
        if known is not None:
            return known
        for pepper in self.peppers:
            found = self._by_digest.get(keyed_digest(pepper, text))
            if found is not None:
                recent[short] = found
                return found
        return None

    def replace_all(self, credentials: Iterable[Credential], peppers: Iterable[keys.Key]) -> None:
        self.peppers = [pepper.secret for pepper in peppers]
        self._by_digest = {credential.digest: credential for credential in credentials}
        self.recent = {}
        self._warm.forget()

    def replace(self, stale: "Staleness", fresh: Iterable[Credential]) -> set[UUID]:
        """Put `fresh` in the place of what `stale` covers; returns the services that are touched."""
        touched = set()
        for credential in list(self._by_digest.values()):
            if stale.covers(credential):
                del self._by_digest[credential.digest]
                touched.add(credential.service_id)
        for credential in fresh:
            self._by_digest[credential.digest] = credential
            touched.add(credential.service_id)
        self.recent = {}
        self._warm.forget()
        return touched

    def take_used(self) -> list[UUID]:
        """Ids of credentials that were used since the last call."""
        used = []
        for credential in list(self._by_digest.values()):
            if credential.used:
                credential.used = False
                used.append(credential.id)
        return used


class Staleness:
    """Which credentials a batch of changes speaks of."""

    def __init__(self) -> None:
        self.credentials: set[UUID] = set()
        self.services: set[UUID] = set()
        self.projects: set[UUID] = set()
        self.tenants: set[UUID] = set()

    def __bool__(self) -> bool:
        return bool(self.credentials or self.services or self.projects or self.tenants)

    def covers(self, credential: Credential) -> bool:
        return (
            credential.id in self.credentials
            or credential.service_id in self.services
            or credential.project_id in self.projects
            or credential.tenant_id in self.tenants
        )


class Snapshots:
    """Rendered snapshots by service, bounded by bytes; the least used leave first.

    A render that began before a change came may have read the older state, so it is kept only if
    the service's generation is still the one that it began under.
    """

    def __init__(self, max_bytes: int, warm: WarmReads) -> None:
        self.max_bytes = max_bytes
        self._warm = warm
        self._lock = threading.Lock()
        self._by_service: OrderedDict[int, tuple[Snapshot, int]] = OrderedDict()
        self._bytes = 0
        self._generations: dict[UUID, int] = {}
        self._resets = 0

    def __len__(self) -> int:
        return len(self._by_service)

    def get(self, service_id: UUID, now: float) -> Snapshot | None:
        return self.get_by_key(service_id.int, now)

    def get_by_key(self, service_key: int, now: float) -> Snapshot | None:
        """The service's snapshot if it holds at `now` (Unix seconds).

        Services are keyed by the integer of their id: hashing a UUID costs as much as all else here.
        """
        found = self._by_service.get(service_key)
        if found is None or now >= found[0].valid_until:
            return None
        if self._bytes > self.max_bytes // 2:
            # Whose turn it is to leave matters only once there is little room.
            with self._lock:
                if service_key in self._by_service:
                    self._by_service.move_to_end(service_key)
        return found[0]

    def generation(self, service_id: UUID) -> tuple[int, int]:
        with self._lock:
            return self._resets, self._generations.get(service_id, 0)

    def keep(self, snapshot: Snapshot, generation: tuple[int, int]) -> bool:
        """Remember `snapshot` unless a change came since `generation` was read."""
        service_id = snapshot.service_id
        size = snapshot.size_bytes
        with self._lock:
            if generation != (self._resets, self._generations.get(service_id, 0)):
                return False
            self._remove(service_id.int)
            self._by_service[service_id.int] = (snapshot, size)
            self._bytes += size
            while self._bytes > self.max_bytes and self._by_service:
                self._remove(next(iter(self._by_service)))
        return True

    def drop(self, service_ids: Iterable[UUID]) -> None:
        with self._lock:
            for service_id in service_ids:
                self._generations[service_id] = self._generations.get(service_id, 0) + 1
                self._remove(service_id.int)

    def drop_all(self) -> None:
        with self._lock:
            self._resets += 1
            self._generations.clear()
            self._by_service.clear()
            self._bytes = 0
            self._warm.forget()

    def _remove(self, service_key: int) -> None:
        removed = self._by_service.pop(service_key, None)
        if removed is not None:
            self._bytes -= removed[1]
            self._warm.forget()


class Memory:
    """All of it, with when the database was last heard of ."""

    def __init__(self, max_bytes: int) -> None:
        self.warm = WarmReads()
        self.credentials = Credentials(self.warm)
        self.snapshots = Snapshots(max_bytes, self.warm)
        # When the last look began, in monotonic seconds; minus infinity before the first.
        self.looked_at = float("-inf")

    @property
    def has_looked(self) -> bool:
        return self.looked_at != float("-inf")

    def silent_seconds(self) -> float:
        """For how long nothing was heard of the database; infinite before the first time."""
        return time.monotonic() - self.looked_at
