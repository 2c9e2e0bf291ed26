"""`add_member TENANT/PROJECT EMAIL --role developer`"""

from argparse import ArgumentParser
from typing import Any

from apps.core.access import ProjectRole
from apps.core.actor import Actor
from apps.core.commands import NexusCommand
from apps.projects import operations
from apps.projects.addresses import project_at
from apps.tenancy.operations import operator_with


class Command(NexusCommand):
    help = "Give an operator a role in a project; they join the tenant as member."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", metavar="TENANT/PROJECT")
        parser.add_argument("email")
        parser.add_argument("--role", required=True, choices=[role.value for role in ProjectRole])

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        project = project_at(options["project"])
        member = operations.set_project_member(
            actor=actor,
            project=project,
            user=operator_with(options["email"]),
            role=ProjectRole(options["role"]),
        )
        result = {"id": str(member.pk), "role": member.role}
        return result, f"{member.user.email} is {member.role} of {project}."
