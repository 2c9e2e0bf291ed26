"""The snapshot as a workload gets it: its content, its headers, its refusals, and what it costs."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, announce
from apps.flags.operations import set_flag_state
from apps.services.credentials import new_key_text
from apps.services.models import Service
from apps.services.operations import (
    create_service,
    disable_service,
    issue_api_key,
    resume_service,
    revoke_api_key,
)
from apps.tenancy.models import Tenant
from apps.vault.models import SecretVersion
from apps.vault.operations import delete_secret, set_config, set_secret
from tests.conftest import Cast
from tests.delivery.client import Client, Reply, delivering

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "reader"])

CREDENTIALED = {
    "cache-control": "private, no-store",
    "vary": "Authorization, X-Nexus-API-Key, X-API-Key, Origin",
}


@pytest.fixture
def client(committed_cast: Cast) -> Iterator[Client]:
    with delivering() as client:
        yield client


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that any connection of any thread is given."""
    seen: list[str] = []
    execute = CursorWrapper.execute

    def listening(self: CursorWrapper, sql: Any, params: Any = None) -> Any:
        seen.append(str(sql))
        return execute(self, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", listening)
    return seen


class Clock:
    """Stands in for the module `time` in delivery: Unix time is what a test says."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.monotonic = time.monotonic

    def time(self) -> float:
        return self.now


def set_clock(monkeypatch: pytest.MonkeyPatch, now: float) -> Clock:
    clock = Clock(now)
    for module in ("app", "render"):
        monkeypatch.setattr(f"nexus.delivery.{module}.time", clock)
    return clock


def suspend(tenant: Tenant) -> None:
    with transaction.atomic():
        Tenant.objects.filter(pk=tenant.pk).update(suspended_at=timezone.now())
        announce(event=ChangeEvent.TENANT_CHANGED, tenant_id=tenant.pk)


def assert_credentialed(reply: Reply) -> None:
    assert {name: reply.headers.get(name) for name in CREDENTIALED} == CREDENTIALED


def test_a_backend_gets_all_it_has_in_effect_and_nothing_of_others(
    committed_cast: Cast, command: Actor, client: Client
) -> None:
    cast = committed_cast
    for service, key, value, final in (
        (cast.umbrella, "inherited", b"from above", None),
        (cast.umbrella, "both", b"above loses", None),
        (cast.child, "both", b"own wins", None),
        (cast.child, "fixed", b"own loses", None),
        (cast.umbrella, "fixed", b"final wins", True),
        (cast.child, "gone", b"deleted value", None),
        (cast.backend, "foreign", b"of a sibling", None),
    ):
        set_secret(actor=command, service=service, key=key, value=value, is_final=final)
    set_secret(actor=command, service=cast.child, key="both", value=b"own wins again")
    set_secret(
        actor=command, service=cast.child, key="pem", value=b"\x00\xff", type="file", file_name="a.pem"
    )
    delete_secret(actor=command, service=cast.child, key="gone")
    set_config(actor=command, service=cast.umbrella, key="host", value="db")
    set_config(actor=command, service=cast.child, key="pool", value={"max": 5}, type="json")
    set_flag_state(actor=command, service=cast.umbrella, key="on.flag", enabled=True)
    set_flag_state(actor=command, service=cast.child, key="off.flag", enabled=False)

    reply = client.get(key=cast.keys["child"])

    revision = Service.objects.get(pk=cast.child.pk).revision
    assert reply.status == 200
    assert reply.json == {
        "service": {
            "id": str(cast.child.pk),
            "slug": "checkout",
            "kind": "backend",
            "environment": "production",
            "project": "shop",
            "tenant": "acme",
        },
        "revision": revision,
        "edge": 0,
        "secrets": {
            "both": {"type": "text", "value": "own wins again", "version": 2, "source": "service"},
            "fixed": {"type": "text", "value": "final wins", "version": 1, "source": "umbrella"},
            "inherited": {"type": "text", "value": "from above", "version": 1, "source": "umbrella"},
            "pem": {
                "type": "file",
                "value": "AP8=",
                "file_name": "a.pem",
                "version": 1,
                "source": "service",
            },
        },
        "configs": {
            "host": {"type": "string", "value": "db", "version": 1, "source": "umbrella"},
            "pool": {"type": "json", "value": {"max": 5}, "version": 1, "source": "service"},
        },
        "flags": {
            "off.flag": {"enabled": False, "variant": "off", "value": False, "source": "service"},
            "on.flag": {"enabled": True, "variant": "on", "value": True, "source": "umbrella"},
        },
        "errors": [],
    }
    assert list(reply.json) == ["service", "revision", "edge", "secrets", "configs", "flags", "errors"]
    assert reply.headers["x-nexus-revision"] == str(revision)
    assert reply.headers["content-type"] == "application/json"
    assert_credentialed(reply)
    for absent in (b"deleted value", b"of a sibling", b"above loses", b"own loses", b"foreign"):
        assert absent not in reply.body


def test_a_frontend_gets_no_secrets_and_its_render_never_asks_for_any(
    committed_cast: Cast, command: Actor, client: Client, queries: list[str]
) -> None:
    set_secret(actor=command, service=committed_cast.backend, key="a", value=b"back only")
    set_config(actor=command, service=committed_cast.frontend, key="theme", value="dark")
    set_flag_state(actor=command, service=committed_cast.frontend, key="banner", enabled=True)
    queries.clear()

    reply = client.get(key=committed_cast.keys["frontend"])

    assert reply.status == 200
    assert list(reply.json) == ["service", "revision", "edge", "configs", "flags", "errors"]
    assert reply.json["configs"]["theme"]["value"] == "dark"
    assert reply.json["flags"]["banner"]["enabled"] is True
    assert b"back only" not in reply.body
    assert any("vault_config" in sql for sql in queries)
    assert not [sql for sql in queries if "vault_secret" in sql]


def test_what_did_not_change_is_answered_without_a_body(committed_cast: Cast, client: Client) -> None:
    key = committed_cast.keys["backend"]
    first = client.get(key=key)
    etag = first.headers["etag"]

    same = client.get(key=key, headers=[("if-none-match", etag)])
    listed = client.get(key=key, headers=[("if-none-match", f'"other", W/{etag}')])
    other = client.get(key=key, headers=[("if-none-match", '"other"')])

    for reply in (same, listed):
        assert (reply.status, reply.body, reply.headers["etag"]) == (304, b"", etag)
        assert "content-type" not in reply.headers
        assert_credentialed(reply)
    assert (other.status, other.body) == (200, first.body)
    assert etag.startswith('"')


def test_a_write_changes_etag_and_revision(committed_cast: Cast, command: Actor, client: Client) -> None:
    key = committed_cast.keys["backend"]
    before = client.get(key=key)
    set_config(actor=command, service=committed_cast.backend, key="a", value="1")

    client.app.tailer.look()
    after = client.get(key=key, headers=[("if-none-match", before.headers["etag"])])

    assert after.status == 200
    assert after.json["configs"]["a"]["value"] == "1"
    assert after.json["revision"] == before.json["revision"] + 1
    assert after.headers["etag"] != before.headers["etag"]


def test_equal_content_has_another_etag_in_another_service_and_format(
    committed_cast: Cast, command: Actor, client: Client
) -> None:
    second = create_service(
        actor=command,
        project=committed_cast.project,
        environment="production",
        slug="twin",
        kind="backend",
    )
    _, second_key = issue_api_key(actor=command, service=second)
    client.app.tailer.look()

    replies = [
        client.get(path, key=key)
        for path in ("/api/v1/configs", "/api/v1/flags")
        for key in (committed_cast.keys["backend"], second_key)
    ]

    assert [reply.json for reply in replies] == [
        {"configs": {}},
        {"configs": {}},
        {"flags": {}},
        {"flags": {}},
    ]
    assert len({reply.headers["etag"] for reply in replies}) == 4


def test_a_single_read_is_the_entry_with_its_key(
    committed_cast: Cast, command: Actor, client: Client
) -> None:
    set_config(actor=command, service=committed_cast.backend, key="a.b", value="1")

    found = client.get("/api/v1/configs/a.b", key=committed_cast.keys["backend"])
    absent = client.get("/api/v1/configs/a", key=committed_cast.keys["backend"])
    beside = client.get("/api/v1/configsx", key=committed_cast.keys["backend"])

    assert found.json == {"key": "a.b", "type": "string", "value": "1", "version": 1, "source": "service"}
    assert (absent.status, absent.json["code"]) == (404, "not_found")
    assert beside.status == 404
    assert_credentialed(absent)


def test_a_warm_read_asks_the_database_nothing(
    committed_cast: Cast, client: Client, queries: list[str]
) -> None:
    key = committed_cast.keys["backend"]
    cold = client.get(key=key)
    assert queries
    queries.clear()

    warm = client.get(key=key)
    unchanged = client.get(key=key, headers=[("if-none-match", cold.headers["etag"])])

    assert warm.body == cold.body
    assert unchanged.status == 304
    assert queries == []


def _refused_keys(cast: Cast, command: Actor) -> dict[str, str]:
    good = cast.keys["backend"]
    _, revoked = issue_api_key(actor=command, service=cast.backend, slot="secondary")
    revoke_api_key(actor=command, service=cast.backend, slot="secondary")
    _, expired = issue_api_key(
        actor=command,
        service=cast.backend,
        slot="secondary",
        expires_at=timezone.now() + timedelta(seconds=30),
    )
    disable_service(actor=command, service=cast.child)
    return {
        "malformed": "sk_live_short",
        "not ascii": "schlüssel",
        "unknown": new_key_text("backend"),
        "wrong checksum": good[:-1] + ("0" if good[-1] != "0" else "1"),
        "trailing": good + "\n",
        "revoked": revoked,
        "expired": expired,
        "disabled": cast.keys["child"],
    }


def test_whatever_is_wrong_with_a_credential_is_answered_alike(
    committed_cast: Cast, command: Actor, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = committed_cast.keys["backend"]
    refused = _refused_keys(committed_cast, command)
    client.app.tailer.look()
    set_clock(monkeypatch, time.time() + 31)

    replies = {name: client.get(key=text) for name, text in refused.items()}
    replies["twice"] = client.get(key=good, headers=[("x-api-key", good)])
    replies["twice the same"] = client.get(key=good, headers=[("x-nexus-api-key", good)])
    replies["beside a bearer"] = client.get(key=good, headers=[("authorization", f"Bearer {good}")])
    replies["in the URL"] = client.get(key=good, query=f"api_key={good}")
    replies["basic"] = client.get(headers=[("authorization", "Basic YTpi")])

    first = replies["malformed"]
    assert first.json["code"] == "invalid_credential"
    for name, reply in replies.items():
        assert reply.status == 401, name
        assert reply.told == first.told, name
        assert reply.headers["content-type"] == "application/problem+json", name
        assert reply.headers["www-authenticate"] == 'Bearer realm="nexus"', name
        assert "etag" not in reply.headers, name
        assert_credentialed(reply)
        for text in (good, *refused.values()):
            assert text.encode() not in reply.body, name
    assert client.get(key=good).status == 200


def test_no_credential_is_asked_for(client: Client) -> None:
    reply = client.get()

    assert (reply.status, reply.json["code"]) == (401, "authentication_required")
    assert reply.headers["www-authenticate"] == 'Bearer realm="nexus"'
    assert_credentialed(reply)


def test_a_resumed_service_is_served_again(committed_cast: Cast, command: Actor, client: Client) -> None:
    key = committed_cast.keys["child"]
    assert client.get(key=key).status == 200

    disable_service(actor=command, service=committed_cast.child)
    client.app.tailer.look()
    disabled = client.get(key=key)
    resume_service(actor=command, service=committed_cast.child)
    client.app.tailer.look()

    assert disabled.status == 401
    assert client.get(key=key).status == 200


def test_a_key_that_was_issued_a_moment_ago_is_found_by_one_more_look(
    committed_cast: Cast, command: Actor, client: Client
) -> None:
    _, fresh = issue_api_key(actor=command, service=committed_cast.backend, slot="secondary")
    client.app.memory.looked_at -= 0.2

    reply = client.get(key=fresh)

    assert reply.status == 200
    assert reply.json["service"]["slug"] == "api"


def test_a_suspended_tenant_has_to_pay_and_others_are_served(
    committed_cast: Cast, command: Actor, client: Client
) -> None:
    key = committed_cast.keys["backend"]
    assert client.get(key=key).status == 200
    lair = create_service(
        actor=command,
        project=committed_cast.other_project,
        environment="production",
        slug="cave",
        kind="backend",
    )
    _, other_key = issue_api_key(actor=command, service=lair)

    suspend(committed_cast.tenant)
    client.app.tailer.look()
    reply = client.get(key=key)
    unknown = client.get(key=new_key_text("backend"))

    assert (reply.status, reply.json["code"]) == (402, "payment_required")
    assert "secrets" not in reply.json
    assert_credentialed(reply)
    assert unknown.status == 401
    assert client.get(key=other_key).status == 200


def test_a_schedule_edge_changes_the_answer_at_the_second_without_a_write(
    committed_cast: Cast, command: Actor, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts, ends = 2_000_000_000, 2_000_000_100
    clock = set_clock(monkeypatch, starts - 0.001)
    set_flag_state(
        actor=command,
        service=committed_cast.frontend,
        key="sale",
        enabled=True,
        starts_at=datetime.fromtimestamp(starts, UTC),
        ends_at=datetime.fromtimestamp(ends, UTC),
    )
    replies = {}

    for now in (starts - 0.001, starts, ends - 0.001, ends):
        clock.now = now
        replies[now] = client.get(key=committed_cast.keys["frontend"])

    answers = {now: (r.json["flags"]["sale"]["enabled"], r.json["edge"]) for now, r in replies.items()}
    assert answers == {
        starts - 0.001: (False, 0),
        starts: (True, starts),
        ends - 0.001: (True, starts),
        ends: (False, ends),
    }
    assert len({reply.json["revision"] for reply in replies.values()}) == 1
    assert len({reply.headers["etag"] for reply in replies.values()}) == 3


def test_a_secret_that_does_not_open_is_listed_and_all_else_is_served(
    committed_cast: Cast, command: Actor, client: Client
) -> None:
    broken = set_secret(actor=command, service=committed_cast.backend, key="broken", value=b"hidden")
    set_secret(actor=command, service=committed_cast.backend, key="whole", value=b"served")
    SecretVersion.objects.filter(secret=broken.entry).update(sealed=b"\x01" * 64)

    reply = client.get(key=committed_cast.keys["backend"])

    assert reply.status == 200
    assert list(reply.json["secrets"]) == ["whole"]
    assert reply.json["errors"] == [
        {"kind": "secret", "key": "broken", "code": "unreadable", "path": ["broken"]}
    ]
    assert b"hidden" not in reply.body


def test_a_silent_database_makes_answers_stale_and_then_none(committed_cast: Cast, client: Client) -> None:
    key = committed_cast.keys["backend"]
    fresh = client.get(key=key)
    tag = [("if-none-match", fresh.headers["etag"])]

    client.app.memory.looked_at = time.monotonic() - 10
    stale, unchanged = client.get(key=key), client.get(key=key, headers=tag)
    not_ready = client.get("/readyz")
    client.app.memory.looked_at = time.monotonic() - client.app.stale_seconds - 1
    too_old = client.get(key=key)

    assert "x-nexus-stale" not in fresh.headers
    assert (stale.status, stale.headers["x-nexus-stale"], stale.body) == (200, "10", fresh.body)
    assert (unchanged.status, unchanged.headers["x-nexus-stale"]) == (304, "10")
    assert (too_old.status, too_old.json["code"]) == (503, "unavailable")
    assert "retry-after" in too_old.headers
    assert_credentialed(too_old)
    assert not_ready.status == 503
    assert client.get("/livez").status == 200

    client.app.tailer.look()
    assert "x-nexus-stale" not in client.get(key=key).headers
    assert client.get("/readyz").status == 200


def test_only_get_reads_and_what_is_not_delivered_is_handed_on(committed_cast: Cast, client: Client) -> None:
    posted = client.get(key=committed_cast.keys["backend"], method="POST")
    handed_on = client.get("/api/v1/secrets", key=committed_cast.keys["backend"])

    assert (posted.status, posted.headers["allow"]) == (405, "GET")
    assert (handed_on.status, handed_on.body) == (299, b"handed on")


def test_a_snapshot_beyond_its_limit_is_unavailable_and_names_no_value(
    committed_cast: Cast, command: Actor, client: Client, settings: SimpleNamespace
) -> None:
    set_secret(actor=command, service=committed_cast.backend, key="a", value=b"x" * 2000)
    settings.NEXUS_SNAPSHOT_MAX_BYTES = 1000

    reply = client.get(key=committed_cast.keys["backend"])

    assert reply.status == 503
    assert b"xxxx" not in reply.body
