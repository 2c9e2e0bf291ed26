"""The OpenAPI document tells the truth: schemathesis finds no answer that it does not foresee."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from apps.core.access import TOKEN_PERMISSIONS, held_somewhere
from apps.core.actor import Actor
from apps.projects.operations import create_project
from apps.services.models import Kind
from apps.services.operations import create_service, issue_api_key
from apps.tenancy.automation import issue_access_token
from tests.conftest import Cast
from tests.contract.served import serving

ROOT = Path(__file__).resolve().parents[2]
SEED = "20260504"
# For each operation and phase; raise it for a longer run.
EXAMPLES = os.environ.get("NEXUS_FUZZ_EXAMPLES", "25")
CASES_MIN = 5_000
SECONDS_MAX = 1_800


def world_of(cast: Cast, command: Actor) -> dict[str, list[str]]:
    """Ids by the names that addresses give them: rows to be changed, which the run may not end."""
    spare = create_project(actor=command, tenant=cast.tenant, slug="spare", tier="xl")
    services = [cast.backend, cast.frontend, cast.umbrella, cast.child]
    for number in range(4):
        services.append(
            create_service(
                actor=command,
                project=spare,
                environment="production",
                slug=f"spare-{number}",
                kind=Kind.FRONTEND if number == 3 else Kind.BACKEND,
            )
        )
    return {
        "tenant_id": [str(cast.tenant.pk)],
        "project_id": [str(spare.pk), str(cast.project.pk)],
        "service_id": [str(service.pk) for service in services],
        "umbrella_id": [str(cast.umbrella.pk)],
        # Who the token belongs to stays an owner.
        "": [str(cast.tenant.members.get(user=cast.users["carol"]).pk)],
    }


@pytest.fixture
def fuzzed(committed_cast: Cast, command: Actor, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A running server, and the environment in which schemathesis meets it."""
    cast = committed_cast
    if connection.vendor != "postgresql":
        pytest.skip("two writers at once wait for each other on SQLite; the run is for PostgreSQL")
    carol = cast.actor("carol")
    _, token = issue_access_token(
        actor=carol,
        bearer=cast.users["carol"],
        name="fuzz",
        scopes=sorted(held_somewhere(carol, TOKEN_PERMISSIONS)),
        expires_at=timezone.now() + timedelta(days=1),
    )
    # Of another tenant, where carol's token ends nothing.
    lair = create_service(
        actor=command,
        project=cast.other_project,
        environment="production",
        slug="lair",
        kind=Kind.BACKEND,
    )
    _, key = issue_api_key(actor=command, service=lair, scopes=["read", "write"])
    world = world_of(cast, command)
    with serving(tmp_path) as url:
        yield {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT),
            "NEXUS_URL": url,
            "NEXUS_FUZZ_TOKEN": token,
            "NEXUS_FUZZ_KEY": key,
            "NEXUS_FUZZ_WORLD": json.dumps(world),
            "SCHEMATHESIS_HOOKS": "tests.contract.fuzz",
        }


def test_every_answer_is_one_that_the_document_foresees(fuzzed: dict[str, str], tmp_path: Path) -> None:
    report = Path(os.environ.get("NEXUS_FUZZ_REPORT", tmp_path / "report.json"))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(ROOT / "schemathesis.toml")]
    command += ["run", f"{fuzzed['NEXUS_URL']}/api/schema/", "--workers", "2", "--seed", SEED]
    command += ["--phases", "examples,coverage,fuzzing,stateful", "--checks", "all"]
    command += ["--max-examples", EXAMPLES, "--generation-database", "none", "--no-color"]
    command += ["--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off"]
    command += ["--report", "json", "--report-json-path", str(report)]
    command += os.environ.get("NEXUS_FUZZ_MORE", "").split()

    ran = subprocess.run(
        command, cwd=tmp_path, env=fuzzed, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )

    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-5_000:]
    found: Any = json.loads(report.read_text())
    assert found["test_cases"]["generated"] >= CASES_MIN
