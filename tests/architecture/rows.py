"""Rows for the query budgets: one maker a list, straight into the tables.

A new list needs a line in `tests/budgets.json` and a maker in `LISTS`; a new item a line there and one in
`ITEMS`. Addresses are those of the URLconf below /api/v1/manage, their parameters in braces.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.utils import timezone

from apps.audit.models import AuditChain, AuditEvent
from apps.core.actor import Actor
from apps.core.ids import uuid7
from apps.core.models import DataKey
from apps.flags.models import Flag
from apps.flags.operations import set_flag
from apps.projects.models import AddOn, Project, ProjectGrant, ProjectMember
from apps.services.models import ApiKey, Service, ServiceGrant, WorkloadIdentity
from apps.tenancy.automation import create_service_account, issue_access_token
from apps.tenancy.models import AccessToken, Invitation, ServiceAccount, Tenant, TenantMember, User
from apps.vault.models import Config, ConfigVersion, Secret, SecretVersion
from apps.vault.operations import set_config, set_secret
from tests.conftest import Cast

PARAMETERS: dict[str, Callable[[Cast], object]] = {
    "tenant_id": lambda cast: cast.tenant.pk,
    "project_id": lambda cast: cast.project.pk,
    "service_id": lambda cast: cast.backend.pk,
    "key": lambda cast: "a",
    "operator_id": lambda cast: cast.users["bob"].pk,
    "key_id": lambda cast: ApiKey.objects.get(service=cast.backend).pk,
    "identity_id": lambda cast: WorkloadIdentity.objects.get(service=cast.backend).pk,
    "invitation_id": lambda cast: Invitation.objects.get(tenant=cast.tenant).pk,
    # Two scopes have them.
    "projects/member_id": lambda cast: cast.project.members.get(user=cast.users["bob"]).pk,
    "tenants/member_id": lambda cast: cast.tenant.members.get(user=cast.users["finn"]).pk,
    "projects/event_id": lambda cast: AuditEvent.objects.filter(project_id=cast.project.pk)[0].pk,
    "tenants/event_id": lambda cast: (
        AuditEvent.objects.filter(tenant_id=cast.tenant.pk, project_id=None)[0].pk
    ),
    "token_id": lambda cast: AccessToken.objects.latest("created_at").pk,
    "account_id": lambda cast: ServiceAccount.objects.latest("created_at").pk,
}


# What an address cannot be asked without.
QUERIES = {"GET services/{service_id}/configs/{key}/diff": "?left=1&right=1"}
# Whose list it is; of all others the owner of the tenant reads most.
READERS = {"operators": "sue"}


def _users(count: int, *, is_service_account: bool = False) -> list[User]:
    return User.objects.bulk_create(
        User(email=f"{uuid7()}@example.org", is_service_account=is_service_account) for _ in range(count)
    )


def _operators(cast: Cast, count: int) -> None:
    _users(count)


def _tenants(cast: Cast, count: int) -> None:
    tenants = Tenant.objects.bulk_create(Tenant(slug=str(uuid7()), name="x") for _ in range(count))
    carol = cast.users["carol"]
    TenantMember.objects.bulk_create(
        TenantMember(tenant=tenant, user=carol, role="member") for tenant in tenants
    )


def _members(cast: Cast, count: int) -> None:
    TenantMember.objects.bulk_create(
        TenantMember(tenant=cast.tenant, user=user, role="member") for user in _users(count)
    )


def _accounts(cast: Cast, count: int) -> None:
    ServiceAccount.objects.bulk_create(
        ServiceAccount(tenant=cast.tenant, user=user, name=str(user.pk))
        for user in _users(count, is_service_account=True)
    )


def _tokens(cast: Cast, count: int) -> None:
    AccessToken.objects.bulk_create(
        AccessToken(
            user=cast.users["carol"],
            name="x",
            last4="0000",
            digest=uuid7().bytes * 2,
            mac=bytes(32),
            pepper_id=uuid7(),
            scopes=["config:read"],
            expires_at=timezone.now() + timedelta(days=1),
        )
        for _ in range(count)
    )


def _secrets(cast: Cast, count: int) -> None:
    secrets = Secret.objects.bulk_create(
        Secret(service=cast.backend, key=f"k{uuid7()}", active_version=1) for _ in range(count)
    )
    key = DataKey.objects.get(project_id=cast.project.pk)
    SecretVersion.objects.bulk_create(
        SecretVersion(secret=secret, version=1, type="text", sealed=bytes(32), data_key=key, size_bytes=4)
        for secret in secrets
    )


def _configs(cast: Cast, count: int) -> None:
    configs = Config.objects.bulk_create(
        Config(service=cast.backend, key=f"k{uuid7()}", active_version=1) for _ in range(count)
    )
    ConfigVersion.objects.bulk_create(
        ConfigVersion(config=config, version=1, type="string", value_json='"x"', size_bytes=3)
        for config in configs
    )


def _flags(cast: Cast, count: int) -> None:
    definition = json.dumps({"type": "boolean"})
    Flag.objects.bulk_create(
        Flag(service=cast.backend, key=f"k{uuid7()}", type="boolean", definition=definition)
        for _ in range(count)
    )


def _secret_versions(cast: Cast, count: int) -> None:
    secret, _ = Secret.objects.get_or_create(service=cast.backend, key="a")
    key = DataKey.objects.get(project_id=cast.project.pk)
    first = secret.active_version + 1
    secret.active_version += count
    secret.save()
    SecretVersion.objects.bulk_create(
        SecretVersion(
            secret=secret, version=first + number, type="text", sealed=bytes(32), data_key=key, size_bytes=4
        )
        for number in range(count)
    )


def _config_versions(cast: Cast, count: int) -> None:
    config, _ = Config.objects.get_or_create(service=cast.backend, key="a")
    first = config.active_version + 1
    config.active_version += count
    config.save()
    ConfigVersion.objects.bulk_create(
        ConfigVersion(config=config, version=first + number, type="string", value_json='"x"', size_bytes=3)
        for number in range(count)
    )


def _projects(cast: Cast, count: int) -> None:
    Project.objects.bulk_create(
        Project(tenant=cast.tenant, slug=str(uuid7()), name="x", tier="m") for _ in range(count)
    )


def _project_members(cast: Cast, count: int) -> None:
    ProjectMember.objects.bulk_create(
        ProjectMember(project=cast.project, user=user, role="viewer") for user in _users(count)
    )


def _add_ons(cast: Cast, count: int) -> None:
    # There is one so far; the table does not know that.
    AddOn.objects.bulk_create(AddOn(project=cast.project, name=f"x{uuid7().hex[-18:]}") for _ in range(count))


def _grants(cast: Cast, count: int) -> None:
    """Half of them on the project, half on a service."""
    targets: list[tuple[Any, Any]] = [(ProjectGrant, cast.project), (ServiceGrant, cast.backend)]
    for model, target in targets:
        permission = Permission.objects.get(
            codename="config:write", content_type=ContentType.objects.get_for_model(type(target))
        )
        model.objects.bulk_create(
            model(user=user, permission=permission, content_object=target, granted_by=cast.users["alice"])
            for user in _users(count // 2)
        )


def _invitations(cast: Cast, count: int) -> None:
    Invitation.objects.bulk_create(
        Invitation(
            tenant=cast.tenant,
            email=f"{uuid7()}@example.org",
            role="member",
            invited_by=cast.users["carol"],
            expires_at=timezone.now() + timedelta(days=1),
        )
        for _ in range(count)
    )


def _events(cast: Cast, count: int, **scope: Any) -> None:
    chain = AuditChain.objects.create(scope=f"rows:{uuid7()}", kind="changes")
    AuditEvent.objects.bulk_create(
        AuditEvent(
            chain=chain,
            sequence=number,
            time=timezone.now(),
            tenant_id=cast.tenant.pk,
            action="config.updated",
            outcome="success",
            previous_digest=bytes(32),
            digest=bytes(32),
            mac=bytes(32),
            mac_key_id=uuid7(),
            **scope,
        )
        for number in range(1, count + 1)
    )


def _services(cast: Cast, count: int) -> None:
    Service.objects.bulk_create(
        Service(
            project=cast.project,
            slug=f"s{uuid7()}",
            name="x",
            environment="production",
            kind="backend",
            umbrella=cast.umbrella,
        )
        for _ in range(count)
    )


def _keys(cast: Cast, count: int) -> None:
    ApiKey.objects.bulk_create(
        ApiKey(
            service=cast.backend,
            slot="primary",
            prefix="sk_live_",
            last4="0000",
            digest=uuid7().bytes * 2,
            pepper_id=uuid7(),
            mac=bytes(32),
            scopes=["read"],
            revoked_at=timezone.now(),
        )
        for _ in range(count)
    )


def _identities(cast: Cast, count: int) -> None:
    WorkloadIdentity.objects.bulk_create(
        WorkloadIdentity(
            service=cast.backend,
            provider="github",
            issuer="https://issuer.example",
            audience="nexus",
            subject=str(uuid7()),
        )
        for _ in range(count)
    )


LISTS: dict[str, Callable[[Cast, int], None]] = {
    "GET access-tokens": _tokens,
    "GET operators": _operators,
    "GET projects": _projects,
    "GET projects/{project_id}/add-ons": _add_ons,
    "GET projects/{project_id}/audit-events": lambda cast, count: _events(
        cast, count, project_id=cast.project.pk
    ),
    "GET projects/{project_id}/grants": _grants,
    "GET projects/{project_id}/members": _project_members,
    "GET services": _services,
    "GET services/{service_id}/api-keys": _keys,
    "GET services/{service_id}/configs": _configs,
    "GET services/{service_id}/configs/{key}/versions": _config_versions,
    "GET services/{service_id}/flags": _flags,
    "GET services/{service_id}/secrets": _secrets,
    "GET services/{service_id}/secrets/{key}/versions": _secret_versions,
    "GET services/{service_id}/workload-identities": _identities,
    "GET tenants": _tenants,
    "GET tenants/{tenant_id}/audit-events": _events,
    "GET tenants/{tenant_id}/invitations": _invitations,
    "GET tenants/{tenant_id}/members": _members,
    "GET tenants/{tenant_id}/service-accounts": _accounts,
    "GET tenants/{tenant_id}/usage": _projects,
}


def _token(cast: Cast, command: Actor) -> None:
    issue_access_token(
        actor=cast.actor("carol"),
        bearer=cast.users["carol"],
        name="x",
        scopes=["tenant:read"],
        expires_at=timezone.now() + timedelta(days=1),
    )


def _nothing(cast: Cast, command: Actor) -> None:
    """The cast has one already."""


ITEMS: dict[str, Callable[[Cast, Actor], Any]] = {
    "GET operators/{operator_id}": _nothing,
    "GET projects/{project_id}": _nothing,
    "GET projects/{project_id}/audit-events/{event_id}": _nothing,
    "GET projects/{project_id}/members/{member_id}": _nothing,
    "GET projects/{project_id}/usage": _nothing,
    "GET services/{service_id}": _nothing,
    "GET services/{service_id}/api-keys/{key_id}": _nothing,
    "GET services/{service_id}/workload-identities/{identity_id}": lambda cast, command: _identities(cast, 1),
    "GET tenants/{tenant_id}/audit-events/{event_id}": _nothing,
    "GET tenants/{tenant_id}/invitations/{invitation_id}": lambda cast, command: _invitations(cast, 1),
    "GET tenants/{tenant_id}/members/{member_id}": _nothing,
    "GET access-tokens/{token_id}": _token,
    "GET services/{service_id}/configs/{key}": lambda cast, command: set_config(
        actor=command, service=cast.backend, key="a", value="x"
    ),
    "GET services/{service_id}/configs/{key}/diff": lambda cast, command: set_config(
        actor=command, service=cast.backend, key="a", value="x"
    ),
    "GET services/{service_id}/flags/{key}": lambda cast, command: set_flag(
        actor=command, service=cast.backend, key="a", definition={}
    ),
    "GET services/{service_id}/secrets/{key}": lambda cast, command: set_secret(
        actor=command, service=cast.backend, key="a", value=b"x"
    ),
    "GET tenants/{tenant_id}": _nothing,
    "GET tenants/{tenant_id}/service-accounts/{account_id}": lambda cast, command: create_service_account(
        actor=cast.actor("carol"), tenant=cast.tenant, name="ci"
    ),
}
