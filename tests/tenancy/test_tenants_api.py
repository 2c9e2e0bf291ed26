"""Tenants from creation to restoration, and superusers who break the glass of one."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core.access import TenantRole, allows
from apps.core.actor import Actor
from apps.core.models import Change, OutboxMessage
from apps.services.models import Service
from apps.tenancy.automation import create_service_account, issue_access_token
from apps.tenancy.models import Tenant, TenantMember, User
from apps.tenancy.operations import create_tenant, set_tenant_member
from tests.conftest import Cast
from tests.console.session import absent, signed_in
from tests.delivery.client import delivering
from tests.tenancy.test_manage_api import BASE, NOBODY, PEOPLE, by_token, patch, post, token_of


def delete(client: Client, path: str, **headers: str) -> Any:
    return client.delete(f"{BASE}/{path}", headers=headers)


def slugs(client: Client, query: str = "") -> list[str]:
    return [tenant["slug"] for tenant in client.get(f"{BASE}/tenants{query}").json()["results"]]


def events(action: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action=action).order_by("time"))


# ---- made, changed, deleted, restored


def test_superusers_in_a_session_make_tenants_and_nobody_else_does(cast: Cast, command: Actor) -> None:
    body = {"slug": "fresh", "name": "Fresh Ltd", "owner": "vic@example.org"}
    set_tenant_member(actor=command, tenant=cast.tenant, user=cast.users["sue"], role=TenantRole.OWNER)
    others = [signed_in(cast, name) for name in ("carol", "vic", "mallory")]
    others.append(by_token(token_of(cast, "sue", "tenant:read", "project:create")))

    refused = [post(client, "tenants", each) for client in others for each in (body, {"owner": "?"})]
    sue = signed_in(cast, "sue")
    made = post(sue, "tenants", body)
    again = post(sue, "tenants", body)
    unowned = post(sue, "tenants", {"slug": "other", "owner": "nobody@example.org"})
    wrong = [
        post(sue, "tenants", {"slug": "other", "owner": "vic@example.org", **each})
        for each in (
            {"slug": "No"},
            {"slug": "a" * 64},
            {"name": "a\nb"},
            {"name": "a\x00b"},
            {"owner": "vic"},
            {"suspended": True},
        )
    ]

    assert {answer.status_code for answer in refused} == {403}
    assert (made.status_code, again.status_code, unowned.status_code) == (201, 409, 404)
    assert again.json()["code"] == "already_exists"
    assert {answer.status_code for answer in wrong} == {422}
    assert made["ETag"] == '"1"'
    assert made.json()["name"] == "Fresh Ltd"
    assert sue.get(f"{BASE}/tenants/{made.json()['id']}").json() == made.json()
    owner = TenantMember.objects.get(tenant=made.json()["id"])
    assert (owner.user.email, owner.role) == ("vic@example.org", "owner")
    assert Tenant.objects.count() == 3
    assert len(events("tenant.created")) == 3


# By hand from SPEC 3: who deletes and restores Carol's tenant, and what the others are told.
ENDS = {"carol": 204, "sue": 204, "mallory": 404}
RESTORES = {"carol": 200, "sue": 200}


def test_owners_and_superusers_delete_and_restore_a_tenant(cast: Cast) -> None:
    path = f"tenants/{cast.tenant.pk}"

    for name in PEOPLE:
        client = signed_in(cast, name)
        ended = delete(client, path)
        assert ended.status_code == ENDS.get(name, 403), name
        live = post(client, f"{path}/restore", None).status_code if ended.status_code != 204 else None
        assert live in (None, 403, 404), name
        if ended.status_code != 204:
            assert Tenant.objects.get(pk=cast.tenant.pk).deleted_at is None
            continue
        assert client.get(f"{BASE}/{path}").status_code == 404
        assert delete(client, path).status_code == 404
        assert patch(client, path, {"name": "x"}).status_code == 404
        assert client.get(f"{BASE}/{path}/members").status_code == 404
        assert "acme" not in slugs(client)
        assert slugs(client, "?deleted=true") == ["acme"]
        for other in ("alice", "finn", "mallory"):
            stranger = signed_in(cast, other)
            assert post(stranger, f"{path}/restore", None).status_code == 404
            assert slugs(stranger, "?deleted=true") == []
        row = Tenant.objects.get(pk=cast.tenant.pk)
        assert row.purge_after is not None and row.deleted_at is not None
        assert row.purge_after - row.deleted_at == timedelta(days=30)
        back = post(client, f"{path}/restore", None)
        assert back.status_code == RESTORES[name]
        assert (back.json()["deleted_at"], back.json()["purge_after"]) == (None, None)
        twice = post(client, f"{path}/restore", None)
        assert (twice.status_code, twice.json()["code"]) == (409, "conflict")
        assert "acme" in slugs(client)
        assert slugs(client, "?deleted=true") == []

    assert [each.actor_name for each in events("tenant.deleted")] == ["carol@example.org", "sue@example.org"]
    assert len(events("tenant.restored")) == 2
    assert signed_in(cast, "carol").get(f"{BASE}/tenants?deleted=maybe").status_code == 422


def test_a_tenant_that_changed_meanwhile_is_not_deleted_and_one_past_its_days_not_restored(
    cast: Cast,
) -> None:
    client, path = signed_in(cast, "carol"), f"tenants/{cast.tenant.pk}"
    tag = client.get(f"{BASE}/{path}")["ETag"]
    patch(client, path, {"name": "Later"})

    stale = delete(client, path, **{"If-Match": tag})
    unreadable = delete(client, path, **{"If-Match": "W/1"})
    ended = delete(client, path, **{"If-Match": client.get(f"{BASE}/{path}")["ETag"]})
    stale_restore = post(client, f"{path}/restore", None, **{"If-Match": tag})
    Tenant.objects.filter(pk=cast.tenant.pk).update(purge_after=timezone.now() - timedelta(seconds=1))
    late = post(client, f"{path}/restore", None)

    assert [answer.status_code for answer in (stale, unreadable, ended)] == [412, 422, 204]
    assert (stale_restore.status_code, late.status_code) == (412, 404)
    assert slugs(client, "?deleted=true") == []


@pytest.mark.django_db(transaction=True, databases=["default", "reader"])
def test_keys_and_tokens_of_a_deleted_tenant_stop_and_go_on_when_it_is_restored(
    committed_cast: Cast,
) -> None:
    cast = committed_cast
    account = create_service_account(actor=cast.actor("carol"), tenant=cast.tenant, name="ci")
    _, text = issue_access_token(
        actor=cast.actor("carol"),
        bearer=account.user,
        name="ci",
        scopes=["tenant:read"],
        expires_at=timezone.now() + timedelta(days=1),
    )
    robot, carol = by_token(text), signed_in(cast, "carol")
    workload = Client(headers={"X-Nexus-API-Key": cast.keys["backend"]})
    path = f"tenants/{cast.tenant.pk}"

    with delivering() as delivery:

        def statuses() -> list[int]:
            delivery.app.tailer.look()
            return [
                delivery.get(key=cast.keys["backend"]).status,
                workload.put(
                    "/api/v1/secrets/a", {"value": "v"}, content_type="application/json"
                ).status_code,
                robot.get(f"{BASE}/tenants").status_code,
            ]

        before = statuses()
        assert delete(carol, path).status_code == 204
        gone = statuses()
        told = Change.objects.filter(event="tenant.changed", tenant_id=cast.tenant.pk).count()
        assert post(carol, f"{path}/restore", None).status_code == 200
        after = statuses()

    # A key that only reads may not write, and is told so: it is known.
    assert before == after == [200, 403, 200]
    assert gone == [401, 401, 401]
    assert told == 2  # One of its creation.


def test_a_list_of_tenants_costs_the_same_however_long_it_is(
    cast: Cast, command: Actor, django_assert_max_num_queries: Any
) -> None:
    client = signed_in(cast, "sue")
    for number in range(30):
        create_tenant(actor=command, slug=f"t{number}", owner=cast.users["vic"])

    with django_assert_max_num_queries(12):
        assert len(slugs(client)) == 32


# ---- break-glass


def test_a_superuser_sees_that_a_tenant_is_there_and_nothing_in_it(cast: Cast) -> None:
    client, path = signed_in(cast, "sue"), f"tenants/{cast.tenant.pk}"

    assert client.get(f"{BASE}/{path}").status_code == 200
    assert slugs(client) == ["acme", "evil"]
    for collection in ("members", "service-accounts"):
        assert client.get(f"{BASE}/{path}/{collection}").status_code == 403
        assert client.get(f"{BASE}/{path}/{collection}/{NOBODY}").status_code == 404
    assert post(client, f"{path}/members", {"email": "sue@example.org", "role": "owner"}).status_code == 403
    assert post(client, f"{path}/service-accounts", {"name": "mine"}).status_code == 403
    member = TenantMember.objects.get(tenant=cast.tenant, user=cast.users["vic"])
    assert patch(client, f"{path}/members/{member.pk}", {"role": "owner"}).status_code == 404
    assert delete(client, f"{path}/members/{member.pk}").status_code == 404


def test_glass_is_broken_for_hours_aloud_and_by_present_superusers_alone(cast: Cast, command: Actor) -> None:
    set_tenant_member(actor=command, tenant=cast.tenant, user=cast.users["alice"], role=TenantRole.OWNER)
    path = f"tenants/{cast.tenant.pk}/break-glass"
    body = {"role": "owner", "reason": "Ticket 42: the owner is away."}
    OutboxMessage.objects.all().delete()

    for name, status in (("carol", 403), ("vic", 403), ("mallory", 404)):
        assert post(signed_in(cast, name), path, body).status_code == status
    sue = signed_in(cast, "sue")
    for wrong in (
        {"role": "admin"},
        {"reason": ""},
        {"reason": " "},
        {"reason": "x" * 501},
        {"reason": "a\nb"},
        {"reason": "a\u202eb"},
        {"user": "vic@example.org"},
    ):
        assert post(sue, path, {**body, **wrong}).status_code == 422, wrong
    away = post(absent(sue), path, body)
    assert (away.status_code, away.json()["code"]) == (403, "reauthentication_required")
    assert not events("break_glass.opened")
    assert not OutboxMessage.objects.exists()

    opened = post(signed_in(cast, "sue"), path, body)

    assert opened.status_code == 201
    member = TenantMember.objects.get(tenant=cast.tenant, user=cast.users["sue"])
    assert member.ends_at is not None
    ahead = member.ends_at - timezone.now()
    assert timedelta(hours=3, minutes=59) < ahead <= timedelta(hours=4)
    assert opened.json()["role"] == "owner"
    told = events("break_glass.opened")[0]
    assert (told.tenant_id, told.project_id, told.actor_name) == (cast.tenant.pk, None, "sue@example.org")
    assert told.changed["reason"] == [None, body["reason"]]
    assert told.changed["role"] == [None, "owner"]
    mails = OutboxMessage.objects.filter(topic="mail")
    assert {mail.payload["to"] for mail in mails} == {"alice@example.org", "carol@example.org"}
    assert all(body["reason"] in mail.payload["text"] for mail in mails)


def test_broken_glass_gives_the_role_until_its_end_and_nothing_after(cast: Cast) -> None:
    sue, path = signed_in(cast, "sue"), f"tenants/{cast.tenant.pk}"
    post(sue, f"{path}/break-glass", {"role": "owner", "reason": "Ticket 42"})
    user = cast.users["sue"]

    def rights() -> tuple[int, bool, bool]:
        return (
            sue.get(f"{BASE}/{path}/members").status_code,
            User.objects.get(pk=user.pk).has_perm("secret:reveal", cast.backend),
            Service.objects.visible_to(cast.actor("sue"), "secret:reveal")
            .filter(pk=cast.backend.pk)
            .exists(),
        )

    inside = rights()
    mine = TenantMember.objects.get(tenant=cast.tenant, user=user)
    stay = patch(sue, f"{path}/members/{mine.pk}", {"role": "owner"})
    leave = delete(sue, f"{path}/members/{mine.pk}")
    TenantMember.objects.filter(pk=mine.pk).update(ends_at=timezone.now() - timedelta(seconds=1))
    outside = rights()

    assert inside == (200, True, True)
    assert (stay.status_code, leave.status_code) == (403, 403)
    assert outside == (403, False, False)
    assert not allows(cast.actor("sue"), "tenant:read", cast.tenant)
    carol = signed_in(cast, "carol")
    listed = [each["email"] for each in carol.get(f"{BASE}/{path}/members").json()["results"]]
    assert "sue@example.org" not in listed


def test_breaking_glass_once_more_replaces_role_and_end_and_a_lasting_member_has_none_to_break(
    cast: Cast, command: Actor
) -> None:
    sue, path = signed_in(cast, "sue"), f"tenants/{cast.tenant.pk}"
    first = post(sue, f"{path}/break-glass", {"role": "owner", "reason": "one"}).json()
    TenantMember.objects.filter(pk=first["id"]).update(ends_at=timezone.now() + timedelta(minutes=5))

    second = post(sue, f"{path}/break-glass", {"role": "member", "reason": "two"}).json()
    kept = sue.get(f"{BASE}/{path}/members").status_code
    set_tenant_member(actor=command, tenant=cast.tenant, user=cast.users["sue"], role=TenantRole.FINANCE)
    third = post(sue, f"{path}/break-glass", {"role": "owner", "reason": "three"})

    assert second["id"] == first["id"]
    assert second["role"] == "member"
    assert TenantMember.objects.get(pk=first["id"]).role == "finance"
    assert kept == 403
    assert events("break_glass.opened")[1].changed["role"] == ["owner", "member"]
    assert (third.status_code, third.json()["code"]) == (409, "conflict")
    assert len(events("break_glass.opened")) == 2
