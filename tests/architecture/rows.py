"""Rows for the query budgets: one maker a list, straight into the tables.

A new list needs a line in `tests/budgets.json` and a maker in `LISTS`; a new item a line there and one in
`ITEMS`. Addresses are those of the URLconf below /api/v1/manage, their parameters in braces.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.utils import timezone

from apps.core.actor import Actor
from apps.core.ids import uuid7
from apps.core.models import DataKey
from apps.flags.models import Flag
from apps.flags.operations import set_flag
from apps.tenancy.automation import create_service_account, issue_access_token
from apps.tenancy.models import AccessToken, ServiceAccount, Tenant, TenantMember, User
from apps.vault.models import Config, ConfigVersion, Secret, SecretVersion
from apps.vault.operations import set_config, set_secret
from tests.conftest import Cast

PARAMETERS: dict[str, Callable[[Cast], object]] = {
    "tenant_id": lambda cast: cast.tenant.pk,
    "project_id": lambda cast: cast.project.pk,
    "service_id": lambda cast: cast.backend.pk,
    "key": lambda cast: "a",
    "token_id": lambda cast: AccessToken.objects.latest("created_at").pk,
    "account_id": lambda cast: ServiceAccount.objects.latest("created_at").pk,
}


# What an address cannot be asked without.
QUERIES = {"GET services/{service_id}/configs/{key}/diff": "?left=1&right=1"}


def _users(count: int) -> list[User]:
    return User.objects.bulk_create(User(email=f"{uuid7()}@example.org") for _ in range(count))


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
        ServiceAccount(tenant=cast.tenant, user=user, name=str(user.pk)) for user in _users(count)
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


LISTS: dict[str, Callable[[Cast, int], None]] = {
    "GET access-tokens": _tokens,
    "GET services/{service_id}/configs": _configs,
    "GET services/{service_id}/configs/{key}/versions": _config_versions,
    "GET services/{service_id}/flags": _flags,
    "GET services/{service_id}/secrets": _secrets,
    "GET services/{service_id}/secrets/{key}/versions": _secret_versions,
    "GET tenants": _tenants,
    "GET tenants/{tenant_id}/members": _members,
    "GET tenants/{tenant_id}/service-accounts": _accounts,
}


def _token(cast: Cast, command: Actor) -> None:
    issue_access_token(
        actor=cast.actor("carol"),
        bearer=cast.users["carol"],
        name="x",
        scopes=["tenant:read"],
        expires_at=timezone.now() + timedelta(days=1),
    )


ITEMS: dict[str, Callable[[Cast, Actor], Any]] = {
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
    "GET tenants/{tenant_id}": lambda cast, command: None,
    "GET tenants/{tenant_id}/service-accounts/{account_id}": lambda cast, command: create_service_account(
        actor=cast.actor("carol"), tenant=cast.tenant, name="ci"
    ),
}
