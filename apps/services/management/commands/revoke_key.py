"""`revoke_key SERVICE --slot primary`"""

from argparse import ArgumentParser
from typing import Any

from apps.core.actor import Actor
from apps.core.commands import NexusCommand
from apps.services import operations
from apps.services.addresses import FORM, service_at
from apps.services.models import Slot


class Command(NexusCommand):
    help = "End a slot's key; it is refused everywhere within 2 seconds."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("service", metavar=FORM)
        parser.add_argument("--slot", required=True, choices=Slot.values)

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        service = service_at(options["service"])
        revoked = operations.revoke_api_key(actor=actor, service=service, slot=options["slot"])
        return {
            "id": str(revoked[0].pk)
        }, f"The {options['slot']} slot of {service} is empty ({len(revoked)} revoked)."
