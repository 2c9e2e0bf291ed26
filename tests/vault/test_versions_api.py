"""Versions by both APIs: lists, restoring, destroying, renaming, comparing, and who may."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.flags.models import Flag
from apps.flags.operations import delete_flag, set_flag_state
from apps.services.operations import issue_api_key
from apps.vault.models import Config, ConfigVersion, Secret, SecretVersion
from apps.vault.operations import delete_config, delete_secret, set_config, set_secret
from tests.conftest import Cast
from tests.console.session import absent, signed_in
from tests.vault.manage import BASE, Manage, develop_service, in_service, told
from tests.vault.test_api import VALUE, Door

PEOPLE = ("alice", "mona", "bob", "tess", "vic", "carol", "finn", "mallory")

# SPEC 3 by hand; `n` is production, `d` develop. Whose role may not list secrets gets 404 for each of them.
TABLE = """
door                     alice mona bob tess vic carol finn mallory
secrets-n-versions       200   200  404 404  404 200   404  404
secrets-d-versions       200   200  200 404  404 200   404  404
secrets-n-restore        200   200  404 404  404 200   404  404
secrets-d-restore        200   200  200 404  404 200   404  404
secrets-n-destroy        204   204  404 404  404 204   404  404
secrets-d-destroy        204   204  204 404  404 204   404  404
secrets-n-rename         200   200  404 404  404 200   404  404
secrets-d-rename         200   200  200 404  404 200   404  404
secrets-n-revive         200   200  404 404  404 200   404  404
secrets-d-revive         200   200  200 404  404 200   404  404
secrets-n-remind         200   200  404 404  404 200   404  404
secrets-d-remind         200   200  200 404  404 200   404  404
secrets-n-deleted        200   200  403 403  403 200   404  404
secrets-d-deleted        200   200  200 403  403 200   404  404
configs-n-versions       200   200  200 200  200 200   404  404
configs-n-restore        200   200  403 403  403 200   404  404
configs-d-restore        200   200  200 403  403 200   404  404
configs-n-destroy        204   204  403 403  403 204   404  404
configs-d-destroy        204   204  204 403  403 204   404  404
configs-n-rename         200   200  403 403  403 200   404  404
configs-d-rename         200   200  200 403  403 200   404  404
configs-n-revive         200   200  403 403  403 200   404  404
configs-d-revive         200   200  200 403  403 200   404  404
configs-n-diff           200   200  200 200  200 200   404  404
configs-n-deleted        200   200  403 403  403 200   404  404
configs-d-deleted        200   200  200 403  403 200   404  404
flags-n-revive           200   200  403 403  403 200   404  404
flags-d-revive           200   200  200 403  403 200   404  404
flags-n-deleted          200   200  403 403  403 200   404  404
flags-d-deleted          200   200  200 403  403 200   404  404
"""

DOORS: dict[str, tuple[str, str, Any]] = {
    "versions": ("get", "/old/versions", None),
    "restore": ("post", "/old/versions/1/restore", None),
    "destroy": ("delete", "/old/versions/2", None),
    "rename": ("post", "/old/rename", {"new_key": "new"}),
    "revive": ("post", "/gone/restore", None),
    "remind": ("patch", "/old", {"rotate_by": "2030-01-01T00:00:00Z"}),
    "deleted": ("get", "?deleted=true", None),
    "diff": ("get", "/old/diff?left=1&right=2", None),
}


def fill(command: Actor, service: Any) -> None:
    for key in ("old", "gone"):
        for text in (VALUE, "two", "three"):
            set_secret(actor=command, service=service, key=key, value=text.encode())
            set_config(actor=command, service=service, key=key, value=text)
    set_flag_state(actor=command, service=service, key="gone", enabled=True)
    delete_secret(actor=command, service=service, key="gone")
    delete_config(actor=command, service=service, key="gone")
    delete_flag(actor=command, service=service, key="gone")


@pytest.mark.parametrize("name", PEOPLE)
def test_each_role_gets_what_its_column_says(cast: Cast, command: Actor, name: str) -> None:
    from django.db import transaction

    services = {"n": cast.backend, "d": develop_service(cast, command)}
    for service in services.values():
        fill(command, service)
    lines = [line.split() for line in TABLE.strip().splitlines()]
    column = lines[0].index(name)
    person = Manage(cast, name)

    found = {}
    for line in lines[1:]:
        collection, where, door = line[0].split("-")
        method, path, body = DOORS[door]
        save_point = transaction.savepoint()
        answer = person.ask(method, in_service(services[where], f"{collection}{path}"), body)
        if collection == "secrets" or answer.status_code >= 400:
            assert VALUE not in answer.content.decode()
        found[line[0]] = str(answer.status_code)
        transaction.savepoint_rollback(save_point)

    assert found == {line[0]: line[column] for line in lines[1:]}


@pytest.fixture
def writer(cast: Cast, command: Actor) -> Door:
    _, text = issue_api_key(
        actor=command, service=cast.backend, slot="secondary", scopes=["read", "write", "destroy"]
    )
    return Door(text)


def test_a_workload_sees_restores_and_destroys_versions_of_its_own(cast: Cast, writer: Door) -> None:
    for text in (VALUE, "two"):
        writer.put("a", {"value": text, "description": f"length {len(text)}"})

    listed = writer.ask("get", "/a/versions")
    stale = writer.ask("post", "/a/versions/1/restore", If_Match='"1"')
    restored = writer.ask("post", "/a/versions/1/restore", If_Match='"2"')
    read = writer.ask("get", "/a")
    active = writer.ask("delete", "/a/versions/3")
    stale_too = writer.ask("delete", "/a/versions/1", If_Match='"2"')
    destroyed = writer.ask("delete", "/a/versions/1", If_Match='"3"')
    again = writer.ask("delete", "/a/versions/1")
    gone = writer.ask("post", "/a/versions/1/restore")

    assert [each["version"] for each in listed.json()["versions"]] == [2, 1]
    assert listed.json()["versions"][1].keys() == {
        "version", "type", "size_bytes", "description", "created_at", "created_by", "destroyed_at",
    }  # fmt: skip
    assert VALUE not in listed.content.decode()
    assert (restored.status_code, restored["ETag"]) == (200, '"3"')
    assert restored.json() == {"key": "a", "type": "text", "version": 3}
    assert (read.json()["value"], read.json()["version"]) == (VALUE, 3)
    assert [told(stale), told(stale_too)] == [(412, "version_conflict")] * 2
    assert told(active) == (409, "conflict")
    assert (destroyed.status_code, again.status_code, destroyed.content) == (204, 204, b"")
    assert told(gone) == (404, "not_found")
    listed = writer.ask("get", "/a/versions").json()["versions"]
    assert [each["destroyed_at"] is None for each in listed] == [True, True, False]
    assert AuditEvent.objects.filter(action="secret_version.destroyed").count() == 1
    for path in ("/b/versions", "/a%2Fb/versions", "/no key/versions"):
        assert told(writer.ask("get", path)) == (404, "not_found")
    for path in ("/b/versions/1", "/a/versions/9", f"/a/versions/{10**30}", f"/a/versions/{'9' * 5000}"):
        assert told(writer.ask("delete", path)) == (404, "not_found")
        assert told(writer.ask("post", f"{path}/restore"))[0] in (404, 405)
    unreadable = writer.ask("delete", "/a/versions/2", If_Match="2")
    assert told(unreadable) == (422, "invalid_input")


def test_a_workload_needs_the_scope_and_touches_nothing_of_the_umbrella(cast: Cast, command: Actor) -> None:
    set_secret(actor=command, service=cast.umbrella, key="a", value=b"one")
    set_secret(actor=command, service=cast.child, key="own", value=b"one")
    set_secret(actor=command, service=cast.child, key="own", value=b"two")
    _, text = issue_api_key(
        actor=command, service=cast.child, slot="secondary", scopes=["read", "write", "destroy"]
    )
    both, reader, frontend = Door(text), Door(cast.keys["child"]), Door(cast.keys["frontend"])
    asks = (
        ("get", "/own/versions"),
        ("post", "/own/versions/1/restore"),
        ("delete", "/own/versions/1"),
    )

    for method, path in asks:
        assert told(both.ask(method, path.replace("own", "a"))) == (404, "not_found")
        assert told(reader.ask(method, path)) == (403, "insufficient_scope")
        assert told(frontend.ask(method, path)) == (403, "service_kind_mismatch")
    _, text = issue_api_key(actor=command, service=cast.backend, slot="secondary", scopes=["read", "write"])
    assert told(Door(text).ask("delete", "/own/versions/1")) == (403, "insufficient_scope")

    assert SecretVersion.objects.filter(destroyed_at=None).count() == SecretVersion.objects.count() == 3


def test_a_history_is_read_in_pages_with_the_text_of_configs_alone(cast: Cast, command: Actor) -> None:
    fill(command, cast.backend)
    mona = Manage(cast, "mona")
    secrets, configs = (in_service(cast.backend, f"{kind}/old/versions") for kind in ("secrets", "configs"))
    mona.ask("delete", f"{configs}/1")

    page = mona.ask("get", f"{configs}?limit=2").json()
    rest = mona.ask("get", f"{configs}?limit=2&cursor={page['next']}").json()
    listed = mona.ask("get", f"{secrets}?ordering=version").json()

    assert [(row["version"], row["value"], row["active"]) for row in page["results"]] == [
        (3, "three", True),
        (2, "two", False),
    ]
    assert [(row["version"], row["value"], row["size_bytes"]) for row in rest["results"]] == [(1, None, 17)]
    assert rest["results"][0]["destroyed_at"] is not None
    assert rest["next"] is None
    assert [row["version"] for row in listed["results"]] == [1, 2, 3]
    assert listed["results"][0].keys() == {
        "version", "active", "type", "file_name", "size_bytes", "description", "created_at", "created_by",
        "destroyed_at",
    }  # fmt: skip
    assert AuditEvent.objects.filter(action="secret.list").count() == 1
    assert told(mona.ask("get", in_service(cast.backend, "secrets/gone/versions"))) == (404, "not_found")
    assert told(mona.ask("get", f"{configs}?limit=0")) == (422, "invalid_input")
    assert told(mona.ask("get", in_service(cast.frontend, "secrets/a/versions"))) == (
        403,
        "service_kind_mismatch",
    )


@pytest.mark.parametrize("kind", ["secrets", "configs"])
def test_versions_come_back_and_go_by_the_management_api(cast: Cast, command: Actor, kind: str) -> None:
    fill(command, cast.backend)
    mona = Manage(cast, "mona")
    path = in_service(cast.backend, f"{kind}/old")

    stale = mona.ask("post", f"{path}/versions/1/restore", If_Match='"2"')
    restored = mona.ask("post", f"{path}/versions/1/restore", If_Match='"3"')
    read = mona.ask("get", path)
    stale_too = mona.ask("delete", f"{path}/versions/2", If_Match='"3"')
    destroyed = mona.ask("delete", f"{path}/versions/2", If_Match='"4"')
    active = mona.ask("delete", f"{path}/versions/4")
    nothing = mona.ask("post", f"{path}/versions/2/restore")
    with_body = mona.ask("post", f"{path}/versions/3/restore", {"value": VALUE})

    assert [told(stale), told(stale_too)] == [(412, "version_conflict")] * 2
    assert (restored.status_code, restored["ETag"], restored.json()["version"]) == (200, '"4"', 4)
    assert {**read.json(), "warnings": []} == restored.json()
    assert restored.json()["description"] == "Version 1 again."
    assert (destroyed.status_code, told(active), told(nothing)) == (
        204,
        (409, "conflict"),
        (404, "not_found"),
    )
    assert told(with_body) == (422, "invalid_input")


@pytest.mark.parametrize("kind", ["secrets", "configs"])
def test_a_rename_by_the_management_api(cast: Cast, command: Actor, kind: str) -> None:
    fill(command, cast.backend)
    set_config(actor=command, service=cast.backend, key="url", value=f"{{{{{kind[:-1]}:old}}}}")
    mona = Manage(cast, "mona")
    path = in_service(cast.backend, kind)

    named = mona.ask("post", f"{path}/old/rename", {"new_key": "new"})
    taken = mona.ask("post", f"{path}/old/rename", {"new_key": "gone", "force": True})
    wrong = mona.ask("post", f"{path}/old/rename", {"new_key": VALUE + " "})
    unknown = mona.ask("post", f"{path}/old/rename", {"new_key": "x", VALUE: 1})
    stale = mona.ask("post", f"{path}/old/rename", {"new_key": "x"}, If_Match='"9"')
    moved = mona.ask("post", f"{path}/old/rename", {"new_key": "new", "force": True}, If_Match='"3"')

    assert told(named) == (409, "has_dependants")
    assert named.json()["dependants"] == ["production/api config url"]
    assert told(taken) == (409, "already_exists")
    assert told(wrong) == told(unknown) == (422, "invalid_input")
    assert VALUE not in wrong.content.decode() + unknown.content.decode()
    assert told(stale) == (412, "version_conflict")
    assert (moved.status_code, moved["ETag"], moved.json()["key"]) == (200, '"4"', "new")
    assert told(mona.ask("get", f"{path}/old")) == (404, "not_found")
    assert mona.ask("get", f"{path}/new").status_code == 200


@pytest.mark.parametrize("kind", ["secrets", "configs", "flags"])
def test_deleted_ones_are_listed_and_come_back(cast: Cast, command: Actor, kind: str) -> None:
    fill(command, cast.backend)
    mona = Manage(cast, "mona")
    path = in_service(cast.backend, kind)

    listed = mona.ask("get", f"{path}?deleted=true").json()["results"]
    live = mona.ask("get", f"{path}?deleted=false").json()["results"]
    wrong = mona.ask("get", f"{path}?deleted=maybe")
    etag = f'"{listed[0]["row_version"]}"'
    stale = mona.ask("post", f"{path}/gone/restore", If_Match='"99"')
    back = mona.ask("post", f"{path}/gone/restore", If_Match=etag)
    again = mona.ask("post", f"{path}/gone/restore")
    nothing = mona.ask("post", f"{path}/never/restore")

    assert [row["key"] for row in listed] == ["gone"]
    assert listed[0]["purge_after"] > listed[0]["deleted_at"]
    assert [row["key"] for row in live] == ([] if kind == "flags" else ["old"])
    assert told(wrong) == (422, "invalid_input")
    assert told(stale) == (412, "version_conflict")
    assert (back.status_code, back.json()["key"], back.json()["deleted_at"]) == (200, "gone", None)
    assert back["ETag"] == f'"{back.json()["row_version"]}"'
    assert told(again) == (409, "conflict")
    assert told(nothing) == (404, "not_found")
    assert mona.ask("get", f"{path}?deleted=true").json()["results"] == []
    if kind == "flags":
        assert Flag.objects.get().enabled
        assert AuditEvent.objects.filter(action="flag.restored").count() == 1

    mona.ask("delete", f"{path}/gone")
    {"secrets": Secret, "configs": Config, "flags": Flag}[kind].objects.filter(key="gone").update(
        purge_after=timezone.now() - timedelta(seconds=1)
    )
    assert mona.ask("get", f"{path}?deleted=true").json()["results"] == []
    assert told(mona.ask("post", f"{path}/gone/restore")) == (409, "conflict")


def test_configs_are_compared_as_text(cast: Cast, command: Actor) -> None:
    fill(command, cast.backend)
    vic = Manage(cast, "vic")
    path = in_service(cast.backend, "configs/old/diff")

    found = vic.ask("get", f"{path}?left=1&right=2")

    assert found.json() == {
        "diff": "--- old version 1 (string)\n+++ old version 2 (string)\n@@ -1 +1 @@\n-" + VALUE + "\n+two"
    }
    for query in ("", "?left=1", "?left=0&right=1", "?left=x&right=1", "?left=1&right=2&x=1"):
        assert told(vic.ask("get", f"{path}{query}")) == (422, "invalid_input"), query
    assert told(vic.ask("get", f"{path}?left=1&right=9")) == (404, "not_found")


@pytest.mark.django_db(transaction=True)
def test_secrets_are_compared_with_presence_and_told_of(committed_cast: Cast, command: Actor) -> None:
    cast = committed_cast
    fill(command, cast.backend)
    path = f"{BASE}/{in_service(cast.backend, 'secrets/old/diff')}"
    mona = signed_in(cast, "mona")
    body = {"left": 1, "right": 2}

    def ask(client: Any, sent: Any = body) -> Any:
        return client.post(path, sent, content_type="application/json")

    found = ask(mona)
    same = ask(mona, {"left": 2, "right": 2})
    missing = ask(mona, {"left": 1, "right": 9})
    half = ask(mona, {"left": 1})
    asked = ask(absent(mona))
    bob = ask(signed_in(cast, "bob"))
    unscoped = Manage(cast, "mona", "secret:list", "secret:write").ask(
        "post", in_service(cast.backend, "secrets/old/diff"), body
    )

    assert found.json() == {"same": False, "left_bytes": 15, "right_bytes": 3}
    assert same.json() == {"same": True, "left_bytes": 3, "right_bytes": 3}
    assert (told(missing), told(half)) == ((404, "not_found"), (422, "invalid_input"))
    assert told(asked) == (403, "reauthentication_required")
    assert told(bob) == (404, "not_found")
    assert unscoped.status_code == 403
    events = AuditEvent.objects.filter(action="secret.compared")
    assert events.count() == 2
    assert not any(VALUE in event.changes for event in events)


def test_reminders_are_set_shown_and_cleared(cast: Cast) -> None:
    mona = Manage(cast, "mona")
    path = in_service(cast.backend, "secrets")
    at = "2030-01-02T03:04:05+00:00"

    made = mona.ask("post", path, {"key": "a", "value": "x", "expires_at": at, "rotate_by": None})
    put = mona.ask("put", f"{path}/a", {"value": "y", "rotate_by": at})
    cleared = mona.ask("patch", f"{path}/a", {"expires_at": None}, If_Match=put["ETag"])
    stale = mona.ask("patch", f"{path}/a", {"expires_at": at}, If_Match=put["ETag"])
    same = mona.ask("patch", f"{path}/a", {"expires_at": None})

    def dates(answer: Any) -> Any:
        return answer.json()["expires_at"], answer.json()["rotate_by"]

    assert [dates(made), dates(put), dates(cleared)] == [(at, None), (at, at), (None, at)]
    assert (cleared["ETag"], same["ETag"], told(stale)) == ('"3"', '"3"', (412, "version_conflict"))
    assert SecretVersion.objects.count() == 2
    assert mona.ask("get", path).json()["results"][0]["rotate_by"] == at
    for wrong in ("2030-01-02T03:04:05", "1999-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "soon", 5):
        for method, url, body in (
            ("patch", f"{path}/a", {"rotate_by": wrong}),
            ("put", f"{path}/a", {"value": "x", "rotate_by": wrong}),
        ):
            assert told(mona.ask(method, url, body)) == (422, "invalid_input"), wrong
    assert told(mona.ask("patch", f"{path}/a", {})) == (422, "invalid_input")
    assert told(mona.ask("patch", f"{path}/b", {"rotate_by": at})) == (404, "not_found")
    assert AuditEvent.objects.filter(action="secret.reminders_set").count() == 1


def test_a_write_to_an_umbrella_says_what_children_can_no_longer_serve(cast: Cast, command: Actor) -> None:
    set_config(actor=command, service=cast.umbrella, key="a", value="x")
    set_config(actor=command, service=cast.child, key="b", value="{{config:a}}")
    mona = Manage(cast, "mona")
    path = in_service(cast.umbrella, "configs")

    quiet = mona.ask("post", path, {"key": "c", "value": "x"})
    set_config(actor=command, service=cast.umbrella, key="b", value="y")
    warned = mona.ask("put", f"{path}/a", {"value": "{{config:b}}"})

    assert quiet.json()["warnings"] == []
    assert len(warned.json()["warnings"]) >= 1
    assert all(each.startswith("production/checkout: ") for each in warned.json()["warnings"])
    assert ConfigVersion.objects.filter(config__key="a").count() == 2
