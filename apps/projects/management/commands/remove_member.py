"""`remove_member TENANT/PROJECT EMAIL`"""

from argparse import ArgumentParser
from typing import Any

from apps.core.actor import Actor
from apps.core.commands import NexusCommand
from apps.core.errors import NotFound
from apps.projects import operations
from apps.projects.addresses import project_at
from apps.tenancy.models import User
from apps.tenancy.operations import normalised_email


class Command(NexusCommand):
    help = "Take an operator's role in a project, with their extra grants there."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", metavar="TENANT/PROJECT")
        parser.add_argument("email")

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        project = project_at(options["project"])
        # Also somebody who was deactivated can be removed.
        user = User.objects.filter(email=normalised_email(options["email"])).first()
        if user is None:
            raise NotFound(f"There is no operator {options['email']}.")
        member = operations.remove_project_member(actor=actor, project=project, user=user)
        return {"id": str(member.pk)}, f"{user.email} has no role in {project} any more."
