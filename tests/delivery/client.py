"""Drives `DeliveryApp` in this process, as a server would, and closes what its threads opened."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connections

from nexus.delivery.app import SYNC, DeliveryApp
from nexus.delivery.bridge import Receive, Scope, Send

PEER = "192.0.2.7"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def told(self) -> dict[str, Any]:
        """The problem document without what differs from answer to answer."""
        return {name: value for name, value in self.json.items() if name != "request_id"}


async def _otherwise(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b"handed on"})


class Client:
    def __init__(self, app: DeliveryApp) -> None:
        self.app = app

    def get(
        self,
        path: str = SYNC,
        *,
        key: str = "",
        headers: Sequence[tuple[str, str]] = (),
        query: str = "",
        method: str = "GET",
        peer: str = PEER,
    ) -> Reply:
        sent = [("host", "testserver"), *headers]
        if key:
            sent.append(("x-nexus-api-key", key))
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in sent],
            "client": (peer, 40_000),
        }
        messages: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        asyncio.run(self.app(scope, receive, send))
        start, *rest = messages
        pairs = [(name.decode(), value.decode()) for name, value in start["headers"]]
        assert len(dict(pairs)) == len(pairs), "a header stands twice"
        return Reply(start["status"], dict(pairs), b"".join(message["body"] for message in rest))


@contextmanager
def delivering() -> Iterator[Client]:
    """A delivery process that has looked once and looks again only when it is told to."""
    app = DeliveryApp(otherwise=_otherwise)
    app.pool.shutdown()
    # One thread, so that its connections can be closed from here.
    app.pool = ThreadPoolExecutor(max_workers=1)
    app.tailer.look()
    try:
        yield Client(app)
    finally:
        app.pool.submit(connections.close_all).result()
        app.pool.shutdown()
