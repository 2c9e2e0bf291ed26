"""Secrets by a workload's key through Django: statuses, headers, preconditions, and what is told of it."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.audit.events import Action, Outcome
from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.services.operations import issue_api_key
from apps.vault.models import Secret, SecretVersion
from apps.vault.operations import set_secret
from tests.conftest import Cast

VALUE = "v4lue-of-a-test"
VARY = "Authorization, X-Nexus-API-Key, X-API-Key, Origin"
LIMIT = 64 * 1024


class Door:
    """The workload API with one key; every answer is checked for what all answers share."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.client = Client(raise_request_exception=False)

    def ask(self, method: str, path: str = "", *, body: Any = None, **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        options = {} if body is None else {"data": body, "content_type": "application/json"}
        reply = getattr(self.client, method)(
            f"/api/v1/secrets{path}", headers={"X-Nexus-API-Key": self.key, **sent}, **options
        )
        assert reply.headers["Cache-Control"] == "private, no-store"
        assert reply.headers["Vary"] == VARY
        if reply.status_code >= 400:
            problem = reply.json()
            assert reply.headers["Content-Type"] == "application/problem+json"
            assert problem["status"] == reply.status_code
            assert problem["type"] == f"urn:nexus:problem:{problem['code']}"
            assert problem["request_id"] and problem["title"] and problem["detail"]
            assert VALUE not in reply.content.decode()
            assert "Traceback" not in reply.content.decode()
        return reply

    def put(self, key: str, body: Any, **headers: str) -> Any:
        return self.ask("put", f"/{key}", body=body, **headers)


def told(reply: Any) -> tuple[int, str]:
    return reply.status_code, reply.json()["code"]


@pytest.fixture
def writer(cast: Cast, command: Actor) -> Door:
    _, text = issue_api_key(
        actor=command, service=cast.child, slot="secondary", scopes=["read", "write", "destroy"]
    )
    return Door(text)


@pytest.fixture
def reader(cast: Cast) -> Door:
    return Door(cast.keys["child"])


def test_a_put_creates_then_appends_and_answers_without_the_value(writer: Door) -> None:
    first = writer.put("a.b", {"value": VALUE})
    second = writer.put("a.b", {"type": "text", "value": "", "description": "emptied"})

    assert (first.status_code, first.json()) == (201, {"key": "a.b", "type": "text", "version": 1})
    assert (second.status_code, second.json()) == (200, {"key": "a.b", "type": "text", "version": 2})
    assert (first.headers["ETag"], second.headers["ETag"]) == ('"1"', '"2"')
    assert VALUE not in first.content.decode()
    read = writer.ask("get", "/a.b").json()
    assert read == {"key": "a.b", "type": "text", "value": "", "version": 2, "source": "service"}


def test_a_read_key_writes_nothing_and_the_refusal_is_told(cast: Cast, reader: Door) -> None:
    for reply in (reader.put("a", {"value": VALUE}), reader.ask("delete", "/a")):
        assert told(reply) == (403, "insufficient_scope")

    assert not Secret.objects.exists()
    events = AuditEvent.objects.filter(action=Action.ACTION_DENIED)
    # The second refusal of the minute is counted, not written.
    event = events.get()
    assert event.outcome == Outcome.DENIED
    assert event.project_id == cast.project.pk
    assert VALUE not in event.changes


def test_a_frontends_key_has_no_secrets_by_any_method(cast: Cast, reader: Door) -> None:
    door = Door(cast.keys["frontend"])

    replies = [door.ask("get"), door.ask("get", "?format=map"), door.ask("get", "/a")]

    for reply in replies:
        assert told(reply) == (403, "service_kind_mismatch")
        assert "secrets" not in reply.json()
    assert door.put("a", {"value": VALUE}).status_code == 403
    assert not AuditEvent.objects.filter(action=Action.SECRET_LIST).exists()


def test_a_lost_update_is_refused_and_nothing_is_written(writer: Door) -> None:
    writer.put("a", {"value": "one"})

    wrong = writer.put("a", {"value": VALUE}, If_Match='"7"')
    exists = writer.put("a", {"value": VALUE}, If_None_Match="*")
    absent = writer.put("b", {"value": VALUE}, If_Match="*")
    absent_version = writer.put("b", {"value": VALUE}, If_Match='"1"')
    deleted = writer.ask("delete", "/a", If_Match='"7"')

    for reply in (wrong, exists, absent, absent_version, deleted):
        assert told(reply) == (412, "version_conflict")
    assert SecretVersion.objects.count() == 1
    assert writer.put("a", {"value": "two"}, If_Match='"1"').status_code == 200
    assert writer.put("a", {"value": "three"}, If_Match="*").status_code == 200
    assert writer.put("b", {"value": "one"}, If_None_Match="*").status_code == 201


@pytest.mark.parametrize(
    "headers", [{"If_Match": "1"}, {"If_Match": 'W/"1"'}, {"If_Match": '"1", "2"'}, {"If_None_Match": '"1"'}]
)
def test_a_precondition_that_cannot_be_read_is_not_skipped(writer: Door, headers: dict[str, str]) -> None:
    writer.put("a", {"value": "one"})

    reply = writer.put("a", {"value": VALUE}, **headers)

    assert told(reply) == (422, "invalid_input")
    assert SecretVersion.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (f'{{"value": "{VALUE}"', 400),
        (f"{VALUE}", 400),
        (b'{"value": "\xff"}', 400),
        ("", 422),
        (f'{{"value": "a", "value": "{VALUE}"}}', 422),
        ('{"value": "\\ud800"}', 422),
        ('{"value": NaN}', 422),
        ('{"value": 1}', 422),
        ('{"value": null}', 422),
        ("{}", 422),
        (f'["{VALUE}"]', 422),
        (f'{{"value": "{VALUE}", "wert": "x"}}', 422),
        (f'{{"value": "{VALUE}", "type": "number"}}', 422),
        (f'{{"type": "file", "value": "{VALUE}"}}', 422),
        ('{"type": "file", "value": "YQ"}', 422),
        ('{"type": "file", "value": "YQ==", "file_name": "../a"}', 422),
        (f'{{"value": "{VALUE}", "file_name": "a"}}', 422),
        (f'{{"value": "{"x" * (LIMIT + 1)}"}}', 422),
    ],
)
def test_a_wrong_body_is_refused_without_its_value(writer: Door, body: Any, status: int) -> None:
    reply = writer.put("a", body)

    assert reply.status_code == status
    if status == 422:
        assert isinstance(reply.json()["errors"], dict)
    else:
        assert reply.json()["code"] == "malformed_request"
    assert "xxxx" not in reply.content.decode()
    assert not Secret.objects.exists()


def test_the_largest_value_fits_and_comes_back(writer: Door) -> None:
    largest = base64.b64encode(bytes(LIMIT)).decode()

    written = writer.put("a", {"type": "file", "value": largest, "file_name": "zero.bin"})

    assert written.status_code == 201
    read = writer.ask("get", "/a").json()
    assert (read["value"], read["file_name"]) == (largest, "zero.bin")


def test_another_media_type_is_refused(writer: Door) -> None:
    reply = writer.client.put(
        "/api/v1/secrets/a", data=VALUE, content_type="text/plain", headers={"X-Nexus-API-Key": writer.key}
    )

    assert told(reply) == (415, "unsupported_media_type")
    assert VALUE not in reply.content.decode()
    assert not Secret.objects.exists()


@pytest.mark.parametrize("key", ["1a", "a/b", "a b", "%C3%BC", "a" * 256, "a."])
def test_a_key_that_is_none_is_refused(writer: Door, key: str) -> None:
    reply = writer.put(key, {"value": VALUE})

    assert reply.status_code in (404, 422)
    assert not Secret.objects.exists()


def test_a_list_has_no_values_and_a_map_has_them_all(cast: Cast, command: Actor, writer: Door) -> None:
    set_secret(actor=command, service=cast.umbrella, key="above", value=b"inherited-value")
    writer.put("own", {"value": "own-value"})

    listed, mapped = writer.ask("get"), writer.ask("get", "?format=map")
    unknown = writer.ask("get", "?format=csv")

    assert listed.json() == {
        "secrets": [
            {"key": "above", "type": "text", "version": 1, "source": "umbrella"},
            {"key": "own", "type": "text", "version": 1, "source": "service"},
        ]
    }
    assert mapped.json() == {"secrets": {"above": "inherited-value", "own": "own-value"}}
    assert told(unknown) == (422, "invalid_input")
    event = AuditEvent.objects.get(action=Action.SECRET_EXPORTED)
    assert "own-value" not in event.changes and "inherited-value" not in event.changes


def test_a_deleted_secret_is_gone_until_it_is_written_again(writer: Door) -> None:
    writer.put("a", {"value": "one"})

    deleted = writer.ask("delete", "/a")

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert told(writer.ask("get", "/a")) == (404, "not_found")
    assert told(writer.ask("delete", "/a")) == (404, "not_found")
    assert writer.ask("get").json() == {"secrets": []}
    revived = writer.put("a", {"value": "two"}, If_None_Match="*")
    assert (revived.status_code, revived.json()["version"]) == (201, 2)


def test_a_child_neither_deletes_nor_overwrites_what_it_inherits(
    cast: Cast, command: Actor, writer: Door
) -> None:
    above = set_secret(actor=command, service=cast.umbrella, key="above", value=b"inherited-value")

    refused = writer.ask("delete", "/above")
    written = writer.put("above", {"value": "own-value"})

    assert told(refused) == (404, "not_found")
    assert (written.status_code, written.json()["version"]) == (201, 1)
    above.entry.refresh_from_db()
    assert (above.entry.active_version, above.entry.deleted_at) == (1, None)
    assert writer.ask("get", "/above").json()["value"] == "own-value"
    writer.ask("delete", "/above")
    assert writer.ask("get", "/above").json()["value"] == "inherited-value"


def test_a_siblings_secret_is_as_if_it_were_not_there(cast: Cast, command: Actor, writer: Door) -> None:
    set_secret(actor=command, service=cast.backend, key="a", value=VALUE.encode())

    there, nowhere = writer.ask("get", "/a"), writer.ask("get", "/b")

    assert told(there) == told(nowhere) == (404, "not_found")
    assert {**there.json(), "request_id": ""} == {**nowhere.json(), "request_id": ""}


def test_a_read_is_told_once_a_minute(
    cast: Cast, command: Actor, writer: Door, reader: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.put("a", {"value": "one"})
    events = AuditEvent.objects.filter(action=Action.SECRET_READ)

    for _ in range(3):
        assert reader.ask("get", "/a").status_code == 200
    assert [event.count for event in events] == [1]
    # Another credential, and another version, are told at once.
    writer.ask("get", "/a")
    writer.put("a", {"value": "two"})
    reader.ask("get", "/a")
    assert events.all().count() == 3

    later = timezone.now() + timedelta(seconds=61)
    monkeypatch.setattr("apps.audit.operations.clock.now", lambda: later)
    reader.ask("get", "/a")

    # Nothing that was counted goes unsaid: six reads in all.
    assert sum(event.count for event in events.all()) == 6
    assert not [event for event in events.all() if "one" in event.changes or "two" in event.changes]


def test_a_secret_that_does_not_open_is_unavailable_by_name_of_its_code(writer: Door) -> None:
    writer.put("a", {"value": VALUE})
    SecretVersion.objects.update(sealed=b"\x01" * 64)

    for reply in (writer.ask("get", "/a"), writer.ask("get", "?format=map")):
        assert told(reply) == (503, "unreadable")
    assert not AuditEvent.objects.filter(action__in=[Action.SECRET_READ, Action.SECRET_EXPORTED]).exists()


def test_other_methods_and_addresses_are_problems_too(cast: Cast, writer: Door) -> None:
    posted = writer.ask("post", "/a", body={"value": VALUE})
    nowhere = Client().get("/api/v1/nowhere", headers={"X-Nexus-API-Key": writer.key})

    assert told(posted) == (405, "method_not_allowed")
    assert "PUT" in posted.headers["Allow"]
    assert told(nowhere) == (404, "not_found")
    assert nowhere.headers["Cache-Control"] == "private, no-store"
