"""`delete_config SERVICE KEY [--force]`"""

from argparse import ArgumentParser
from typing import Any

from apps.core.actor import Actor
from apps.core.commands import NexusCommand
from apps.services.addresses import service_at
from apps.services.commands import add_delete_arguments
from apps.vault import operations


class Command(NexusCommand):
    help = "Delete a config softly."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_delete_arguments(parser)

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        service, key = service_at(options["service"]), options["key"]
        deleted = operations.delete_config(actor=actor, service=service, key=key, force=options["force"])
        return {"key": key, "version": deleted.active_version}, f"Config {key} of {service} is deleted."
