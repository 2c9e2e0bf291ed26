"""Log-in: what opens, what stays shut, and what a stranger learns from either."""

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
import redis
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.test import Client
from django.urls import get_resolver
from pytest_django import Settings

from apps.audit.events import Action, Outcome
from apps.audit.models import AuditEvent
from apps.tenancy.models import User
from nexus.settings.login import caches
from tests.conftest import Cast
from tests.console.session import CODE, LOG_IN, PASSWORD, set_up_second_factor, sign_in, totp, with_password

# One guess more than an address has in a minute.
GUESSES = 10


def attempt(email: str, password: str, address: str = "203.0.113.1", **headers: str) -> tuple[int, str]:
    """One log-in by a browser of its own: the status, and the text without what is new on each page."""
    answer = Client(REMOTE_ADDR=address, **headers).post(LOG_IN, {"login": email, "password": password})
    text = answer.content.decode()
    for changing in (r'name="csrfmiddlewaretoken" value="[^"]+"', r'nonce="[^"]+"', re.escape(email)):
        text = re.sub(changing, "", text)
    return answer.status_code, text


def test_a_password_opens_the_console(cast: Cast) -> None:
    client = sign_in(with_password(cast, "bob"))

    answer = client.get("/admin/")

    assert answer.status_code == 200
    event = AuditEvent.objects.get(action=Action.LOGIN_SUCCEEDED)
    assert (event.actor_name, event.outcome) == ("bob@example.org", Outcome.SUCCESS)
    assert event.changes == '{"by":["password"]}'


def test_the_address_counts_in_any_case_of_letters(cast: Cast) -> None:
    with_password(cast, "bob")

    answer = Client().post(LOG_IN, {"login": " Bob@Example.ORG ", "password": PASSWORD})

    assert answer.status_code == 302


def test_the_session_gets_a_new_id(cast: Cast) -> None:
    client = Client()
    client.get(LOG_IN)
    session = client.session
    session["planted"] = "by somebody else"
    session.save()
    before = session.session_key

    sign_in(with_password(cast, "bob"), client=client)

    assert client.session.session_key != before
    assert not Session.objects.filter(session_key=before).exists()


@pytest.mark.parametrize("path", ["/admin/", "/admin/vault/secret/?q=stripe"])
def test_who_is_not_signed_in_is_led_to_the_log_in_and_back(cast: Cast, path: str) -> None:
    client = Client()

    answer = client.get(path, follow=True)
    address = urlsplit(answer.redirect_chain[-1][0])

    assert address.path == LOG_IN
    assert parse_qs(address.query)["next"] == [path]
    assert f'name="next" value="{path}"' in answer.content.decode()

    user = with_password(cast, "carol")
    arrived = client.post(LOG_IN, {"login": user.email, "password": PASSWORD, "next": path})
    assert arrived["Location"] == path


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "http:///evil.example",
        "https:evil.example",
        "http://testserver.evil.example/",
    ],
)
def test_nobody_is_led_to_another_host(cast: Cast, target: str) -> None:
    user = with_password(cast, "carol")

    asked = Client().get("/admin/login/", {"next": target})
    arrived = Client().post(
        LOG_IN, {"login": user.email, "password": PASSWORD, "next": target}, query_params={"next": target}
    )

    assert asked["Location"] == f"{LOG_IN}?next=%2Fadmin%2F"
    assert arrived["Location"] == "/admin/"


def test_the_old_address_only_leads_on(cast: Cast) -> None:
    user = with_password(cast, "bob")

    answer = Client().post("/admin/login/", {"username": user.email, "password": PASSWORD})

    assert answer.status_code == 302
    assert urlsplit(answer["Location"]).path == LOG_IN
    assert not AuditEvent.objects.filter(action=Action.LOGIN_SUCCEEDED).exists()


def test_what_allauth_offers_to_strangers_has_no_address() -> None:
    names = {name for name in get_resolver().reverse_dict if isinstance(name, str)}

    assert {name for name in names if name.startswith(("account_", "mfa_", "socialaccount_"))} == {
        "account_login",
        "account_code",
        # Of ours: whoever was invited by mail.
        "account_invitation",
    }
    for path in ("signup/", "password/reset/", "email/", "reauthenticate/", "logout/", "2fa/", ""):
        assert Client().get(f"/accounts/{path}").status_code == 404


def test_a_stranger_cannot_tell_accounts_apart(cast: Cast) -> None:
    with_password(cast, "bob")
    gone = with_password(cast, "vic")
    gone.is_active = False
    gone.save()
    set_up_second_factor(sign_in(with_password(cast, "mona")))
    nameless = with_password(cast, "tess")
    nameless.set_unusable_password()
    nameless.save()

    answers = {
        "unknown": attempt("nobody@example.org", PASSWORD, "203.0.113.1"),
        "wrong": attempt("bob@example.org", "no such password", "203.0.113.2"),
        "deactivated, right": attempt("vic@example.org", PASSWORD, "203.0.113.3"),
        "deactivated, wrong": attempt("vic@example.org", "no such password", "203.0.113.4"),
        "with a second factor": attempt("mona@example.org", "no such password", "203.0.113.5"),
        "without a password": attempt("tess@example.org", "no such password", "203.0.113.6"),
    }

    assert {status for status, _ in answers.values()} == {200}
    assert len({text for _, text in answers.values()}) == 1
    assert "The address or the password is not right." in answers["unknown"][1]


def test_each_refusal_costs_one_hash(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    with_password(cast, "bob")
    gone = with_password(cast, "vic")
    gone.is_active = False
    gone.save()
    hashed: list[str] = []
    encode = MD5PasswordHasher.encode

    def counted(self: MD5PasswordHasher, password: str, salt: str) -> str:
        hashed.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)

    for email in ("nobody@example.org", "bob@example.org", "vic@example.org"):
        hashed.clear()
        attempt(email, "no such password")
        assert len(hashed) == 1, email
    hashed.clear()
    attempt("vic@example.org", PASSWORD)
    assert len(hashed) == 1


def test_failures_are_told_once_a_minute_without_what_was_typed(cast: Cast) -> None:
    with_password(cast, "bob")

    for password in ("first guess", "second guess", "third guess"):
        attempt("bob@example.org", password)
    attempt("hunter2-typed-as-address@example.org", "fourth guess")

    event = AuditEvent.objects.get(action=Action.LOGIN_FAILED)
    # Digests are bytes, in which any sign may stand by chance.
    told = [value for value in vars(event).values() if isinstance(value, str)]
    assert (event.actor_type, event.outcome, event.address) == ("anonymous", Outcome.FAILED, "203.0.113.1")
    assert event.changes in told
    assert not [text for text in told if "guess" in text or "@" in text]
    assert not AuditEvent.objects.filter(action=Action.LOGIN_SUCCEEDED).exists()


def test_an_address_has_ten_guesses_and_nobody_else_is_locked_out(cast: Cast) -> None:
    with_password(cast, "bob")

    statuses = [attempt("bob@example.org", f"guess {number}")[0] for number in range(GUESSES)]
    refused = Client(REMOTE_ADDR="203.0.113.1").post(
        LOG_IN, {"login": "bob@example.org", "password": PASSWORD}
    )
    elsewhere, _ = attempt("bob@example.org", PASSWORD, "203.0.113.2")

    assert statuses == [200] * GUESSES
    assert refused.status_code == 429
    assert refused["Retry-After"] == "60"
    assert "sessionid" not in refused.cookies
    assert elsewhere == 302


def test_the_limit_does_not_tell_accounts_apart(cast: Cast) -> None:
    with_password(cast, "bob")
    for number in range(GUESSES):
        attempt("bob@example.org", f"guess {number}", "203.0.113.1")
        attempt("nobody@example.org", f"guess {number}", "203.0.113.2")

    known = attempt("bob@example.org", "x", "203.0.113.1")
    unknown = attempt("nobody@example.org", "x", "203.0.113.2")

    assert known == unknown
    assert known[0] == 429


def test_good_log_ins_use_up_no_guesses(cast: Cast) -> None:
    user = with_password(cast, "bob")

    for _ in range(GUESSES + 5):
        sign_in(user)

    assert attempt("bob@example.org", "wrong", "127.0.0.1")[0] == 200


def test_forwarded_addresses_of_strangers_do_not_count(cast: Cast) -> None:
    with_password(cast, "bob")

    statuses = [
        attempt("bob@example.org", "wrong", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}")[0]
        for number in range(GUESSES + 1)
    ]

    assert statuses[-1] == 429
    assert {event.address for event in AuditEvent.objects.filter(action=Action.LOGIN_FAILED)} == {
        "203.0.113.1"
    }


def test_a_trusted_proxy_tells_addresses_apart(cast: Cast, settings: Settings) -> None:
    settings.NEXUS_TRUSTED_PROXIES = ["203.0.113.1/32"]
    with_password(cast, "bob")

    for _ in range(GUESSES + 1):
        attempt("bob@example.org", "wrong", HTTP_X_FORWARDED_FOR="198.51.100.1")

    assert attempt("bob@example.org", "wrong", HTTP_X_FORWARDED_FOR="198.51.100.1")[0] == 429
    assert attempt("bob@example.org", PASSWORD, HTTP_X_FORWARDED_FOR="198.51.100.2")[0] == 302


def test_one_network_of_a_house_is_one_address(cast: Cast) -> None:
    with_password(cast, "bob")

    statuses = [
        attempt("bob@example.org", "wrong", f"2001:db8:0:1::{number:x}")[0] for number in range(GUESSES + 1)
    ]

    assert statuses[-1] == 429


def test_processes_share_the_limits_by_redis(cast: Cast, settings: Settings) -> None:
    if not settings.REDIS_URL:
        pytest.skip("needs the backing that has Redis")
    settings.CACHES = caches(settings.REDIS_URL)
    cache.clear()
    with_password(cast, "bob")

    statuses = [attempt("bob@example.org", f"guess {number}")[0] for number in range(GUESSES + 1)]
    elsewhere, _ = attempt("bob@example.org", PASSWORD, "203.0.113.2")

    assert statuses == [200] * GUESSES + [429]
    assert elsewhere == 302
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        kept = {key: client.get(key) for key in client.scan_iter("nexus:*")}
    assert kept
    assert not [key for key, value in kept.items() if not isinstance(json.loads(value or b""), list)]
    assert not any(b"bob" in key + (value or b"") for key, value in kept.items())
    cache.clear()


def test_a_deactivated_person_loses_the_session(cast: Cast) -> None:
    user = with_password(cast, "bob")
    client = sign_in(user)
    assert client.get("/admin/").status_code == 200

    User.objects.filter(pk=user.pk).update(is_active=False)

    assert client.get("/admin/").status_code == 302


def test_who_is_deactivated_between_password_and_code_stays_out(cast: Cast) -> None:
    user = with_password(cast, "bob")
    secret, _ = set_up_second_factor(sign_in(user))
    client = Client()
    client.post(LOG_IN, {"login": user.email, "password": PASSWORD})
    User.objects.filter(pk=user.pk).update(is_active=False)

    answer = client.post(CODE, {"code": totp(secret)})

    assert answer["Location"] == LOG_IN
    assert client.get("/admin/").status_code == 302
    assert AuditEvent.objects.filter(action=Action.LOGIN_SUCCEEDED).count() == 1


def test_a_password_changed_between_the_steps_ends_the_log_in(cast: Cast) -> None:
    user = with_password(cast, "bob")
    secret, _ = set_up_second_factor(sign_in(user))
    client = Client()
    client.post(LOG_IN, {"login": user.email, "password": PASSWORD})
    with_password(cast, "bob", "another battery staple")

    answer = client.post(CODE, {"code": totp(secret)})

    assert answer["Location"] == LOG_IN
    assert client.get("/admin/").status_code == 302


def test_logging_out_is_told_and_ends_the_session(cast: Cast) -> None:
    client = sign_in(with_password(cast, "bob"))
    key = client.session.session_key

    by_link = client.get("/admin/logout/")
    assert by_link.status_code == 405
    answer = client.post("/admin/logout/")

    assert answer["Location"] == LOG_IN
    assert not Session.objects.filter(session_key=key).exists()
    assert AuditEvent.objects.get(action=Action.LOGOUT).actor_name == "bob@example.org"
    assert client.get("/admin/").status_code == 302


def test_without_its_event_there_is_no_log_in(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    user = with_password(cast, "bob")
    client = Client(raise_request_exception=False)

    def failing(**_: object) -> None:
        raise RuntimeError("the chain is broken")

    monkeypatch.setattr("nexus.console.login.record", failing)
    answer = client.post(LOG_IN, {"login": user.email, "password": PASSWORD})

    assert answer.status_code == 500
    assert client.get("/admin/").status_code == 302
    user.refresh_from_db()
    assert user.last_login is None


def test_a_forged_form_is_refused(cast: Cast) -> None:
    user = with_password(cast, "bob")
    client = Client(enforce_csrf_checks=True)

    answer = client.post(LOG_IN, {"login": user.email, "password": PASSWORD})

    assert answer.status_code == 403


def test_the_page_has_labels_and_no_inline_script(cast: Cast) -> None:
    page = Client().get(LOG_IN).content.decode()

    assert 'for="id_login"' in page
    assert 'for="id_password"' in page
    assert 'autocomplete="current-password"' in page
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"\son\w+=", page)
