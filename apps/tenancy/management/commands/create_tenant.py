"""`create_tenant SLUG [--name N] --owner EMAIL`"""

from argparse import ArgumentParser
from typing import Any

from apps.core.actor import Actor
from apps.core.commands import NexusCommand
from apps.tenancy import operations


class Command(NexusCommand):
    help = "Make a tenant with its first owner, who is an operator already."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--name", default="")
        parser.add_argument("--owner", required=True, metavar="EMAIL")

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        owner = operations.operator_with(options["owner"])
        tenant = operations.create_tenant(
            actor=actor, slug=options["slug"], name=options["name"], owner=owner
        )
        return {
            "id": str(tenant.pk),
            "slug": tenant.slug,
        }, f"Tenant {tenant.slug} made, owned by {owner.email}."
