"""`backup FILE [--tenant T]`"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from apps.core.actor import Actor
from apps.core.commands import NexusCommand
from apps.projects.addresses import tenant_at
from nexus.backup.making import make_backup
from nexus.backup.watching import shown_on


class Command(NexusCommand):
    help = "Write a sealed and signed archive of a tenant, or of everything, into a new file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path, metavar="FILE")
        parser.add_argument("--tenant", metavar="TENANT", help="only what belongs to this tenant")

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        tenant = tenant_at(options["tenant"]) if options["tenant"] is not None else None
        with shown_on(self.stderr) as watch:
            made = make_backup(actor=actor, path=options["path"].absolute(), tenant=tenant, watch=watch)
        result = {
            "archive": str(made.archive_id),
            "scope": "tenant" if tenant else "installation",
            "tenant": tenant.slug if tenant else None,
            "rows": made.rows,
            "tables": made.tables,
            "size_bytes": made.size_bytes,
            "sha256": made.sha256,
        }
        return result, f"{made.rows} rows of {tenant or 'everything'} are in {options['path']}."
