"""People who have an account: made, stopped, let in again; by superusers in a session alone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.contrib.sessions.models import Session

from apps.audit.models import AuditEvent
from apps.core.access import TenantRole
from apps.core.actor import Actor
from apps.core.errors import NotPermitted
from apps.tenancy.accounts import deactivate_operator
from apps.tenancy.automation import create_service_account
from apps.tenancy.models import User
from apps.tenancy.operations import create_operator, set_tenant_member
from tests.conftest import Cast
from tests.console.session import absent, signed_in
from tests.tenancy.test_manage_api import BASE, NOBODY, PEOPLE, by_token, post, token_of

InThread = Callable[[Callable[[], Any]], Callable[[], Any]]


def test_accounts_are_for_superusers_in_a_session(cast: Cast, command: Actor) -> None:
    account = create_service_account(actor=command, tenant=cast.tenant, name="ci")
    set_tenant_member(actor=command, tenant=cast.tenant, user=cast.users["sue"], role=TenantRole.OWNER)
    vic = cast.users["vic"]
    clients = {name: signed_in(cast, name) for name in PEOPLE if name != "sue"}
    clients["a token of sue"] = by_token(token_of(cast, "sue", "tenant:read"))

    for name, client in clients.items():
        assert client.get(f"{BASE}/operators").status_code == 403, name
        assert post(client, "operators", {"email": "x@example.org"}).status_code == 403, name
        assert client.get(f"{BASE}/operators/{vic.pk}").status_code == 404, name
        for verb in ("deactivate", "reactivate"):
            assert post(client, f"operators/{vic.pk}/{verb}", None).status_code == 404, name
    assert User.objects.get(pk=vic.pk).is_active

    sue = signed_in(cast, "sue")
    page = sue.get(f"{BASE}/operators").json()["results"]
    assert [each["email"] for each in page] == sorted(f"{name}@example.org" for name in PEOPLE)
    assert sue.get(f"{BASE}/operators/{vic.pk}").json() == page[-1]
    supers = sue.get(f"{BASE}/operators?is_superuser=true&is_active=true&search=SUE").json()["results"]
    assert [each["email"] for each in supers] == ["sue@example.org"]
    for unknown in (NOBODY, account.user.pk):
        assert sue.get(f"{BASE}/operators/{unknown}").status_code == 404
        assert post(sue, f"operators/{unknown}/deactivate", None).status_code == 404


def test_a_new_account_shows_its_password_once_and_asks_for_presence(cast: Cast) -> None:
    body = {"email": "Ada@example.org", "name": "Ada"}

    away = post(absent(signed_in(cast, "sue")), "operators", body)
    sue = signed_in(cast, "sue")
    made = post(sue, "operators", body)
    again = post(sue, "operators", body)
    wrong = [
        post(sue, "operators", {"email": "b@example.org", **each})
        for each in ({"email": "b"}, {"email": "b" * 250 + "@x.org"}, {"name": "a\nb"}, {"password": "mine"})
    ]

    assert (away.status_code, away.json()["code"]) == (403, "reauthentication_required")
    assert (made.status_code, again.status_code) == (201, 409)
    assert {answer.status_code for answer in wrong} == {422}
    document = made.json()
    password = document.pop("password")
    user = User.objects.get(email="ada@example.org")
    assert user.check_password(password) and user.must_change_password and not user.is_superuser
    assert sue.get(f"{BASE}/operators/{user.pk}").json() == document
    assert password not in AuditEvent.objects.get(action="operator.created", object_key=user.email).changes


def test_a_deactivated_person_is_out_at_the_next_request_and_old_sessions_stay_ended(cast: Cast) -> None:
    sue, mona = signed_in(cast, "sue"), cast.users["mona"]
    session, token = signed_in(cast, "mona"), by_token(token_of(cast, "mona", "tenant:read"))
    read = sue.get(f"{BASE}/operators/{mona.pk}")
    assert (session.get(f"{BASE}/tenants").status_code, token.get(f"{BASE}/tenants").status_code) == (
        200,
        200,
    )

    stale = post(sue, f"operators/{mona.pk}/deactivate", None, **{"If-Match": '"99"'})
    stopped = post(sue, f"operators/{mona.pk}/deactivate", None, **{"If-Match": read["ETag"]})
    twice = post(sue, f"operators/{mona.pk}/deactivate", None)
    out = (session.get(f"{BASE}/tenants").status_code, token.get(f"{BASE}/tenants").status_code)
    back = post(sue, f"operators/{mona.pk}/reactivate", None)
    after = (session.get(f"{BASE}/tenants").status_code, token.get(f"{BASE}/tenants").status_code)

    assert (stale.status_code, stopped.status_code, twice.status_code) == (412, 200, 200)
    assert (stopped.json()["is_active"], stopped.json()["left_without_owner"]) == (False, [])
    assert out == (401, 401)
    assert (back.status_code, back.json()["is_active"]) == (200, True)
    # The session was deleted; the token was only refused.
    assert after == (401, 200)
    assert Session.objects.count() == 1
    told = AuditEvent.objects.filter(object_key="mona@example.org", action__startswith="operator.")
    assert list(told.order_by("time").values_list("action", flat=True)) == [
        "operator.created",
        "operator.deactivated",
        "operator.reactivated",
    ]


def test_a_last_owner_is_stopped_too_and_the_answer_says_what_has_no_owner_now(cast: Cast) -> None:
    sue = signed_in(cast, "sue")

    stopped = post(sue, f"operators/{cast.users['carol'].pk}/deactivate", None)
    of_project = post(sue, f"operators/{cast.users['alice'].pk}/deactivate", None)
    own = post(sue, f"operators/{cast.users['sue'].pk}/deactivate", None)

    assert stopped.json()["left_without_owner"] == ["acme"]
    assert of_project.json()["left_without_owner"] == ["acme"]
    assert "shop" not in of_project.content.decode()
    assert own.status_code == 403
    event = AuditEvent.objects.get(action="operator.deactivated", object_key="carol@example.org")
    assert event.changed["left_without_owner"] == ["acme"]
    assert event.tenant_id is None


def test_of_two_superusers_who_stop_each_other_at_once_one_stays(
    committed_cast: Cast, command: Actor, in_thread: InThread
) -> None:
    cast = committed_cast
    cast.users["eve"], _ = create_operator(actor=command, email="eve@example.org", superuser=True)
    actors = {name: cast.actor(name) for name in ("sue", "eve")}

    def stop(by: str, whom: str) -> bool:
        try:
            deactivate_operator(actor=actors[by], user=cast.users[whom])
        except NotPermitted:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        pairs = [("sue", "eve"), ("eve", "sue")]
        futures = [pool.submit(in_thread(lambda pair=pair: stop(*pair))) for pair in pairs]
        stopped = [future.result() for future in futures]

    assert sorted(stopped) == [False, True]
    assert User.objects.filter(is_superuser=True, is_active=True).count() == 1


def test_a_list_of_operators_costs_the_same_however_long_it_is(
    cast: Cast, django_assert_max_num_queries: Any
) -> None:
    client = signed_in(cast, "sue")
    User.objects.bulk_create(User(email=f"p{number}@example.org") for number in range(100))

    with django_assert_max_num_queries(12):
        page = client.get(f"{BASE}/operators?limit=200").json()

    assert len(page["results"]) == 109
