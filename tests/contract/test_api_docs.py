"""docs/api.md does what it says: its ten tasks run in a shell, against a running server."""

import os
import re
import subprocess
from datetime import timedelta
from pathlib import Path

from django.utils import timezone

from apps.core.access import TOKEN_PERMISSIONS, held_somewhere
from apps.tenancy.automation import issue_access_token
from apps.vault.models import Secret
from tests.conftest import Cast
from tests.contract.served import serving

DOC = Path(__file__).resolve().parents[2] / "docs" / "api.md"


def tasks() -> str:
    """All shell blocks of the page's section, as one script."""
    section = DOC.read_text().split("## Ten tasks")[1].split("\n## ")[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))


def test_the_ten_tasks_of_the_page_are_done_by_what_stands_there(
    committed_cast: Cast, tmp_path: Path
) -> None:
    carol = committed_cast.actor("carol")
    _, token = issue_access_token(
        actor=carol,
        bearer=committed_cast.users["carol"],
        name="docs",
        scopes=sorted(held_somewhere(carol, TOKEN_PERMISSIONS)),
        expires_at=timezone.now() + timedelta(days=1),
    )

    with serving(tmp_path) as url:
        ran = subprocess.run(
            ["sh", "-eu"],
            input=tasks(),
            text=True,
            capture_output=True,
            timeout=120,
            env={"PATH": os.environ["PATH"], "NEXUS_URL": url, "NEXUS_TOKEN": token},
        )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "304" in ran.stdout.splitlines()
    assert '"secret.created"' in ran.stdout
    secret = Secret.objects.get(key="database.password", service__slug="api", service__project__slug="blog")
    assert secret.active_version == 2
    assert "correct horse" not in ran.stdout + ran.stderr
