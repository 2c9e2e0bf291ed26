"""`create_project TENANT/SLUG [--name N] [--tier free] [--addon ab_testing …]`"""

from argparse import ArgumentParser
from typing import Any

from apps.core.actor import Actor
from apps.core.commands import NexusCommand
from apps.projects import operations
from apps.projects.addresses import parts_of, tenant_at
from apps.projects.tiers import TIERS


class Command(NexusCommand):
    help = "Make a project in a tenant."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", metavar="TENANT/SLUG")
        parser.add_argument("--name", default="")
        parser.add_argument("--tier", default="free", choices=TIERS)
        parser.add_argument("--addon", action="append", default=[], metavar="NAME")

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        tenant, slug = parts_of(options["project"], "TENANT/SLUG")
        project = operations.create_project(
            actor=actor,
            tenant=tenant_at(tenant),
            slug=slug,
            name=options["name"],
            tier=options["tier"],
            add_ons=options["addon"],
        )
        result = {"id": str(project.pk), "slug": project.slug, "tier": project.tier}
        return result, f"Project {project} made, tier {project.tier}."
