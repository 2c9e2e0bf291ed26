"""Django behind the ASGI server, through its WSGI handler.

Under ASGI Django spends about a millisecond of CPU on a request, under WSGI a fifth of that: a
thread a request is the cheaper way, and a slow page never holds up the event loop.
"""

import asyncio
import io
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote_to_bytes

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
WSGIApplication = Callable[..., Iterable[bytes]]

# Two cores keep at most so many pages waiting for the database at once.
THREADS = 8
# Bodies beyond it go to a file that has no name; Django refuses far smaller ones itself.
BODY_IN_MEMORY_BYTES = 64 * 1024
BODY_MAX_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 64 * 1024


class BodyTooLarge(Exception):
    pass


class WSGIBridge:
    """Runs a WSGI application for ASGI requests, at most THREADS at a time."""

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application
        self.pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="control")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await _read_body(receive)
        except BodyTooLarge:
            await send({"type": "http.response.start", "status": 413, "headers": [(b"connection", b"close")]})
            await send({"type": "http.response.body", "body": b""})
            return
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[MutableMapping[str, Any] | None] = asyncio.Queue()

        def put(message: MutableMapping[str, Any] | None) -> None:
            loop.call_soon_threadsafe(chunks.put_nowait, message)

        worker = loop.run_in_executor(self.pool, self._run, environ_of(scope, body), put)
        while (message := await chunks.get()) is not None:
            await send(message)
        await worker

    def _run(self, environ: dict[str, Any], put: Callable[[MutableMapping[str, Any] | None], None]) -> None:
        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            put(
                {
                    "type": "http.response.start",
                    "status": int(status.split(" ", 1)[0]),
                    "headers": [
                        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
                    ],
                }
            )

        try:
            response = self.application(environ, start_response)
            try:
                for chunk in response:
                    put({"type": "http.response.body", "body": chunk, "more_body": True})
                put({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                close = getattr(response, "close", None)
                if close is not None:
                    close()
        finally:
            put(None)
            environ["wsgi.input"].close()


async def _read_body(receive: Receive) -> Any:
    body = tempfile.SpooledTemporaryFile(max_size=BODY_IN_MEMORY_BYTES)  # noqa: SIM115 - closed by the request
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            break
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > BODY_MAX_BYTES:
            body.close()
            raise BodyTooLarge
        body.write(chunk)
        if not message.get("more_body", False):
            break
    body.seek(0)
    return body


def environ_of(scope: Scope, body: Any) -> dict[str, Any]:
    """The WSGI environment (PEP 3333) of an ASGI request."""
    server = scope.get("server") or ("localhost", 80)
    client = scope.get("client") or ("", 0)
    raw_path = scope.get("raw_path") or b""
    path = unquote_to_bytes(raw_path.split(b"?", 1)[0]) if raw_path else scope["path"].encode("utf-8")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1]),
        "REMOTE_ADDR": str(client[0]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": body if body is not None else io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope["headers"]:
        text = name.decode("latin-1")
        if "_" in text:
            # A name with an underscore would pose as the one with hyphens.
            continue
        key = text.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        decoded = value.decode("latin-1")
        environ[key] = f"{environ[key]},{decoded}" if key in environ else decoded
    return environ
