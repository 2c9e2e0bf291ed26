"""Service accounts, and access tokens of people and of service accounts."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core.access import ProjectRole, TenantRole, allows, allows_here
from apps.core.actor import Actor
from apps.core.errors import (
    AlreadyExists,
    InvalidCredential,
    InvalidInput,
    NotFound,
    NotPermitted,
    ReauthenticationRequired,
)
from apps.projects.memberships import token_actor
from apps.projects.operations import remove_project_member, set_project_member
from apps.tenancy.automation import (
    create_service_account,
    delete_service_account,
    issue_access_token,
    revoke_access_token,
)
from apps.tenancy.models import AccessToken, ServiceAccount, User
from apps.tenancy.operations import set_tenant_member
from apps.tenancy.tokens import good_token, is_well_formed
from tests.conftest import Cast


def issued(
    cast: Cast, name: str, *scopes: str, bearer: User | None = None, **more: Any
) -> tuple[AccessToken, str]:
    more.setdefault("expires_at", timezone.now() + timedelta(days=30))
    return issue_access_token(
        actor=cast.actor(name), bearer=bearer or cast.users[name], name="ci", scopes=scopes, **more
    )


def test_a_token_has_its_form_and_is_stored_as_a_digest(cast: Cast) -> None:
    token, text = issued(cast, "mona", "secret:write")

    assert len(text) == len("nxp_") + 64
    assert is_well_formed(text)
    assert not is_well_formed(text[:-1] + ("0" if text[-1] != "0" else "1"))
    assert text.encode() not in bytes(token.digest)
    assert good_token(text) == token
    event = AuditEvent.objects.latest("time")
    assert event.action == "access_token.issued"
    assert text not in event.changes


def test_a_token_does_what_its_scopes_and_its_bearer_both_may(cast: Cast) -> None:
    _, text = issued(cast, "mona", "secret:write", "config:read")

    actor = token_actor(good_token(text))

    assert allows(actor, "secret:write", cast.backend)
    assert allows(actor, "config:read", cast.backend)
    assert not allows(actor, "secret:reveal", cast.backend)
    assert not allows(actor, "member:manage", cast.project)


def test_a_token_loses_at_once_what_its_bearer_loses(cast: Cast, command: Actor) -> None:
    _, text = issued(cast, "mona", "secret:write")

    remove_project_member(actor=command, project=cast.project, user=cast.users["mona"])

    assert not allows(token_actor(good_token(text)), "secret:write", cast.backend)


@pytest.mark.parametrize("scope", ["member:manage", "tenant:manage_members", "account:manage", "everything"])
def test_no_token_carries_the_management_of_members_or_accounts(cast: Cast, scope: str) -> None:
    with pytest.raises(InvalidInput):
        issued(cast, "carol", scope)


def test_nobody_puts_into_a_token_what_they_lack(cast: Cast) -> None:
    with pytest.raises(NotPermitted):
        issued(cast, "vic", "secret:reveal")

    assert not AccessToken.objects.exists()


def test_issuing_asks_for_presence_and_a_session(cast: Cast) -> None:
    later = timezone.now() + timedelta(days=1)
    absent = cast.actor("mona", present=False)
    _, text = issued(cast, "mona", "secret:write")
    by_token = token_actor(good_token(text))

    with pytest.raises(ReauthenticationRequired):
        issue_access_token(
            actor=absent, bearer=cast.users["mona"], name="x", scopes=["config:read"], expires_at=later
        )
    with pytest.raises(NotPermitted):
        issue_access_token(
            actor=by_token, bearer=cast.users["mona"], name="x", scopes=["config:read"], expires_at=later
        )

    assert AccessToken.objects.count() == 1


@pytest.mark.parametrize("days", [-1, 0, 366])
def test_a_token_ends_within_a_year(cast: Cast, days: int) -> None:
    with pytest.raises(InvalidInput):
        issued(cast, "mona", "config:read", expires_at=timezone.now() + timedelta(days=days))


def test_a_token_that_is_wrong_in_any_way_is_refused_alike(cast: Cast) -> None:
    token, text = issued(cast, "mona", "config:read")
    _, other = issued(cast, "carol", "project:delete")
    now = timezone.now()

    def refused() -> bool:
        try:
            good_token(text)
        except InvalidCredential:
            return True
        return False

    row = AccessToken.objects.filter(pk=token.pk)
    assert not refused()
    for change in (
        {"revoked_at": now},
        {"expires_at": now - timedelta(seconds=1)},
        # Edited in the database: a longer life, more scopes, another bearer.
        {"expires_at": now + timedelta(days=300)},
        {"scopes": ["config:read", "secret:reveal"]},
        {"user": cast.users["carol"]},
    ):
        before = row.values(*change).get()
        row.update(**change)
        assert refused(), change
        row.update(**before)
    User.objects.filter(pk=cast.users["mona"].pk).update(is_active=False)
    assert refused()
    assert good_token(other)


def test_a_token_of_a_superuser_manages_no_accounts(cast: Cast, command: Actor) -> None:
    set_tenant_member(actor=command, tenant=cast.tenant, user=cast.users["sue"], role=TenantRole.OWNER)
    _, text = issued(cast, "sue", "project:create")

    assert not allows_here(token_actor(good_token(text)), "account:manage")


def test_tokens_are_their_bearers_own(cast: Cast) -> None:
    token, text = issued(cast, "mona", "config:read")

    for name in ("carol", "alice", "mallory", "sue"):
        with pytest.raises(NotFound):
            revoke_access_token(actor=cast.actor(name), token=token)
    assert good_token(text)

    revoke_access_token(actor=cast.actor("mona"), token=token)

    with pytest.raises(InvalidCredential):
        good_token(text)


def account_of(cast: Cast) -> ServiceAccount:
    return create_service_account(actor=cast.actor("carol"), tenant=cast.tenant, name="ci")


def test_a_service_account_has_roles_as_people_have_and_no_log_in(cast: Cast) -> None:
    account = account_of(cast)
    set_project_member(
        actor=cast.actor("mona"), project=cast.project, user=account.user, role=ProjectRole.DEVELOPER
    )
    _, text = issued(cast, "carol", "config:write", "config:read", bearer=account.user)

    actor = token_actor(good_token(text))

    assert (actor.type, actor.name) == ("service_account", "ci")
    assert allows(actor, "config:read", cast.backend)
    assert not allows(actor, "config:write", cast.backend)  # Production, and it is a developer.
    assert not account.user.has_usable_password()


def test_a_service_account_stays_in_its_tenant_and_owns_nothing(cast: Cast, command: Actor) -> None:
    account = account_of(cast)

    with pytest.raises(NotFound):
        set_project_member(
            actor=cast.actor("mallory"),
            project=cast.other_project,
            user=account.user,
            role=ProjectRole.VIEWER,
        )
    with pytest.raises(InvalidInput):
        set_project_member(
            actor=cast.actor("alice"), project=cast.project, user=account.user, role=ProjectRole.OWNER
        )
    with pytest.raises(InvalidInput):
        set_tenant_member(
            actor=cast.actor("carol"), tenant=cast.tenant, user=account.user, role=TenantRole.OWNER
        )
    with pytest.raises(AlreadyExists):
        account_of(cast)


@pytest.mark.parametrize("name", ["alice", "mona", "bob", "vic", "finn", "mallory", "sue"])
def test_only_owners_of_the_tenant_make_and_end_service_accounts(cast: Cast, name: str) -> None:
    account = account_of(cast)

    with pytest.raises(NotPermitted):
        create_service_account(actor=cast.actor(name), tenant=cast.tenant, name="other")
    with pytest.raises(NotPermitted):
        delete_service_account(actor=cast.actor(name), account=account)
    with pytest.raises(NotFound):
        issued(cast, name, "config:read", bearer=account.user)

    assert ServiceAccount.objects.count() == 1


def test_deleting_a_service_account_ends_its_tokens_and_roles(cast: Cast) -> None:
    account = account_of(cast)
    user = account.user
    set_project_member(actor=cast.actor("mona"), project=cast.project, user=user, role=ProjectRole.VIEWER)
    _, text = issued(cast, "carol", "config:read", bearer=user)

    delete_service_account(actor=cast.actor("carol"), account=account)

    with pytest.raises(InvalidCredential):
        good_token(text)
    assert not User.objects.filter(pk=user.pk).exists()
    assert not cast.project.members.filter(user=user.pk).exists()
    assert AuditEvent.objects.latest("time").action == "service_account.deleted"


def test_an_account_whose_body_is_a_person_is_managed_by_nobody(cast: Cast) -> None:
    """No operation makes such a row. Were there one, a tenant's owner would act as that person."""
    vic = cast.users["vic"]
    account = ServiceAccount.objects.create(tenant=cast.tenant, user=vic, name="mask")
    token, _ = issued(cast, "vic", "tenant:read")

    with pytest.raises(NotFound):
        issued(cast, "carol", "tenant:read", bearer=vic)
    with pytest.raises(NotFound):
        revoke_access_token(actor=cast.actor("carol"), token=token)
    with pytest.raises(NotFound):
        delete_service_account(actor=cast.actor("carol"), account=account)

    assert not AccessToken.objects.manageable_by(cast.actor("carol")).exists()
    assert User.objects.filter(pk=vic.pk).exists()


def test_the_database_lets_no_person_become_automation(cast: Cast) -> None:
    robot = create_service_account(actor=cast.actor("carol"), tenant=cast.tenant, name="robot")

    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(pk=cast.users["vic"].pk).update(is_service_account=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        ServiceAccount.objects.filter(pk=robot.pk).update(user=cast.users["vic"])
