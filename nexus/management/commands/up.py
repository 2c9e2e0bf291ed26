"""`up [--demo] [--bind HOST:PORT]`"""

import json
import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from apps.core.actor import Actor
from apps.core.commands import NexusCommand
from apps.core.errors import InvalidInput, NotPermitted
from nexus import installation
from nexus.demo import make_demo
from nexus.environment import make_var_directory

# Streams count against granian's limit of open requests; its default of 1,024 would be reached
# by idle ones (docs/decisions/0004).
BACKPRESSURE = 16_384


class Command(NexusCommand):
    help = "Migrate, make keys and the first operator, then serve: web, worker and scheduler."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--demo", action="store_true", help="also make a demo tenant")
        parser.add_argument("--bind", metavar="HOST:PORT", help="where to listen, by default NEXUS_BIND")

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        embedded = settings.NEXUS_ENV == "embedded"
        if options["demo"] and not embedded:
            raise NotPermitted("Production does not start with --demo. Use NEXUS_ENV=embedded for it.")
        bind = options["bind"] or settings.NEXUS_BIND
        host, port = _host_and_port(bind)
        if options["bind"]:
            os.environ["NEXUS_BIND"] = bind
        url = settings.NEXUS_PUBLIC_URL if bind == settings.NEXUS_BIND else f"http://{bind}"
        make_var_directory()
        installation.hold_lock()
        if embedded:
            installation.make_embedded_keys()
        installation.prepare_database()
        banner = _banner(actor, url, demo=options["demo"])
        if options["json"]:
            self.note(banner)
            banner = json.dumps({"url": url})
        banner_file = settings.NEXUS_VAR / "banner"
        installation.write_private(banner_file, banner)
        _become_supervisor(host, port, str(banner_file))
        raise CommandError("The supervisor did not start.")


def _host_and_port(bind: str) -> tuple[str, int]:
    host, _, port = bind.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidInput.of("bind", f"Write HOST:PORT, as in 127.0.0.1:8000; {bind!r} is not of that form.")
    return host.strip("[]"), int(port)


def _banner(actor: Actor, url: str, *, demo: bool) -> str:
    lines = [f"Nexus serves at {url} (console: {url}/admin/)"]
    if demo:
        made = make_demo(actor, url)
        path = settings.NEXUS_VAR / "demo.json"
        if made is None and path.is_file():
            made = json.loads(path.read_text(encoding="utf-8"))
            if made["url"] != url:
                made["url"] = url
                installation.write_private(path, json.dumps(made, indent=2) + "\n")
        if made is not None:
            lines.append(f"Operator: {made['operator']['email']}  password: {made['operator']['password']}")
            lines += [f"Key of {name}: {service['key']}" for name, service in made["services"].items()]
            lines.append(f"All of this stands in {path}.")
    first = installation.first_operator(actor)
    if first is not None:
        lines.append(f"First operator: {first[0]}  password, shown once: {first[1]}")
    return "\n".join(lines)


def _become_supervisor(host: str, port: int, banner_file: str) -> None:
    """Replace this process: what prepared the start need not stay in memory."""
    python = sys.executable
    readable_host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
    probe = f"http://[{readable_host}]:{port}" if ":" in readable_host else f"http://{readable_host}:{port}"
    web = [python, "-m", "granian", "--interface", "asgi", "--host", host, "--port", str(port)]
    web += ["--workers", "1", "--no-ws", "--backpressure", str(BACKPRESSURE), "--log-level", "warning"]
    web += ["nexus.asgi:application"]
    worker = [python, "-m", "celery", "--quiet", "-A", "nexus.celery", "worker", "-B", "--pool", "solo"]
    worker += ["--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    os.environ["NEXUS_ENV"] = settings.NEXUS_ENV
    os.environ["NEXUS_VAR"] = str(settings.NEXUS_VAR)
    command = [python, "-m", "nexus.supervisor", probe, banner_file, "--", *web, "--", *worker]
    sys.stdout.flush()
    os.execv(python, command)  # noqa: S606 - fixed commands of ours
