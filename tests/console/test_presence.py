"""Presence: proved in this very session, for a quarter of an hour, by who it is."""

import json
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.sessions.models import Session
from django.test import Client, RequestFactory
from django.utils import timezone

from apps.audit.events import Action, Outcome
from apps.audit.models import AuditEvent
from apps.core.access import PRESENCE_HOLDS
from apps.core.actor import Actor
from apps.vault.operations import set_secret
from nexus.console.presence import presence_url, present_at
from tests.conftest import Cast
from tests.console.session import (
    CODE,
    LOG_IN,
    PASSWORD,
    PRESENCE,
    SET_UP,
    absent,
    set_up_second_factor,
    sign_in,
    signed_in,
    totp,
    with_password,
)


def is_present(client: Client) -> bool:
    """Whether this session gets to a page that asks for presence."""
    return client.get(SET_UP).status_code == 200


def test_a_log_in_proves_presence(cast: Cast) -> None:
    assert is_present(signed_in(cast, "bob"))


def test_it_ends_after_a_quarter_of_an_hour(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    client = signed_in(cast, "bob")
    now = timezone.now()

    monkeypatch.setattr("apps.core.access.timezone.now", lambda: now + PRESENCE_HOLDS - timedelta(seconds=5))
    assert is_present(client)
    monkeypatch.setattr("apps.core.access.timezone.now", lambda: now + PRESENCE_HOLDS + timedelta(seconds=5))

    assert not is_present(client)
    assert timedelta(minutes=15) == PRESENCE_HOLDS


def test_the_password_proves_it(cast: Cast) -> None:
    client = absent(signed_in(cast, "bob"))
    asked = client.get(SET_UP)
    assert parse_qs(urlsplit(asked["Location"]).query) == {"next": [SET_UP]}
    assert f'name="next" value="{SET_UP}"' in client.get(asked["Location"]).content.decode()

    answer = client.post(PRESENCE, {"password": PASSWORD, "next": SET_UP})

    assert answer["Location"] == SET_UP
    assert is_present(client)
    event = AuditEvent.objects.get(action=Action.PRESENCE_PROVED)
    assert (event.actor_name, event.outcome) == ("bob@example.org", Outcome.SUCCESS)


def test_a_wrong_password_proves_nothing_and_is_told(cast: Cast) -> None:
    client = absent(signed_in(cast, "bob"))

    for password in ("no such password", "nor this one"):
        answer = client.post(PRESENCE, {"password": password})

    assert answer.status_code == 200
    assert 'role="alert"' in answer.content.decode()
    assert not is_present(client)
    event = AuditEvent.objects.get(action=Action.PRESENCE_FAILED)
    assert (event.actor_name, event.outcome) == ("bob@example.org", Outcome.FAILED)
    assert "such password" not in str(event.__dict__)
    assert not AuditEvent.objects.filter(action=Action.PRESENCE_PROVED).exists()


def test_where_there_is_a_second_factor_only_its_codes_prove_it(cast: Cast) -> None:
    client = signed_in(cast, "bob")
    secret, codes = set_up_second_factor(client)

    def shown() -> int:
        return client.get("/admin/two-factor/turn-off/").status_code

    absent(client).post(PRESENCE, {"password": PASSWORD})
    assert shown() == 302
    client.post(PRESENCE, {"code": "000000", "password": PASSWORD})
    assert shown() == 302
    client.post(PRESENCE, {"code": totp(secret)})
    assert shown() == 200
    absent(client).post(PRESENCE, {"code": totp(secret)})
    assert shown() == 302
    client.post(PRESENCE, {"code": codes[0]})
    assert shown() == 200
    absent(client).post(PRESENCE, {"code": codes[0]})
    assert shown() == 302


def test_the_password_of_somebody_else_proves_nothing(cast: Cast) -> None:
    with_password(cast, "mona", "mona's own password")
    client = absent(signed_in(cast, "bob"))

    client.post(PRESENCE, {"password": "mona's own password"})

    assert not is_present(client)


def test_guesses_are_limited(cast: Cast) -> None:
    client = absent(signed_in(cast, "bob"))

    statuses = [client.post(PRESENCE, {"password": f"guess {number}"}).status_code for number in range(11)]
    right = client.post(PRESENCE, {"password": PASSWORD})

    assert statuses == [200] * 10 + [429]
    assert right.status_code == 429
    assert not is_present(client)


def test_guesses_in_one_session_count_from_every_address(cast: Cast) -> None:
    client = absent(signed_in(cast, "bob"))

    statuses = [
        client.post(PRESENCE, {"password": f"guess {number}"}, REMOTE_ADDR=f"198.51.100.{number}").status_code
        for number in range(21)
    ]

    assert statuses == [200] * 20 + [429]
    assert sign_in(with_password(cast, "bob")).get("/admin/").status_code == 200


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "x"]
)
def test_it_leads_to_no_other_host(cast: Cast, target: str) -> None:
    client = absent(signed_in(cast, "bob"))

    page = client.get(PRESENCE, {"next": target}).content.decode()
    answer = client.post(PRESENCE, {"password": PASSWORD, "next": target})

    assert "evil" not in page
    assert answer["Location"] == "/admin/"


def test_one_function_says_where_it_is_proved(cast: Cast) -> None:
    request = RequestFactory().post("/admin/vault/secret/")

    assert presence_url(request, "/admin/?a=1&b=2") == f"{PRESENCE}?next=%2Fadmin%2F%3Fa%3D1%26b%3D2"
    assert presence_url(request, "https://evil.example/") == f"{PRESENCE}?next=%2Fadmin%2F"


def test_it_is_no_page_for_strangers(cast: Cast) -> None:
    for answer in (Client().get(PRESENCE), Client().post(PRESENCE, {"password": PASSWORD})):
        assert answer["Location"] == "/admin/login/?next=/admin/presence/"


def test_another_session_has_no_part_in_it(cast: Cast) -> None:
    user = with_password(cast, "bob")
    there, elsewhere = absent(sign_in(user)), absent(sign_in(user))

    there.post(PRESENCE, {"password": PASSWORD})

    assert is_present(there)
    assert not is_present(elsewhere)


def test_a_new_log_in_inherits_none(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the browser had a session: of somebody else, of the same person, or a planted one."""
    monkeypatch.setattr("nexus.console.login.remember_presence", lambda request: None)
    planted = Client()
    planted.get(LOG_IN)
    session = planted.session
    session["nexus_present_at"] = timezone.now().timestamp()
    session.save()

    sign_in(with_password(cast, "bob"), client=planted)

    assert not is_present(planted)
    assert "nexus_present_at" not in planted.session


def test_logging_out_ends_it(cast: Cast) -> None:
    client = signed_in(cast, "bob")
    client.post("/admin/logout/")

    assert "nexus_present_at" not in client.session


def test_no_session_holds_what_was_posted(cast: Cast, command: Actor) -> None:
    """Passwords, codes, and the form that was interrupted by the question for presence."""
    set_secret(actor=command, service=cast.backend, key="stripe.key", value=b"x")
    user = with_password(cast, "carol")
    secret, codes = set_up_second_factor(sign_in(user))
    client = Client()
    client.post(LOG_IN, {"login": user.email, "password": PASSWORD})
    pending = [session.get_decoded() for session in Session.objects.all()]
    client.post(CODE, {"code": totp(secret)})
    absent(client)
    service_page = f"/admin/services/service/{cast.backend.pk}/change/"
    for path in ("/admin/two-factor/turn-off/", "/admin/two-factor/recovery-codes/", service_page):
        client.post(path, {"value": "interrupted-canary", "code": codes[1]})
    client.post(PRESENCE, {"code": codes[0], "password": "typed-canary", "next": service_page})

    stored = json.dumps([*pending, *(session.get_decoded() for session in Session.objects.all())])

    for canary in (PASSWORD, "interrupted-canary", "typed-canary", secret, *codes, codes[1].replace(" ", "")):
        assert canary not in stored
    assert set(client.session.keys()) <= {
        "_auth_user_id",
        "_auth_user_backend",
        "_auth_user_hash",
        "_session_expiry",
        "nexus_present_at",
    }


def test_a_session_that_holds_no_time_holds_no_proof(cast: Cast) -> None:
    client = signed_in(cast, "bob")
    session = client.session
    for stored in (None, "now", True, [1]):
        session["nexus_present_at"] = stored
        session.save()
        request = RequestFactory().get("/")
        request.session = client.session
        moment = present_at(request)
        assert moment is None or moment.year == 1970
        assert not is_present(client)
