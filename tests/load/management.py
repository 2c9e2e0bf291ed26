"""The management API's list of 100 secrets against a plain ModelViewSet over the same rows.

Run as a program it fills the installation: `python -m tests.load.management --out FILE`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.load.answers import fetch
from tests.load.measure import HarnessError, Load, Server, free_port, per_cpu_second, run_wrk
from tests.load.report import Bar, lower_quartile, table
from tests.load.targets import ROOT, nexus_environment, once_ready, start_up

SECRETS = 100
MIN_RATIO = 2.0
WARM_UP_SECONDS = 2
# What wrk leaves unanswered when a turn ends cost CPU and count for nothing: with 64 of them and some
# hundred answers a second the slower server would look slower than it is.
CONNECTIONS = 2
_SERVICE_VARIABLE = "NEXUS_BENCH_SERVICE"


def seed() -> dict[str, str]:
    """A service of a hundred secrets with descriptions, and the token of a person who lists them."""
    from django.utils import timezone

    from apps.core.access import TenantRole
    from apps.core.actor import Actor
    from apps.projects.memberships import operator_actor
    from apps.projects.operations import create_project
    from apps.services.models import Kind
    from apps.services.operations import create_service
    from apps.tenancy.automation import issue_access_token
    from apps.tenancy.operations import create_operator, create_tenant
    from apps.vault.operations import set_secret

    command = Actor.command("bench")
    user, _ = create_operator(actor=command, email="bench@example.com", must_change_password=False)
    tenant = create_tenant(actor=command, slug="acme", owner=user)
    project = create_project(actor=command, tenant=tenant, slug="bench", tier="xl")
    service = create_service(
        actor=command, project=project, environment="production", slug="api", kind=Kind.BACKEND
    )
    for number in range(SECRETS):
        key = f"secret.number-{number:03}"
        set_secret(actor=command, service=service, key=key, value=key.encode(), description=f"For {key}")
    actor = operator_actor(user, present_at=timezone.now())
    if TenantRole.OWNER not in actor.tenant_roles.values():
        sys.exit("the seeded person does not own the tenant")
    _, token = issue_access_token(
        actor=actor,
        bearer=user,
        name="bench",
        scopes=["service:read", "secret:list"],
        expires_at=timezone.now() + timedelta(days=1),
    )
    return {"service": str(service.pk), "token": token}


def _granian(app: str, port: int) -> list[str]:
    """The same command for both apps, so that the app is the only difference."""
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--workers", "1"]
    command += ["--blocking-threads", "1", "--host", "127.0.0.1", "--port", str(port)]
    return [*command, app]


def _start(name: str, app: str, work: Path, path: str, token: str, service: str) -> tuple[Server, int]:
    port = free_port()
    environment = {**nexus_environment(work / "manage", port), _SERVICE_VARIABLE: service}
    log = work / f"{name}.log"
    server = Server(name, _granian(app, port), cwd=ROOT, env=environment, log=log)
    headers = {"Authorization": f"Bearer {token}"}
    return once_ready(server, lambda: fetch(port, headers, path).status == 200, seconds=60), port


def _require_rows(port: int, path: str, token: str) -> int:
    """The bytes of an answer with all the rows. Raises HarnessError for another."""
    answer = fetch(port, {"Authorization": f"Bearer {token}"}, path)
    rows = json.loads(answer.body).get("results", [])
    if answer.status != 200 or len(rows) != SECRETS:
        raise HarnessError(f"{path} answered {answer.status} with {len(rows)} rows")
    return len(answer.body)


def management(work: Path, *, rounds: int, seconds: int) -> tuple[list[Bar], dict[str, Any]]:
    """Requests per second of server CPU of both, in turns of a second, each round begun by the other."""
    server, port = start_up(work / "manage", work / "manage-first-start.log")
    server.stop()
    out = work / "manage.json"
    command = [sys.executable, "-m", "tests.load.management", "--out", str(out)]
    environment = nexus_environment(work / "manage", port)
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        raise HarnessError(f"seeding ended with {done.returncode}")
    seeded: dict[str, str] = json.loads(out.read_text(encoding="utf-8"))
    out.unlink()
    service, token = seeded["service"], seeded["token"]
    targets = {
        "nexus": ("nexus.wsgi:application", f"/api/v1/manage/services/{service}/secrets?limit={SECRETS}"),
        "plain": ("tests.load.plain_drf:application", f"/secrets?limit={SECRETS}"),
    }
    headers = {"Authorization": f"Bearer {token}"}
    turns: dict[str, list[list[Load]]] = {name: [] for name in targets}
    with ExitStack() as stack:
        servers: dict[str, tuple[Server, str]] = {}
        sizes: dict[str, int] = {}
        for name, (app, path) in targets.items():
            server, port = _start(name, app, work, path, token, service)
            stack.callback(server.stop)
            sizes[name] = _require_rows(port, path, token)
            servers[name] = server, f"http://127.0.0.1:{port}{path}"
            run_wrk(server, servers[name][1], headers, seconds=WARM_UP_SECONDS, connections=CONNECTIONS)
        for number in range(rounds):
            for own in turns.values():
                own.append([])
            for turn in range(seconds):
                names = list(servers) if turn % 2 else list(servers)[::-1]
                for name in names:
                    turns[name][-1].append(
                        run_wrk(*servers[name], headers, seconds=1, connections=CONNECTIONS)
                    )
            figures = (f"{name} {per_cpu_second(turns[name][-1]):,.0f}" for name in servers)
            print(f"round {number + 1}/{rounds}  list per CPU second: {', '.join(figures)}", file=sys.stderr)

    figures_of = {name: [per_cpu_second(loads) for loads in own] for name, own in turns.items()}
    ratios = [ours / theirs for ours, theirs in zip(figures_of["nexus"], figures_of["plain"], strict=True)]
    bar = Bar(
        "list of 100 secrets: of a plain ModelViewSet", statistics.median(ratios), MIN_RATIO, True, " ×"
    )
    rows = []
    for name, figures in figures_of.items():
        row = [
            name,
            f"{sizes[name]:,}",
            f"{statistics.median(figures):,.0f}",
            f"{lower_quartile(figures):,.0f}",
        ]
        if name == "nexus":
            row += [
                f"{statistics.median(ratios):.2f}",
                f"{lower_quartile(ratios):.2f}",
                bar.text,
                bar.verdict,
            ]
        else:
            row += ["1.00", "1.00", "", ""]
        rows.append(row)
    print(f"\n## A list of {SECRETS} secrets in the management API ({rounds} rounds of {seconds} s)\n")
    header = [
        "target",
        "bytes",
        "req per CPU second",
        "lower quartile",
        "of plain",
        "lower quartile",
        "bar",
        "",
    ]
    print(table(header, rows), flush=True)
    raw = {name: [[asdict(load) for load in loads] for loads in own] for name, own in turns.items()}
    return [bar], raw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()

    import django

    from nexus.environment import settings_module

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings_module())
    django.setup()
    chosen.out.write_text(json.dumps(seed()), encoding="utf-8")


if __name__ == "__main__":
    main()
