"""API keys and workload identities through the management API."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core import triggers
from apps.core.actor import Actor
from apps.services.models import ApiKey, Service
from apps.services.operations import issue_api_key
from tests.conftest import Cast
from tests.console.session import absent, signed_in
from tests.projects.test_rights import extra
from tests.services.test_identities import identity_of
from tests.tenancy.test_manage_api import BASE, NOBODY, by_token, later, patch, post, token_of

PEOPLE = ("alice", "mona", "bob", "tess", "vic", "carol", "finn", "mallory", "sue")
# By hand from SPEC 3.
SEES = {"alice", "mona", "bob", "tess", "vic", "carol"}
MANAGES = {"alice", "mona", "carol"}
DAY = timedelta(days=1)
# What every key of a backend may do.
READS = ("service:read", "secret:list", "secret:reveal", "config:read", "flag:read")


def keys_of(service: Service) -> str:
    return f"services/{service.pk}/api-keys"


def key_path(key: ApiKey | dict[str, Any], service: Service) -> str:
    return f"{keys_of(service)}/{key['id'] if isinstance(key, dict) else key.pk}"


def works(text: str) -> bool:
    status = Client().get("/api/v1/secrets", headers={"X-Nexus-API-Key": text}).status_code
    assert status in (200, 401)
    return status == 200


def events_since(moment: datetime) -> list[str]:
    """What happened since, the lists apart that `works` reads."""
    events = AuditEvent.objects.filter(time__gt=moment).exclude(action="secret.list")
    return list(events.order_by("time").values_list("action", flat=True))


@pytest.mark.parametrize("name", PEOPLE)
def test_who_lists_issues_changes_rotates_and_revokes_keys(cast: Cast, name: str) -> None:
    client = signed_in(cast, name)
    old = ApiKey.objects.get(service=cast.backend)
    identity = identity_of(cast.backend)
    identities = f"services/{cast.backend.pk}/workload-identities"
    before = ApiKey.objects.count()

    collections = [
        client.get(f"{BASE}/{keys_of(cast.backend)}"),
        client.get(f"{BASE}/{identities}"),
        post(client, keys_of(cast.backend), {"slot": "secondary"}),
    ]
    items = [
        client.get(f"{BASE}/{key_path(old, cast.backend)}"),
        patch(client, key_path(old, cast.backend), {"expires_at": later()}),
        post(client, f"{key_path(old, cast.backend)}/rotate", {}),
        client.delete(f"{BASE}/{key_path(old, cast.backend)}"),
        client.get(f"{BASE}/{identities}/{identity.pk}"),
        client.delete(f"{BASE}/{identities}/{identity.pk}"),
    ]

    refused = 403 if name in SEES else 404
    told = [answer.status_code for answer in collections], [answer.status_code for answer in items]
    if name in MANAGES:
        assert told == ([200, 200, 201], [200, 200, 201, 204, 200, 204])
        return
    # An item of a collection that one may not read does not exist.
    assert told == ([refused] * 3, [404] * 6)
    assert ApiKey.objects.count() == before
    assert ApiKey.objects.get(pk=old.pk).row_version == old.row_version
    assert not any("sk_live_" in answer.content.decode() for answer in (*collections, *items))


def test_a_key_is_shown_once_and_listed_by_its_ends(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    body = {
        "slot": "secondary",
        "scopes": ["write"],
        "allowed_networks": ["192.0.2.0/24", "127.0.0.1"],
        "expires_at": later(days=3),
    }
    moment = timezone.now()

    made = post(client, keys_of(cast.backend), body, **{"Idempotency-Key": "k"})
    again = post(client, keys_of(cast.backend), body, **{"Idempotency-Key": "k"})
    taken = post(client, keys_of(cast.backend), body)
    read = client.get(f"{BASE}/{key_path(made.json(), cast.backend)}")
    listed = client.get(f"{BASE}/{keys_of(cast.backend)}").json()["results"]

    document = made.json()
    text = document.pop("key")
    assert made.status_code == 201
    assert works(text)
    assert document["scopes"] == ["read", "write"]
    assert document["allowed_networks"] == ["192.0.2.0/24", "127.0.0.1/32"]
    assert (document["prefix"], document["last4"], document["slot"]) == ("sk_live_", text[-4:], "secondary")
    assert read.json().keys() == document.keys()
    assert listed[0].keys() == document.keys()
    assert [each["slot"] for each in listed] == ["secondary", "primary"]
    assert again.status_code == 201
    assert again.json()["already_shown"] is True
    assert "key" not in again.json()
    assert (taken.status_code, taken.json()["code"]) == (409, "slot_taken")
    for answer in (again, taken, read):
        assert text[8:40] not in answer.content.decode()
    assert text[8:40] not in json.dumps(listed)
    assert events_since(moment) == ["api_key.issued"]


def test_lists_of_keys_are_narrowed_in_constant_queries(cast: Cast, command: Actor) -> None:
    client = signed_in(cast, "mona")
    path = f"{BASE}/{keys_of(cast.backend)}"
    primary = ApiKey.objects.get(service=cast.backend)
    issue_api_key(actor=command, service=cast.backend, slot="secondary")
    client.delete(f"{BASE}/{key_path(primary, cast.backend)}")

    def slots(query: str) -> list[str]:
        return [each["slot"] for each in client.get(f"{path}?{query}").json()["results"]]

    assert slots("ordering=slot") == ["primary", "secondary"]
    assert slots("is_revoked=true") == ["primary"]
    assert slots("is_revoked=false") == ["secondary"]
    assert slots("slot=primary&is_revoked=false") == []
    for wrong in ("slot=x", "is_revoked=x", "digest=00", "ordering=digest"):
        assert client.get(f"{path}?{wrong}").status_code == 422, wrong

    def queries() -> int:
        with CaptureQueriesContext(connection) as counted:
            assert client.get(f"{path}?limit=200").status_code == 200
        return len(counted)

    few = queries()
    ApiKey.objects.bulk_create(
        ApiKey(
            service=cast.backend,
            slot="primary",
            digest=number.to_bytes(32, "big"),
            pepper_id=primary.pepper_id,
            mac=b"",
            revoked_at=timezone.now(),
        )
        for number in range(60)
    )
    assert queries() == few <= 12


def test_presence_is_asked_of_sessions_and_a_scope_of_tokens(cast: Cast) -> None:
    gone = absent(signed_in(cast, "mona"))
    old = ApiKey.objects.get(service=cast.backend)
    path = key_path(old, cast.backend)
    without = by_token(token_of(cast, "mona", "service:read", "secret:reveal"))
    with_scope = by_token(token_of(cast, "mona", "api_key:issue", *READS))
    no_reveal = by_token(token_of(cast, "mona", "api_key:issue", *(set(READS) - {"secret:reveal"})))
    ends = by_token(token_of(cast, "mona", "api_key:revoke"))
    slot = {"slot": "secondary"}

    for answer in (
        post(gone, keys_of(cast.backend), slot),
        post(gone, f"{path}/rotate", {}),
        patch(gone, path, {"allowed_networks": []}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "reauthentication_required")
    assert gone.get(f"{BASE}/{path}").status_code == 200
    assert post(without, keys_of(cast.backend), slot).status_code == 403
    assert without.get(f"{BASE}/{keys_of(cast.backend)}").status_code == 403
    assert post(without, f"{path}/rotate", {}).status_code == 404
    assert post(no_reveal, keys_of(cast.backend), slot).status_code == 403
    assert post(no_reveal, f"{path}/rotate", {}).status_code == 403
    assert patch(no_reveal, path, {"expires_at": None}).status_code == 403
    # A frontend has no secret that a key could reveal.
    assert post(no_reveal, keys_of(cast.frontend), slot).status_code == 201
    assert post(with_scope, keys_of(cast.backend), slot).status_code == 201
    assert post(with_scope, f"{path}/rotate", {}).status_code == 201
    assert with_scope.delete(f"{BASE}/{path}").status_code == 403
    assert ends.delete(f"{BASE}/{path}").status_code == 204
    assert ApiKey.objects.filter(service=cast.backend, revoked_at=None).count() == 2


def test_a_token_mints_no_key_that_may_do_more_than_it_may_itself(cast: Cast, command: Actor) -> None:
    narrow = by_token(token_of(cast, "mona", "service:read", "secret:reveal", "api_key:issue"))
    reader = by_token(token_of(cast, "mona", "api_key:issue", *READS))
    writer = by_token(token_of(cast, "mona", "api_key:issue", "secret:write", *READS))
    old = ApiKey.objects.get(service=cast.backend)
    wide, _ = issue_api_key(
        actor=command, service=cast.backend, slot="secondary", scopes=["write", "destroy"]
    )
    path = key_path(old, cast.backend)
    before = list(ApiKey.objects.order_by("pk").values())
    moment = timezone.now()

    refused = [
        # It may reveal, and neither list nor read configs: each key does both.
        *(post(narrow, f"{path}/rotate", {"scopes": scopes}) for scopes in (["read"], ["write"])),
        *(post(reader, f"{path}/rotate", {"scopes": [scope]}) for scope in ("write", "destroy")),
        post(writer, f"{path}/rotate", {"scopes": ["write", "destroy"]}),
        # What a key has already counts as well: a rotation hands out its text, a change widens it.
        *(post(each, f"{key_path(wide, cast.backend)}/rotate", {}) for each in (reader, writer)),
        *(patch(each, key_path(wide, cast.backend), {"expires_at": None}) for each in (reader, writer)),
    ]

    assert {(each.status_code, each.json()["code"]) for each in refused} == {(403, "not_permitted")}
    assert list(ApiKey.objects.order_by("pk").values()) == before
    assert not {event for event in events_since(moment) if event.startswith("api_key")}
    assert patch(reader, path, {"allowed_networks": ["192.0.2.7"]}).status_code == 200
    assert post(reader, f"{path}/rotate", {}).status_code == 201
    # Less than a key had is fine too.
    assert post(writer, f"{key_path(wide, cast.backend)}/rotate", {"scopes": ["write"]}).status_code == 201


def test_grants_to_issue_and_reveal_make_no_key_that_writes(cast: Cast) -> None:
    for permission in ("api_key:issue", "secret:reveal"):
        extra(cast.users["vic"], permission, cast.backend)
    client = signed_in(cast, "vic")
    body = {"slot": "secondary", "scopes": ["read"]}

    lists_none = post(client, keys_of(cast.backend), body)
    extra(cast.users["vic"], "secret:list", cast.backend)
    writes = [
        post(client, keys_of(cast.backend), {**body, "scopes": [scope]}) for scope in ("write", "destroy")
    ]
    reads = post(client, keys_of(cast.backend), body)

    assert [each.status_code for each in (lists_none, *writes, reads)] == [403, 403, 403, 201]


def test_a_repeat_asks_the_rights_of_the_key_anew(cast: Cast) -> None:
    grants = {
        permission: extra(cast.users["vic"], permission, cast.backend)
        for permission in ("api_key:issue", "secret:reveal", "secret:list", "secret:write")
    }
    client = signed_in(cast, "vic")
    body = {"slot": "secondary", "scopes": ["write"]}

    made = post(client, keys_of(cast.backend), body, **{"Idempotency-Key": "k"})
    again = post(client, keys_of(cast.backend), body, **{"Idempotency-Key": "k"})
    grants["secret:write"].delete()
    without = post(client, keys_of(cast.backend), body, **{"Idempotency-Key": "k"})

    assert [each.status_code for each in (made, again, without)] == [201, 201, 403]


def test_what_no_key_can_be_is_refused(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    old = ApiKey.objects.get(service=cast.backend)
    rotate = f"{key_path(old, cast.backend)}/rotate"
    past = (timezone.now() - DAY).isoformat()
    before = list(ApiKey.objects.order_by("pk").values())

    wrong = [
        {"scopes": ["zyx-scope"]},
        {"scopes": "zyx-scope"},
        {"expires_at": past},
        {"expires_at": "zyx"},
        {"allowed_networks": ["zyx-net"]},
        {"allowed_networks": ["192.0.2.7/24"]},
        {"allowed_networks": ["192.0.2.0/24"] * 101},
        {"allowed_networks": None},
        {"zyx": 1},
    ]
    for body in wrong:
        for answer in (
            post(client, keys_of(cast.backend), {"slot": "secondary", **body}),
            post(client, rotate, body),
        ):
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), body
            assert "zyx" not in answer.content.decode(), body
        if "scopes" not in body:
            assert patch(client, key_path(old, cast.backend), body).status_code == 422, body
    for overlap in (-1, 2_592_001, 1.5, "zyx", None, True):
        assert post(client, rotate, {"overlap_seconds": overlap}).status_code == 422, overlap
    assert post(client, keys_of(cast.backend), {"slot": "zyx"}).status_code == 422
    assert patch(client, key_path(old, cast.backend), {"scopes": ["read"]}).status_code == 422
    frontend = post(client, keys_of(cast.frontend), {"slot": "secondary", "scopes": ["write"]})
    umbrella = post(client, keys_of(cast.umbrella), {})

    assert frontend.status_code == 422
    assert (umbrella.status_code, umbrella.json()["code"]) == (409, "umbrella_has_no_keys")
    assert list(ApiKey.objects.order_by("pk").values()) == before


def test_an_address_joins_a_key_to_its_own_service_only(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    key, identity = ApiKey.objects.get(service=cast.backend), identity_of(cast.backend)
    moment = timezone.now()

    answers = [
        client.get(f"{BASE}/{key_path(key, cast.child)}"),
        client.delete(f"{BASE}/{key_path(key, cast.child)}"),
        post(client, f"{key_path(key, cast.child)}/rotate", {}),
        client.get(f"{BASE}/{keys_of(cast.backend)}/{NOBODY}"),
        client.delete(f"{BASE}/services/{cast.child.pk}/workload-identities/{identity.pk}"),
    ]

    assert {answer.status_code for answer in answers} == {404}
    bodies = [{k: v for k, v in answer.json().items() if k != "request_id"} for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert events_since(moment) == []


# ---- rotation


def test_a_rotation_lets_both_keys_work_until_the_overlap_is_over(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    old = ApiKey.objects.get(service=cast.backend)
    patch(
        client,
        key_path(old, cast.backend),
        {"allowed_networks": ["127.0.0.0/8"], "expires_at": later(days=30)},
    )
    old.refresh_from_db()
    moment = timezone.now()

    answer = post(client, f"{key_path(old, cast.backend)}/rotate", {}, **{"Idempotency-Key": "r"})
    replay = post(client, f"{key_path(old, cast.backend)}/rotate", {}, **{"Idempotency-Key": "r"})

    new = answer.json()
    assert answer.status_code == 201
    assert (works(cast.keys["backend"]), works(new["key"])) == (True, True)
    row = ApiKey.objects.get(pk=old.pk)
    assert row.is_outgoing
    assert row.ends_at is not None
    assert abs(row.ends_at - timezone.now() - DAY) < timedelta(minutes=1)
    # What was not said is as the old key has it.
    made = ApiKey.objects.get(pk=new["id"])
    assert (made.slot, made.scopes, made.allowed_networks) == (old.slot, old.scopes, ["127.0.0.0/8"])
    assert made.expires_at == old.expires_at
    assert not made.is_outgoing
    assert replay.json()["already_shown"] is True
    assert "key" not in replay.json()
    assert events_since(moment) == ["api_key.rotated"]
    event = AuditEvent.objects.filter(action="api_key.rotated").get()
    assert json.loads(event.changes)["key"] == [str(old.pk), new["id"]]
    ApiKey.objects.filter(pk=old.pk).update(ends_at=timezone.now() - timedelta(seconds=1))
    assert (works(cast.keys["backend"]), works(new["key"])) == (False, True)


def test_without_an_overlap_the_old_key_ends_at_once_and_terms_can_change(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    old = ApiKey.objects.get(service=cast.backend)
    moment = timezone.now()

    answer = post(
        client,
        f"{key_path(old, cast.backend)}/rotate",
        {
            "overlap_seconds": 0,
            "scopes": ["destroy"],
            "expires_at": None,
            "allowed_networks": ["127.0.0.1/32"],
        },
    )

    new = answer.json()
    assert (works(cast.keys["backend"]), works(new["key"])) == (False, True)
    assert (new["scopes"], new["allowed_networks"]) == (["destroy", "read"], ["127.0.0.1/32"])
    row = ApiKey.objects.get(pk=old.pk)
    assert row.revoked_at is not None
    assert sorted(events_since(moment)) == ["api_key.revoked", "api_key.rotated"]


def test_a_second_rotation_ends_what_was_outgoing_already(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    first = ApiKey.objects.get(service=cast.backend)
    second = post(client, f"{key_path(first, cast.backend)}/rotate", {}).json()

    third = post(client, f"{key_path(second, cast.backend)}/rotate", {}).json()
    of_outgoing = post(client, f"{key_path(second, cast.backend)}/rotate", {})
    of_revoked = post(client, f"{key_path(first, cast.backend)}/rotate", {})
    changed = patch(client, key_path(first, cast.backend), {"expires_at": None})

    assert [works(text) for text in (cast.keys["backend"], second["key"], third["key"])] == [
        False,
        True,
        True,
    ]
    for answer in (of_outgoing, of_revoked, changed):
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert ApiKey.objects.filter(service=cast.backend).count() == 3


def test_ending_a_key_ends_its_slot_and_ending_an_outgoing_one_nothing_else(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    first = ApiKey.objects.get(service=cast.backend)
    second = post(client, f"{key_path(first, cast.backend)}/rotate", {}).json()
    assert client.delete(f"{BASE}/{key_path(first, cast.backend)}").status_code == 204
    assert (works(cast.keys["backend"]), works(second["key"])) == (False, True)
    again = client.delete(f"{BASE}/{key_path(first, cast.backend)}")
    third = post(client, f"{key_path(second, cast.backend)}/rotate", {}).json()
    other = post(client, keys_of(cast.backend), {"slot": "secondary"}).json()
    stale = client.delete(f"{BASE}/{key_path(third, cast.backend)}", headers={"If-Match": '"9"'})
    moment = timezone.now()

    ended = client.delete(f"{BASE}/{key_path(third, cast.backend)}", headers={"If-Match": '"1"'})

    assert (again.status_code, stale.status_code, ended.status_code) == (409, 412, 204)
    assert [works(each["key"]) for each in (second, third, other)] == [False, False, True]
    assert events_since(moment) == ["api_key.revoked", "api_key.revoked"]
    assert post(client, keys_of(cast.backend), {}).status_code == 201


def test_an_expired_key_is_rotated_with_a_new_expiry(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    client = signed_in(cast, "mona")
    made = post(client, keys_of(cast.frontend), {"slot": "secondary", "expires_at": later(minutes=5)}).json()
    shortly = timezone.now() + timedelta(minutes=6)
    monkeypatch.setattr(timezone, "now", lambda: shortly)
    rotate = f"{key_path(made, cast.frontend)}/rotate"

    as_it_was = post(client, rotate, {})
    renewed = post(client, rotate, {"expires_at": None})

    assert as_it_was.status_code == 422
    assert "expires_at" in as_it_was.json()["errors"]
    assert (renewed.status_code, renewed.json()["expires_at"]) == (201, None)


# ---- changes


def test_a_change_of_terms_is_sealed_told_and_heeds_if_match(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    key = ApiKey.objects.get(service=cast.backend)
    path = key_path(key, cast.backend)
    until = later(days=2)
    moment = timezone.now()

    outside = patch(client, path, {"allowed_networks": ["198.51.100.0/24"]}, **{"If-Match": '"1"'})
    refused_there = works(cast.keys["backend"])
    stale = patch(client, path, {"allowed_networks": []}, **{"If-Match": '"1"'})
    inside = patch(client, path, {"allowed_networks": ["127.0.0.1"], "expires_at": until})
    same = patch(client, path, {"allowed_networks": ["127.0.0.1/32"]})
    empty = patch(client, path, {})

    assert (outside.status_code, stale.status_code, inside.status_code) == (200, 412, 200)
    assert (refused_there, works(cast.keys["backend"])) == (False, True)
    assert same["ETag"] == empty["ETag"] == inside["ETag"]
    assert same.json()["allowed_networks"] == ["127.0.0.1/32"]
    assert events_since(moment) == ["api_key.updated"] * 2
    event = AuditEvent.objects.filter(action="api_key.updated").latest("time")
    changes = json.loads(event.changes)
    assert changes["allowed_networks"] == [["198.51.100.0/24"], ["127.0.0.1/32"]]
    assert changes["expires_at"][0] is None


def test_a_row_that_was_tampered_with_is_not_made_good_by_a_change(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    key = ApiKey.objects.get(service=cast.backend)
    with triggers.lifted():
        ApiKey.objects.filter(pk=key.pk).update(scopes=["destroy", "read", "write"])

    answers = [
        patch(client, key_path(key, cast.backend), {"expires_at": later()}),
        post(client, f"{key_path(key, cast.backend)}/rotate", {}),
    ]

    assert [answer.status_code for answer in answers] == [409, 409]
    assert not works(cast.keys["backend"])
    assert client.delete(f"{BASE}/{key_path(key, cast.backend)}").status_code == 204


def test_a_right_for_one_service_reaches_its_keys_alone(cast: Cast) -> None:
    for permission in ("service:read", "api_key:issue", "config:read", "flag:read"):
        extra(cast.users["finn"], permission, cast.frontend)
    client = signed_in(cast, "finn")
    web, api = ApiKey.objects.get(service=cast.frontend), ApiKey.objects.get(service=cast.backend)

    assert client.get(f"{BASE}/{keys_of(cast.frontend)}").status_code == 200
    assert client.get(f"{BASE}/{keys_of(cast.backend)}").status_code == 404
    assert post(client, f"{key_path(web, cast.frontend)}/rotate", {}).status_code == 201
    assert post(client, f"{key_path(api, cast.backend)}/rotate", {}).status_code == 404
    # Issuing is not ending.
    assert client.delete(f"{BASE}/{key_path(web, cast.frontend)}").status_code == 403


# ---- workload identities


def test_workload_identities_are_listed_read_and_forgotten(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    pinned = identity_of(cast.backend, provider="kubernetes", key_set={"keys": [{"d": "zyx"}]}, ca_pem="zyx")
    plain = identity_of(cast.backend, subject="", claims={"repository": "acme/shop"})
    path = f"services/{cast.backend.pk}/workload-identities"
    moment = timezone.now()

    listed = client.get(f"{BASE}/{path}?ordering=created_at")
    read = client.get(f"{BASE}/{path}/{plain.pk}")
    stale = client.delete(f"{BASE}/{path}/{plain.pk}", headers={"If-Match": '"2"'})
    ended = client.delete(f"{BASE}/{path}/{plain.pk}", headers={"If-Match": read["ETag"]})
    gone = client.get(f"{BASE}/{path}/{plain.pk}")

    first, second = listed.json()["results"]
    assert (first["id"], first["pins_key_set"], first["pins_ca"]) == (str(pinned.pk), True, True)
    assert "zyx" not in listed.content.decode()
    assert second == read.json()
    assert second["claims"] == {"repository": "acme/shop"}
    assert (stale.status_code, ended.status_code, gone.status_code) == (412, 204, 404)
    assert events_since(moment) == ["workload_identity.distrusted"]
