"""`disable_service SERVICE [--resume]`"""

from argparse import ArgumentParser
from typing import Any

from apps.core.actor import Actor
from apps.core.commands import NexusCommand
from apps.services import operations
from apps.services.addresses import FORM, service_at


class Command(NexusCommand):
    help = "Stop serving a service, or with --resume serve it again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("service", metavar=FORM)
        parser.add_argument("--resume", action="store_true")

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        service = service_at(options["service"])
        if options["resume"]:
            operations.resume_service(actor=actor, service=service)
            return {"id": str(service.pk)}, f"{service} is served again."
        operations.disable_service(actor=actor, service=service)
        return {"id": str(service.pk)}, f"{service} is disabled: its keys are refused."
