"""The second factor: set up, asked for, spent, taken away, and where its secrets are not."""

import re
from collections.abc import Iterator
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from pytest_django import Settings

from apps.audit.events import Action
from apps.audit.models import AuditEvent
from apps.core import keys
from apps.core.actor import Actor
from apps.core.errors import Conflict, InvalidInput, NotFound, NotPermitted, ReauthenticationRequired
from apps.core.models import Purpose
from apps.tenancy.models import User
from nexus.console import gate, mfa
from tests.architecture.test_canary import cells, stands_in
from tests.conftest import Cast
from tests.console.session import (
    CODE,
    LOG_IN,
    PASSWORD,
    PRESENCE,
    SET_UP,
    absent,
    found,
    set_up_second_factor,
    sign_in,
    signed_in,
    totp,
    with_password,
)

TURN_OFF = "/admin/two-factor/turn-off/"
RECOVERY_CODES = "/admin/two-factor/recovery-codes/"


def half_way(user: User, **headers: str) -> Client:
    """A browser that gave the password and is asked for the code."""
    client = Client(**headers)
    answer = client.post(LOG_IN, {"login": user.email, "password": PASSWORD})
    assert answer["Location"] == CODE
    return client


def is_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


# ---- log-in


def test_password_and_code_open_the_console(cast: Cast) -> None:
    user = with_password(cast, "bob")
    secret, _ = set_up_second_factor(sign_in(user))
    before = AuditEvent.objects.filter(action=Action.LOGIN_SUCCEEDED).count()

    client = half_way(user)
    page = client.get(CODE)
    assert 'autocomplete="one-time-code"' in page.content.decode()
    assert not is_in(client)
    assert AuditEvent.objects.filter(action=Action.LOGIN_SUCCEEDED).count() == before

    answer = client.post(CODE, {"code": totp(secret)})

    assert answer["Location"] == "/admin/"
    assert is_in(client)
    event = AuditEvent.objects.filter(action=Action.LOGIN_SUCCEEDED).latest("sequence")
    assert event.changes == '{"by":["password","totp"]}'


def test_the_code_leads_where_the_log_in_was_asked_to(cast: Cast) -> None:
    user = with_password(cast, "bob")
    secret, _ = set_up_second_factor(sign_in(user))
    client = Client()
    client.post(LOG_IN, {"login": user.email, "password": PASSWORD, "next": "/admin/vault/secret/"})

    answer = client.post(CODE, {"code": totp(secret)})

    assert answer["Location"] == "/admin/vault/secret/"


def test_a_wrong_code_opens_nothing_and_names_the_person(cast: Cast) -> None:
    user = with_password(cast, "bob")
    set_up_second_factor(sign_in(user))
    client = half_way(user)

    answer = client.post(CODE, {"code": "000000"})

    assert answer.status_code == 200
    assert 'role="alert"' in answer.content.decode()
    assert not is_in(client)
    event = AuditEvent.objects.get(action=Action.LOGIN_FAILED)
    assert (event.actor_type, event.object_key) == ("anonymous", "bob@example.org")


def test_a_code_without_the_password_is_not_asked_for(cast: Cast) -> None:
    user = with_password(cast, "bob")
    secret, _ = set_up_second_factor(sign_in(user))
    client = Client()

    answers = [client.get(CODE), client.post(CODE, {"code": totp(secret)})]

    assert {answer["Location"] for answer in answers} == {LOG_IN}
    assert not is_in(client)


def test_a_code_counts_once(cast: Cast) -> None:
    user = with_password(cast, "bob")
    secret, _ = set_up_second_factor(sign_in(user))
    code = totp(secret)

    first, second = half_way(user), half_way(user)
    first.post(CODE, {"code": code})
    second.post(CODE, {"code": code})

    assert is_in(first)
    assert not is_in(second)


def test_a_later_code_ends_the_earlier_ones(cast: Cast) -> None:
    user = with_password(cast, "bob")
    secret, _ = set_up_second_factor(sign_in(user))

    late, early = half_way(user), half_way(user)
    late.post(CODE, {"code": totp(secret, steps=1)})
    early.post(CODE, {"code": totp(secret)})

    assert is_in(late)
    assert not is_in(early)


def test_a_code_of_two_steps_off_is_wrong(cast: Cast) -> None:
    user = with_password(cast, "bob")
    secret, _ = set_up_second_factor(sign_in(user))
    client = half_way(user)

    client.post(CODE, {"code": totp(secret, steps=3)})

    assert not is_in(client)


def test_a_recovery_code_counts_once(cast: Cast) -> None:
    user = with_password(cast, "bob")
    _, codes = set_up_second_factor(sign_in(user))

    first, second, third = half_way(user), half_way(user), half_way(user)
    first.post(CODE, {"code": codes[0]})
    second.post(CODE, {"code": codes[0].replace(" ", "")})
    third.post(CODE, {"code": codes[1].replace(" ", "-")})

    assert is_in(first)
    assert not is_in(second)
    assert is_in(third)
    assert mfa.recovery_codes_left(user) == 8
    events = AuditEvent.objects.filter(action=Action.LOGIN_SUCCEEDED).order_by("sequence")
    assert [event.changes for event in events][-1] == '{"by":["password","recovery_codes"]}'


def test_guesses_of_codes_are_limited_per_address_and_per_account(cast: Cast) -> None:
    user = with_password(cast, "bob")
    secret, _ = set_up_second_factor(sign_in(user))

    at_one = half_way(user, REMOTE_ADDR="203.0.113.1")
    statuses = [at_one.post(CODE, {"code": f"{number:06}"}).status_code for number in range(11)]
    assert statuses == [200] * 10 + [429]

    at_two = half_way(user, REMOTE_ADDR="203.0.113.2")
    statuses = [at_two.post(CODE, {"code": f"{number:06}"}).status_code for number in range(10)]
    at_three = half_way(user, REMOTE_ADDR="203.0.113.3")
    refused = at_three.post(CODE, {"code": totp(secret)})

    assert statuses == [200] * 10
    assert refused.status_code == 429
    assert not is_in(at_three)


def test_who_lacks_the_password_cannot_use_up_the_codes_of_an_account(cast: Cast) -> None:
    user = with_password(cast, "bob")
    secret, _ = set_up_second_factor(sign_in(user))
    for number in range(30):
        address = f"198.51.100.{number}"
        guessed = Client(REMOTE_ADDR=address)
        guessed.post(LOG_IN, {"login": user.email, "password": "wrong"})
        guessed.post(CODE, {"code": "000000"})

    client = half_way(user)
    client.post(CODE, {"code": totp(secret)})

    assert is_in(client)


# ---- set-up


def test_setting_up_is_told_and_shows_the_codes_once(cast: Cast) -> None:
    client = signed_in(cast, "bob")

    _, codes = set_up_second_factor(client)

    assert len(set(codes)) == 10
    assert client.get(SET_UP)["Location"] == "/admin/two-factor/"
    for page in ("/admin/two-factor/", RECOVERY_CODES, TURN_OFF):
        answer = client.get(page)
        assert answer.status_code == 200
        assert not any(code in answer.content.decode() for code in codes)
    told = {event.action: event for event in AuditEvent.objects.filter(actor_name="bob@example.org")}
    assert {Action.MFA_ENABLED, Action.RECOVERY_CODES_GENERATED} <= told.keys()
    assert told[Action.MFA_ENABLED].object_key == "bob@example.org"


def test_the_codes_come_as_a_file_and_stay_out_of_caches(cast: Cast) -> None:
    client = signed_in(cast, "bob")
    page = client.get(SET_UP)
    text = page.content.decode()
    secret = found(r'id="totp-secret"[^>]*>([A-Z2-7]+)<', text)
    sealed = found(r'name="sealed" value="([^"]+)"', text)

    answer = client.post(SET_UP, {"sealed": sealed, "code": totp(secret)})

    assert "no-store" in page["Cache-Control"]
    assert "no-store" in answer["Cache-Control"]
    assert 'src="data:image/svg+xml;base64,' in text
    assert 'href="data:text/plain;charset=utf-8;base64,' in answer.content.decode()
    for shown in (text, answer.content.decode()):
        assert not re.search(r"<script(?![^>]*\bsrc=)", shown)
        assert not re.search(r"\son[a-z]+=", shown)


@pytest.mark.parametrize("page", [SET_UP, TURN_OFF, RECOVERY_CODES])
def test_each_change_asks_for_presence(cast: Cast, page: str) -> None:
    client = signed_in(cast, "bob")
    if page != SET_UP:
        set_up_second_factor(client)
    absent(client)
    before = list(Authenticator.objects.values())

    answers = [client.get(page), client.post(page, {"code": "000000"})]

    assert {answer["Location"] for answer in answers} == {f"{PRESENCE}?next={page.replace('/', '%2F')}"}
    assert list(Authenticator.objects.values()) == before


def test_a_code_of_another_secret_sets_nothing_up(cast: Cast) -> None:
    client = signed_in(cast, "bob")
    sealed = found(r'name="sealed" value="([^"]+)"', client.get(SET_UP).content.decode())

    answer = client.post(SET_UP, {"sealed": sealed, "code": "000000"})

    assert "This code does not fit." in answer.content.decode()
    assert f'value="{sealed}"' in answer.content.decode()
    assert not Authenticator.objects.exists()


def test_the_secret_of_another_persons_page_sets_nothing_up(cast: Cast) -> None:
    page = signed_in(cast, "mona").get(SET_UP).content.decode()
    secret = found(r'id="totp-secret"[^>]*>([A-Z2-7]+)<', page)
    sealed = found(r'name="sealed" value="([^"]+)"', page)

    signed_in(cast, "bob").post(SET_UP, {"sealed": sealed, "code": totp(secret)})

    assert not Authenticator.objects.exists()


def test_a_page_left_open_shows_another_secret(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    client = signed_in(cast, "bob")
    user = User.objects.get(pk=cast.users["bob"].pk)
    secret, sealed = mfa.new_secret(user)
    assert mfa.secret_of(user, sealed) == secret

    monkeypatch.setattr("nexus.console.mfa.SET_UP_SECONDS", 0)
    answer = client.post(SET_UP, {"sealed": sealed, "code": totp(secret)})

    assert answer.status_code == 200
    assert secret not in answer.content.decode()
    assert not Authenticator.objects.exists()


def test_turning_off_ends_codes_and_recovery_codes(cast: Cast) -> None:
    user = with_password(cast, "bob")
    client = sign_in(user)
    set_up_second_factor(client)

    answer = client.post(TURN_OFF)

    assert answer["Location"] == "/admin/two-factor/"
    assert not Authenticator.objects.exists()
    assert AuditEvent.objects.filter(action=Action.MFA_DISABLED, actor_name=user.email).count() == 1
    assert is_in(sign_in(user))


def test_new_recovery_codes_end_the_old_ones(cast: Cast) -> None:
    user = with_password(cast, "bob")
    client = sign_in(user)
    _, old = set_up_second_factor(client)

    shown = client.post(RECOVERY_CODES).content.decode()
    new = re.findall(r"\d{4} \d{4} \d{4}", shown)

    first, second = half_way(user), half_way(user)
    first.post(CODE, {"code": old[0]})
    second.post(CODE, {"code": new[0]})
    assert len(new) == 10
    assert not is_in(first)
    assert is_in(second)
    assert AuditEvent.objects.filter(action=Action.RECOVERY_CODES_GENERATED).count() == 2


def test_nobody_touches_the_second_factor_of_another(cast: Cast) -> None:
    bob = User.objects.get(pk=cast.users["bob"].pk)
    secret, _ = mfa.new_secret(bob)

    for name in ("carol", "sue", "mallory"):
        actor = cast.actor(name)
        with pytest.raises(NotPermitted):
            mfa.enable_second_factor(actor=actor, user=bob, secret=secret, code=totp(secret))
        with pytest.raises(NotPermitted):
            mfa.disable_second_factor(actor=actor, user=bob)
        with pytest.raises(NotPermitted):
            mfa.renew_recovery_codes(actor=actor, user=bob)
    with pytest.raises(ReauthenticationRequired):
        actor = cast.actor("bob", present=False)
        mfa.enable_second_factor(actor=actor, user=bob, secret=secret, code=totp(secret))

    assert not Authenticator.objects.exists()


def test_a_command_resets_it_and_nobody_else(cast: Cast, command: Actor) -> None:
    user = with_password(cast, "bob")
    set_up_second_factor(sign_in(user))
    for name in ("bob", "carol", "sue"):
        with pytest.raises(NotPermitted):
            mfa.reset_second_factor(actor=cast.actor(name), user=user)

    call_command("reset_second_factor", "bob@example.org", "--json", stdout=StringIO())

    assert is_in(sign_in(user))
    event = AuditEvent.objects.get(action=Action.MFA_DISABLED)
    assert (event.actor_type, event.object_key) == ("command", "bob@example.org")
    with pytest.raises(NotFound):
        mfa.reset_second_factor(actor=command, user=user)


def test_one_at_a_time(cast: Cast) -> None:
    bob, actor = User.objects.get(pk=cast.users["bob"].pk), cast.actor("bob")
    secret, _ = mfa.new_secret(bob)
    with pytest.raises(InvalidInput):
        mfa.enable_second_factor(actor=actor, user=bob, secret=secret, code="000000")
    mfa.enable_second_factor(actor=actor, user=bob, secret=secret, code=totp(secret))

    with pytest.raises(Conflict):
        mfa.enable_second_factor(actor=actor, user=bob, secret=secret, code=totp(secret, steps=1))


def test_without_its_event_nothing_is_set_up(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    bob, actor = User.objects.get(pk=cast.users["bob"].pk), cast.actor("bob")
    secret, _ = mfa.new_secret(bob)

    def failing(**_: object) -> None:
        raise RuntimeError("the chain is broken")

    monkeypatch.setattr("nexus.console.mfa.record", failing)
    with pytest.raises(RuntimeError):
        mfa.enable_second_factor(actor=actor, user=bob, secret=secret, code=totp(secret))

    assert not Authenticator.objects.exists()


# ---- at rest


def test_secrets_and_codes_stand_in_no_table_and_no_session(cast: Cast) -> None:
    user = with_password(cast, "bob")
    client = sign_in(user)
    open_page = client.get(SET_UP).content.decode()
    shown = found(r'id="totp-secret"[^>]*>([A-Z2-7]+)<', open_page)
    secret, codes = set_up_second_factor(client)
    half_way(user).post(CODE, {"code": codes[0]})
    absent(client).post(PRESENCE, {"code": totp(secret)})

    sessions = str([session.get_decoded() for session in Session.objects.all()]).encode()
    places = [*cells(), ("sessions", sessions)]

    assert connection.introspection.table_names()
    for canary in (secret, shown, *codes, *(code.replace(" ", "") for code in codes), PASSWORD):
        assert not [name for name, data in places if stands_in(canary, data)], canary


def test_a_row_copied_to_somebody_else_does_not_open(cast: Cast) -> None:
    mallory, bob = with_password(cast, "mallory"), with_password(cast, "bob")
    secret, codes = set_up_second_factor(sign_in(mallory))
    set_up_second_factor(sign_in(bob))
    for kind in (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES):
        stolen = Authenticator.objects.get(user_id=mallory.pk, type=kind)
        Authenticator.objects.filter(user_id=bob.pk, type=kind).update(data=stolen.data)

    for code in (totp(secret), codes[0]):
        client = half_way(bob)
        answer = client.post(CODE, {"code": code})

        assert answer.status_code == 503
        assert not is_in(client)


def test_a_replaced_key_still_opens_what_it_sealed(cast: Cast) -> None:
    user = with_password(cast, "bob")
    secret, _ = set_up_second_factor(sign_in(user))
    old = keys.server_key(Purpose.MFA)
    row = Authenticator.objects.get(type=Authenticator.Type.TOTP)
    assert row.data["secret"].startswith(f"{old.id}.")
    keys.forget_all()

    client = half_way(user)
    client.post(CODE, {"code": totp(secret)})

    assert is_in(client)


def test_allauth_alone_neither_seals_nor_opens() -> None:
    for hook in (mfa.SealingAdapter().encrypt, mfa.SealingAdapter().decrypt):
        with pytest.raises(RuntimeError):
            hook("x")


# ---- enrolment


def _addresses(resolver: URLResolver, before: str = "/", names: str = "") -> Iterator[tuple[str, str]]:
    """Every address of the URLconf with its view's name, with something in each of its holes."""
    for entry in resolver.url_patterns:
        path = before + _filled(str(entry.pattern))
        if isinstance(entry, URLResolver):
            inside = f"{names}{entry.namespace}:" if entry.namespace else names
            yield from _addresses(entry, path, inside)
        elif isinstance(entry, URLPattern):
            yield path, f"{names}{entry.name}"


def _filled(route: str) -> str:
    route = re.sub(r"\(\?P<app_label>([a-z_]+)[^)]*\)", r"\1", route)
    route = re.sub(r"\(\?P<\w+>\.\*\)", "anything", route).strip("^$").removesuffix(r"\Z")
    route = re.sub(r"<uuid:\w+>", str(uuid4()), route)
    return re.sub(r"<(?:\w+:)?\w+>", "1", route)


def console_addresses() -> list[tuple[str, str]]:
    found = [(path, name) for path, name in _addresses(get_resolver()) if name.startswith("admin:")]
    assert len(found) > 40
    return found


def assert_shut(client: Client, leads_to: str, opened: frozenset[str]) -> None:
    passed = set()
    for path, name in console_addresses():
        if name in opened or name == "admin:login":
            continue
        for answer in (client.get(path), client.post(path)):
            if answer.status_code != 302 or answer["Location"] != leads_to:
                passed.add(f"{name} {path}: {answer.status_code}")
    assert not passed


def test_who_has_no_second_factor_reaches_nothing_where_it_is_asked_for(
    cast: Cast, settings: Settings
) -> None:
    settings.NEXUS_REQUIRE_MFA = True
    client = signed_in(cast, "carol")

    assert_shut(client, SET_UP, gate.OPEN_PAGES[gate.SECOND_FACTOR])

    assert client.get(SET_UP).status_code == 200
    assert client.get(PRESENCE).status_code == 200


def test_pages_before_enrolment_name_nothing_of_a_tenant(cast: Cast, settings: Settings) -> None:
    settings.NEXUS_REQUIRE_MFA = True
    client = signed_in(cast, "carol")

    shown = client.get(SET_UP).content.decode() + client.get(PRESENCE).content.decode()

    assert "acme" not in shown
    assert "shop" not in shown


def test_enrolment_opens_everything_at_once(cast: Cast, settings: Settings) -> None:
    settings.NEXUS_REQUIRE_MFA = True
    client = signed_in(cast, "carol")

    set_up_second_factor(client)

    assert is_in(client)
    client.post(TURN_OFF)
    assert client.get("/admin/")["Location"] == SET_UP


def test_somebody_to_be_enrolled_can_log_out(cast: Cast, settings: Settings) -> None:
    settings.NEXUS_REQUIRE_MFA = True
    client = signed_in(cast, "carol")

    answer = client.post("/admin/logout/")

    assert answer["Location"] == LOG_IN
    assert AuditEvent.objects.filter(action=Action.LOGOUT).exists()


def test_nobody_is_made_to_enrol_where_it_is_a_choice(cast: Cast) -> None:
    assert is_in(signed_in(cast, "carol"))


def test_production_asks_for_it_by_default() -> None:
    import os
    import subprocess
    import sys

    asked = "from nexus.settings import common; print(common.NEXUS_REQUIRE_MFA)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}
    done: Any = subprocess.run(
        [sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "True"
