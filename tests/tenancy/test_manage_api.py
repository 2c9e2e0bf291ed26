"""Tenants, service accounts and access tokens through the management API."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.tenancy.automation import create_service_account, issue_access_token
from apps.tenancy.models import AccessToken, ServiceAccount, Tenant, User
from tests.conftest import Cast
from tests.console.session import absent, signed_in

BASE = "/api/v1/manage"
NOBODY = "01a00000-0000-7000-8000-000000000000"
PEOPLE = ["alice", "mona", "bob", "tess", "vic", "carol", "finn", "mallory", "sue"]


def token_of(cast: Cast, name: str, *scopes: str) -> str:
    _, text = issue_access_token(
        actor=cast.actor(name),
        bearer=cast.users[name],
        name="tests",
        scopes=scopes,
        expires_at=timezone.now() + timedelta(days=1),
    )
    return text


def by_token(text: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {text}"})


def later(**ahead: int) -> str:
    return (timezone.now() + timedelta(**(ahead or {"days": 10}))).isoformat()


def post(client: Client, path: str, body: Any, **headers: str) -> Any:
    return client.post(f"{BASE}/{path}", json.dumps(body), content_type="application/json", headers=headers)


def patch(client: Client, path: str, body: Any, **headers: str) -> Any:
    return client.patch(f"{BASE}/{path}", json.dumps(body), content_type="application/json", headers=headers)


# ---- who comes in


def test_a_token_and_a_session_open_the_same_door(cast: Cast) -> None:
    clients = by_token(token_of(cast, "carol", "tenant:read")), signed_in(cast, "carol")

    answers = [client.get(f"{BASE}/tenants") for client in clients]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert [tenant["slug"] for tenant in answers[0].json()["results"]] == ["acme"]
    assert answers[0]["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer nxp_" + "0" * 64},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic Y2Fyb2w6cGFzc3dvcmQ="},
        {"X-Nexus-API-Key": "sk_live_" + "0" * 64},
    ],
)
def test_strangers_are_refused_without_a_word_of_why(cast: Cast, headers: dict[str, str]) -> None:
    answer = Client(headers=headers).get(f"{BASE}/tenants")

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["code"] in ("authentication_required", "invalid_credential")


def test_a_key_of_a_service_manages_nothing_and_a_token_is_no_key(cast: Cast) -> None:
    text = token_of(cast, "carol", "tenant:read", "secret:reveal")

    with_key = by_token(cast.keys["backend"]).get(f"{BASE}/tenants")
    as_key = Client(headers={"X-Nexus-API-Key": text}).get("/api/v1/secrets")

    assert (with_key.status_code, as_key.status_code) == (401, 401)


def test_a_token_in_the_address_is_refused(cast: Cast) -> None:
    text = token_of(cast, "carol", "tenant:read")

    answer = signed_in(cast, "carol").get(f"{BASE}/tenants?token={text}")

    assert answer.status_code == 401
    assert text not in answer.content.decode()


def test_a_session_needs_its_csrf_token_for_what_changes_something(cast: Cast) -> None:
    signed = signed_in(cast, "carol")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = signed.cookies

    answer = patch(strict, f"tenants/{cast.tenant.pk}", {"name": "Taken over"})

    assert answer.status_code == 403
    assert answer["Content-Type"] == "application/problem+json"
    assert "X-CSRFToken" in answer.json()["detail"]
    assert Tenant.objects.get(pk=cast.tenant.pk).name == "acme"


def test_who_owes_a_password_does_not_go_round_the_console(cast: Cast) -> None:
    client = signed_in(cast, "carol")
    User.objects.filter(pk=cast.users["carol"].pk).update(must_change_password=True)

    assert client.get(f"{BASE}/tenants").status_code == 403


def test_deactivation_ends_sessions_and_tokens_at_once(cast: Cast) -> None:
    session, token = signed_in(cast, "carol"), by_token(token_of(cast, "carol", "tenant:read"))

    User.objects.filter(pk=cast.users["carol"].pk).update(is_active=False)

    assert session.get(f"{BASE}/tenants").status_code == 401
    assert token.get(f"{BASE}/tenants").status_code == 401


# ---- tenants


# By hand from SPEC 3: owners change, finance and members see, others find nothing; Sue, a superuser, sees
# that the tenant is there and in what state, and nothing in it.
SEES_TENANT = {"alice", "mona", "bob", "tess", "vic", "carol", "finn", "sue"}


@pytest.mark.parametrize("name", PEOPLE)
def test_who_reads_and_who_changes_a_tenant(cast: Cast, name: str) -> None:
    client = signed_in(cast, name)
    path = f"tenants/{cast.tenant.pk}"

    read = client.get(f"{BASE}/{path}")
    listed = client.get(f"{BASE}/tenants").json()["results"]
    members = client.get(f"{BASE}/{path}/members")
    changed = patch(client, path, {"name": f"By {name}"})

    sees = name in SEES_TENANT
    assert read.status_code == (200 if sees else 404)
    assert (str(cast.tenant.pk) in [tenant["id"] for tenant in listed]) is sees
    owner = name == "carol"
    assert members.status_code == (200 if owner else 403 if sees else 404)
    assert changed.status_code == (200 if owner else 403 if sees else 404)
    assert Tenant.objects.get(pk=cast.tenant.pk).name == ("By carol" if owner else "acme")


def test_what_one_may_not_see_looks_like_what_is_not(cast: Cast) -> None:
    client = signed_in(cast, "mallory")

    foreign, none = (client.get(f"{BASE}/tenants/{pk}").json() for pk in (cast.tenant.pk, NOBODY))

    foreign.pop("request_id")
    none.pop("request_id")
    assert foreign == none
    assert str(cast.tenant.pk) not in json.dumps(foreign)


def test_a_lost_update_is_refused(cast: Cast) -> None:
    client = signed_in(cast, "carol")
    path = f"tenants/{cast.tenant.pk}"
    tag = client.get(f"{BASE}/{path}")["ETag"]

    first = patch(client, path, {"name": "First"}, **{"If-Match": tag})
    second = patch(client, path, {"name": "Second"}, **{"If-Match": tag})

    assert (first.status_code, second.status_code) == (200, 412)
    assert first["ETag"] != tag
    assert Tenant.objects.get(pk=cast.tenant.pk).name == "First"


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "x" * 151}, {"name": "a\nb"}, {"name": "x", "slug": "y"}, [], "x", 1]
)
def test_a_body_of_another_shape_is_422(cast: Cast, body: Any) -> None:
    answer = patch(signed_in(cast, "carol"), f"tenants/{cast.tenant.pk}", body)

    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_input"
    assert Tenant.objects.get(pk=cast.tenant.pk).name == "acme"


# ---- pages


def test_a_list_is_read_in_pages_that_repeat_and_skip_nothing(cast: Cast) -> None:
    for index in range(7):
        create_service_account(actor=cast.actor("carol"), tenant=cast.tenant, name=f"robot-{index}")
    client = signed_in(cast, "carol")

    for ordering in ("name", "-name", "created_at", "-created_at"):
        seen: list[str] = []
        cursor = ""
        while True:
            address = f"{BASE}/tenants/{cast.tenant.pk}/service-accounts?limit=3&ordering={ordering}{cursor}"
            page = client.get(address).json()
            assert len(page["results"]) <= 3
            seen += [account["name"] for account in page["results"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        expected = [f"robot-{index}" for index in range(7)]
        assert seen == (expected[::-1] if ordering.startswith("-") else expected)
    found = client.get(f"{BASE}/tenants/{cast.tenant.pk}/service-accounts?search=BOT-4").json()
    assert [account["name"] for account in found["results"]] == ["robot-4"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=",
        "ordering=digest",
        "cursor=!!",
        "cursor=bnVsbA",
        "cursor=WzFd",
    ],
)
def test_a_page_that_cannot_be_is_422(cast: Cast, query: str) -> None:
    answer = signed_in(cast, "carol").get(f"{BASE}/tenants?{query}")

    assert answer.status_code == 422


def test_a_cursor_of_another_ordering_is_refused(cast: Cast) -> None:
    for index in range(3):
        create_service_account(actor=cast.actor("carol"), tenant=cast.tenant, name=f"robot-{index}")
    client = signed_in(cast, "carol")
    path = f"{BASE}/tenants/{cast.tenant.pk}/service-accounts"
    cursor = client.get(f"{path}?limit=1&ordering=name").json()["next"]

    assert client.get(f"{path}?limit=1&ordering=-name&cursor={cursor}").status_code == 422
    assert client.get(f"{path}?limit=1&ordering=created_at&cursor={cursor}").status_code == 422


# ---- service accounts and tokens


def test_automation_from_account_to_refusal(cast: Cast) -> None:
    client = signed_in(cast, "carol")
    accounts = f"tenants/{cast.tenant.pk}/service-accounts"

    made = post(client, accounts, {"name": "ci", "description": "Deploys"})
    issued = post(
        client,
        "access-tokens",
        {
            "name": "deploy",
            "scopes": ["tenant:read"],
            "expires_at": later(),
            "service_account": made.json()["id"],
        },
    )
    robot = by_token(issued.json()["token"])
    worked = robot.get(f"{BASE}/tenants")
    ended = client.delete(f"{BASE}/{accounts}/{made.json()['id']}")

    assert (made.status_code, issued.status_code, worked.status_code, ended.status_code) == (
        201,
        201,
        200,
        204,
    )
    assert [tenant["slug"] for tenant in worked.json()["results"]] == ["acme"]
    assert robot.get(f"{BASE}/tenants").status_code == 401
    assert not ServiceAccount.objects.exists()
    told = set(AuditEvent.objects.filter(actor_name="carol@example.org").values_list("action", flat=True))
    assert {"service_account.created", "access_token.issued", "service_account.deleted"} <= told


def test_a_token_shows_its_text_once(cast: Cast) -> None:
    client = signed_in(cast, "mona")

    issued = post(
        client, "access-tokens", {"name": "x", "scopes": ["config:read"], "expires_at": later()}
    ).json()

    assert issued["token"].startswith("nxp_")
    read = client.get(f"{BASE}/access-tokens/{issued['id']}").json()
    listed = client.get(f"{BASE}/access-tokens").json()["results"]
    assert "token" not in read
    assert listed == [read]
    assert read["last4"] == issued["token"][-4:]


def test_issuing_asks_for_presence_and_no_token_issues_tokens(cast: Cast) -> None:
    body = {"name": "x", "scopes": ["config:read"], "expires_at": later()}
    robot = by_token(token_of(cast, "mona", "config:read"))

    away = post(absent(signed_in(cast, "mona")), "access-tokens", body)
    by_robot = post(robot, "access-tokens", body)
    listed = robot.get(f"{BASE}/access-tokens")

    assert (away.status_code, away.json()["code"]) == (403, "reauthentication_required")
    assert (by_robot.status_code, listed.status_code) == (403, 403)
    assert AccessToken.objects.count() == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"scopes": []},
        {"scopes": ["member:manage"]},
        {"scopes": ["*"]},
        {"scopes": "config:read"},
        {"expires_at": "2000-01-01T00:00:00Z"},
        {"expires_at": "tomorrow"},
        {"name": ""},
        {"secret": "canary-in-the-wrong-place"},
    ],
)
def test_a_wrong_token_is_422_and_repeats_nothing(cast: Cast, wrong: dict[str, Any]) -> None:
    body = {"name": "x", "scopes": ["config:read"], "expires_at": later(), **wrong}

    answer = post(signed_in(cast, "mona"), "access-tokens", body)

    assert answer.status_code == 422
    assert "canary" not in answer.content.decode()
    assert not AccessToken.objects.exists()


@pytest.mark.parametrize("name", sorted(set(PEOPLE) - {"carol"}))
def test_others_neither_see_nor_touch_service_accounts_and_their_tokens(cast: Cast, name: str) -> None:
    account = create_service_account(actor=cast.actor("carol"), tenant=cast.tenant, name="ci")
    token, _ = issue_access_token(
        actor=cast.actor("carol"),
        bearer=account.user,
        name="deploy",
        scopes=["config:read"],
        expires_at=timezone.now() + timedelta(days=1),
    )
    client = signed_in(cast, name)
    accounts = f"tenants/{cast.tenant.pk}/service-accounts"
    sees = name in SEES_TENANT

    assert client.get(f"{BASE}/{accounts}").status_code == (403 if sees else 404)
    assert post(client, accounts, {"name": "mine"}).status_code == (403 if sees else 404)
    assert client.get(f"{BASE}/{accounts}/{account.pk}").status_code == 404
    assert client.delete(f"{BASE}/{accounts}/{account.pk}").status_code == 404
    assert client.get(f"{BASE}/access-tokens/{token.pk}").status_code == 404
    assert client.delete(f"{BASE}/access-tokens/{token.pk}").status_code == 404
    assert client.get(f"{BASE}/access-tokens").json()["results"] == []
    body = {"name": "x", "scopes": ["config:read"], "expires_at": later(), "service_account": str(account.pk)}
    assert post(client, "access-tokens", body).status_code == 404
    assert AccessToken.objects.get().revoked_at is None
    assert ServiceAccount.objects.count() == 1


def test_an_account_is_found_under_its_own_tenant_alone(cast: Cast) -> None:
    account = create_service_account(actor=cast.actor("carol"), tenant=cast.tenant, name="ci")

    answer = signed_in(cast, "carol").get(
        f"{BASE}/tenants/{cast.other_tenant.pk}/service-accounts/{account.pk}"
    )

    assert answer.status_code == 404


def test_a_denial_is_told_once(cast: Cast) -> None:
    client = signed_in(cast, "vic")

    for _ in range(3):
        patch(client, f"tenants/{cast.tenant.pk}", {"name": "x"})

    assert AuditEvent.objects.filter(action="action.denied", actor_name="vic@example.org").count() == 1
