"""`create_service TENANT/PROJECT/ENV/SLUG --kind backend [--umbrella] [--parent SLUG]`"""

from argparse import ArgumentParser
from typing import Any

from apps.core.actor import Actor
from apps.core.commands import NexusCommand
from apps.projects.addresses import parts_of, project_at
from apps.services import operations
from apps.services.addresses import FORM, service_at
from apps.services.models import Kind


class Command(NexusCommand):
    help = "Make a service, an umbrella, or a child of one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("service", metavar=FORM)
        parser.add_argument("--kind", required=True, choices=Kind.values)
        parser.add_argument("--umbrella", action="store_true", help="its children inherit from it")
        parser.add_argument("--parent", metavar="SLUG", help="the umbrella to inherit from")

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        tenant, project, environment, slug = parts_of(options["service"], FORM)
        parent = options["parent"]
        service = operations.create_service(
            actor=actor,
            project=project_at(f"{tenant}/{project}"),
            environment=environment,
            slug=slug,
            kind=options["kind"],
            is_umbrella=options["umbrella"],
            umbrella=service_at(f"{tenant}/{project}/{environment}/{parent}") if parent else None,
        )
        result = {"id": str(service.pk), "kind": service.kind, "environment": service.environment}
        return result, f"Service {service} made ({service.kind})."
