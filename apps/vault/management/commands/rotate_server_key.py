"""`rotate_server_key PURPOSE`"""

from argparse import ArgumentParser
from typing import Any

from apps.core.actor import Actor
from apps.core.commands import NexusCommand
from apps.core.models import Purpose
from apps.vault.key_rotation import rotate_server_key


class Command(NexusCommand):
    help = "Replace the server key of one purpose; what the former one made stays good."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("purpose", choices=Purpose.values)

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        new = rotate_server_key(actor=actor, purpose=options["purpose"])
        return {
            "purpose": new.purpose,
            "id": str(new.pk),
        }, f"The server key {new.purpose} is at version {new.version}."
