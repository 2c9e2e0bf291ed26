"""`delete_flag SERVICE KEY [--force]`"""

from argparse import ArgumentParser
from typing import Any

from apps.core.actor import Actor
from apps.core.commands import NexusCommand
from apps.flags import operations
from apps.services.addresses import service_at
from apps.services.commands import add_delete_arguments


class Command(NexusCommand):
    help = "Delete a flag softly."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_delete_arguments(parser)

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        service, key = service_at(options["service"]), options["key"]
        flag = operations.delete_flag(actor=actor, service=service, key=key, force=options["force"])
        # A flag has no versions of values; what rises with each write is its row's.
        return {"key": key, "version": flag.row_version}, f"Flag {key} of {service} is deleted."
