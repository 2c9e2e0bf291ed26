"""Which tables an archive holds, and what becomes of each.

Every model of the registry stands in one of the two lists below. One that does not fails a test, and
makes `backup` refuse: an archive that lacks a table without saying so is worse than none.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models import Q

from apps.core.models import KeyState, Purpose
from apps.tenancy.models import User

USER = "tenancy.User"
TENANT = "tenancy.Tenant"
PERMISSION = "auth.Permission"


@dataclass(frozen=True, slots=True)
class Table:
    """One table of an archive.

    `tenant` is the path from a row to its tenant's id; a table without one stands in full archives
    alone, for the reason `full_only`. `withheld` are columns that a tenant archive lacks. `parents`
    are the rows that a row belongs to, by column: where they are here already, a tenant archive adds
    the row only if the table `joins`. One that `gives_rights` comes from a foreign archive only into
    projects that the archive itself brings.
    """

    label: str
    tenant: str = ""
    full_only: str = ""
    withheld: tuple[str, ...] = ()
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    joins: bool = False
    gives_rights: bool = False
    after: tuple[str, ...] = ()
    order: tuple[str, ...] = ("pk",)

    @property
    def model(self) -> type[models.Model]:
        return apps.get_model(self.label)


_PROJECT = ("projects.Project",)
_SERVICE = ("services.Service",)
_OF_SERVICE = "service__project__tenant_id"

TABLES: tuple[Table, ...] = (
    Table("core.ServerKey", full_only="a tenant archive opens nothing of its installation"),
    Table(
        "core.DataKey",
        tenant="tenant_id",
        parents={"project_id": _PROJECT},
        joins=True,
        after=_PROJECT,
    ),
    Table("audit.AuditChain", full_only="its MACs are made with a key of the installation"),
    Table("audit.AuditEvent", full_only="its MACs are made with a key of the installation"),
    # Of people a tenant archive knows who they are, and nothing that lets anybody in.
    Table(
        USER,
        tenant="pk",
        withheld=(
            "row_version",
            "created_at",
            "updated_at",
            "password",
            "last_login",
            "is_superuser",
            "must_change_password",
        ),
    ),
    Table(TENANT, tenant="pk"),
    Table("tenancy.TenantMember", tenant="tenant_id", parents={"tenant_id": (TENANT,)}),
    Table("tenancy.ServiceAccount", tenant="tenant_id", parents={"tenant_id": (TENANT,)}),
    Table("tenancy.Invitation", full_only="a restore voids invitations"),
    Table("tenancy.AccessToken", full_only="its digest is made with a key of the installation"),
    Table("projects.Project", tenant="tenant_id", parents={"tenant_id": (TENANT,)}, joins=True),
    Table("projects.ProjectMember", tenant="project__tenant_id", parents={"project_id": _PROJECT}),
    Table("projects.AddOn", tenant="project__tenant_id", parents={"project_id": _PROJECT}),
    Table(
        "projects.ProjectGrant", tenant="content_object__tenant_id", parents={"content_object_id": _PROJECT}
    ),
    Table(
        "services.Service",
        tenant="project__tenant_id",
        parents={"project_id": _PROJECT, "umbrella_id": _SERVICE},
        joins=True,
        # Umbrellas first: what becomes of a child depends on its umbrella.
        order=("-is_umbrella", "pk"),
    ),
    # The digest of a key counts under a pepper that stays where it is.
    Table(
        "services.ApiKey",
        tenant=_OF_SERVICE,
        withheld=("digest", "pepper_id", "mac"),
        parents={"service_id": _SERVICE},
        gives_rights=True,
    ),
    Table(
        "services.WorkloadIdentity",
        tenant=_OF_SERVICE,
        parents={"service_id": _SERVICE},
        gives_rights=True,
    ),
    Table(
        "services.ServiceGrant",
        tenant="content_object__project__tenant_id",
        parents={"content_object_id": _SERVICE},
        gives_rights=True,
    ),
    Table("flags.Flag", tenant=_OF_SERVICE, parents={"service_id": _SERVICE}, joins=True),
    Table(
        "vault.Secret",
        tenant=_OF_SERVICE,
        parents={"service_id": _SERVICE},
        joins=True,
        # A secret whose data key is gone here is left out with all its versions.
        after=("core.DataKey",),
    ),
    Table(
        "vault.SecretVersion",
        tenant="secret__service__project__tenant_id",
        parents={"secret_id": ("vault.Secret",)},
    ),
    Table("vault.Config", tenant=_OF_SERVICE, parents={"service_id": _SERVICE}, joins=True),
    Table(
        "vault.ConfigVersion",
        tenant="config__service__project__tenant_id",
        parents={"config_id": ("vault.Config",)},
    ),
    Table(
        "services.EntryReference",
        tenant="source_service__project__tenant_id",
        parents={
            "source_service_id": _SERVICE,
            "source_id": ("vault.Config", "vault.Secret", "flags.Flag"),
        },
        after=("vault.Config", "vault.Secret", "flags.Flag"),
        joins=True,
    ),
    Table("mfa.Authenticator", full_only="it is sealed with a key of the installation"),
    Table("account.EmailAddress", full_only="people come by their address"),
)

LEFT_OUT: dict[str, str] = {
    "core.Installation": "the epoch is new after a restore",
    "core.Change": "whoever follows the changes starts anew at the new epoch",
    "core.OutboxMessage": "what was to be sent then was sent, or is late",
    "core.IdempotencyRecord": "repeats of requests made before the restore are new requests",
    "guardian.UserObjectPermission": "not used: grants have tables of their own",
    "guardian.GroupObjectPermission": "not used",
    "account.EmailConfirmation": "not used",
    "auth.Permission": "made by migrate; grants name permissions by their names",
    "auth.Group": "not used: groups give no right",
    "auth.Group_permissions": "not used",
    "contenttypes.ContentType": "made by migrate",
    "sessions.Session": "a restore ends all sessions",
    "admin.LogEntry": "not used: the audit log tells what was done",
}

# Keys that something restored is checked or opened with. The others only serve what a restore voids:
# sessions, tickets, invitations, repeats of requests. They are not archived and are made anew, so that
# nothing from before the restore can be good.
CARRIED_PURPOSES = frozenset(
    {Purpose.API_KEY_PEPPER, Purpose.AUDIT_SIGNING, Purpose.AUDIT_MAC, Purpose.ETAG, Purpose.MFA}
)
RENEWED_PURPOSES = frozenset(
    {
        Purpose.SESSION_SIGNING,
        Purpose.STREAM_TICKET,
        Purpose.IDEMPOTENCY,
        Purpose.SNAPSHOT_FILE,
        Purpose.INVITATION,
    }
)


def unnamed_models() -> list[str]:
    """Labels of models that neither list names."""
    known = {table.label for table in TABLES} | LEFT_OUT.keys()
    found = apps.get_models(include_auto_created=True)
    return sorted(model._meta.label for model in found if model._meta.label not in known)


def unnamed_purposes() -> list[str]:
    return sorted(set(Purpose) - CARRIED_PURPOSES - RENEWED_PURPOSES)


def archived(*, of_tenant: bool) -> list[Table]:
    """The tables of an archive, each after those that its rows name.

    Raises ImproperlyConfigured, naming it, when the lists above do not know a table.
    """
    unnamed = unnamed_models() + unnamed_purposes()
    if unnamed:
        raise ImproperlyConfigured(f"nexus.backup.tables does not say what to do with {', '.join(unnamed)}.")
    waiting = {table.label: table for table in TABLES if table.tenant or not of_tenant}
    ordered: list[Table] = []
    while waiting:
        ready = [table for table in waiting.values() if not _needs(table) & waiting.keys()]
        if not ready:
            raise ImproperlyConfigured(f"Tables refer to each other in a circle: {', '.join(waiting)}.")
        for table in ready:
            ordered.append(waiting.pop(table.label))
    return ordered


def _needs(table: Table) -> set[str]:
    named = {target for _, target in references(table.model)} | set(table.after)
    return named - {table.label}


def references(model: type[models.Model]) -> Iterator[tuple[str, str]]:
    """Each foreign key of `model` to another archived table: its column and that table's label."""
    for each in model._meta.concrete_fields:
        target: Any = each.remote_field.model if each.remote_field is not None else None
        if target is not None and target._meta.label != PERMISSION:
            yield each.attname, target._meta.label


def rows_of(table: Table, *, tenant_id: UUID | None, using: str) -> "models.QuerySet[Any]":
    """The rows of `table` that an archive holds, in their order."""
    rows: models.QuerySet[Any] = table.model._base_manager.using(using).order_by(*table.order)
    if table.label == "core.ServerKey":
        rows = rows.filter(purpose__in=sorted(CARRIED_PURPOSES))
    if tenant_id is None:
        return rows
    if table.label == USER:
        return rows.filter(_people(tenant_id, using))
    if table.label == "core.DataKey":
        projects = apps.get_model("projects.Project")._base_manager.using(using).filter(tenant_id=tenant_id)
        rows = rows.exclude(state=KeyState.DESTROYED).filter(project_id__in=projects.values("pk"))
    return rows.filter(**{table.tenant: tenant_id})


def _people(tenant_id: UUID, using: str) -> Q:
    """Whoever a row of the tenant names."""
    named = Q(pk__in=[])
    for table in TABLES:
        if not table.tenant or table.model is User:
            continue
        for column, label in references(table.model):
            if label == USER:
                rows = table.model._base_manager.using(using).filter(**{table.tenant: tenant_id})
                named |= Q(pk__in=rows.exclude(**{column: None}).values(column))
    return named
