"""`restore FILE [--trust-foreign] [--keep-credentials]`"""

from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.core.actor import Actor
from apps.core.commands import NexusCommand
from nexus import installation
from nexus.backup.restoring import opened, restore
from nexus.backup.watching import shown_on
from nexus.environment import make_var_directory


class Command(NexusCommand):
    help = "Restore an archive: everything into an empty database, or a tenant into a living one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path, metavar="FILE")
        parser.add_argument(
            "--trust-foreign", action="store_true", help="take an archive that another installation signed"
        )
        parser.add_argument(
            "--keep-credentials",
            action="store_true",
            help="leave API keys, access tokens and workload identities working",
        )

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        _make_root_key_for(options["path"])
        with shown_on(self.stderr) as watch:
            done = restore(
                actor=actor,
                path=options["path"],
                trust_foreign=options["trust_foreign"],
                keep_credentials=options["keep_credentials"],
                watch=watch,
            )
        totals = {name: done.total(name) for name in ("added", "present", "left_out", "unlinked")}
        result = {
            "archive": str(done.archive_id),
            "scope": "tenant" if done.tenant else "installation",
            "tenant": done.tenant or None,
            **totals,
            "tables": {label: asdict(fate) for label, fate in done.tables.items()},
            "foreign": done.is_foreign,
            "credentials": "kept" if done.credentials_kept else "disabled",
        }
        what = f"The tenant {done.tenant}" if done.tenant else "Everything"
        return result, (
            f"{what} is restored: {totals['added']} rows added, {totals['present']} were here, "
            f"{totals['left_out']} left out."
            + (f" {totals['unlinked']} services came without their umbrella." if totals["unlinked"] else "")
        )


def _make_root_key_for(path: Path) -> None:
    """Embedded and new, this machine has no root key yet, and an archive under a passphrase needs none."""
    if settings.NEXUS_ENV != "embedded" or settings.NEXUS_ROOT_KEY or settings.NEXUS_ROOT_KEY_FILE:
        return
    with opened(path) as archive:
        if archive.header.key.get("by") == "passphrase":
            make_var_directory()
            installation.make_embedded_keys()
