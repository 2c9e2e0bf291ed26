"""May they, and what may they see: one rule for both.

Three tables say everything: role → permission → environments; kind of credential → the permissions
it may ever use; scope → permissions. `visible_to` turns them into a filter, and `allows(x)` *is*
`visible_to(…).filter(pk=x).exists()`, so that seeing and doing cannot disagree.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar, Self, TypeVar, cast

from django.db import models
from django.db.models import BooleanField, Case, Exists, ExpressionWrapper, OuterRef, Q, Value, When
from django.utils import timezone

from apps.core.actor import Actor, ActorType
from apps.core.errors import InsufficientScope, NotPermitted, ReauthenticationRequired


class TenantRole(StrEnum):
    OWNER = "owner"
    FINANCE = "finance"
    MEMBER = "member"


class ProjectRole(StrEnum):
    OWNER = "owner"
    MANAGER = "manager"
    DEVELOPER = "developer"
    TESTER = "tester"
    VIEWER = "viewer"


ANYWHERE: None = None
IN_DEVELOP = frozenset({"develop"})
Environments = frozenset[str] | None

_READS: dict[str, Environments] = {
    "project:read": ANYWHERE,
    "service:read": ANYWHERE,
    "config:read": ANYWHERE,
    "flag:read": ANYWHERE,
    "segment:read": ANYWHERE,
}
_MANAGES: dict[str, Environments] = {
    **_READS,
    "member:read": ANYWHERE,
    "member:manage": ANYWHERE,
    "service:manage": ANYWHERE,
    "api_key:issue": ANYWHERE,
    "api_key:revoke": ANYWHERE,
    "workload_identity:manage": ANYWHERE,
    "secret:list": ANYWHERE,
    "secret:write": ANYWHERE,
    "secret:reveal": ANYWHERE,
    "secret:destroy": ANYWHERE,
    "config:write": ANYWHERE,
    "flag:write": ANYWHERE,
    "segment:write": ANYWHERE,
    "audit:read": ANYWHERE,
}

# SPEC 3. A permission that is not in a role's row is refused; nothing is inherited by rank.
PROJECT_ROLE_PERMISSIONS: Mapping[ProjectRole, Mapping[str, Environments]] = {
    ProjectRole.OWNER: {
        **_MANAGES,
        "project:change": ANYWHERE,
        "project:change_tier": ANYWHERE,
        "project:delete": ANYWHERE,
    },
    ProjectRole.MANAGER: _MANAGES,
    ProjectRole.DEVELOPER: {
        **_READS,
        "secret:list": IN_DEVELOP,
        "secret:write": IN_DEVELOP,
        "secret:reveal": IN_DEVELOP,
        "secret:destroy": IN_DEVELOP,
        "config:write": IN_DEVELOP,
        "flag:write": IN_DEVELOP,
    },
    ProjectRole.TESTER: {**_READS, "audit:read_non_secret": ANYWHERE},
    ProjectRole.VIEWER: _READS,
}

TENANT_ROLE_PERMISSIONS: Mapping[TenantRole, frozenset[str]] = {
    TenantRole.OWNER: frozenset(
        {
            "tenant:read",
            "tenant:change",
            "tenant:delete",
            "tenant:manage_members",
            "tenant:read_audit",
            "project:create",
            "usage:read",
            "invoice:read",
        }
    ),
    TenantRole.FINANCE: frozenset({"tenant:read", "usage:read", "invoice:read"}),
    TenantRole.MEMBER: frozenset({"tenant:read"}),
}

# Rights of a tenant's roles that hold inside each of its projects: finance counts what it pays for.
_TENANT_WIDE = frozenset({"usage:read"})

# Superusers manage accounts and tenants; a tenant's content is none of their business. They see that
# a tenant is there, its name and its state (`tenant:administer`), and nothing in it.
INSTALLATION_PERMISSIONS = frozenset(
    {"tenant:create", "tenant:administer", "account:manage", "installation:read_audit"}
)

PROJECT_PERMISSIONS = frozenset().union(*PROJECT_ROLE_PERMISSIONS.values())
TENANT_PERMISSIONS = frozenset().union(*TENANT_ROLE_PERMISSIONS.values())

# What an extra grant may carry: rights of the content. Rights to give rights come with a role only.
GRANTABLE_PERMISSIONS = PROJECT_PERMISSIONS - {
    "project:change",
    "project:change_tier",
    "project:delete",
    "member:manage",
}

SCOPE_PERMISSIONS: Mapping[str, frozenset[str]] = {
    "read": frozenset({"service:read", "secret:list", "secret:reveal", "config:read", "flag:read"}),
    "write": frozenset({"secret:write"}),
    "destroy": frozenset({"secret:destroy"}),
}
_WORKLOAD_CEILING = frozenset().union(*SCOPE_PERMISSIONS.values())

# What an access token may carry (SPEC 10): not the rights to manage tokens, members or accounts.
TOKEN_PERMISSIONS = (PROJECT_PERMISSIONS | TENANT_PERMISSIONS) - {
    "member:manage",
    "tenant:manage_members",
}

# What a kind of actor may ever use, whatever its rows say. People and commands have no ceiling
# here: people's rights are their roles, commands act for whoever has the host.
CREDENTIAL_CEILINGS: Mapping[ActorType, frozenset[str]] = {
    ActorType.ACCESS_TOKEN: TOKEN_PERMISSIONS,
    ActorType.SERVICE_ACCOUNT: TOKEN_PERMISSIONS,
    ActorType.API_KEY: _WORKLOAD_CEILING,
    ActorType.WORKLOAD_SESSION: _WORKLOAD_CEILING,
    ActorType.ANONYMOUS: frozenset(),
}

SYSTEM_TASK_PERMISSIONS: Mapping[str, frozenset[str]] = {
    "sweep_outbox": frozenset(),
    "prune_changes": frozenset(),
    "remind_of_secrets": frozenset({"secret:list"}),
    "purge_deleted": frozenset({"tenant:delete", "project:delete", "service:manage"}),
}


def system_actor(task: str) -> Actor:
    """The actor of a scheduled job. Raises KeyError for a job that has no row in the table."""
    return Actor.system(task, SYSTEM_TASK_PERMISSIONS[task])


@dataclass(frozen=True, slots=True)
class AccessPaths:
    """Where a model's rows name the scopes that rights hang on, as query paths."""

    tenant: str = ""
    project: str = ""
    service: str = ""
    environment: str = ""
    # Each must be null for a row to exist for anybody.
    deleted: tuple[str, ...] = ()


# Live extra grants of one scope: (user id, permission or any) → a queryset with `content_object_id`.
Grants = Callable[[Any, str | None], models.QuerySet[Any]]

_grants: dict[str, Grants] = {}


def register_grants(scope: str, grants: Grants) -> None:
    """Let the extra grants on a `project` or `service` count from now on."""
    _grants[scope] = grants


def registered_grants() -> list[Grants]:
    return list(_grants.values())


def live_grants(model: type[models.Model]) -> Grants:
    """Grants of `model` that have not ended. The end is part of the query: none outlives it.

    Without a permission all that the person was ever given here, ended ones too.
    """

    def query(user_id: Any, permission: str | None) -> models.QuerySet[Any]:
        manager = cast(Any, model)._default_manager
        if permission is None:
            return cast(models.QuerySet[Any], manager.filter(user_id=user_id))
        return cast(
            models.QuerySet[Any],
            manager.filter(user_id=user_id, permission__codename=permission).filter(
                Q(ends_at__isnull=True) | Q(ends_at__gt=timezone.now())
            ),
        )

    return query


NOTHING = Q(pk__in=[])


def visibility(paths: AccessPaths, actor: Actor, permission: str) -> Q:
    """The rows on which `actor` has `permission`, deleted ones not considered."""
    ceiling = CREDENTIAL_CEILINGS.get(actor.type)
    if ceiling is not None and permission not in ceiling:
        return NOTHING
    match actor.type:
        case ActorType.COMMAND:
            return Q()
        case ActorType.SYSTEM:
            return Q() if permission in actor.permissions else NOTHING
        case ActorType.API_KEY | ActorType.WORKLOAD_SESSION:
            if permission in actor.permissions and paths.service and actor.service_id:
                return Q(**{paths.service: actor.service_id})
            return NOTHING
        case ActorType.ACCESS_TOKEN | ActorType.SERVICE_ACCOUNT if permission not in actor.permissions:
            return NOTHING
        case ActorType.OPERATOR | ActorType.ACCESS_TOKEN | ActorType.SERVICE_ACCOUNT:
            if permission in INSTALLATION_PERMISSIONS:
                # Only rows that are tenants themselves: `paths` that lead on are a tenant's content.
                return Q() if paths.tenant == "pk" and allows_here(actor, permission) else NOTHING
            return _of_roles(paths, actor, permission) | _of_grants(paths, actor, permission)
        case _:
            return NOTHING


def _of_roles(paths: AccessPaths, actor: Actor, permission: str) -> Q:
    rule = NOTHING
    if paths.tenant:
        by_tenant_role = [
            tenant
            for tenant, role in actor.tenant_roles.items()
            if permission in TENANT_ROLE_PERMISSIONS[TenantRole(role)]
        ]
        if by_tenant_role and (not paths.project or permission in _TENANT_WIDE):
            rule |= Q(**{f"{paths.tenant}__in": by_tenant_role})
        owned = [tenant for tenant, role in actor.tenant_roles.items() if role == TenantRole.OWNER]
        if owned and paths.project and permission in PROJECT_ROLE_PERMISSIONS[ProjectRole.OWNER]:
            rule |= Q(**{f"{paths.tenant}__in": owned})
    if paths.project:
        by_environments: dict[Environments, list[Any]] = {}
        for project, role in actor.project_roles.items():
            permissions = PROJECT_ROLE_PERMISSIONS[ProjectRole(role)]
            if permission in permissions:
                by_environments.setdefault(permissions[permission], []).append(project)
        for environments, projects in by_environments.items():
            matching = Q(**{f"{paths.project}__in": projects})
            if environments is ANYWHERE:
                rule |= matching
            elif paths.environment:
                rule |= matching & Q(**{f"{paths.environment}__in": sorted(environments)})
    return rule


def _of_grants(paths: AccessPaths, actor: Actor, permission: str) -> Q:
    rule = NOTHING
    if permission not in GRANTABLE_PERMISSIONS or actor.user_id is None or not actor.may_hold_grants:
        return rule
    for scope, path in (("project", paths.project), ("service", paths.service)):
        grants = _grants.get(scope)
        if grants is not None and path:
            granted = grants(actor.user_id, permission).filter(content_object_id=OuterRef(path))
            rule |= Q(Exists(granted))
    return rule


M = TypeVar("M", bound=models.Model)


class ScopedQuerySet(models.QuerySet[M]):
    """A queryset whose rows are seen through `visible_to` alone. The model names `access_paths`."""

    def visible_to(self, actor: Actor, permission: str, *, deleted: bool = False) -> Self:
        """The rows on which `actor` has `permission`; soft-deleted ones only if `deleted` asks."""
        paths = access_paths(self.model)
        found = self.filter(visibility(paths, actor, permission))
        return found if deleted else found.filter(**dict.fromkeys(_null(paths), True))

    def live(self) -> Self:
        """The rows that are not deleted, nor inside anything deleted."""
        return self.filter(**dict.fromkeys(_null(access_paths(self.model)), True))


def _null(paths: AccessPaths) -> list[str]:
    return [f"{path}__isnull" for path in paths.deleted]


def access_paths(model: type[models.Model]) -> AccessPaths:
    return cast(AccessPaths, cast(Any, model).access_paths)


class Scoped(models.Model):
    """Base of every model whose rows belong to a tenant, project or service."""

    access_paths: ClassVar[AccessPaths]

    class Meta:
        abstract = True


def allows(actor: Actor, permission: str, target: models.Model, *, deleted: bool = False) -> bool:
    """Whether `actor` has `permission` on the saved row `target`, as the database has it now.

    On a soft-deleted row, or inside one, nobody has any, unless `deleted` asks.
    """
    queryset = cast(ScopedQuerySet[models.Model], type(target)._default_manager.all())
    return queryset.visible_to(actor, permission, deleted=deleted).filter(pk=target.pk).exists()


def held_somewhere(actor: Actor, permissions: Collection[str]) -> frozenset[str]:
    """Those of `permissions` that a role gives `actor` in at least one tenant or project.

    Extra grants are not looked at: what they give ends by itself, and is not for handing on.
    """
    held: set[str] = set()
    for tenant_role in actor.tenant_roles.values():
        held |= TENANT_ROLE_PERMISSIONS[TenantRole(tenant_role)]
        if tenant_role == TenantRole.OWNER:
            held |= PROJECT_ROLE_PERMISSIONS[ProjectRole.OWNER].keys()
    for project_role in actor.project_roles.values():
        held |= PROJECT_ROLE_PERMISSIONS[ProjectRole(project_role)].keys()
    return frozenset(held & set(permissions))


def permitted(actor: Actor, permissions: Collection[str], target: models.Model) -> frozenset[str]:
    """Those of `permissions` that `actor` has on the saved row `target`: `allows` for many, in one query."""
    if not permissions:
        return frozenset()
    queryset = cast(ScopedQuerySet[models.Model], type(target)._default_manager.all()).live()
    found = with_rights(queryset.filter(pk=target.pk), actor, permissions).first()
    return frozenset() if found is None else rights_of(found, permissions)


def with_rights(
    rows: "models.QuerySet[M]", actor: Actor, permissions: Collection[str]
) -> "models.QuerySet[M]":
    """`rows` with what `actor` may do with each; `rights_of` reads it. No further query."""
    paths = access_paths(rows.model)
    rights: dict[str, Any] = {}
    for number, permission in enumerate(permissions):
        rule = visibility(paths, actor, permission)
        # An empty rule holds for every row, and is no condition that SQL could be asked.
        held = Case(When(rule, then=True), default=False) if rule else Value(True)
        rights[f"may_{number}"] = ExpressionWrapper(held, output_field=BooleanField())
    return cast("models.QuerySet[M]", rows.annotate(**rights))


def rights_of(row: models.Model, permissions: Collection[str]) -> frozenset[str]:
    """Those of `permissions` that hold on a row of `with_rights`, which was given the same ones."""
    return frozenset(
        permission for number, permission in enumerate(permissions) if getattr(row, f"may_{number}")
    )


def allows_here(actor: Actor, permission: str) -> bool:
    """Whether `actor` has a permission that belongs to the installation as a whole."""
    if actor.type is ActorType.COMMAND:
        return True
    if actor.type is ActorType.SYSTEM:
        return permission in actor.permissions
    return actor.type is ActorType.OPERATOR and actor.is_superuser and permission in INSTALLATION_PERMISSIONS


def require(actor: Actor, permission: str, target: models.Model, *, deleted: bool = False) -> None:
    """Raise NotPermitted unless `actor` has `permission` on `target`; `deleted` as `allows` has it."""
    if not allows(actor, permission, target, deleted=deleted):
        raise refusal(actor, permission, target)


def refusal(actor: Actor, permission: str, target: models.Model) -> NotPermitted:
    """How `actor` is told that it lacks `permission` on `target`."""
    if actor.type in (ActorType.API_KEY, ActorType.WORKLOAD_SESSION):
        return InsufficientScope(permission=permission, target=target)
    return NotPermitted(permission=permission, target=target)


# SPEC 5: for so long a proof of presence holds, in the session that it was given in.
PRESENCE_HOLDS = timedelta(minutes=15)


def is_present(actor: Actor) -> bool:
    """Whether the person behind a session proved within 15 minutes to be there.

    Credentials that stand for themselves have other bounds: tokens their scopes, workloads and
    commands none.
    """
    if actor.type is not ActorType.OPERATOR:
        return True
    return actor.present_at is not None and actor.present_at + PRESENCE_HOLDS > timezone.now()


def require_presence(actor: Actor) -> None:
    """Raise ReauthenticationRequired unless `is_present`. What lets a value or key leave asks this."""
    if not is_present(actor):
        raise ReauthenticationRequired


def require_here(actor: Actor, permission: str) -> None:
    """Raise NotPermitted unless `actor` has the installation-wide `permission`."""
    if not allows_here(actor, permission):
        raise NotPermitted(permission=permission)


def permissions_of_scopes(scopes: Collection[str]) -> frozenset[str]:
    return frozenset().union(*(SCOPE_PERMISSIONS[scope] for scope in scopes))
