"""What leaves a tenant's projects with somebody who leaves the tenant, or is lowered in it."""

from django.db.models import Exists, OuterRef

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.access import ProjectRole
from apps.core.actor import Actor
from apps.core.errors import LastOwner
from apps.projects import holdings
from apps.projects.models import Project, ProjectGrant, ProjectMember
from apps.tenancy.models import Tenant, User


def leave_projects(actor: Actor, tenant: Tenant, user: User, removed: bool) -> None:
    """Take the extra grants of `user` in all projects of the tenant, and with `removed` their roles.

    The caller holds the tenant's lock. All its projects are locked here, in the order of their ids,
    deleted ones too: they may be restored. Raises LastOwner when a live project would lose its last.
    """
    projects = list(
        Project.objects.select_for_update(of=("self",), no_key=True).filter(tenant=tenant).order_by("pk")
    )
    if removed:
        _leave_roles(actor, tenant, user, projects)
    ProjectGrant.objects.filter(content_object__tenant=tenant, user=user).delete()
    for project in projects:
        holdings.drop_grants(project.pk, user.pk)


def _leave_roles(actor: Actor, tenant: Tenant, user: User, projects: list[Project]) -> None:
    found = {project.pk: project for project in projects}
    others = ProjectMember.objects.filter(
        project=OuterRef("project"), role=ProjectRole.OWNER, ends_at=None, user__is_active=True
    ).exclude(user=user)
    members = list(
        ProjectMember.objects.filter(project__in=projects, user=user)
        .annotate(has_other_owner=Exists(others))
        .order_by("project_id")
    )
    for member in members:
        project = member.project = found[member.project_id]
        project.tenant, member.user = tenant, user
        # A membership that ends by itself does not keep a project owned; a deleted one needs no owner.
        keeps = member.role == ProjectRole.OWNER and member.ends_at is None and project.deleted_at is None
        if keeps and not member.has_other_owner:
            raise LastOwner(
                f"{user.email} is the last owner of {project}. Make somebody else an owner first."
            )
    targets = [(member.audit_target(), member.role) for member in members]
    ProjectMember.objects.filter(pk__in=[member.pk for member in members]).delete()
    for target, role in targets:
        record(
            actor=actor, action=Action.PROJECT_MEMBER_REMOVED, target=target, changes={"role": [role, None]}
        )
