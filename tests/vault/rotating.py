"""A process that runs `rotate_data_keys` in children of its own and kills them when it is told to.

Each line of standard input is a number of seconds: a fresh child runs the command and is sent
SIGKILL after them, or never for `inf`. The answer is a line with the child's exit code (-9: killed)
and how long it ran. A fork costs milliseconds where a new interpreter costs seconds.
"""

import contextlib
import os
import signal
import sys
import time

import django


def main() -> None:
    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from apps.vault import reencryption

    reencryption.BATCH = int(os.environ["NEXUS_TEST_BATCH"])
    # Compiled and imported before the first child.
    call_command("check", stdout=sys.stderr)
    connections.close_all()
    print("ready", flush=True)
    for line in sys.stdin:
        began_at = time.monotonic()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
                call_command("rotate_data_keys", "--json")
                code = 0
            finally:
                os._exit(code)
        deadline = began_at + float(line)
        ended = 0
        while not ended and time.monotonic() < deadline:
            ended, status = os.waitpid(pid, os.WNOHANG)
            time.sleep(0.0005)
        if not ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), time.monotonic() - began_at, flush=True)


if __name__ == "__main__":
    main()
