"""A web process of Nexus with the demo, for a browser. Usage: `python -m tests.browser.serve PORT`."""

import os
import sys

import django


def main(port: str) -> None:
    django.setup()
    from django.conf import settings

    from apps.core.actor import Actor
    from nexus.demo import make_demo
    from nexus.installation import prepare_database

    prepare_database()
    make_demo(Actor.command("tests"), settings.NEXUS_PUBLIC_URL)
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", port]
    command += ["--workers", "1", "--no-ws", "--log-level", "warning", "nexus.asgi:application"]
    # The process that was started is the server: its id ends it.
    os.execv(sys.executable, command)  # noqa: S606 - fixed commands of ours


if __name__ == "__main__":
    main(sys.argv[1])
