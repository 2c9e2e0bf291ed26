"""The hot read path: an ASGI application in front of everything else.

A warm read is header → digest → dict → dict → stored bytes: no SQL, no template, no framework.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256 as _sha256
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connections

from apps.core.client_address import client_address, parse_networks
from apps.core.errors import (
    PROBLEM_CONTENT_TYPE,
    AuthenticationRequired,
    InvalidCredential,
    MethodNotAllowed,
    NexusError,
    NotFound,
    Unavailable,
    problem,
)
from apps.core.ids import uuid7
from apps.services.credentials import Credential, is_well_formed, presented_key
from nexus.delivery.bridge import Receive, Scope, Send
from nexus.delivery.changes import DATABASE_ERRORS, Tailer
from nexus.delivery.memory import Memory, WarmRead
from nexus.delivery.render import CREDENTIALED_HEADERS, NEVER, Answer, Snapshot, SnapshotIsTooLarge, render

SYNC = "/api/v1/sync"
CONFIGS, FLAGS = "/api/v1/configs", "/api/v1/flags"
# A look each second, and one that is late: from then on an answer says how old it may be.
FRESH_SECONDS = 2.0
# Renders wait for the database, not for the processor; more would only queue there.
RENDER_THREADS = 4

_KEY_HEADERS = (b"x-nexus-api-key", b"x-api-key")


class DeliveryApp:
    """Answers `/api/v1/{sync,configs,flags}`, `/livez` and `/readyz`; hands on what is not its own."""

    def __init__(self, *, otherwise: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.otherwise = otherwise
        self.memory = Memory(settings.NEXUS_SNAPSHOT_CACHE_BYTES)
        self.tailer = Tailer(self.memory)
        self.stale_seconds = settings.NEXUS_STALE_SECONDS
        self.trusted = parse_networks(settings.NEXUS_TRUSTED_PROXIES)
        self.pool = ThreadPoolExecutor(max_workers=RENDER_THREADS, thread_name_prefix="render")
        # What was too large, and the generation of the service that it was so in.
        self.too_large: dict[UUID, tuple[int, int]] = {}
        self.rendering: dict[UUID, tuple[tuple[int, int], asyncio.Future[Snapshot | None]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if path == SYNC:
                answer = self._warm(scope)
                if answer is not None:
                    await send(answer[0])
                    await send(answer[1])
                    return
            if path == SYNC or path.startswith((CONFIGS, FLAGS)):
                try:
                    await self._read(path, scope, send)
                except NexusError as error:
                    await _send_problem(send, error)
            elif path in ("/livez", "/readyz"):
                await self._probe(path, send)
            else:
                await self.otherwise(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    def _warm(self, scope: Scope) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The messages of an ordinary `GET /sync` whose answer is in memory; None for all others.

        `_read` decides the same in full; this is what nearly every request needs of it.
        """
        if scope["query_string"] or scope["method"] != "GET":
            return None
        api_key = if_none_match = None
        for name, value in scope["headers"]:
            if name == b"x-nexus-api-key":
                if api_key is not None:
                    return None
                api_key = value
            elif name == b"if-none-match":
                if_none_match = value
            elif name == b"authorization" or name == b"x-api-key":
                return None
        if api_key is None:
            return None
        memory = self.memory
        digest = _sha256(api_key).digest()
        reads = memory.warm.by_digest
        read = reads.get(digest) or self._remember(digest, reads)
        if read is None or time.monotonic() - memory.looked_at > FRESH_SECONDS:
            return None
        if read.ends_at is not None and read.ends_at <= time.time():
            return None
        if not read.credential.used:
            read.credential.used = True
        if if_none_match is None:
            return read.full
        # Anything but exactly this tag (a list, a weak one) is for the full path to read.
        return read.unchanged if if_none_match == read.etag else None

    def _remember(self, digest: bytes, reads: dict[bytes, WarmRead]) -> WarmRead | None:
        """The read of this key if both its credential and its snapshot are in memory."""
        credential = self.memory.credentials.recent.get(digest)
        if credential is None or credential.restricted:
            return None
        snapshot = self.memory.snapshots.get_by_key(credential.service_key, time.time())
        if snapshot is None:
            return None
        answer = snapshot.answer
        read = reads[digest] = WarmRead(
            credential=credential,
            ends_at=None if snapshot.valid_until == NEVER else snapshot.valid_until,
            etag=answer.etag,
            full=(answer.found, answer.content),
            unchanged=(answer.not_modified, _EMPTY_BODY),
        )
        return read

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await asyncio.get_running_loop().run_in_executor(None, self.tailer.start)
                # What start-up made lives as long as the process: no collection need walk it again.
                gc.collect()
                gc.freeze()
                await send({"type": "lifespan.startup.complete"})
            else:
                await asyncio.get_running_loop().run_in_executor(None, self.tailer.stop)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _read(self, path: str, scope: Scope, send: Send) -> None:
        if scope["method"] != "GET":
            raise MethodNotAllowed
        api_key = if_none_match = b""
        ordinary = not scope["query_string"]
        for name, value in scope["headers"]:
            if name in _KEY_HEADERS:
                ordinary = ordinary and not api_key
                api_key = value
            elif name == b"authorization":
                ordinary = False
            elif name == b"if-none-match":
                if_none_match = value
        if not ordinary or not api_key:
            api_key = _presented(scope)
        credential = self.memory.credentials.find(api_key)
        if credential is None:
            credential = await self._look_for(api_key)
        now = time.time()
        if credential.restricted:
            credential.require_good(now=now, address=self._address(scope))
        credential.used = True
        stale = time.monotonic() - self.memory.looked_at > FRESH_SECONDS and self._stale_headers()

        snapshot = self.memory.snapshots.get_by_key(credential.service_key, now)
        if snapshot is None:
            snapshot = await self._render(credential)
        answer = snapshot.answer if path == SYNC else _part(snapshot, path)
        if if_none_match and _matches(if_none_match, answer.etag):
            await send(_marked(answer.not_modified, stale) if stale else answer.not_modified)
            await send(_EMPTY_BODY)
        else:
            await send(_marked(answer.found, stale) if stale else answer.found)
            await send(answer.content)

    def _stale_headers(self) -> list[tuple[bytes, bytes]]:
        """How old the answer may be. Raises Unavailable when that is more than the setting allows."""
        silent = self.memory.silent_seconds()
        if silent > self.stale_seconds:
            raise Unavailable
        return [(b"x-nexus-stale", str(int(silent)).encode())]

    async def _look_for(self, api_key: bytes) -> Credential:
        """A key that is not known may have been issued a moment ago elsewhere."""
        if not is_well_formed(api_key.decode("latin-1")):
            raise InvalidCredential
        if not self.memory.has_looked:
            raise Unavailable
        await asyncio.get_running_loop().run_in_executor(self.pool, self.tailer.look_unless_recent)
        credential = self.memory.credentials.find(api_key)
        if credential is None:
            raise InvalidCredential
        return credential

    async def _render(self, credential: Credential) -> Snapshot:
        """Render once for all who wait. Who comes after a change does not join a render from before it."""
        service_id = credential.service_id
        generation = self.memory.snapshots.generation(service_id)
        if self.too_large.get(service_id) == generation:
            # Nothing changed since: building it again would end the same way.
            raise _too_large()
        under_way = self.rendering.get(service_id)
        if under_way is not None and under_way[0] == generation:
            snapshot = await asyncio.shield(under_way[1])
        else:
            future = asyncio.ensure_future(self._render_and_keep(service_id, generation))
            self.rendering[service_id] = (generation, future)
            try:
                snapshot = await asyncio.shield(future)
            finally:
                if self.rendering.get(service_id, (None, None))[1] is future:
                    del self.rendering[service_id]
        if snapshot is None:
            raise InvalidCredential
        return snapshot

    async def _render_and_keep(self, service_id: UUID, generation: tuple[int, int]) -> Snapshot | None:
        loop = asyncio.get_running_loop()
        try:
            snapshot = await loop.run_in_executor(self.pool, _render_once_more, service_id)
        except DATABASE_ERRORS:
            raise Unavailable from None
        except SnapshotIsTooLarge:
            self.too_large[service_id] = generation
            raise _too_large() from None
        self.too_large.pop(service_id, None)
        if snapshot is not None:
            self.memory.snapshots.keep(snapshot, generation)
        return snapshot

    def _address(self, scope: Scope) -> str:
        client = scope.get("client") or ("",)
        forwarded = [
            value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"
        ]
        return client_address(str(client[0]), forwarded, self.trusted)

    async def _probe(self, path: str, send: Send) -> None:
        """`/livez`: the loop turns. `/readyz`: changes are being followed."""
        ready = path == "/livez" or self.memory.silent_seconds() <= FRESH_SECONDS
        body = orjson.dumps({"status": "ok" if ready else "not following changes"})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200 if ready else 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _too_large() -> Unavailable:
    limit = settings.NEXUS_SNAPSHOT_MAX_BYTES
    return Unavailable(f"The snapshot is larger than {limit} bytes. Remove entries.")


def _marked(start: dict[str, Any], stale: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {**start, "headers": [*start["headers"], *stale]}


_EMPTY_BODY = {"type": "http.response.body", "body": b""}


def _render_once_more(service_id: UUID) -> Snapshot | None:
    """Render; a connection that broke since its last use is replaced once."""
    try:
        return render(service_id)
    except DATABASE_ERRORS:
        connections.close_all()
        return render(service_id)


def _presented(scope: Scope) -> bytes:
    """The slow, whole check of what was sent as a credential."""
    by_name: dict[bytes, list[str]] = {}
    for name, value in scope["headers"]:
        by_name.setdefault(name, []).append(value.decode("latin-1"))
    text = presented_key(
        api_key_headers=[value for name in _KEY_HEADERS for value in by_name.get(name, [])],
        authorization_headers=by_name.get(b"authorization", []),
        query_string=scope["query_string"].decode("latin-1"),
    )
    return text.encode("latin-1", "replace")


def _matches(if_none_match: bytes, etag: bytes) -> bool:
    """Weak comparison with a list of tags (RFC 9110 section 13.1.2)."""
    if if_none_match == etag:
        return True
    tags = [tag.strip() for tag in if_none_match.split(b",")]
    return b"*" in tags or etag in [tag.removeprefix(b"W/") for tag in tags]


def _part(snapshot: Snapshot, path: str) -> Answer:
    for prefix, name in ((CONFIGS, "configs"), (FLAGS, "flags")):
        if path == prefix:
            return snapshot.part(name)
        if path.startswith(prefix + "/"):
            found = snapshot.item(name, path[len(prefix) + 1 :])
            if found is not None:
                return found
    raise NotFound


async def _send_problem(send: Send, error: NexusError) -> None:
    document: dict[str, Any] = problem(error, request_id=str(uuid7()))
    body = orjson.dumps(document)
    headers = [
        (b"content-type", PROBLEM_CONTENT_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", document["request_id"].encode()),
        *CREDENTIALED_HEADERS,
    ]
    if isinstance(error, InvalidCredential | AuthenticationRequired):
        headers.append((b"www-authenticate", b'Bearer realm="nexus"'))
    elif isinstance(error, MethodNotAllowed):
        headers.append((b"allow", b"GET"))
    elif error.status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
