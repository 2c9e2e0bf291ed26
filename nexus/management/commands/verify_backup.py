"""`verify_backup FILE`"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from apps.core.actor import Actor
from apps.core.commands import VERIFICATION_FAILED, NexusCommand
from nexus.backup.rehearsal import rehearse


class Command(NexusCommand):
    help = "Restore an archive into a scratch database and open every value there."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path, metavar="FILE")

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        found = rehearse(options["path"])
        result = {
            "scope": found.scope or None,
            "foreign": found.is_foreign,
            "rows": sum(found.tables.values()),
            "tables": found.tables,
            "opened": found.opened,
            "unanchored": found.unanchored,
            "events": found.events,
            "failed": found.failed,
        }
        if found.failed:
            return result, f"The archive would not restore: {'; '.join(found.failed)}"
        return result, (
            f"{result['rows']} rows restore, {found.opened} values open, {found.events} events hold."
        )

    def exit_code(self, result: dict[str, Any]) -> int:
        return VERIFICATION_FAILED if result["failed"] else 0
