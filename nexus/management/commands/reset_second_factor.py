"""`reset_second_factor EMAIL`"""

from argparse import ArgumentParser
from typing import Any

from apps.core.actor import Actor
from apps.core.commands import NexusCommand
from apps.tenancy.operations import operator_with
from nexus.console.mfa import reset_second_factor


class Command(NexusCommand):
    help = "Take away the second factor of a person who lost device and recovery codes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email")

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        user = operator_with(options["email"])
        reset_second_factor(actor=actor, user=user)
        return {"id": str(user.pk)}, f"The second factor of {user.email} is gone."
