"""`manage.py up --demo` as a person starts it: from nothing to answers, and back to no process."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
# Some 15 s on an idle machine with two processors.
READY_SECONDS = 240.0
PATIENCE_SECONDS = 60.0
# An answer takes some 20 ms with the wait before it; what it takes beyond this is the machine's.
UNHURRIED_SECONDS = 0.1
FORGOTTEN = (
    "DATABASE_URL",
    "REDIS_URL",
    "SECRET_KEY",
    "NEXUS_ROOT_KEY",
    "NEXUS_ENV",
    "DJANGO_SETTINGS_MODULE",
)
CHECKOUT, WEB = "acme/shop/production/checkout", "acme/shop/production/web"


def what_runs(pid: int) -> str:
    """The state and command of a process, empty when it has ended (a zombie has)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
    return "" if state in "ZX" else f"{state} {command}"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Nexus:
    """One NEXUS_VAR, and the server that runs on it."""

    def __init__(self, folder: Path) -> None:
        self.var = folder / "var"
        self.log = folder / "log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {name: value for name, value in os.environ.items() if name not in FORGOTTEN}
        self.environment |= {"NEXUS_VAR": str(self.var), "NEXUS_BIND": f"127.0.0.1:{self.port}"}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--demo"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not ((self.var / "demo.json").exists() and self._is_ready()):
            said = self.log.read_text(errors="replace")[-3000:]
            assert self.process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            return self.get("/readyz").status == 200
        except OSError:
            return False

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_SECONDS)
        self.process = None
        return code

    def children(self) -> set[int]:
        """Ids of all processes below the server's."""
        assert self.process is not None
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                text = stat.read_text()
            except OSError:
                continue
            parents[int(stat.parent.name)] = int(text.rpartition(")")[2].split()[1])
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found - {self.process.pid}

    @property
    def demo(self) -> Any:
        return json.loads((self.var / "demo.json").read_text())

    def key(self, service: str) -> str:
        return str(self.demo["services"][service]["key"])

    def get(self, path: str, key: str = "", *, method: str = "GET", **headers: str) -> Reply:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            sent["X-Nexus-API-Key"] = key
        data = b'{"value": "x"}' if method == "PUT" else None
        if data:
            sent["Content-Type"] = "application/json"
        request = urllib.request.Request(self.url + path, data=data, headers=sent, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310
                return Reply(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, dict(error.headers), error.read())

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=2 * PATIENCE_SECONDS,
        )

    def wait_for(self, is_so: Callable[[], bool], seconds: float) -> bool:
        """Whether it is so within `seconds`, of which a busy machine uses up none by answering late."""
        begun, waited = time.monotonic(), 0.0
        while waited < seconds and time.monotonic() - begun < PATIENCE_SECONDS:
            asked = time.monotonic()
            if is_so():
                return True
            time.sleep(0.02)
            waited += min(time.monotonic() - asked, UNHURRIED_SECONDS)
        return False


@pytest.fixture(scope="module")
def nexus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nexus]:
    nexus = Nexus(tmp_path_factory.mktemp("up"))
    try:
        nexus.start()
        yield nexus
    finally:
        if nexus.process is not None:
            nexus.stop()


def test_the_backends_key_gets_own_and_inherited_entries(nexus: Nexus) -> None:
    reply = nexus.get("/api/v1/sync", nexus.key(CHECKOUT))

    assert reply.status == 200
    secrets = reply.json["secrets"]
    assert secrets["stripe.key"]["source"] == "service"
    assert secrets["database.password"]["source"] == "umbrella"
    assert secrets["mail.token"]["source"] == "service"
    assert secrets["mail.token"]["value"] == "demo-production-mail-checkout"
    assert reply.json["configs"]["tls.required"]["source"] == "umbrella"
    assert reply.json["errors"] == []
    assert b"demo-develop" not in reply.body


def test_the_frontends_key_gets_no_secrets(nexus: Nexus) -> None:
    reply = nexus.get("/api/v1/sync", nexus.key(WEB))
    asked = nexus.get("/api/v1/secrets", nexus.key(WEB))

    assert reply.status == 200
    assert "secrets" not in reply.json
    assert reply.json["flags"]["banner"]["enabled"] is True
    assert (asked.status, asked.json["code"]) == (403, "service_kind_mismatch")
    assert b"demo-production" not in reply.body + asked.body


def test_the_doors_refuse_what_they_must(nexus: Nexus) -> None:
    key = nexus.key(CHECKOUT)
    etag = nexus.get("/api/v1/sync", key).headers["etag"]

    unchanged = nexus.get("/api/v1/sync", key, If_None_Match=etag)
    unknown = nexus.get("/api/v1/sync", key[:-1] + ("0" if key[-1] != "0" else "1"))
    in_url = nexus.get(f"/api/v1/secrets?key={key}")
    read_only = nexus.get("/api/v1/secrets/new", key, method="PUT")
    read = nexus.get("/api/v1/secrets/stripe.key", key)

    assert (unchanged.status, unchanged.body) == (304, b"")
    assert (unknown.status, in_url.status) == (401, 401)
    assert (read_only.status, read_only.json["code"]) == (403, "insufficient_scope")
    assert (read.status, read.json["value"]) == (200, "demo-production-stripe")


def test_what_is_private_is_readable_by_its_owner_alone(nexus: Nexus) -> None:
    private = ["root.key", "secret.key", "demo.json"]

    modes = {name: (nexus.var / name).stat().st_mode & 0o777 for name in private}

    assert modes == dict.fromkeys(private, 0o600)
    assert nexus.var.stat().st_mode & 0o777 == 0o700
    assert (nexus.var / "environment").read_text().strip() == "embedded"


def test_a_commands_write_is_served_soon_after_it_ends(nexus: Nexus) -> None:
    key = nexus.key(CHECKOUT)
    assert "new.key" not in nexus.get("/api/v1/sync", key).json["configs"]

    done = nexus.run("set_config", CHECKOUT, "new.key", "--value", "fresh", "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"key": "new.key", "version": 1}
    assert nexus.wait_for(lambda: "new.key" in nexus.get("/api/v1/sync", key).json["configs"], 1.5)


def test_a_revoked_key_is_refused_within_two_seconds(nexus: Nexus) -> None:
    service = "acme/shop/develop/checkout"
    key = nexus.key(service)
    assert nexus.get("/api/v1/sync", key).status == 200

    done = nexus.run("revoke_key", service, "--slot", "primary", "--json")

    assert done.returncode == 0, done.stderr
    assert nexus.wait_for(lambda: nexus.get("/api/v1/sync", key).status == 401, 2.0)
    assert nexus.get("/api/v1/secrets", key).status == 401
    assert nexus.get("/api/v1/sync", nexus.key(CHECKOUT)).status == 200


def test_a_second_server_on_the_same_state_is_refused(nexus: Nexus) -> None:
    done = nexus.run("up", "--demo", "--bind", f"127.0.0.1:{free_port()}", "--json")

    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == "already_running"
    assert "Traceback" not in done.stderr
    assert nexus.get("/api/v1/sync", nexus.key(CHECKOUT)).status == 200


def test_the_log_holds_no_stored_value(nexus: Nexus) -> None:
    log = nexus.log.read_text(errors="replace")

    assert "demo-production" not in log
    assert "Traceback" not in log
    assert (nexus.var / "root.key").read_text().strip() not in log


def test_it_ends_whole_and_starts_again_with_what_it_had(nexus: Nexus) -> None:
    before = nexus.demo
    children = nexus.children()
    assert len(children) >= 2

    code = nexus.stop()
    left = {pid: said for pid in children if (said := what_runs(pid))}
    nexus.start()

    assert code == 0
    assert left == {}
    assert nexus.demo == before
    reply = nexus.get("/api/v1/sync", nexus.key(CHECKOUT))
    assert reply.json["configs"]["new.key"]["value"] == "fresh"
    assert nexus.get("/api/v1/sync", nexus.key("acme/shop/develop/checkout")).status == 401
    assert nexus.get("/api/v1/sync", nexus.key(WEB)).status == 200
