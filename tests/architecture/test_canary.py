"""A secret's value, once it went through every door, stands in no place that is not sealed."""

import base64
import io
import json
import logging
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client

from apps.core.actor import Actor
from apps.core.errors import NexusError
from apps.services.operations import issue_api_key
from apps.vault.operations import set_config, set_secret
from tests.conftest import Cast
from tests.delivery.client import delivering
from tests.vault.manage import Manage, in_service

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "reader"])

CANARY = "zQ7-canary-bird-4xK9-sings"
# Stored in plain text as it should be: what finds it would find the canary too.
CONTROL = "kH2-control-word-8vB1-stays"
LIMIT = 64 * 1024


def forms(text: str) -> list[bytes]:
    """The text as it is, as hex digits, and the part of its base64 that no neighbour changes."""
    data = text.encode()
    found = [data, data.hex().encode(), data.hex().upper().encode(), text.encode("utf-16-le")]
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(b"\0" * shift + data).rstrip(b"=")
            found.append(encoded[4:-2])
    return found


def stands_in(text: str, data: bytes) -> bool:
    return any(form in data for form in forms(text))


def cells() -> Iterator[tuple[str, bytes]]:
    """Every column of every row of every table, as bytes."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            names = [column[0] for column in cursor.description]
            for row in cursor.fetchall():
                for name, cell in zip(names, row, strict=True):
                    raw = isinstance(cell, bytes | bytearray | memoryview)
                    yield f"{table}.{name}", bytes(cell) if raw else str(cell).encode()


def files() -> Iterator[tuple[str, bytes]]:
    """Everything in NEXUS_VAR, and the database's own files where they are ours to read."""
    paths = [path for path in Path(settings.NEXUS_VAR).rglob("*") if path.is_file()]
    if connection.vendor == "sqlite":
        database = Path(connection.settings_dict["NAME"])
        found = list(database.parent.glob(f"{database.name}*"))
        assert found
        paths += found
    for path in paths:
        yield str(path), path.read_bytes()


def redis_entries() -> Iterator[tuple[str, bytes]]:
    if not settings.REDIS_URL:
        return
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        for key in client.scan_iter():
            readers = {
                b"string": lambda key: client.get(key),
                b"list": lambda key: client.lrange(key, 0, -1),
                b"set": lambda key: client.smembers(key),
                b"zset": lambda key: client.zrange(key, 0, -1),
                b"hash": lambda key: client.hgetall(key),
                b"stream": lambda key: client.xrange(key),
            }
            yield repr(key), key + repr(readers[client.type(key)](key)).encode()


class Doors:
    """Sends the canary through all doors and keeps what each said."""

    def __init__(self, cast: Cast, command: Actor) -> None:
        self.cast, self.command = cast, command
        _, self.key = issue_api_key(
            actor=command, service=cast.backend, slot="secondary", scopes=["read", "write"]
        )
        self.address = str(cast.backend)
        self.manage = Manage(cast, "mona")
        self.secrets = in_service(cast.backend, "secrets")
        self.said: list[str] = []
        self.served: list[str] = []

    def ask(self, method: str, path: str, body: Any = None) -> int:
        options = {} if body is None else {"data": body, "content_type": "application/json"}
        headers = {"X-Nexus-API-Key": self.key}
        reply = getattr(Client(), method)(f"/api/v1/secrets{path}", headers=headers, **options)
        text = reply.content.decode()
        (self.served if method == "get" and reply.status_code == 200 else self.said).append(text)
        return int(reply.status_code)

    def ask_manage(self, method: str, path: str, body: Any = None, **headers: str) -> int:
        reply = self.manage.ask(method, f"{self.secrets}{path}", body, **headers)
        shown = method == "post" and path.endswith("/reveal") and reply.status_code == 200
        (self.served if shown else self.said).append(reply.content.decode())
        return int(reply.status_code)

    def run(self, *arguments: str) -> int:
        """A command's exit code; what it prints is kept."""
        out, err = io.StringIO(), io.StringIO()
        try:
            call_command(*arguments, "--json", stdout=out, stderr=err)
        except SystemExit as ended:
            return int(ended.code or 0)
        finally:
            self.said += [out.getvalue(), err.getvalue()]
        return 0

    def try_to(self, **options: Any) -> None:
        """An operation that is refused; its traceback is kept, causes and contexts too."""
        arguments = {"actor": self.command, "service": self.cast.backend, "key": "a", **options}
        with pytest.raises(NexusError) as refusal:
            set_secret(**arguments)
        error: BaseException | None = refusal.value
        self.said.append("".join(traceback.format_exception(error)))
        while error is not None:
            self.said += [repr(error), json.dumps(getattr(error, "members", {}))]
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)

    def write(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        value = CANARY.encode()
        set_config(actor=self.command, service=self.cast.backend, key="control", value=CONTROL)
        set_secret(actor=self.command, service=self.cast.backend, key="a", value=value)
        set_secret(actor=self.command, service=self.cast.umbrella, key="above", value=value)
        (folder / "canary").write_bytes(value)
        assert self.run("set_secret", self.address, "b", "--value", CANARY) == 0
        arguments = ("--type", "file", "--file", str(folder / "canary"))
        assert self.run("set_secret", self.address, "c", *arguments) == 0
        standard_input = SimpleNamespace(buffer=io.BytesIO(value + b"\n"))
        monkeypatch.setattr(sys, "stdin", standard_input)
        assert self.run("set_secret", self.address, "d") == 0
        assert self.ask("put", "/e", {"value": CANARY}) == 201
        encoded = base64.b64encode(value).decode()
        assert self.ask("put", "/f", {"type": "file", "value": encoded, "file_name": "f"}) == 201

    def write_by_manage(self) -> None:
        assert self.ask_manage("post", "", {"key": "g", "value": CANARY}, Idempotency_Key="once") == 201
        assert self.ask_manage("post", "", {"key": "g", "value": CANARY}, Idempotency_Key="once") == 201
        assert self.ask_manage("put", "/g", {"value": CANARY}, If_Match='"1"') == 200
        items = [{"key": "h", "value": CANARY}, {"key": "g", "value": CANARY, "row_version": 2}]
        assert self.ask_manage("patch", "", {"write": items}) == 200
        assert self.ask_manage("get", "") == 200
        assert self.ask_manage("get", "/g") == 200
        for key in ("g", "h"):
            assert self.ask_manage("post", f"/{key}/reveal") == 200
        assert self.ask_manage("post", "/g/reveal", {"version": 1}) == 200
        assert self.ask_manage("patch", "", {"delete": [{"key": "h"}]}) == 200

    def be_refused_by_manage(self) -> None:
        item = {"key": "g", "value": CANARY}
        for method, path, body, status in (
            ("post", "", item, 409),
            ("post", "", {**item, "key": CANARY + "!"}, 422),
            ("post", "", {**item, "type": CANARY}, 422),
            ("post", "", {**item, CANARY: 1}, 422),
            ("post", "", f'{{"key": "x", "value": "{CANARY}"', 400),
            ("post", "", f'{{"key": "x", "value": "{CANARY}", "value": "{CANARY}"}}', 422),
            ("put", "/g", {"value": [CANARY]}, 422),
            ("put", "/g", {"value": CANARY, "file_name": CANARY + "/"}, 422),
            ("put", "/g", {"value": CANARY * (LIMIT // len(CANARY) + 1)}, 422),
            ("put", "/g", {"value": CANARY * (2 * LIMIT)}, 413),
            ("put", "/g", {"value": CANARY, "final": True}, 422),
            ("patch", "", {"write": [{**item, "row_version": 9}]}, 412),
            ("patch", "", {"write": [{**item, "row_version": CANARY}]}, 422),
            ("patch", "", {"write": [item, item]}, 422),
            ("patch", "", {"write": [CANARY], "delete": [CANARY]}, 422),
            ("patch", "", {"write": [item], "delete": [{"key": "nowhere"}]}, 404),
            ("post", "/g/reveal", {"version": CANARY}, 422),
            ("post", "/g/reveal", {"version": 99}, 404),
        ):
            assert self.ask_manage(method, path, body) == status, (method, path, str(body)[:80])
        assert self.ask_manage("put", "/g", {"value": CANARY}, If_Match=CANARY) == 422
        assert self.ask_manage("get", f"?type={CANARY}") == 422
        # Another body under a key that was used, and people who may not.
        assert self.ask_manage("post", "", {**item, "key": "other"}, Idempotency_Key="once") == 422
        for name in ("bob", "vic"):
            other = Manage(self.cast, name)
            for method, path, body in (
                ("post", "", item),
                ("put", "/g", {"value": CANARY}),
                ("patch", "", {"write": [item]}),
                ("post", "/g/reveal", {}),
            ):
                reply = other.ask(method, f"{self.secrets}{path}", body)
                assert reply.status_code in (403, 404)
                self.said.append(reply.content.decode())

    def read(self) -> None:
        for name in "abcdef":
            assert self.ask("get", f"/{name}") == 200
        assert self.ask("get", "?format=map") == 200
        with delivering() as client:
            self.served.append(client.get(key=self.key).body.decode())
            self.served.append(client.get(key=self.cast.keys["child"]).body.decode())
            self.said.append(client.get(key=self.cast.keys["frontend"]).body.decode())
        assert self.ask("delete", "/f") == 204

    def be_refused(self) -> None:
        value = CANARY.encode()
        for body, status in (
            (f'{{"value": "{CANARY}"', 400),
            (CANARY, 400),
            (f'{{"value": "{CANARY}", "value": "{CANARY}"}}', 422),
            (f'{{"value": "{CANARY}\\ud800"}}', 422),
            (f'{{"value": ["{CANARY}"]}}', 422),
            (f'{{"value": "{CANARY}", "type": "{CANARY}"}}', 422),
            (f'{{"value": "{CANARY}", "type": "file"}}', 422),
            (json.dumps({"value": CANARY * (LIMIT // len(CANARY) + 1)}), 422),
            (json.dumps({"value": CANARY * (2 * LIMIT)}), 413),
        ):
            assert self.ask("put", "/a", body) == status, body[:80]
        frontend = str(self.cast.frontend)
        assert self.run("set_secret", frontend, "a", "--value", CANARY) == 1
        assert self.run("set_secret", self.address, "1", "--value", CANARY) == 1
        self.try_to(value=value + b"\xff")
        self.try_to(value=value * LIMIT)
        self.try_to(value=value, type="other")
        self.try_to(value=value, only_create=True)
        self.try_to(value=value, actor=self.cast.actor("vic"))
        self.try_to(value=value, service=self.cast.frontend)


def test_a_secrets_value_stands_nowhere_but_in_the_answers_that_serve_it(
    committed_cast: Cast,
    command: Actor,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    doors = Doors(committed_cast, command)

    doors.write(monkeypatch, tmp_path)
    doors.write_by_manage()
    doors.read()
    doors.be_refused()
    doors.be_refused_by_manage()

    assert all(stands_in(CANARY, text.encode()) for text in doors.served)
    places = [*cells(), *files(), *redis_entries(), ("the log", caplog.text.encode())]
    places += [(f"answer {number}", text.encode()) for number, text in enumerate(doors.said)]
    assert [name for name, data in places if stands_in(CANARY, data)] == []
    # What was searched holds what it must, so that nothing was passed over.
    found = {name for name, data in places if stands_in(CONTROL, data)}
    assert {"vault_configversion.value_json", "audit_auditevent.changes"} <= found
    if connection.vendor == "sqlite":
        assert any(name.startswith(str(connection.settings_dict["NAME"])) for name in found)


@pytest.mark.parametrize("shift", range(3))
def test_the_search_knows_each_form(shift: int) -> None:
    data = b"x" * shift + CANARY.encode() + b"yz"

    for encoded in (data, data.hex().encode(), base64.b64encode(data), base64.urlsafe_b64encode(data)):
        assert stands_in(CANARY, b"before " + encoded + b" after")
    assert not stands_in(CANARY, CONTROL.encode())
