"""Extra grants: one person, one project or service, one permission, optionally with an end.

They stand here because services know their project, and a project knows no service (SPEC 3).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.access import GRANTABLE_PERMISSIONS, ProjectRole, TenantRole, require
from apps.core.actor import Actor
from apps.core.errors import AlreadyExists, InvalidInput, NotFound, NotPermitted
from apps.projects.memberships import refreshed
from apps.projects.models import Project, ProjectGrant
from apps.projects.staying import rights_end_at
from apps.services.models import Service, ServiceGrant
from apps.tenancy.models import TenantMember, User
from apps.tenancy.operations import normalised_email

Grant = ProjectGrant | ServiceGrant

# What these open is the project's: on one service they would be granted and mean nothing.
_OF_PROJECTS_ONLY = frozenset({"project:read", "member:read", "segment:read", "segment:write"})

# Whose role lets them give grants.
_MANAGE_MEMBERS = (ProjectRole.OWNER, ProjectRole.MANAGER)


def _holds() -> Q:
    return Q(ends_at=None) | Q(ends_at__gt=timezone.now())


def grants_in(project: Project) -> tuple[models.QuerySet[Any], models.QuerySet[Any]]:
    """The grants that hold now, on the project and on its services."""
    related = ("user", "permission", "granted_by")
    return (
        ProjectGrant.objects.filter(_holds(), content_object=project).select_related(
            *related, "content_object"
        ),
        ServiceGrant.objects.filter(_holds(), content_object__project=project).select_related(
            *related, "content_object__project"
        ),
    )


def grant_in(project: Project, grant_id: UUID) -> Grant:
    """The grant of this id that holds in the project. Raises NotFound."""
    for rows in grants_in(project):
        found: Grant | None = rows.filter(public_id=grant_id).first()
        if found is not None:
            return found
    raise NotFound


def _grantee(project: Project, email: str) -> User:
    user = User.objects.filter(email=normalised_email(email), is_active=True).first()
    if user is None or not _is_member(project, user):
        raise InvalidInput.of("email", "No active member of the tenant has this address.")
    return user


def _is_member(project: Project, user: User) -> bool:
    return TenantMember.objects.filter(_holds(), tenant=project.tenant_id, user=user).exists()


def _earliest(*ends: datetime | None) -> datetime | None:
    return min((end for end in ends if end is not None), default=None)


@transaction.atomic
def give_grant(
    *,
    actor: Actor,
    project: Project,
    email: str,
    permission: str,
    service: Service | None = None,
    ends_at: datetime | None = None,
) -> Grant:
    """Give a member of the tenant one permission on the project, or on one of its services, until `ends_at`.

    Whoever gives it manages the project's members and has that permission there themselves; nobody
    gives one to themselves. Where the membership of either ends by itself (break-glass), the grant
    ends with it at the latest. Raises NotPermitted, AlreadyExists for one that holds already, and
    InvalidInput for a permission that comes with a role only, an end that has passed, and an
    address that is no active member's.
    """
    require(actor, "member:manage", project)
    if permission not in GRANTABLE_PERMISSIONS:
        raise InvalidInput.of("permission", f"Choose one of {', '.join(sorted(GRANTABLE_PERMISSIONS))}.")
    if service is not None and permission in _OF_PROJECTS_ONLY:
        raise InvalidInput.of(
            "permission", "This opens nothing of a single service. Grant it on the project."
        )
    scope: Project | Service = service or project
    require(actor, permission, scope)
    if ends_at is not None and ends_at <= timezone.now():
        raise InvalidInput.of("ends_at", "Give a time to come, or none.")
    project = Project.objects.locked(project.pk, actor=actor)
    if service is not None:
        service = Service.objects.live().filter(pk=service.pk, project=project).first()
        if service is None:
            raise NotFound
        scope = service
    # Asked under the lock, which those who remove members take as well.
    giver = refreshed(actor)
    require(giver, "member:manage", project)
    require(giver, permission, scope)
    user = _grantee(project, email)
    if user.pk == actor.user_id:
        raise NotPermitted("Nobody grants to themselves.", permission="member:manage", target=project)
    ends_at = _earliest(
        ends_at,
        rights_end_at(user.pk, project),
        rights_end_at(
            actor.user_id, project, tenant_roles=(TenantRole.OWNER,), project_roles=_MANAGE_MEMBERS
        ),
    )
    model: Any = ProjectGrant if service is None else ServiceGrant
    right = Permission.objects.get(
        codename=permission, content_type=ContentType.objects.get_for_model(type(scope))
    )
    same = model.objects.filter(user=user, permission=right, content_object=scope)
    if same.filter(_holds()).exists():
        raise AlreadyExists("This person has that grant there already. Revoke it to give another end.")
    # One that has ended counts for nothing, but would stand in the new one's place.
    same.delete()
    grant: Grant = model.objects.create(
        user=user,
        permission=right,
        content_object=scope,
        ends_at=ends_at,
        granted_by_id=actor.user_id,
    )
    record(
        actor=actor,
        action=Action.GRANT_GIVEN,
        target=grant.audit_target(),
        changes={
            "permission": [None, permission],
            "ends_at": [None, ends_at.isoformat() if ends_at else None],
        },
    )
    return grant


@transaction.atomic
def revoke_grant(*, actor: Actor, project: Project, grant_id: UUID) -> None:
    """End an extra grant at once. Raises NotFound when it has ended already, and NotPermitted."""
    require(actor, "member:manage", project)
    project = Project.objects.locked(project.pk, actor=actor)
    grant = grant_in(project, grant_id)
    target, permission = grant.audit_target(), grant.permission.codename
    grant.delete()
    record(
        actor=actor, action=Action.GRANT_REVOKED, target=target, changes={"permission": [permission, None]}
    )


class GrantRows:
    """Both kinds of grants as the one list that `paged` reads: a query each."""

    model = ProjectGrant

    def __init__(self, parts: Iterable["models.QuerySet[Any]"], order: tuple[str, ...] = ()) -> None:
        self._parts = tuple(parts)
        self._order = order

    def filter(self, *conditions: Q) -> "GrantRows":
        return GrantRows((part.filter(*conditions) for part in self._parts), self._order)

    def order_by(self, *order: str) -> "GrantRows":
        return GrantRows((part.order_by(*order) for part in self._parts), order)

    def __getitem__(self, part: slice) -> list[Grant]:
        columns = [name.removeprefix("-") for name in self._order]
        rows = [row for rows in self._parts for row in rows[part]]
        rows.sort(
            key=lambda row: tuple(getattr(row, name) for name in columns),
            reverse=self._order[0].startswith("-"),
        )
        return rows[part]
