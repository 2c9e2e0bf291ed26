"""`create_operator EMAIL [--superuser]`"""

from argparse import ArgumentParser
from typing import Any

from apps.core.actor import Actor
from apps.core.commands import NexusCommand
from apps.tenancy import operations


class Command(NexusCommand):
    help = "Make a person who may enter the console; the password is printed once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--superuser", action="store_true", help="manages accounts and tenants")

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        user, password = operations.create_operator(
            actor=actor, email=options["email"], superuser=options["superuser"]
        )
        result = {"id": str(user.pk), "email": user.email, "password": password}
        return result, f"Operator {user.email} made. Password, shown once: {password}"
