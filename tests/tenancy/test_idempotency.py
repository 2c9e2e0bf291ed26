"""One Idempotency-Key makes one thing, through the doors of automation (SPEC 10)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core.access import TenantRole
from apps.core.actor import Actor
from apps.core.models import IdempotencyRecord
from apps.tenancy.automation import create_service_account, issue_access_token
from apps.tenancy.models import AccessToken, ServiceAccount, User
from apps.tenancy.operations import set_tenant_member
from tests.conftest import Cast
from tests.console.session import absent, signed_in
from tests.tenancy.test_manage_api import BASE, later, patch, post

InThread = Callable[[Callable[[], Any]], Callable[[], Any]]
KEY = {"Idempotency-Key": "7f1c0d1e-0000-4000-8000-000000000001"}


def test_the_same_key_twice_makes_one_token_whose_text_is_not_shown_again(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    body = {"name": "x", "scopes": ["config:read"], "expires_at": later()}

    first = post(client, "access-tokens", body, **KEY)
    # The order of members is no part of what was sent, and a repeat makes nothing that needs presence.
    second = post(absent(client), "access-tokens", dict(reversed(body.items())), **KEY)

    assert (first.status_code, second.status_code) == (201, 201)
    assert "Idempotent-Replayed" not in first
    assert second["Idempotent-Replayed"] == "true"
    assert second["ETag"] == first["ETag"]
    shown = first.json()
    text = shown.pop("token")
    assert second.json() == {**shown, "already_shown": True}
    assert AccessToken.objects.count() == 1
    assert AuditEvent.objects.filter(action="access_token.issued").count() == 1
    stored = IdempotencyRecord.objects.get()
    assert text not in str(stored.__dict__)
    assert KEY["Idempotency-Key"] not in str(stored.__dict__)


def test_a_new_account_s_password_is_shown_once_and_kept_nowhere(cast: Cast) -> None:
    client, body = signed_in(cast, "sue"), {"email": "ada@example.org"}

    first = post(client, "operators", body, **KEY).json()
    second = post(client, "operators", body, **KEY).json()

    password = first.pop("password")
    assert second == {**first, "already_shown": True}
    assert password not in str(IdempotencyRecord.objects.get().__dict__)
    assert User.objects.filter(email="ada@example.org").count() == 1


def test_a_key_is_one_actors_for_one_path_and_one_body(cast: Cast, command: Actor) -> None:
    set_tenant_member(actor=command, tenant=cast.tenant, user=cast.users["alice"], role=TenantRole.OWNER)
    carol, alice = signed_in(cast, "carol"), signed_in(cast, "alice")
    accounts, members = f"tenants/{cast.tenant.pk}/service-accounts", f"tenants/{cast.tenant.pk}/members"

    made = post(carol, accounts, {"name": "ci"}, **KEY)
    other_body = post(carol, accounts, {"name": "ci", "description": "x"}, **KEY)
    replayed = post(carol, accounts, {"name": "ci"}, **KEY)
    other_actor = post(alice, accounts, {"name": "cd"}, **KEY)
    other_path = post(carol, members, {"email": "mallory@example.org", "role": "member"}, **KEY)
    without = post(carol, accounts, {"name": "ci"})

    assert made.status_code == 201
    assert (other_body.status_code, other_body.json()["code"]) == (422, "idempotency_key_reused")
    assert (replayed.status_code, replayed.json()) == (201, made.json())
    assert "already_shown" not in replayed.json()
    assert (other_actor.status_code, other_path.status_code) == (201, 201)
    assert not other_actor.has_header("Idempotent-Replayed")
    assert not other_path.has_header("Idempotent-Replayed")
    assert without.status_code == 409
    assert {each.name for each in ServiceAccount.objects.all()} == {"ci", "cd"}


def test_a_refused_first_try_leaves_the_key_unused(cast: Cast) -> None:
    client, path = signed_in(cast, "carol"), f"tenants/{cast.tenant.pk}/service-accounts"

    wrong = post(client, path, {"name": "Not A Slug"}, **KEY)
    unshaped = post(client, path, {"title": "ci"}, **KEY)
    right = post(client, path, {"name": "ci"}, **KEY)

    assert (wrong.status_code, unshaped.status_code, right.status_code) == (422, 422, 201)
    assert not right.has_header("Idempotent-Replayed")
    assert IdempotencyRecord.objects.count() == 1


def test_who_lost_the_right_in_between_is_told_nothing_again(cast: Cast, command: Actor) -> None:
    set_tenant_member(actor=command, tenant=cast.tenant, user=cast.users["alice"], role=TenantRole.OWNER)
    client, sue = signed_in(cast, "carol"), signed_in(cast, "sue")
    tenant = f"tenants/{cast.tenant.pk}"
    requests = [
        (client, f"{tenant}/service-accounts", {"name": "ci"}),
        (client, f"{tenant}/members", {"email": "mallory@example.org", "role": "member"}),
        (sue, "tenants", {"slug": "fresh", "owner": "vic@example.org"}),
        (sue, "operators", {"email": "ada@example.org"}),
        (sue, f"{tenant}/break-glass", {"role": "member", "reason": "Ticket 42"}),
    ]
    assert [post(who, path, body, **KEY).status_code for who, path, body in requests] == [201] * 5

    set_tenant_member(
        actor=cast.actor("alice"), tenant=cast.tenant, user=cast.users["carol"], role=TenantRole.MEMBER
    )
    User.objects.filter(pk=cast.users["sue"].pk).update(is_superuser=False)
    replays = [post(who, path, body, **KEY) for who, path, body in requests]

    assert [answer.status_code for answer in replays] == [403] * 5
    assert not any("ada@example.org" in answer.content.decode() for answer in replays)


@pytest.mark.parametrize("key", [" ", "a b", "x" * 256, "ключ"])
def test_what_can_be_no_key_is_422(cast: Cast, key: str) -> None:
    path = f"tenants/{cast.tenant.pk}/service-accounts"

    answer = post(signed_in(cast, "carol"), path, {"name": "ci"}, **{"Idempotency-Key": key})

    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["errors"]
    assert not ServiceAccount.objects.exists()


def test_two_at_once_with_one_key_make_one_thing_and_are_both_answered(
    committed_cast: Cast, in_thread: InThread
) -> None:
    cast = committed_cast
    path = f"tenants/{cast.tenant.pk}/service-accounts"
    clients = [signed_in(cast, "carol"), Client()]
    clients[1].cookies = clients[0].cookies

    with ThreadPoolExecutor(2) as pool:
        futures = [
            pool.submit(in_thread(lambda each=each: post(each, path, {"name": "ci"}, **KEY)))
            for each in clients
        ]
        answers = [future.result() for future in futures]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert sorted(answer.has_header("Idempotent-Replayed") for answer in answers) == [False, True]
    assert ServiceAccount.objects.count() == 1
    assert AuditEvent.objects.filter(action="service_account.created").count() == 1


# ---- what else the doors of automation take


def test_accounts_and_tokens_take_if_match_and_lists_take_filters(cast: Cast) -> None:
    client, path = signed_in(cast, "carol"), f"tenants/{cast.tenant.pk}/service-accounts"
    made = post(client, path, {"name": "ci", "description": "Deploys"})
    item = f"{path}/{made.json()['id']}"

    changed = patch(client, item, {"description": "D" * 255}, **{"If-Match": made["ETag"]})
    same = patch(client, item, {"description": "D" * 255})
    stale = patch(client, item, {"description": "x"}, **{"If-Match": made["ETag"]})
    wrong = [patch(client, item, {"description": text}) for text in ("D" * 256, "a\nb", None)]
    wrong += [patch(client, item, {"name": "cd"}), patch(client, item, {})]
    refused = [patch(signed_in(cast, name), item, {"description": "x"}) for name in ("vic", "mallory", "sue")]
    token_body = {"name": "x", "scopes": ["tenant:read"], "expires_at": later()}
    tokens = [
        post(client, "access-tokens", {**token_body, **each}).json()
        for each in ({}, {"service_account": made.json()["id"]}, {"service_account": made.json()["id"]})
    ]
    long_name = post(client, "access-tokens", {**token_body, "name": "x" * 101})
    tag = client.get(f"{BASE}/access-tokens/{tokens[1]['id']}")["ETag"]
    kept = client.delete(f"{BASE}/access-tokens/{tokens[1]['id']}", headers={"If-Match": '"7"'})
    revoked = client.delete(f"{BASE}/access-tokens/{tokens[1]['id']}", headers={"If-Match": tag})

    def listed(query: str) -> set[str]:
        return {each["id"] for each in client.get(f"{BASE}/access-tokens?{query}").json()["results"]}

    assert (changed.status_code, same.status_code, stale.status_code) == (200, 200, 412)
    assert same["ETag"] == changed["ETag"] == '"2"'
    assert {answer.status_code for answer in wrong} == {422}
    assert {answer.status_code for answer in refused} == {404}
    assert AuditEvent.objects.filter(action="service_account.updated").count() == 1
    assert long_name.status_code == 422
    assert (kept.status_code, revoked.status_code) == (412, 204)
    own, ended, live = (token["id"] for token in tokens)
    assert listed("") == {own, ended, live}
    assert listed("is_revoked=true") == {ended}
    assert listed("is_revoked=false") == {own, live}
    assert listed(f"service_account={made.json()['id']}") == {ended, live}
    assert listed(f"service_account={made.json()['id']}&is_revoked=false") == {live}
    assert client.get(f"{BASE}/access-tokens?service_account=x").status_code == 422
    assert client.delete(f"{BASE}/{item}", headers={"If-Match": made["ETag"]}).status_code == 412
    assert client.delete(f"{BASE}/{item}", headers={"If-Match": changed["ETag"]}).status_code == 204


def test_lists_of_automation_cost_the_same_however_long_they_are(
    cast: Cast, django_assert_max_num_queries: Any
) -> None:
    client, carol = signed_in(cast, "carol"), cast.actor("carol")
    for number in range(30):
        account = create_service_account(actor=carol, tenant=cast.tenant, name=f"ci-{number}")
        issue_access_token(
            actor=carol,
            bearer=account.user,
            name="x",
            scopes=["tenant:read"],
            expires_at=timezone.now() + timedelta(days=1),
        )

    with django_assert_max_num_queries(12):
        accounts = client.get(f"{BASE}/tenants/{cast.tenant.pk}/service-accounts").json()
    with django_assert_max_num_queries(12):
        tokens = client.get(f"{BASE}/access-tokens").json()

    assert (len(accounts["results"]), len(tokens["results"])) == (30, 30)
