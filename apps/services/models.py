"""Services, their API keys, and who refers to whose entries."""

from typing import ClassVar
from uuid import UUID

from django.db import models
from django.db.models import F, Q
from guardian.models import UserObjectPermissionBase

from apps.audit.targets import Target
from apps.core.access import AccessPaths, Scoped, ScopedQuerySet
from apps.core.actor import Actor
from apps.core.clock import StampField
from apps.core.errors import NotFound, VersionConflict
from apps.core.ids import uuid7
from apps.core.models import Identified, SoftDeleted, Versioned
from apps.projects.models import PERMISSION_ROWS, Project
from apps.tenancy.models import User


class Kind(models.TextChoices):
    BACKEND = "backend"
    FRONTEND = "frontend"


class EntryKind(models.TextChoices):
    SECRET = "secret"  # noqa: S105 - the name of a kind
    CONFIG = "config"
    FLAG = "flag"


class Slot(models.TextChoices):
    PRIMARY = "primary"
    SECONDARY = "secondary"


# Of rows that belong to a service by a field of that name.
OF_SERVICE = AccessPaths(
    tenant="service__project__tenant_id",
    project="service__project_id",
    service="service_id",
    environment="service__environment",
    deleted=("service__deleted_at", "service__project__deleted_at", "service__project__tenant__deleted_at"),
)


class ServiceQuerySet(ScopedQuerySet["Service"]):
    def locked_project(self, pk: UUID, *, actor: Actor | None = None) -> Project:
        """The live project under the lock that every change of its services takes first.

        Raises NotFound when it was deleted meanwhile.
        """
        try:
            return Project.objects.locked(pk, actor=actor)
        except Project.DoesNotExist:
            raise NotFound from None

    def locked(
        self,
        service: "Service",
        *others: "Service",
        actor: Actor | None = None,
        expected_row_version: int | None = None,
    ) -> "Service":
        """The live `service` under its project's lock and its own, until the end of the transaction.

        `others` of the same project are locked with it, in the order of ids. Raises NotFound when
        one of them was deleted meanwhile, NotPermitted when `actor` lost their role meanwhile, and
        VersionConflict when `expected_row_version` is given and `service` is at another.
        """
        project = self.locked_project(service.project_id, actor=actor)
        rows = self.select_for_update(of=("self",), no_key=True).live().order_by("pk")
        wanted = {service.pk, *(other.pk for other in others)}
        found = {row.pk: row for row in rows.filter(project=project, pk__in=wanted)}
        if found.keys() != wanted:
            raise NotFound
        row = found[service.pk]
        row.project = project
        if expected_row_version is not None and row.row_version != expected_row_version:
            raise VersionConflict
        return row


class Service(Identified, Versioned, SoftDeleted, Scoped):
    """One deployable unit: one project, one environment, one kind, none of which ever changes.

    An umbrella has no keys and no endpoint; its children inherit its entries. `revision` rises
    with every change of what the service reads, its umbrella's included.
    """

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="services")
    slug = models.CharField(max_length=63)
    name = models.CharField(max_length=150)
    environment = models.CharField(max_length=63)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    is_umbrella = models.BooleanField(default=False)
    umbrella = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="children"
    )
    revision = models.BigIntegerField(default=1, editable=False)
    disabled_at = models.DateTimeField(null=True, blank=True, editable=False)

    access_paths = AccessPaths(
        tenant="project__tenant_id",
        project="project_id",
        service="pk",
        environment="environment",
        deleted=("deleted_at", "project__deleted_at", "project__tenant__deleted_at"),
    )
    objects = ServiceQuerySet.as_manager()

    class Meta(SoftDeleted.Meta):
        abstract = False
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *SoftDeleted.Meta.constraints,
            models.UniqueConstraint(fields=["project", "environment", "slug"], name="services_service_slug"),
            models.CheckConstraint(
                condition=Q(is_umbrella=False) | Q(umbrella=None), name="services_service_no_nesting"
            ),
            models.CheckConstraint(condition=~Q(umbrella=F("id")), name="services_service_not_its_own"),
        ]
        permissions = PERMISSION_ROWS

    def __str__(self) -> str:
        return f"{self.project}/{self.environment}/{self.slug}"

    def readers(self) -> "models.QuerySet[Service]":
        """This service and, of an umbrella, its children: all who read what is written here."""
        if not self.is_umbrella:
            return Service.objects.filter(pk=self.pk)
        return Service.objects.filter(Q(pk=self.pk) | Q(umbrella_id=self.pk))

    def audit_target(self) -> Target:
        return Target(
            "service",
            str(self.pk),
            f"{self.environment}/{self.slug}",
            tenant_id=self.project.tenant_id,
            project_id=self.project_id,
            service_id=self.pk,
        )


class ApiKey(Identified, Versioned, Scoped):
    """A key of a service. Its text was shown once; kept are a digest under the pepper and its ends.

    Each slot has one current key and, while a rotation overlaps, one outgoing one until `ends_at`.
    `mac` binds digest, service, kind, scopes, expiry and allow list: a row that was edited in the
    database is not a key.
    """

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="api_keys")
    slot = models.CharField(max_length=9, choices=Slot.choices)
    prefix = models.CharField(max_length=8)
    last4 = models.CharField(max_length=4)
    digest = models.BinaryField(max_length=32, unique=True)
    pepper_id = models.UUIDField()
    mac = models.BinaryField(max_length=32)
    scopes = models.JSONField(default=list)
    allowed_networks = models.JSONField(default=list)
    expires_at = models.DateTimeField(null=True, blank=True)
    is_outgoing = models.BooleanField(default=False)
    ends_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    access_paths = OF_SERVICE
    objects = ScopedQuerySet["ApiKey"].as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["service", "slot", "is_outgoing"],
                condition=Q(revoked_at=None),
                name="services_apikey_one_a_slot",
            )
        ]

    def __str__(self) -> str:
        return f"{self.prefix}…{self.last4}"

    def audit_target(self) -> Target:
        return Target(
            "api_key",
            str(self.pk),
            self.slot,
            tenant_id=self.service.project.tenant_id,
            project_id=self.service.project_id,
            service_id=self.service_id,
        )


class Provider(models.TextChoices):
    """Who vouches for a workload (SPEC 9)."""

    KUBERNETES = "kubernetes"
    AWS = "aws"
    AWS_IAM = "aws_iam"
    GCP = "gcp"
    AZURE = "azure"
    GITHUB = "github"
    OIDC = "oidc"


class WorkloadIdentity(Identified, Versioned, Scoped):
    """A provider's workload that a service trusts: who signs, for whom, and which subject or claims.

    Session tokens name the identity and its `generation`; one of an earlier generation, or of an
    identity that is gone, is refused. `key_set` (a JWKS) and `ca_pem` pin what private clusters
    sign and serve with; null and empty mean the issuer's own, found by discovery.
    """

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="workload_identities")
    provider = models.CharField(max_length=10, choices=Provider.choices)
    issuer = models.CharField(max_length=255)
    audience = models.CharField(max_length=255)
    subject = models.CharField(max_length=255, blank=True)
    claims = models.JSONField(default=dict, blank=True)
    key_set = models.JSONField(null=True, blank=True)
    ca_pem = models.TextField(blank=True)
    is_single_use = models.BooleanField(default=True)
    generation = models.PositiveIntegerField(default=1, editable=False)
    disabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    use_count = models.PositiveBigIntegerField(default=0, editable=False)

    access_paths = OF_SERVICE
    objects = ScopedQuerySet["WorkloadIdentity"].as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            # A binding with neither would let in everybody whom the issuer knows.
            models.CheckConstraint(
                condition=~Q(subject="", claims={}), name="services_workloadidentity_bound"
            )
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.subject or self.issuer}"

    def audit_target(self) -> Target:
        return Target(
            "workload_identity",
            str(self.pk),
            self.subject,
            tenant_id=self.service.project.tenant_id,
            project_id=self.service.project_id,
            service_id=self.service_id,
        )


class EntryReference(models.Model):
    """One template reference: the entry `source_id` of a service names `target_kind:target_key`.

    Rows follow the text of the active version, so that "who uses this key?" is one query.
    """

    source_service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="references")
    source_kind = models.CharField(max_length=6, choices=EntryKind.choices)
    source_id = models.UUIDField()
    target_kind = models.CharField(max_length=6, choices=EntryKind.choices)
    target_key = models.CharField(max_length=255)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["source_id", "target_kind", "target_key"], name="services_entryreference_once"
            )
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["source_service", "target_kind", "target_key"], name="services_entryreference_target"
            )
        ]

    def __str__(self) -> str:
        return f"{self.source_kind} → {self.target_kind}:{self.target_key}"


class ServiceGrant(UserObjectPermissionBase):
    """An extra grant: one user, one service, one permission, optionally until `ends_at`."""

    public_id = models.UUIDField(default=uuid7, unique=True, editable=False)
    content_object = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="grants")
    ends_at = models.DateTimeField(null=True, blank=True)
    granted_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = StampField(auto_now_add=True)

    def audit_target(self) -> Target:
        service = self.content_object
        return Target(
            "grant",
            str(self.public_id),
            self.user.email,
            tenant_id=service.project.tenant_id,
            project_id=service.project_id,
            service_id=service.pk,
        )
