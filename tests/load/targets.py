"""The servers that are compared, each with one worker, on a free port of 127.0.0.1."""

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.load.answers import KEY_HEADER, SYNC_PATH, Answers, fetch
from tests.load.measure import HarnessError, Server, free_port

ROOT = Path(__file__).resolve().parents[2]

# The limit counts as always; only its number is out of reach: 6,000 a minute is 100 a second for one key.
_LIMIT_REQUESTS_PER_MINUTE = 1_000_000_000

# What a developer's shell may hold and would change what is measured.
_FOREIGN = ("NEXUS_", "GRANIAN_", "CELERY_", "DJANGO_", "DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DEBUG")


@dataclass(frozen=True)
class Target:
    name: str
    server: Server
    port: int
    etag: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{SYNC_PATH}"


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}


def nexus_environment(var: Path, port: int) -> dict[str, str]:
    """The embedded installation in `var`, shut off from any other that this shell knows of."""
    return {
        **_clean_environment(),
        "NEXUS_ENV": "embedded",
        "NEXUS_VAR": str(var),
        "NEXUS_BIND": f"127.0.0.1:{port}",
        "NEXUS_LIMIT_REQUESTS_PER_MINUTE": str(_LIMIT_REQUESTS_PER_MINUTE),
    }


def _granian(app: str, port: int) -> list[str]:
    """The same command for both apps, so that the app is the only difference."""
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--workers", "1"]
    return [*command, "--host", "127.0.0.1", "--port", str(port), app]


def once_ready(server: Server, is_ready: Callable[[], bool], *, seconds: float) -> Server:
    """The server when it is ready; what does not become ready is stopped."""
    try:
        server.wait_until(is_ready, seconds=seconds)
    except BaseException:
        server.stop()
        raise
    return server


# ---- an installation of Nexus


def start_up(var: Path, log: Path) -> tuple[Server, int]:
    """`manage.py up` as `make run` starts it, until its web process answers."""
    port = free_port()
    command = [sys.executable, "manage.py", "up"]
    server = Server("manage.py up", command, cwd=ROOT, env=nexus_environment(var, port), log=log)
    # Needs no key: 401 too is an answer. The first start migrates and makes the server's keys.
    return once_ready(server, lambda: fetch(port, {}).status < 500, seconds=120), port


def seed_installation(var: Path, work: Path, *, services: int, warm: int, body_bytes: int) -> list[str]:
    """A new installation with `services` services of 100 entries; returns the keys of the `warm` ones.

    A first `up` makes what a first start makes (tables, root key, server keys). It is stopped before
    `seed.py` writes, so that what is measured later starts on a database as it would be found.
    """
    server, port = start_up(var, work / "first-start.log")
    server.stop()
    out = work / "seeded.json"
    command = [sys.executable, "-m", "tests.load.seed", "--out", str(out), "--services", str(services)]
    command += ["--warm", str(warm), "--body-bytes", str(body_bytes)]
    # Writing 100,000 entries takes minutes on a busy machine; more than this is a fault.
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=nexus_environment(var, port),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            timeout=1800,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise HarnessError("seeding took more than 30 minutes") from error
    if done.returncode != 0:
        raise HarnessError(f"seeding ended with {done.returncode}")
    seeded: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    out.unlink()
    return [str(key) for key in seeded["keys"]]


# ---- the three targets


def start_nexus(var: Path, key: str, log: Path) -> tuple[Server, int]:
    """Nexus as a delivery process, its tailer running; ready when the key gets its snapshot."""
    port = free_port()
    environment = nexus_environment(var, port)
    server = Server("nexus", _granian("nexus.asgi:application", port), cwd=ROOT, env=environment, log=log)
    return once_ready(server, lambda: fetch(port, {KEY_HEADER: key}).status == 200, seconds=60), port


def start_bare(answers_file: Path, key: str, log: Path) -> tuple[Server, int]:
    port = free_port()
    environment = {**_clean_environment(), "NEXUS_BENCH_ANSWER": str(answers_file)}
    server = Server("bare", _granian("tests.load.bare_asgi:app", port), cwd=ROOT, env=environment, log=log)
    return once_ready(server, lambda: fetch(port, {KEY_HEADER: key}).status == 200, seconds=60), port


_NGINX = """\
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type "{content_type}";
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16;
    # The defaults close a connection after 1,000 requests, which wrk would count as a failure.
    keepalive_requests 1000000000;
    keepalive_time 24h;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{
        listen 127.0.0.1:{port};
        location = {path} {{
            alias {folder}/body;
{headers}
        }}
    }}
}}
"""

# nginx writes these from the file itself. Its own ETag is what its 304 compares: one given by add_header
# is attached after that comparison.
_OF_NGINX = {"content-type", "content-length", "etag", "last-modified", "date", "server"}


def start_nginx(answers: Answers, folder: Path, log: Path) -> tuple[Server, int]:
    """The same bytes as a static file: what a server written for this does, as a yardstick without a bar."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise HarnessError("nginx is not installed")
    folder.mkdir()
    (folder / "body").write_bytes(answers.body)
    content_type = next((value for name, value in answers.full_headers if name == "content-type"), "")
    headers = [
        f"            add_header {name} {_quoted(value)};"
        for name, value in answers.full_headers
        if name not in _OF_NGINX
    ]
    port = free_port()
    config = folder / "nginx.conf"
    # Started by root, nginx would hand the worker to a user who cannot read this folder.
    user = f"user {pwd.getpwuid(os.geteuid()).pw_name};" if os.geteuid() == 0 else ""
    config.write_text(
        _NGINX.format(
            folder=folder,
            port=port,
            path=SYNC_PATH,
            user=user,
            content_type=content_type,
            headers="\n".join(headers),
        ),
        encoding="utf-8",
    )
    command = [program, "-e", "stderr", "-p", str(folder), "-c", str(config)]
    server = Server("nginx", command, cwd=folder, env=_clean_environment(), log=log)
    return once_ready(server, lambda: fetch(port, {}).status == 200, seconds=20), port


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def request_headers(key: str, etag: str = "") -> Mapping[str, str]:
    """Every target gets the same request headers, the key included, whether it looks at them or not."""
    return {KEY_HEADER: key, "If-None-Match": etag} if etag else {KEY_HEADER: key}
