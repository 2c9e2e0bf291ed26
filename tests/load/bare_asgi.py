"""The least that an ASGI app can do: one fixed answer, or 304 when the client has it already.

The answer is a real one of Nexus, recorded in the file that NEXUS_BENCH_ANSWER names (`answers.py`),
so that both targets put the same bytes and headers on the wire, and what differs is Nexus's own work.
"""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from tests.load.answers import Answers

_answers = Answers.load(Path(os.environ["NEXUS_BENCH_ANSWER"]))
_BODY = _answers.body
_ETAG = _answers.etag.encode("latin-1")


def _start(status: int, headers: list[tuple[str, str]]) -> dict[str, Any]:
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}


_FULL_START = _start(200, _answers.full_headers)
_FULL_BODY = {"type": "http.response.body", "body": _BODY}
_UNCHANGED_START = _start(304, _answers.unchanged_headers)
_UNCHANGED_BODY = {"type": "http.response.body", "body": b""}


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":  # Lifespan: returning tells the server that there is none.
        return
    for name, value in scope["headers"]:
        if name == b"if-none-match" and value == _ETAG:
            await send(_UNCHANGED_START)
            await send(_UNCHANGED_BODY)
            return
    await send(_FULL_START)
    await send(_FULL_BODY)
