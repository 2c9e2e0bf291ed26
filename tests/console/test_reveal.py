"""Values and keys leave by one answer each: to whom, after what, and where they never stand."""

import logging
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.ids import uuid7
from apps.services.models import ApiKey, Service, ServiceGrant
from apps.vault import operations, reads
from apps.vault.models import Secret, SecretType, SecretVersion
from apps.vault.operations import delete_secret, set_secret
from tests.conftest import Cast
from tests.console.test_routes import CANARY, World, entered, everything, make_world, plain


def reveal_url(secret: Secret) -> str:
    return f"/admin/vault/secret/{secret.pk}/reveal/"


def page_of(secret: Secret) -> str:
    return f"/admin/vault/secret/{secret.pk}/change/"


def reveals() -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action="secret.reveal").order_by("time"))


def presence_key(session: Any) -> str:
    names = list(session.keys())
    (key,) = (name for name in names if "present" in name)
    return str(key)


def passed(client: Client, ago: timedelta) -> None:
    """Let the proof of presence in the client's session be so old."""
    session = client.session
    key = presence_key(session)
    session[key] = (timezone.now() - ago).timestamp()
    session.save()


# ---- reveal


@pytest.mark.parametrize(
    ("who", "where"),
    [(who, where) for who in ("alice", "mona", "carol") for where in ("production", "develop")]
    + [("bob", "develop")],
)
def test_who_may_sees_the_value_after_one_event_and_in_an_answer_that_nothing_keeps(
    world: World, who: str, where: str
) -> None:
    secret = world.secrets[where]
    client = entered(world.cast, who)

    answer = client.post(reveal_url(secret))

    assert answer.status_code == 200
    assert answer.content.decode().count(CANARY) == 1
    assert "no-store" in answer["Cache-Control"].split(", ")
    assert "ETag" not in answer
    (event,) = reveals()
    assert (event.actor_name, event.object_id, event.changed) == (
        f"{who}@example.org",
        str(secret.pk),
        {"version": 1},
    )
    assert event.outcome == "success"
    assert CANARY not in repr(event.__dict__)


@pytest.mark.parametrize(
    ("who", "where"),
    [
        *((who, "production") for who in ("bob", "tess", "vic", "finn", "mallory", "sue")),
        *((who, "develop") for who in ("tess", "vic", "finn", "mallory", "sue")),
    ],
)
def test_to_all_others_a_secret_is_as_one_that_does_not_exist(world: World, who: str, where: str) -> None:
    client = entered(world.cast, who)
    before = everything()

    for data in ({}, {"version": "1"}, {"download": "1"}):
        real = client.post(reveal_url(world.secrets[where]), data)
        random = client.post(f"/admin/vault/secret/{uuid7()}/reveal/", data)

        assert (real.status_code, random.status_code) == (404, 404)
        assert plain(real.content.decode()) == plain(random.content.decode())
        assert CANARY not in real.content.decode()
    assert everything() == before


def test_a_right_to_list_is_no_right_to_reveal(world: World) -> None:
    content_type = ContentType.objects.get_for_model(Service)
    ServiceGrant.objects.create(
        user=world.cast.users["vic"],
        content_object=world.cast.backend,
        permission=Permission.objects.get(codename="secret:list", content_type=content_type),
    )
    client = entered(world.cast, "vic")
    secret = world.secrets["production"]

    page = client.get(page_of(secret))
    tab = client.get(f"/admin/services/service/{world.cast.backend.pk}/change/?tab=secrets")
    answers = [client.post(reveal_url(secret)) for _ in range(3)]

    assert (page.status_code, tab.status_code) == (200, 200)
    assert "zyx.production.token" in tab.content.decode()
    assert "/reveal/" not in page.content.decode() + tab.content.decode()
    assert {answer.status_code for answer in answers} == {403}
    assert not any(CANARY in answer.content.decode() for answer in answers)
    assert reveals() == []
    (denial,) = AuditEvent.objects.filter(action="action.denied")
    assert (denial.actor_name, denial.object_id) == ("vic@example.org", str(secret.pk))


@pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options"])
def test_a_reveal_is_a_post_and_nothing_else(world: World, method: str) -> None:
    client = entered(world.cast, "carol")

    real = getattr(client, method)(reveal_url(world.secrets["production"]))
    overridden = getattr(client, method)(
        reveal_url(world.secrets["production"]), headers={"X-HTTP-Method-Override": "POST"}
    )

    for answer in (real, overridden):
        assert answer.status_code == 405
        assert answer["Allow"] == "POST"
        assert answer.content == b""
    assert reveals() == []


def test_a_reveal_needs_the_token_of_its_page(world: World) -> None:
    client = entered(world.cast, "carol", enforce_csrf_checks=True)
    url = reveal_url(world.secrets["production"])

    without = client.post(url)
    made_up = client.post(url, {"csrfmiddlewaretoken": "x" * 64})
    page = client.get(page_of(world.secrets["production"])).content.decode()
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert found is not None
    elsewhere = client.post(
        url, {"csrfmiddlewaretoken": found[1]}, headers={"Origin": "https://evil.example"}
    )
    assert reveals() == []
    good = client.post(url, {"csrfmiddlewaretoken": found[1]})

    assert [answer.status_code for answer in (without, made_up, elsewhere, good)] == [403, 403, 403, 200]
    assert not any(CANARY in answer.content.decode() for answer in (without, made_up, elsewhere))
    assert CANARY in good.content.decode()


@pytest.mark.parametrize("ago", [None, timedelta(minutes=15, seconds=1), timedelta(days=1)])
def test_without_presence_one_is_asked_first_and_no_value_leaves(world: World, ago: timedelta | None) -> None:
    client = entered(world.cast, "carol", present=ago is not None)
    if ago is not None:
        passed(client, ago)
    secret = world.secrets["production"]

    for data in ({}, {"version": "1"}, {"download": "1"}):
        answer = client.post(reveal_url(secret), data)

        assert answer.status_code == 302
        location = urlsplit(answer["Location"])
        assert location.path == "/admin/presence/"
        # A page: a POST is never repeated by itself.
        assert parse_qs(location.query) == {"next": [page_of(secret)]}
        assert answer.content == b""
    assert reveals() == []


def test_presence_holds_for_fifteen_minutes_of_this_session_alone(world: World) -> None:
    present, other = entered(world.cast, "carol"), entered(world.cast, "carol", present=False)
    passed(present, timedelta(minutes=14, seconds=30))
    url = reveal_url(world.secrets["production"])

    assert other.post(url).status_code == 302
    assert present.post(url).status_code == 200
    assert len(reveals()) == 1


@pytest.mark.parametrize("stored", ["now", True, None, [], {}, "9999999999"])
def test_a_session_value_that_is_no_time_is_no_presence(world: World, stored: Any) -> None:
    client = entered(world.cast, "carol")
    session = client.session
    key = presence_key(session)
    session[key] = stored
    session.save()

    answer = client.post(reveal_url(world.secrets["production"]))

    assert answer.status_code == 302
    assert reveals() == []


def test_no_event_no_value(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**anything: Any) -> None:
        raise RuntimeError("the audit log is away")

    monkeypatch.setattr(reads, "record", broken)
    client = entered(world.cast, "carol", raise_request_exception=False)

    for data in ({}, {"version": "1"}, {"download": "1"}):
        answer = client.post(reveal_url(world.secrets["production"]), data)

        assert answer.status_code == 500
        assert CANARY not in answer.content.decode()
    assert reveals() == []


def test_the_event_is_committed_before_the_value_is_drawn(
    committed_cast: Cast,
    command: Actor,
    monkeypatch: pytest.MonkeyPatch,
    in_thread: Callable[[Callable[[], Any]], Callable[[], Any]],
) -> None:
    world = make_world(committed_cast, command)
    seen: list[int] = []
    inside: list[bool] = []
    reveal = operations.reveal_secret

    def watched(**options: Any) -> Any:
        revealed = reveal(**options)
        inside.append(connection.in_atomic_block)
        # Another connection sees what is committed, and nothing else.
        thread = threading.Thread(target=in_thread(lambda: seen.append(len(reveals()))))
        thread.start()
        thread.join()
        return revealed

    monkeypatch.setattr(operations, "reveal_secret", watched)

    answer = entered(committed_cast, "carol").post(reveal_url(world.secrets["production"]))

    assert answer.status_code == 200
    assert (seen, inside) == ([1], [False])


def test_old_versions_are_revealed_each_with_its_event(world: World, command: Actor) -> None:
    secret = world.secrets["production"]
    set_secret(actor=command, service=world.cast.backend, key=secret.key, value=b"the-second-value")
    client = entered(world.cast, "mona")

    newest = client.post(reveal_url(secret)).content.decode()
    old = client.post(reveal_url(secret), {"version": "1"}).content.decode()

    assert "the-second-value" in newest
    assert CANARY not in newest
    assert CANARY in old
    assert "the-second-value" not in old
    assert [event.changed["version"] for event in reveals()] == [2, 1]


def test_a_destroyed_version_is_gone(world: World, command: Actor, settings: Any) -> None:
    settings.NEXUS_VERSIONS_KEPT = 1
    secret = world.secrets["production"]
    set_secret(actor=command, service=world.cast.backend, key=secret.key, value=b"the-second-value")
    client = entered(world.cast, "carol")

    answer = client.post(reveal_url(secret), {"version": "1"})
    page = client.get(page_of(secret)).content.decode()

    assert bytes(SecretVersion.objects.get(secret=secret, version=1).sealed) == b""
    assert answer.status_code == 404
    assert CANARY not in answer.content.decode()
    assert "Reveal: version 2" in page
    assert "Reveal: version 1" not in page
    assert reveals() == []


@pytest.mark.parametrize(
    "number", ["0", "2", "-1", "+1", "1.0", "1e0", "١", "1 OR 1=1", "9" * 9, "9" * 40, "x", "1\x00", " 1"]
)
def test_versions_that_are_none_are_nothing(world: World, number: str) -> None:
    client = entered(world.cast, "carol")

    answer = client.post(reveal_url(world.secrets["production"]), {"version": number})

    assert answer.status_code == 404
    assert CANARY not in answer.content.decode()
    assert reveals() == []


def test_a_deleted_secret_is_not_revealed(world: World) -> None:
    secret = world.secrets["production"]
    delete_secret(actor=world.cast.actor("carol"), service=world.cast.backend, key=secret.key)

    answer = entered(world.cast, "carol").post(reveal_url(secret))

    assert answer.status_code == 404
    assert CANARY not in answer.content.decode()


def test_a_value_that_does_not_open_says_so_and_nothing_else(world: World, command: Actor) -> None:
    secret, other = world.secrets["production"], world.secrets["develop"]
    stolen = SecretVersion.objects.get(secret=other)
    SecretVersion.objects.filter(secret=secret).update(sealed=bytes(stolen.sealed))

    answer = entered(world.cast, "carol").post(reveal_url(secret))

    assert answer.status_code == 503
    assert CANARY not in answer.content.decode()


HTML = "</pre><script>alert('zyx')</script><img src=x onerror=alert(1)>"


def test_a_value_of_markup_is_shown_as_text(world: World, command: Actor) -> None:
    set_secret(actor=command, service=world.cast.backend, key="zyx.markup", value=HTML.encode())
    secret = Secret.objects.get(key="zyx.markup")

    answer = entered(world.cast, "carol").post(reveal_url(secret))

    assert "&lt;script&gt;alert(" in answer.content.decode()
    assert "<script>alert" not in answer.content.decode()
    assert "<img src=x" not in answer.content.decode()


def test_a_file_leaves_as_a_download_that_no_browser_opens(world: World, command: Actor) -> None:
    content = HTML.encode() + bytes(range(256))
    set_secret(
        actor=command,
        service=world.cast.backend,
        key="zyx.file",
        value=content,
        type=SecretType.FILE,
        file_name="page.html",
    )
    client = entered(world.cast, "carol")
    url = reveal_url(Secret.objects.get(key="zyx.file"))

    shown = client.post(url)
    answer = client.post(url, {"download": "1", "version": "1"})

    assert "<script>alert" not in shown.content.decode()
    assert answer.content == content
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"] == 'attachment; filename="page.html"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in answer["Cache-Control"].split(", ")
    assert len(reveals()) == 2


@pytest.mark.parametrize(
    "name", ['a".html', "../../etc/passwd", ".hidden", "a b", "a;b", "é.pem", "a\r\nX-Evil: 1", "a'b", "-rf"]
)
def test_no_file_name_reaches_a_header_that_could_mean_more(world: World, name: str) -> None:
    client = entered(world.cast, "carol")
    upload = SimpleUploadedFile("x", b"x")
    upload.name = name  # Past SimpleUploadedFile's own cleaning, as a client could send it.

    answer = client.post(
        f"/admin/vault/secret/add/?service={world.cast.backend.pk}",
        {"key": "zyx.file", "value": "", "file": upload},
    )

    assert answer.status_code in (302, 422)
    for version in SecretVersion.objects.filter(type=SecretType.FILE):
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", version.file_name), version.file_name
        download = client.post(reveal_url(version.secret), {"download": "1"})
        assert download["Content-Disposition"] == f'attachment; filename="{version.file_name}"'


def test_a_refused_write_is_not_repeated_in_logs_messages_or_the_session(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    client = entered(world.cast, "carol")
    add = f"/admin/vault/secret/add/?service={world.cast.backend.pk}"
    value = "another-canary-8d21"

    with caplog.at_level(logging.DEBUG):
        refused = client.post(add, {"key": "-not a key-", "value": value})
        written = client.post(add, {"key": "zyx.fresh", "value": value})
        after = client.get(written["Location"])

    assert (refused.status_code, written.status_code) == (422, 302)
    assert value not in written["Location"] + repr(written.headers) + repr(written.cookies)
    assert value not in after.content.decode()
    assert value not in caplog.text
    assert value not in repr(everything(without=()))
    assert not any(value in repr(session.get_decoded()) for session in Session.objects.all())


# ---- keys


def issue_url(service: Service) -> str:
    return f"/admin/services/apikey/add/?service={service.pk}"


KEY = re.compile(r"sk_live_[0-9a-f]{64}")


@pytest.mark.parametrize("who", ["alice", "mona", "carol"])
def test_a_key_is_issued_to_whom_is_there(world: World, who: str) -> None:
    client = entered(world.cast, who, present=False)
    url = issue_url(world.cast.backend)
    before = everything(without=("django_session",))

    asked = [client.get(url), client.post(url, {"slot": "secondary"})]

    for answer in asked:
        assert answer.status_code == 302
        assert urlsplit(answer["Location"]).path == "/admin/presence/"
        assert parse_qs(urlsplit(answer["Location"]).query)["next"] == [url]
    assert everything(without=("django_session",)) == before


def test_presence_that_ends_while_the_form_is_open_is_asked_for_again(world: World) -> None:
    client = entered(world.cast, "mona")
    url = issue_url(world.cast.backend)
    assert client.get(url).status_code == 200
    passed(client, timedelta(minutes=16))

    answer = client.post(url, {"slot": "secondary"})

    assert answer.status_code == 302
    assert not ApiKey.objects.filter(service=world.cast.backend, slot="secondary").exists()


def test_a_keys_text_stands_in_one_answer_and_nowhere_else(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    client = entered(world.cast, "mona")

    with caplog.at_level(logging.DEBUG):
        answer = client.post(issue_url(world.cast.backend), {"slot": "secondary", "scopes": ["read"]})
        later = [
            client.get(f"/admin/services/service/{world.cast.backend.pk}/change/?tab=keys"),
            client.get("/admin/services/apikey/"),
            client.get("/admin/audit/auditevent/"),
            client.get("/admin/"),
        ]

    (text,) = set(KEY.findall(answer.content.decode()))
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    secret_part = text[8:40]
    assert not any(secret_part in page.content.decode() for page in later)
    assert secret_part not in caplog.text
    assert secret_part not in repr(everything(without=()))
    assert secret_part.encode() not in b"".join(
        value
        for rows in everything(without=()).values()
        for row in rows
        for value in row
        if isinstance(value, bytes)
    )
    assert not any(secret_part in repr(session.get_decoded()) for session in Session.objects.all())
    assert secret_part not in repr(client.cookies)


def test_a_form_sent_twice_is_refused_for_its_slot(world: World) -> None:
    client = entered(world.cast, "mona")
    data = {"slot": "secondary", "scopes": ["read"]}

    first = client.post(issue_url(world.cast.backend), data)
    second = client.post(issue_url(world.cast.backend), data)

    assert (first.status_code, second.status_code) == (200, 422)
    assert "The secondary slot of" in second.content.decode()
    assert KEY.findall(second.content.decode()) == []
    assert ApiKey.objects.filter(service=world.cast.backend, slot="secondary").count() == 1
    assert AuditEvent.objects.filter(action="api_key.issued", actor_name="mona@example.org").count() == 1


def test_a_frontends_key_takes_no_scope_and_an_umbrella_no_key(world: World) -> None:
    client = entered(world.cast, "mona")

    frontend = client.post(
        issue_url(world.cast.frontend), {"slot": "secondary", "scopes": ["read", "write", "destroy"]}
    )
    umbrella = client.post(issue_url(world.cast.umbrella), {"slot": "primary"})
    unknown = client.post(issue_url(world.cast.backend), {"slot": "tertiary", "scopes": ["read"]})
    scopes = client.post(issue_url(world.cast.backend), {"slot": "secondary", "scopes": ["secret:reveal"]})

    assert [frontend.status_code, umbrella.status_code, unknown.status_code, scopes.status_code] == [
        200,
        422,
        422,
        422,
    ]
    assert ApiKey.objects.get(service=world.cast.frontend, slot="secondary").scopes == ["read"]
    assert not ApiKey.objects.filter(service=world.cast.umbrella).exists()


def test_a_key_is_rotated_by_whom_is_there_and_the_new_one_shown_once(world: World) -> None:
    client = entered(world.cast, "mona", present=False)
    old = ApiKey.objects.get(service=world.cast.backend)
    page = f"/admin/services/apikey/{old.pk}/change/"
    data = {"overlap_hours": "1", "row_version": str(old.row_version)}

    absent = client.post(page, data)
    unrotated = ApiKey.objects.filter(service=world.cast.backend).count()
    client = entered(world.cast, "mona")
    form = client.get(page).content.decode()
    shown = client.post(page, data)
    again = client.post(page, data)
    wrong = client.post(f"/admin/services/apikey/{_newest(world).pk}/change/", {"overlap_hours": "721"})

    assert urlsplit(absent["Location"]).path == "/admin/presence/"
    assert unrotated == 1
    assert 'name="overlap_hours"' in form
    assert shown.status_code == 200
    assert "no-store" in shown["Cache-Control"]
    (text,) = set(KEY.findall(shown.content.decode()))
    assert text.endswith(_newest(world).last4)
    old.refresh_from_db()
    assert old.is_outgoing
    # The old key's page offers no rotation any more.
    assert again.status_code == 403
    assert wrong.status_code == 422
    tab = client.get(f"/admin/services/service/{world.cast.backend.pk}/change/?tab=keys").content.decode()
    assert "outgoing" in tab
    assert text[8:40] not in tab
    assert ApiKey.objects.filter(service=world.cast.backend).count() == 2


def _newest(world: World) -> ApiKey:
    return ApiKey.objects.filter(service=world.cast.backend, is_outgoing=False).latest("created_at")


def test_a_new_operators_password_stands_in_one_answer_and_nowhere_else(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    client = entered(world.cast, "sue")
    absent = entered(world.cast, "sue", present=False)

    asked = absent.post("/admin/tenancy/user/add/", {"email": "early@example.org"})
    with caplog.at_level(logging.DEBUG):
        answer = client.post("/admin/tenancy/user/add/", {"email": "new@example.org"})

    assert urlsplit(asked["Location"]).path == "/admin/presence/"
    found = re.search(r'id="shown-value"[^>]*>([^<]+)<', answer.content.decode())
    assert found is not None
    assert len(found[1]) >= 24
    assert "no-store" in answer["Cache-Control"]
    assert found[1] not in repr(everything(without=())) + caplog.text + repr(client.cookies)
    assert found[1] not in client.get("/admin/tenancy/user/").content.decode()
    assert "early@example.org" not in client.get("/admin/tenancy/user/").content.decode()
