"""One's own password: changed by its person, with what else ends then."""

import pytest
from django.test import Client
from pytest_django import Settings

from apps.audit.events import Action
from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import InvalidInput, NotPermitted, ReauthenticationRequired
from apps.tenancy.models import User
from apps.tenancy.operations import change_own_password
from nexus.console import gate
from tests.conftest import Cast
from tests.console.session import LOG_IN, PASSWORD, sign_in, with_password
from tests.console.test_mfa import assert_shut

PAGE = "/admin/password_change/"
NEW = "quite another battery staple"
FORM = {"current_password": PASSWORD, "new_password": NEW, "again": NEW}


def of(cast: Cast, name: str) -> User:
    return User.objects.get(pk=cast.users[name].pk)


def test_it_changes_and_the_other_sessions_end(cast: Cast) -> None:
    user = with_password(cast, "bob")
    here, elsewhere = sign_in(user), sign_in(user)
    key = here.session.session_key

    answer = here.post(PAGE, FORM)

    assert answer["Location"] == "/admin/"
    assert here.get("/admin/").status_code == 200
    assert here.session.session_key != key
    assert elsewhere.get("/admin/").status_code == 302
    assert Client().post(LOG_IN, {"login": user.email, "password": PASSWORD}).status_code == 200
    assert sign_in(user, password=NEW).get("/admin/").status_code == 200
    event = AuditEvent.objects.get(action=Action.PASSWORD_CHANGED)
    assert (event.actor_name, event.object_key, event.changes) == (user.email, user.email, "{}")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"current_password": "no such password"}, "This is not your present password."),
        ({"current_password": ""}, "This field is required."),
        ({"new_password": "short", "again": "short"}, "at least 12 characters"),
        ({"new_password": "password1234", "again": "password1234"}, "too common"),
        ({"new_password": "bob@example.org", "again": "bob@example.org"}, "too similar"),
        ({"new_password": PASSWORD, "again": PASSWORD}, "Choose another."),
        ({"again": "something else entirely"}, "The two are not the same."),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(cast: Cast, given: dict[str, str], said: str) -> None:
    user = with_password(cast, "bob")
    client = sign_in(user)

    answer = client.post(PAGE, FORM | given)

    text = answer.content.decode()
    assert answer.status_code == 200
    assert said in text
    assert 'role="alert"' in text
    assert PASSWORD not in text
    assert of(cast, "bob").check_password(PASSWORD)
    assert not AuditEvent.objects.filter(action=Action.PASSWORD_CHANGED).exists()


def test_guesses_of_the_present_password_are_limited_and_told(cast: Cast) -> None:
    client = sign_in(with_password(cast, "bob"))

    statuses = [
        client.post(PAGE, FORM | {"current_password": f"guess {number}"}).status_code for number in range(11)
    ]

    assert statuses == [200] * 10 + [429]
    assert client.post(PAGE, FORM).status_code == 429
    assert AuditEvent.objects.filter(action=Action.PRESENCE_FAILED, actor_name="bob@example.org").exists()


def test_a_given_password_has_to_be_changed_first(cast: Cast) -> None:
    user = with_password(cast, "carol")
    User.objects.filter(pk=user.pk).update(must_change_password=True)
    client = sign_in(user)

    assert_shut(client, PAGE, gate.OPEN_PAGES[gate.PASSWORD])
    page = client.get(PAGE)
    assert page.status_code == 200
    assert "acme" not in page.content.decode()
    same = client.post(PAGE, FORM | {"new_password": PASSWORD, "again": PASSWORD})
    assert same.status_code == 200
    client.post(PAGE, FORM)

    assert not of(cast, "carol").must_change_password
    assert client.get("/admin/").status_code == 200


def test_the_password_comes_before_the_second_factor(cast: Cast, settings: Settings) -> None:
    settings.NEXUS_REQUIRE_MFA = True
    user = with_password(cast, "carol")
    User.objects.filter(pk=user.pk).update(must_change_password=True)
    client = sign_in(user)

    assert client.get("/admin/")["Location"] == PAGE
    client.post(PAGE, FORM)

    assert client.get("/admin/")["Location"] == "/admin/two-factor/set-up/"


def test_only_the_person_changes_it(cast: Cast, command: Actor) -> None:
    bob = with_password(cast, "bob")

    for actor in (cast.actor("carol"), cast.actor("sue"), cast.actor("mallory"), command):
        with pytest.raises(NotPermitted):
            change_own_password(actor=actor, user=bob, new_password=NEW, current_password=PASSWORD)

    assert of(cast, "bob").check_password(PASSWORD)


def test_the_operation_asks_for_the_present_password_or_for_presence(cast: Cast) -> None:
    bob = with_password(cast, "bob")

    with pytest.raises(ReauthenticationRequired):
        change_own_password(actor=cast.actor("bob", present=False), user=bob, new_password=NEW)
    with pytest.raises(InvalidInput):
        change_own_password(
            actor=cast.actor("bob"), user=bob, new_password=NEW, current_password="no such password"
        )
    assert of(cast, "bob").check_password(PASSWORD)

    change_own_password(actor=cast.actor("bob"), user=bob, new_password=NEW)
    change_own_password(
        actor=cast.actor("bob", present=False),
        user=bob,
        new_password="a third battery staple",
        current_password=NEW,
    )

    assert of(cast, "bob").check_password("a third battery staple")


def test_without_its_event_nothing_changes(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    bob = with_password(cast, "bob")

    def failing(**_: object) -> None:
        raise RuntimeError("the chain is broken")

    monkeypatch.setattr("apps.tenancy.operations.record", failing)
    with pytest.raises(RuntimeError):
        change_own_password(actor=cast.actor("bob"), user=bob, new_password=NEW)

    assert of(cast, "bob").check_password(PASSWORD)


def test_a_deactivated_person_changes_nothing(cast: Cast) -> None:
    bob = with_password(cast, "bob")
    User.objects.filter(pk=bob.pk).update(is_active=False)

    with pytest.raises(NotPermitted):
        change_own_password(actor=cast.actor("bob"), user=bob, new_password=NEW)
