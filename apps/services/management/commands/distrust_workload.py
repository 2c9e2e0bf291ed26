"""`distrust_workload SERVICE ID`"""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from apps.core.actor import Actor
from apps.core.commands import NexusCommand
from apps.services import operations
from apps.services.addresses import FORM, service_at


class Command(NexusCommand):
    help = "Forget a workload identity of a service; its sessions are refused within 2 seconds."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("service", metavar=FORM)
        parser.add_argument("id", type=UUID, metavar="ID")

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        service = service_at(options["service"])
        identity = operations.distrust_workload(actor=actor, service=service, identity_id=options["id"])
        return {"id": str(identity.pk)}, f"{service} trusts {identity} no more."
