"""Prove that an archive can be restored: do it in a scratch database, and open everything there.

The scratch database is SQLite in a directory of its own, in a process of its own that knows no other
database (`nexus.backup.scratch`). Its root key is made there and dies with it, so that what a killed
rehearsal leaves behind opens to nobody.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management import call_command
from django.db.models import Q

from apps.audit.models import AuditChain
from apps.audit.verification import verify
from apps.core.actor import Actor
from apps.core.errors import NexusError
from apps.services.credentials import LIVE, load
from apps.services.models import ApiKey
from apps.vault.verification import verify_vault
from nexus.backup.checking import check
from nexus.backup.errors import ArchiveIsDamaged
from nexus.backup.restoring import opened, restore
from nexus.backup.tables import USER
from nexus.console.mfa import unreadable_factors

ROOT = Path(__file__).resolve().parents[2]


class RehearsalFailed(NexusError):
    """The scratch process ended without an answer."""

    code, status = "rehearsal_failed", 500
    default_detail = "The archive could not be tried out: the scratch process ended early."


@dataclass(slots=True)
class Rehearsed:
    """`failed` names what does not open or is not as it was written; empty is good."""

    scope: str = ""
    is_foreign: bool = False
    tables: dict[str, int] = field(default_factory=dict)
    opened: int = 0
    unanchored: int = 0
    events: int = 0
    failed: list[str] = field(default_factory=list)


def rehearse(path: Path) -> Rehearsed:
    """Restore `path` into a scratch database and open every value there; nothing is left behind.

    A foreign archive is tried out as any other: it meets nothing of ours. What is wrong with the
    archive is in `failed`. Raises what keeps it shut (ArchiveIsLocked, MissingRootKey, InvalidInput),
    ArchiveIsOfAnotherRelease, and RehearsalFailed.
    """
    found = Rehearsed()
    try:
        with opened(path) as archive:
            found.scope = "tenant" if archive.header.of_tenant else "installation"
            found.is_foreign = archive.is_foreign()
            # Here first: most of what can be wrong shows without a database.
            check(archive)
    except ArchiveIsDamaged as error:
        found.failed.append(error.detail)
        return found
    answer = _ask(path)
    found.failed = answer["failed"]
    if "tables" in answer:
        found.tables, found.events = answer["tables"], answer["events"]
        found.opened, found.unanchored = answer["opened"], answer["unanchored"]
    return found


def _ask(path: Path) -> dict[str, Any]:
    key_file = settings.NEXUS_ROOT_KEY_FILE
    with tempfile.TemporaryDirectory(prefix="nexus-rehearsal-") as folder:
        environment = dict(os.environ)
        # Nobody shall hear of what happens there.
        environment.pop("REDIS_URL", None)
        environment |= {
            "NEXUS_ENV": "test" if settings.NEXUS_ENV == "test" else "embedded",
            "NEXUS_VAR": folder,
            "DATABASE_URL": f"sqlite:///{folder}/scratch.sqlite3",
            "NEXUS_ROOT_KEY": settings.NEXUS_ROOT_KEY,
            "NEXUS_ROOT_KEY_FILE": str(Path(key_file).absolute()) if key_file else "",
        }
        done = subprocess.run(
            [sys.executable, "-m", "nexus.backup.scratch", str(path.absolute())],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # What it says there could quote rows; its answer is an object.
            stderr=subprocess.DEVNULL,
            check=False,
        )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise RehearsalFailed from None
    return answer


def try_out(path: Path) -> dict[str, Any]:
    """Restore `path` into this process's empty database and look at everything. For `scratch` alone."""
    call_command("migrate", interactive=False, verbosity=0)
    try:
        done = restore(actor=Actor.command("rehearsal"), path=path, trust_foreign=True, keep_credentials=True)
    except NexusError as error:
        return {"failed": [error.detail]}
    vault, audit = verify_vault(), verify(AuditChain.objects.all())
    failed = [f"does not open: {row_id}" for row_id in vault.failed]
    if audit.first_bad is not None:
        bad = audit.first_bad
        failed.append(f"number {bad.number} of {bad.chain}: {bad.reason}")
    failed += [
        f"{fate.left_out} rows of {label} were left out"
        for label, fate in done.tables.items()
        # People whom no row needs get no account.
        if fate.left_out and label != USER
    ]
    if not done.tenant:
        failed += [f"is not what was written: API key {pk}" for pk in _unknown_keys()]
        failed += [f"does not open: second factor {pk}" for pk in unreadable_factors()]
    return {
        "tables": {label: fate.added for label, fate in done.tables.items()},
        "opened": vault.opened,
        "unanchored": vault.unanchored,
        "events": audit.checked,
        "failed": failed,
    }


def _unknown_keys() -> list[UUID]:
    """API keys that would be refused, because their rows are not what was written."""
    good = {credential.id for credential in load(Q())}
    live = ApiKey.objects.filter(LIVE).values_list("pk", flat=True)
    return [pk for pk in live if pk not in good]
