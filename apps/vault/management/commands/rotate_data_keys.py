"""`rotate_data_keys [TENANT[/PROJECT]]`"""

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.db.models import QuerySet

from apps.core.actor import Actor
from apps.core.commands import VERIFICATION_FAILED, NexusCommand
from apps.core.progress import Progress
from apps.projects.addresses import project_at, tenant_at
from apps.projects.models import Project
from apps.vault.reencryption import count_versions, rotate_data_keys


class Command(NexusCommand):
    help = "Give projects new data keys, seal their values anew, and destroy the former keys."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("scope", nargs="?", default="", metavar="TENANT[/PROJECT]")

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        projects = _projects(options["scope"])
        progress = Progress(self.stderr, count_versions(projects), "values")
        found = rotate_data_keys(actor=actor, projects=projects, on_rows=progress)
        progress.end()
        sentence = (
            f"{found.rotated} of {found.projects} projects have a new data key; {found.reencrypted} values "
            f"were sealed anew, {found.destroyed} former keys destroyed."
        )
        if found.resumed:
            sentence += f" {found.resumed} were ended where an earlier run stopped, without another new key."
        if found.failed:
            sentence += f" {len(found.failed)} do not open and stay as they are: {', '.join(found.failed)}"
        return asdict(found), sentence

    def exit_code(self, result: dict[str, Any]) -> int:
        return VERIFICATION_FAILED if result["failed"] else 0


def _projects(scope: str) -> QuerySet[Project]:
    """Those of the scope; without one all, the soft-deleted included."""
    if not scope:
        return Project.objects.all()
    if "/" in scope:
        return Project.objects.filter(pk=project_at(scope).pk)
    return Project.objects.filter(tenant=tenant_at(scope))
