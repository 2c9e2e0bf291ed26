"""Projects, who works in them, and what they added."""

from typing import Any, ClassVar
from uuid import UUID

from django.db import models
from django.db.models import OuterRef, Q, Subquery, Value
from django.utils import timezone
from guardian.models import UserObjectPermissionBase

from apps.audit.targets import Target
from apps.core.access import GRANTABLE_PERMISSIONS, AccessPaths, ProjectRole, Scoped, ScopedQuerySet
from apps.core.actor import Actor
from apps.core.clock import StampField
from apps.core.errors import NotFound, NotPermitted
from apps.core.ids import uuid7
from apps.core.models import Identified, SoftDeleted, Versioned
from apps.projects.tiers import AB_TESTING, TIERS, Tier
from apps.tenancy.models import Tenant, TenantMember, User

PERMISSION_ROWS: list[tuple[str, str | Any]] = [
    (permission, permission) for permission in sorted(GRANTABLE_PERMISSIONS)
]


class ProjectQuerySet(ScopedQuerySet["Project"]):
    def locked(self, pk: UUID, *, actor: Actor | None = None) -> "Project":
        """The live project under a lock that lasts to the end of the transaction.

        First of all locks that an operation takes. `no_key` lets rows that merely point at the
        project be inserted meanwhile. Raises NotFound when it was deleted since the caller saw it,
        and NotPermitted when `actor` lost the role here that the door read: whoever takes one holds
        this lock, so that nothing is done by it afterwards.
        """
        rows = self.select_for_update(of=("self",), no_key=True).select_related("tenant")
        found = rows.live().filter(pk=pk).first()
        if found is None:
            raise NotFound
        if actor is not None:
            _require_roles_hold(actor, found)
        return found


def roles_now(user_id: UUID) -> dict[str, Subquery]:
    """The person's roles of this moment, for a query over rows with a `project`: see `hold`."""
    holds = Q(ends_at=None) | Q(ends_at__gt=timezone.now())
    in_project = ProjectMember.objects.filter(holds, user=user_id, project=OuterRef("project_id"))
    in_tenant = TenantMember.objects.filter(holds, user=user_id, tenant=OuterRef("project__tenant_id"))
    return {
        "project_role_now": Subquery(in_project.values("role")[:1]),
        "tenant_role_now": Subquery(in_tenant.values("role")[:1]),
    }


def hold(actor: Actor, project: "Project", *, project_role: str | None, tenant_role: str | None) -> bool:
    """Whether the roles by which `actor` came through the door are these still. New ones are no matter."""
    return actor.project_roles.get(project.pk) in (None, project_role) and actor.tenant_roles.get(
        project.tenant_id
    ) in (None, tenant_role)


def _require_roles_hold(actor: Actor, project: "Project") -> None:
    if actor.user_id is None or not {project.pk, project.tenant_id} & {
        *actor.project_roles,
        *actor.tenant_roles,
    }:
        return
    holds = Q(ends_at=None) | Q(ends_at__gt=timezone.now())
    # One query for both, in the statement after the lock: what was committed before it counts.
    found = dict(
        ProjectMember.objects.filter(holds, project=project, user=actor.user_id)
        .values_list(Value("project"), "role")
        .union(
            TenantMember.objects.filter(holds, tenant=project.tenant_id, user=actor.user_id).values_list(
                Value("tenant"), "role"
            )
        )
    )
    if not hold(actor, project, project_role=found.get("project"), tenant_role=found.get("tenant")):
        raise NotPermitted(target=project)


class Project(Identified, Versioned, SoftDeleted, Scoped):
    """One product of a tenant.

    `environments` narrows what the tier allows; empty means all of it. `retention_days_before`
    holds for the audit log until `retention_days_before_until`, after a downgrade.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="projects")
    slug = models.CharField(max_length=63)
    name = models.CharField(max_length=150)
    tier = models.CharField(max_length=4, choices=[(name, name) for name in TIERS], default="free")
    environments = models.JSONField(default=list, blank=True)
    retention_days_before = models.PositiveIntegerField(null=True, editable=False)
    retention_days_before_until = models.DateTimeField(null=True, editable=False)

    access_paths = AccessPaths(tenant="tenant_id", project="pk", deleted=("deleted_at", "tenant__deleted_at"))
    objects = ProjectQuerySet.as_manager()

    class Meta(SoftDeleted.Meta):
        abstract = False
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *SoftDeleted.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "slug"], name="projects_project_slug"),
        ]
        permissions = PERMISSION_ROWS

    def __str__(self) -> str:
        return f"{self.tenant.slug}/{self.slug}"

    @property
    def limits(self) -> Tier:
        return TIERS[self.tier]

    def allows_environment(self, name: str) -> bool:
        return self.limits.has_environment(name) and (not self.environments or name in self.environments)

    def audit_target(self) -> Target:
        return Target("project", str(self.pk), self.slug, tenant_id=self.tenant_id, project_id=self.pk)


class ProjectMember(Identified, Versioned, Scoped):
    """One person's role in a project. `ends_at` bounds what a superuser granted themselves."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="project_memberships")
    role = models.CharField(max_length=10, choices=[(role, role) for role in ProjectRole])
    ends_at = models.DateTimeField(null=True, blank=True)

    access_paths = AccessPaths(
        tenant="project__tenant_id",
        project="project_id",
        deleted=("project__deleted_at", "project__tenant__deleted_at"),
    )
    objects = ScopedQuerySet["ProjectMember"].as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["project", "user"], name="projects_projectmember_once")
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.project}: {self.role}"

    def audit_target(self) -> Target:
        return Target(
            "project_member",
            str(self.pk),
            self.user.email,
            tenant_id=self.project.tenant_id,
            project_id=self.project_id,
        )


class AddOn(Identified, Versioned, Scoped):
    """An extra that the project's tier allows and its owner switched on."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="add_ons")
    name = models.CharField(max_length=20, choices=[(AB_TESTING, AB_TESTING)])

    access_paths = AccessPaths(
        tenant="project__tenant_id",
        project="project_id",
        deleted=("project__deleted_at", "project__tenant__deleted_at"),
    )
    objects = ScopedQuerySet["AddOn"].as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["project", "name"], name="projects_addon_once")
        ]

    def __str__(self) -> str:
        return self.name

    def audit_target(self) -> Target:
        return Target(
            "add_on", str(self.pk), self.name, tenant_id=self.project.tenant_id, project_id=self.project_id
        )


class ProjectGrant(UserObjectPermissionBase):
    """An extra grant: one user, one project, one permission, optionally until `ends_at`.

    guardian numbers its rows; `public_id` is what addresses and documents name them by.
    """

    public_id = models.UUIDField(default=uuid7, unique=True, editable=False)
    content_object = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="grants")
    ends_at = models.DateTimeField(null=True, blank=True)
    granted_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = StampField(auto_now_add=True)

    def audit_target(self) -> Target:
        project = self.content_object
        return Target(
            "grant", str(self.public_id), self.user.email, tenant_id=project.tenant_id, project_id=project.pk
        )
