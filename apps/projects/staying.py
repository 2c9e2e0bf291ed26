"""What somebody may give in a project whose own rights there end by themselves."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from apps.core.access import ProjectRole, TenantRole
from apps.core.actor import Actor
from apps.projects.models import Project, ProjectMember
from apps.tenancy.models import TenantMember
from apps.tenancy.staying import own_end_refusal


def rights_end_at(
    user_id: UUID | None,
    project: Project,
    *,
    tenant_roles: Collection[TenantRole] = tuple(TenantRole),
    project_roles: Collection[ProjectRole] = tuple(ProjectRole),
) -> datetime | None:
    """When the last of these roles of the person ends by itself, or ended, in the project or its tenant.

    None when one of them stays, or when they have none: commands do not.
    """
    if user_id is None:
        return None
    # Those that ended this very moment as well, so that none slips in between two looks at the clock.
    tenants = TenantMember.objects.filter(
        tenant=project.tenant_id, user=user_id, role__in=tenant_roles
    ).values_list("ends_at", flat=True)
    projects = ProjectMember.objects.filter(
        project=project, user=user_id, role__in=project_roles
    ).values_list("ends_at", flat=True)
    ends = [*tenants, *projects]
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


def require_giver_stays(actor: Actor, project: Project, role: ProjectRole) -> None:
    """Raise NotPermitted for owner and manager by one whose own ownership ends: break-glass gives neither.

    The caller holds the project's lock.
    """
    if role not in (ProjectRole.OWNER, ProjectRole.MANAGER):
        return
    # Owners alone give these two, so that no other role of theirs counts.
    ends_at = rights_end_at(
        actor.user_id, project, tenant_roles=(TenantRole.OWNER,), project_roles=(ProjectRole.OWNER,)
    )
    if ends_at is not None:
        raise own_end_refusal(ends_at, permission="member:manage", target=project)
