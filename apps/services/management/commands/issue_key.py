"""`issue_key SERVICE [--slot primary] [--scope read …] [--expires-at T] [--allow CIDR …]`"""

from argparse import ArgumentParser
from typing import Any

from apps.core.access import SCOPE_PERMISSIONS
from apps.core.actor import Actor
from apps.core.commands import NexusCommand, parse_time
from apps.services import operations
from apps.services.addresses import FORM, service_at
from apps.services.models import Slot


class Command(NexusCommand):
    help = "Issue an API key into a free slot; it is printed once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("service", metavar=FORM)
        parser.add_argument("--slot", default=Slot.PRIMARY, choices=Slot.values)
        parser.add_argument("--scope", action="append", choices=SCOPE_PERMISSIONS)
        parser.add_argument("--expires-at", type=parse_time, metavar="TIME")
        parser.add_argument("--allow", action="append", default=[], metavar="CIDR")

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        service = service_at(options["service"])
        key, text = operations.issue_api_key(
            actor=actor,
            service=service,
            slot=options["slot"],
            scopes=options["scope"] or ["read"],
            expires_at=options["expires_at"],
            allowed_networks=options["allow"],
        )
        result = {"id": str(key.pk), "slot": key.slot, "key": text}
        return result, f"Key for the {key.slot} slot of {service}, shown once: {text}"
