"""Members as a door names them: by an address that joins, or by the membership that is changed."""

from uuid import UUID

from django.db import transaction

from apps.core.access import ProjectRole, require
from apps.core.actor import Actor
from apps.core.errors import AlreadyExists, InvalidInput, NotFound, VersionConflict
from apps.projects.models import Project, ProjectMember
from apps.projects.operations import remove_project_member, require_may_give, set_project_member
from apps.tenancy.models import User
from apps.tenancy.operations import normalised_email


@transaction.atomic
def add_project_member(*, actor: Actor, project: Project, email: str, role: ProjectRole) -> ProjectMember:
    """Give a role to the person or service account with this address, who had none in the project.

    Raises AlreadyExists when they have one, InvalidInput when nobody who can work here has the
    address, and what `set_project_member` raises.
    """
    require_may_give(actor, project, role)
    user = User.objects.filter(email=normalised_email(email), is_active=True).first()
    if user is None or (user.is_service_account and user.service_account.tenant_id != project.tenant_id):
        raise InvalidInput.of(
            "email", "No active account that could work here has this address. Send an invitation to it."
        )
    project = Project.objects.locked(project.pk, actor=actor)
    if ProjectMember.objects.filter(project=project, user=user).exists():
        raise AlreadyExists("This person has a role in the project already. Change that one.")
    return set_project_member(actor=actor, project=project, user=user, role=role)


@transaction.atomic
def change_project_member(
    *,
    actor: Actor,
    project: Project,
    member_id: UUID,
    role: ProjectRole,
    expected_row_version: int | None = None,
) -> ProjectMember:
    """Give somebody who has a role in the project another one.

    Raises NotFound when they were removed meanwhile, VersionConflict, and what `set_project_member`
    raises.
    """
    require(actor, "member:manage", project)
    project = Project.objects.locked(project.pk, actor=actor)
    member = _member(project, member_id, expected_row_version)
    return set_project_member(actor=actor, project=project, user=member.user, role=role)


def _member(project: Project, member_id: UUID, expected_row_version: int | None) -> ProjectMember:
    # The caller holds the project's lock, under which all its members change.
    member = ProjectMember.objects.select_related("user").filter(project=project, pk=member_id).first()
    if member is None:
        raise NotFound
    if expected_row_version is not None and member.row_version != expected_row_version:
        raise VersionConflict
    return member


@transaction.atomic
def remove_member_by_id(
    *, actor: Actor, project: Project, member_id: UUID, expected_row_version: int | None = None
) -> ProjectMember:
    """`remove_project_member` for one who is named by their membership. Raises VersionConflict as well."""
    require(actor, "member:manage", project)
    project = Project.objects.locked(project.pk, actor=actor)
    member = _member(project, member_id, expected_row_version)
    return remove_project_member(actor=actor, project=project, user=member.user)
