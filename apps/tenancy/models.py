"""People, tenants, and who belongs to which."""

from typing import ClassVar, Self

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from apps.audit.targets import Target
from apps.core.access import AccessPaths, Scoped, ScopedQuerySet, TenantRole
from apps.core.actor import Actor
from apps.core.models import Identified, SoftDeleted, Versioned


class UserManager(BaseUserManager["User"]):
    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=(username or "").lower())


class User(AbstractBaseUser, Identified, Versioned):
    """A person. Rights come from memberships and extra grants; being a superuser gives no right
    on any object of a tenant."""

    email = models.EmailField(unique=True, max_length=254)
    name = models.CharField(max_length=150, blank=True)
    is_active = models.BooleanField(default=True)
    is_superuser = models.BooleanField(default=False)
    # `create_operator` prints a password that others may have seen; the console asks for a new one.
    must_change_password = models.BooleanField(default=False)
    # The body of a service account: it has roles as people have, but no password and no mail.
    is_service_account = models.BooleanField(default=False, editable=False)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects = UserManager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(email=Lower("email")), name="tenancy_user_email_lower_case")
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def is_staff(self) -> bool:
        """Every active person may enter the console; what they see there is `visible_to`."""
        return self.is_active

    def has_perm(self, permission: str, obj: models.Model | None = None) -> bool:
        """Ask our backend alone: Django would answer True for a superuser before asking anybody."""
        from django.contrib.auth import get_backends

        return any(
            backend.has_perm(self, permission, obj)
            for backend in get_backends()
            if hasattr(backend, "has_perm")
        )

    def has_perms(self, permissions: list[str], obj: models.Model | None = None) -> bool:
        return all(self.has_perm(permission, obj) for permission in permissions)

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_active

    def audit_target(self) -> Target:
        return Target("operator", str(self.pk), self.email)


class TenantQuerySet(ScopedQuerySet["Tenant"]):
    def listed_to(self, actor: Actor, *, deleted: bool = False) -> Self:
        """The tenants that `actor` may know of: their own, to a superuser every one's bare row.

        With `deleted` those that were deleted softly and that they may still restore. Seeing the row
        gives no right on anything in it.
        """
        rows = self.filter(deleted_at__isnull=not deleted)
        if deleted:
            rows = rows.filter(purge_after__gt=timezone.now())
        by_role = "tenant:delete" if deleted else "tenant:read"
        return rows.visible_to(actor, by_role, deleted=deleted) | rows.visible_to(
            actor, "tenant:administer", deleted=deleted
        )


class Tenant(Identified, Versioned, SoftDeleted, Scoped):
    """A top-level organisation, and what is billed."""

    slug = models.CharField(max_length=63, unique=True)
    name = models.CharField(max_length=150)
    suspended_at = models.DateTimeField(null=True, blank=True)

    access_paths = AccessPaths(tenant="pk", deleted=("deleted_at",))
    objects = TenantQuerySet.as_manager()

    class Meta(SoftDeleted.Meta):
        abstract = False

    def __str__(self) -> str:
        return self.slug

    def audit_target(self) -> Target:
        return Target("tenant", str(self.pk), self.slug, tenant_id=self.pk)


class TenantMemberQuerySet(ScopedQuerySet["TenantMember"]):
    def holding(self) -> Self:
        """Those that have not ended: a superuser's own ends by itself, and its row stays."""
        return self.filter(Q(ends_at=None) | Q(ends_at__gt=timezone.now()))

    def lasting_owners(self) -> Self:
        """Owners that keep a tenant owned: active people whose membership does not end by itself."""
        return self.filter(role=TenantRole.OWNER, ends_at=None, user__is_active=True)


class TenantMember(Identified, Versioned, Scoped):
    """One person's role in a tenant. `ends_at` bounds what a superuser granted themselves."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tenant_memberships")
    role = models.CharField(max_length=10, choices=[(role, role) for role in TenantRole])
    ends_at = models.DateTimeField(null=True, blank=True)

    access_paths = AccessPaths(tenant="tenant_id", deleted=("tenant__deleted_at",))
    objects = TenantMemberQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["tenant", "user"], name="tenancy_tenantmember_once")
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.tenant}: {self.role}"

    def audit_target(self) -> Target:
        return Target("tenant_member", str(self.pk), self.user.email, tenant_id=self.tenant_id)


class Invitation(Identified, Versioned, Scoped):
    """An address that was asked into a tenant and, with `project_id`, into one of its projects.

    What its mail carries is computed from the row under a server key and stored nowhere. It works
    once, until `expires_at`, and only while `invited_by` may still give what it gives.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField(max_length=254)
    role = models.CharField(max_length=10, choices=[(role, role) for role in TenantRole])
    # Projects stand above this app: ids and names of theirs, checked by the operations up there.
    project_id = models.UUIDField(null=True, blank=True)
    project_role = models.CharField(max_length=10, blank=True)
    invited_by = models.ForeignKey(User, on_delete=models.CASCADE, related_name="invitations_sent")
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    access_paths = AccessPaths(tenant="tenant_id", deleted=("tenant__deleted_at",))
    objects = ScopedQuerySet["Invitation"].as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=Q(project_id=None, project_role="")
                | (Q(project_id__isnull=False) & ~Q(project_role="")),
                name="tenancy_invitation_project_with_role",
            )
        ]

    def __str__(self) -> str:
        return self.email

    def audit_target(self) -> Target:
        return Target(
            "invitation", str(self.pk), self.email, tenant_id=self.tenant_id, project_id=self.project_id
        )


class ServiceAccountQuerySet(ScopedQuerySet["ServiceAccount"]):
    def of_automation(self) -> Self:
        """Those whose body is no person. There are no others, and nobody acts as a person if there were."""
        return self.filter(user__is_service_account=True)


class ServiceAccount(Identified, Versioned, Scoped):
    """A non-person actor of a tenant: automation with access tokens and with roles in projects.

    Its roles hang on `user`, which nobody can log in as: members, grants and rights then mean the
    same for automation as for people.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="service_accounts")
    user = models.OneToOneField(User, on_delete=models.PROTECT, related_name="service_account")
    name = models.CharField(max_length=63)
    description = models.CharField(max_length=255, blank=True)

    access_paths = AccessPaths(tenant="tenant_id", deleted=("tenant__deleted_at",))
    objects = ServiceAccountQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["tenant", "name"], name="tenancy_serviceaccount_name")
        ]

    def __str__(self) -> str:
        return self.name

    def audit_target(self) -> Target:
        return Target("service_account", str(self.pk), self.name, tenant_id=self.tenant_id)


class AccessTokenQuerySet(models.QuerySet["AccessToken"]):
    def manageable_by(self, actor: Actor) -> Self:
        """One's own, and those of the service accounts of tenants that one owns."""
        accounts = ServiceAccount.objects.of_automation().visible_to(actor, "tenant:manage_members")
        return self.filter(Q(user=actor.user_id) | Q(user__service_account__in=accounts))


class AccessToken(Identified, Versioned):
    """A token of a person or service account for the management API. Its text was shown once.

    What it may do is `scopes` (permissions) as far as its bearer still has them at each use.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="access_tokens")
    name = models.CharField(max_length=100)
    last4 = models.CharField(max_length=4)
    digest = models.BinaryField(max_length=32, unique=True)
    pepper_id = models.UUIDField()
    # Binds digest, bearer, scopes and expiry: a row that was edited in the database is no token.
    mac = models.BinaryField(max_length=32)
    scopes = models.JSONField(default=list)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects = AccessTokenQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    def audit_target(self) -> Target:
        account = getattr(self.user, "service_account", None) if self.user.is_service_account else None
        return Target(
            "access_token", str(self.pk), self.name, tenant_id=account.tenant_id if account else None
        )
