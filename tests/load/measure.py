"""Processes and what they cost: start and stop, CPU seconds, memory, and load by wrk."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_WRK_SCRIPT = Path(__file__).with_name("wrk.lua")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

WRK_CONNECTIONS = 64


class HarnessError(Exception):
    """The measurement itself did not work; nothing is said about a bar."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- processes


@dataclass(frozen=True)
class _Stat:
    """The fields of /proc/PID/stat that are used here (proc(5))."""

    pid: int
    parent: int
    session: int
    ticks: int
    started: int
    name: str


def _read_stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may itself hold spaces and parentheses.
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    # utime, stime, and those of children that ended and were reaped: their time would be lost else.
    ticks = sum(int(field) for field in fields[11:15])
    return _Stat(pid, int(fields[1]), int(fields[3]), ticks, int(fields[19]), name)


def _tree(root: int) -> list[_Stat]:
    """`root`, its descendants, and what else is in its session: an orphan has lost its parent only."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    stats = [stat for pid in pids if (stat := _read_stat(pid))]
    members = {stat.pid for stat in stats if stat.pid == root or stat.session == root}
    grown = True
    while grown:
        joining = {stat.pid for stat in stats if stat.parent in members} - members
        members |= joining
        grown = bool(joining)
    return [stat for stat in stats if stat.pid in members]


def _ends_with_its_parent() -> None:
    """Between fork and exec: a benchmark that is killed leaves no server behind."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class Server:
    """A process of ours with all that it starts, in a session of its own, its output in a file."""

    def __init__(
        self, name: str, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_ends_with_its_parent,
            )

    def cpu_seconds(self) -> float:
        """User and system time of the whole tree since it started, in steps of 10 ms."""
        return sum(stat.ticks for stat in _tree(self._process.pid)) / _TICKS_PER_SECOND

    def pss_bytes(self) -> dict[str, int]:
        """Proportional set size by process, keyed by its pid and name."""
        sizes = {}
        for stat in _tree(self._process.pid):
            try:
                rollup = Path(f"/proc/{stat.pid}/smaps_rollup").read_text(encoding="ascii")
                title = Path(f"/proc/{stat.pid}/cmdline").read_bytes().replace(b"\0", b" ")
            except (FileNotFoundError, ProcessLookupError):
                continue
            kib = [int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")]
            words = title.decode("utf-8", "replace").split()
            # The program's folder is this machine's business; what it was asked to do tells processes apart.
            label = " ".join(Path(word).name if word.startswith("/") else word for word in words)[:60]
            sizes[f"{stat.pid} {label or stat.name}"] = sum(kib) * 1024
        return sizes

    def wait_until(self, is_ready: Callable[[], bool], *, seconds: float) -> None:
        """Raise HarnessError when the process ends first, or is not ready in time."""
        until = time.monotonic() + seconds
        while True:
            if self._process.poll() is not None:
                raise HarnessError(f"{self.name} ended with {self._process.returncode}:\n{self.log_tail()}")
            with suppress(OSError):  # Nobody listens yet.
                if is_ready():
                    return
            if time.monotonic() > until:
                raise HarnessError(f"{self.name} was not ready within {seconds:.0f} s:\n{self.log_tail()}")
            time.sleep(0.1)

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def stop(self, *, seconds: float = 20) -> None:
        """End the whole tree: ask its root, then kill whoever is still there."""
        members = _tree(self._process.pid)
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(seconds)
        # Whoever outlived the root may have left its tree; the start time tells it from a reused number.
        for member in {*members, *_tree(self._process.pid)}:
            now = _read_stat(member.pid)
            if now is not None and now.started == member.started:
                with suppress(ProcessLookupError):
                    os.kill(member.pid, signal.SIGKILL)


# ---- the machine


def steal_ticks() -> int:
    """Time that the hypervisor gave to others, all processors together (proc(5): `steal`)."""
    with Path("/proc/stat").open(encoding="ascii") as lines:
        return int(lines.readline().split()[8])


# ---- load


@dataclass(frozen=True)
class Load:
    """One run of wrk against one server."""

    requests: int
    bytes_per_request: float
    wall_seconds: float
    cpu_seconds: float
    steal_seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_wall_second(self) -> float:
        return self.requests / self.wall_seconds


def per_cpu_second(loads: Sequence[Load]) -> float:
    """Requests per second of server CPU over all of them together."""
    return sum(load.requests for load in loads) / sum(load.cpu_seconds for load in loads)


def run_wrk(
    server: Server,
    url: str,
    headers: Mapping[str, str],
    *,
    seconds: int,
    connections: int = WRK_CONNECTIONS,
) -> Load:
    """Closed-loop load by one thread. Raises HarnessError on any failed request."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(_WRK_SCRIPT)]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    steal_before, cpu_before = steal_ticks(), server.cpu_seconds()
    try:
        finished = subprocess.run(
            [*command, url], capture_output=True, text=True, timeout=seconds + 30, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise HarnessError(f"wrk did not run: {error}") from error
    cpu, steal = server.cpu_seconds() - cpu_before, steal_ticks() - steal_before
    if finished.returncode != 0:
        raise HarnessError(f"wrk failed: {finished.stdout}{finished.stderr}")
    summary = json.loads(finished.stdout.strip().splitlines()[-1])
    if summary["errors"] or not summary["requests"] or cpu <= 0:
        raise HarnessError(f"{server.name}: wrk saw failed requests: {summary}, {cpu:.2f} s of CPU")
    return Load(
        requests=summary["requests"],
        bytes_per_request=summary["bytes"] / summary["requests"],
        wall_seconds=summary["duration_us"] / 1e6,
        cpu_seconds=cpu,
        steal_seconds=steal / _TICKS_PER_SECOND,
        p50_ms=summary["p50_us"] / 1e3,
        p99_ms=summary["p99_us"] / 1e3,
    )
