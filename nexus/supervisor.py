"""Keeps the children of `up` together: web and worker live and end with it.

It runs without Django, in the memory that `up` needed only to prepare. Usage:
`python -m nexus.supervisor URL BANNER_FILE -- COMMAND … -- COMMAND …`
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG = 1
# Streams and transactions that are under way get so long to end.
GRACE_SECONDS = 10.0
READY_SECONDS = 60.0


def _die_with_parent() -> None:
    """In the child: be told to end when the supervisor is gone, however it went (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _commands(arguments: list[str]) -> list[list[str]]:
    found: list[list[str]] = []
    for argument in arguments:
        if argument == "--":
            found.append([])
        else:
            found[-1].append(argument)
    return found


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def main(arguments: list[str]) -> int:
    url, banner = arguments[0], Path(arguments[1])
    children: list[subprocess.Popen[bytes]] = []
    stopping = False

    def stop(signal_number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for command in _commands(arguments[2:]):
        # Fixed commands of ours; a group of its own keeps Ctrl-C for the supervisor to pass on.
        child = subprocess.Popen(command, preexec_fn=_die_with_parent, start_new_session=True)
        children.append(child)

    announced, began = False, time.monotonic()
    ended = None
    while not stopping and ended is None:
        if not announced and _is_ready(url):
            print(banner.read_text(encoding="utf-8"), flush=True)
            announced = True
        elif not announced and time.monotonic() - began > READY_SECONDS:
            print("Nexus did not become ready in a minute; its messages above say why.", file=sys.stderr)
            break
        time.sleep(0.2 if not announced else 0.5)
        ended = next((child for child in children if child.poll() is not None), None)
    if ended is not None:
        print(f"A process of Nexus ended (exit {ended.returncode}); stopping the others.", file=sys.stderr)

    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    for child in children:
        try:
            child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    banner.unlink(missing_ok=True)
    return 0 if stopping else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
