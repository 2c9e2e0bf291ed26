"""Real PostgreSQL and Redis for tests: temporary, on a free port of 127.0.0.1, gone afterwards.

A test of failure starts its own, so that it can stop it without taking the suite's away::

    with PostgresServer() as database:
        ...
        database.stop()  # refuses connections; the rows are still there
        database.start()  # the same port and URL as before
"""

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import psycopg
import redis

# PostgreSQL is ready after some 2 s on an idle machine with two processors; CI is not idle.
START_SECONDS = 60
STOP_SECONDS = 20


class ServerError(Exception):
    """A test server is missing, did not start or did not stop; the text tells what it said itself."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_program(name: str) -> str:
    """The path of `name`: from PATH, or where Debian keeps PostgreSQL's servers. Raises ServerError."""
    if found := shutil.which(name):
        return found
    # Newest last by number: as text, 9 would come after 15.
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: float(p.parts[4]))
    if not versions:
        raise ServerError(f"{name} is not installed: `sh tests/provision.sh postgresql redis-server`.")
    return str(versions[-1])


def _account() -> pwd.struct_passwd | None:
    """Whom a server runs as, None being ourselves. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


class Server(ABC):
    """A server process in a temporary folder of its own. `start` and `stop` may be called in turns."""

    program: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"nexus-{self.program}-"))
        self._account = _account()
        if self._account is not None:
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.folder / "log"

    @property
    @abstractmethod
    def url(self) -> str: ...

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """The server answers at `url`. Raises ServerError with the end of its log."""
        if self.is_running():
            return self
        self._process = self._spawn()
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if not self.is_running() or time.monotonic() > deadline:
                self._kill()
                said = self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""
                raise ServerError(f"{self.program} did not start.\n{said}")
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """The server refuses connections, and those it had are closed. Its data stays until `remove`."""
        if self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
        self._process = None

    def remove(self) -> None:
        """Nothing of the server is left."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @abstractmethod
    def _spawn(self) -> subprocess.Popen[bytes]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _process_options(self) -> dict[str, Any]:
        """For subprocess: the unprivileged account, and a life that ends with the test process."""
        options: dict[str, Any] = {
            "cwd": self.folder,
            # Ctrl-C is for pytest alone; it then stops the servers in order.
            "start_new_session": True,
        }
        if self._account is not None:
            options |= {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        if sys.platform == "linux":
            options["preexec_fn"] = _die_with_parent(self.stop_signal)
        return options


def _die_with_parent(stop_signal: signal.Signals) -> Any:
    """For `preexec_fn`: even a test run that is killed leaves no server behind (prctl(2))."""
    prctl = ctypes.CDLL(None).prctl
    pr_set_pdeathsig = 1
    return lambda: prctl(pr_set_pdeathsig, int(stop_signal))


class PostgresServer(Server):
    """PostgreSQL with an empty database `nexus`, owned by the superuser `nexus`, who needs no password."""

    program = "postgres"
    # "Fast": the default, SIGTERM, waits until the last client has gone.
    stop_signal = signal.SIGINT

    _INITDB_OPTIONS = ("--username=nexus", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
    _SETTINGS: ClassVar[dict[str, str]] = {
        "listen_addresses": "127.0.0.1",
        "max_connections": "200",
        "timezone": "UTC",
        # The data need not outlive the machine.
        "fsync": "off",
        "full_page_writes": "off",
        "synchronous_commit": "off",
        # A test that would hang for ever fails instead, and says where.
        "statement_timeout": "60s",
        "lock_timeout": "30s",
        "idle_in_transaction_session_timeout": "120s",
        # Statements and their parameters may hold what must stand nowhere in plain text.
        "log_min_error_statement": "panic",
        "log_parameter_max_length_on_error": "0",
    }

    @property
    def url(self) -> str:
        return f"postgresql://nexus@127.0.0.1:{self.port}/nexus"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def start(self) -> Self:
        is_new = not self._data.exists()
        if is_new:
            self._initialise()
        super().start()
        if is_new:
            with self._connect(autocommit=True) as connection:
                connection.execute("CREATE DATABASE nexus")
        return self

    def _initialise(self) -> None:
        done = subprocess.run(
            [find_program("initdb"), f"--pgdata={self._data}", *self._INITDB_OPTIONS],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            **self._process_options(),
        )
        if done.returncode != 0:
            raise ServerError(f"initdb failed.\n{done.stdout[-2000:]}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = self._SETTINGS | {"port": str(self.port), "unix_socket_directories": str(self.folder)}
        options = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [find_program("postgres"), "-D", self._data, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._process_options(),
            )

    def _connect(self, *, autocommit: bool = False) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="nexus",
            dbname="postgres",
            connect_timeout=2,
            autocommit=autocommit,
        )

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True


class RedisServer(Server):
    """Redis that keeps nothing on disk and demands a password, as production must."""

    program = "redis-server"
    stop_signal = signal.SIGTERM

    def __init__(self) -> None:
        super().__init__()
        self._password = secrets.token_hex(16)

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def _spawn(self) -> subprocess.Popen[bytes]:
        # A file in a folder that only the server may enter: arguments are in the process list.
        configuration = self.folder / "redis.conf"
        configuration.write_text(
            f"bind 127.0.0.1\nport {self.port}\ndir {self.folder}\nrequirepass {self._password}\n"
            # Redis has 16 databases; each xdist worker takes one.
            'databases 64\nsave ""\nappendonly no\ndaemonize no\n'
        )
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [find_program("redis-server"), configuration],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._process_options(),
            )

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url, socket_timeout=2) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False
