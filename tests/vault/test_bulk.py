"""Many entries in one request: all or nothing, named by path, linear in cost."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.models import Change
from apps.flags.models import Flag
from apps.projects.operations import create_project
from apps.services.models import Kind, Service
from apps.services.operations import create_service
from apps.vault.models import Config, Secret, SecretVersion
from apps.vault.operations import set_config, set_secret
from tests.conftest import Cast
from tests.vault.manage import Manage, in_service, told

CANARY = "zq-canary-of-bulk"
# kind: a body that writes one
ITEMS: dict[str, dict[str, Any]] = {
    "secrets": {"value": CANARY},
    "configs": {"value": "v"},
    "flags": {"definition": {"enabled": True}},
}
MODELS: dict[str, Any] = {"secrets": Secret, "configs": Config, "flags": Flag}


@pytest.mark.parametrize("kind", ITEMS)
def test_many_are_written_and_deleted_together(cast: Cast, kind: str) -> None:
    mona, path, item = Manage(cast, "mona"), in_service(cast.backend, kind), ITEMS[kind]
    for key in ("old", "gone"):
        mona.ask("put", f"{path}/{key}", item)

    answer = mona.ask(
        "patch",
        path,
        {
            "write": [{"key": "new", **item}, {"key": "old", **item, "row_version": 1}],
            "delete": [{"key": "gone", "row_version": 1}],
        },
    )

    numbers = (None, None) if kind == "flags" else (1, 2)
    assert answer.json()["results"] == [
        {"key": "new", "version": numbers[0], "row_version": 1, "created": True},
        {"key": "old", "version": numbers[1], "row_version": 2, "created": False},
        {"key": "gone", "version": None, "row_version": 2, "created": False},
    ]
    live = MODELS[kind].objects.live().filter(service=cast.backend).values_list("key", flat=True)
    assert set(live) == {"new", "old"}
    noun = kind.removesuffix("s")
    told_of = (
        AuditEvent.objects.filter(object_type=noun).order_by("sequence").values_list("action", flat=True)
    )
    assert list(told_of)[2:] == [f"{noun}.created", f"{noun}.updated", f"{noun}.deleted"]


@pytest.mark.parametrize("kind", ITEMS)
@pytest.mark.parametrize(
    ("more", "status", "code", "where"),
    [
        ({"key": "old", "row_version": 7}, 412, "version_conflict", "write.1: "),
        ({"key": "new", "row_version": 1}, 412, "version_conflict", "write.1: "),
        ({"key": "1wrong"}, 422, "invalid_input", "write.1.key"),
        ({"key": "a"}, 422, "invalid_input", "write.1.key"),
        ({"key": "new", "final": True}, 422, "invalid_input", "write.1.final"),
        ({"key": "new", "wert": CANARY}, 422, "invalid_input", "write.1"),
        ({"key": 1}, 422, "invalid_input", "write.1.key"),
        ({"key": "new", "row_version": CANARY}, 422, "invalid_input", "write.1.row_version"),
    ],
)
def test_one_refusal_undoes_all_and_is_named(
    cast: Cast, kind: str, more: dict[str, Any], status: int, code: str, where: str
) -> None:
    mona, path, item = Manage(cast, "mona"), in_service(cast.backend, kind), ITEMS[kind]
    mona.ask("put", f"{path}/old", item)
    changes, events = Change.objects.count(), AuditEvent.objects.count()

    answer = mona.ask("patch", path, {"write": [{"key": "a", **item}, {**item, **more}]})

    assert told(answer) == (status, code), answer.content
    if status == 422:
        assert list(answer.json()["errors"]) == [where]
    else:
        assert answer.json()["detail"].startswith(where)
    assert CANARY not in answer.content.decode()
    assert list(MODELS[kind].objects.values_list("key", "row_version")) == [("old", 1)]
    assert (Change.objects.count(), AuditEvent.objects.count()) == (changes, events)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"write": [{"key": "a", "value": 1}, {"key": "b", "value": ["x"]}]}, "write.0.value"),
        ({"write": [{"key": "a", "value": CANARY, "type": CANARY}]}, "write.0.type"),
        ({"write": [{"key": "a", "value": "YQ", "type": "file"}]}, "write.0.value"),
        ({"write": [{"key": "a", "value": "x" * 65_537}]}, "write.0.value"),
        ({"write": [{"key": "a", "value": "x", "file_name": "../x"}]}, "write.0.file_name"),
        ({"write": [{"key": "a"}]}, "write.0.value"),
        ({"write": [CANARY]}, "write.0"),
        ({"write": CANARY}, "write"),
        ({"delete": [{"key": "a\x00"}]}, "delete.0.key"),
        ({"delete": [CANARY]}, "delete.0"),
        ({"write": [], "delete": []}, ""),
        ({}, ""),
        ({"write": [], "wert": CANARY}, ""),
    ],
)
def test_a_body_of_another_shape_is_422_and_repeats_nothing(cast: Cast, body: Any, field: str) -> None:
    answer = Manage(cast, "mona").ask("patch", in_service(cast.backend, "secrets"), body)

    assert answer.status_code == 422, answer.content
    assert field in answer.json()["errors"]
    assert CANARY not in answer.content.decode() and "xxx" not in answer.content.decode()
    assert not Secret.objects.exists()


def test_a_missing_key_or_a_named_one_is_not_deleted_and_nothing_else_is(cast: Cast, command: Actor) -> None:
    set_secret(actor=command, service=cast.backend, key="a", value=b"1")
    mona, path = Manage(cast, "mona"), in_service(cast.backend, "secrets")

    missing = mona.ask("patch", path, {"delete": [{"key": "a"}, {"key": "b"}]})
    stale = mona.ask("patch", path, {"delete": [{"key": "a", "row_version": 2}]})

    assert (missing.status_code, missing.json()["detail"][:10]) == (404, "delete.1: ")
    assert (stale.status_code, stale.json()["detail"][:10]) == (412, "delete.0: ")
    assert Secret.objects.get().deleted_at is None


def test_at_most_two_hundred_and_each_key_once(cast: Cast) -> None:
    mona, path = Manage(cast, "mona"), in_service(cast.backend, "configs")
    deletions = [{"key": f"d{number}"} for number in range(101)]
    writes = [{"key": f"w{number}", "value": "v"} for number in range(201)]

    for body in ({"write": writes}, {"write": writes[:100], "delete": deletions}):
        refused = mona.ask("patch", path, body)
        assert told(refused) == (422, "invalid_input")
    twice = mona.ask("patch", path, {"write": writes[:1], "delete": [{"key": "w0"}]})
    assert list(twice.json()["errors"]) == ["delete.0.key"]
    assert not Config.objects.exists()
    assert len(mona.ask("patch", path, {"write": writes[:200]}).json()["results"]) == 200


def test_a_quota_is_judged_by_the_end_and_named(cast: Cast, command: Actor) -> None:
    project = create_project(actor=command, tenant=cast.tenant, slug="tiny", tier="free")
    service: Service = create_service(
        actor=command, project=project, environment="develop", slug="s", kind=Kind.BACKEND
    )
    for number in range(25):
        set_secret(actor=command, service=service, key=f"k{number}", value=b"1")
    carol, path = Manage(cast, "carol"), in_service(service, "secrets")

    over = carol.ask(
        "patch",
        path,
        {"write": [{"key": "k1", "value": "2"}, {"key": "x", "value": "1"}, {"key": "y", "value": "1"}],
         "delete": [{"key": "k0"}]},
    )  # fmt: skip
    fits = carol.ask("patch", path, {"write": [{"key": "x", "value": "1"}], "delete": [{"key": "k0"}]})

    assert told(over) == (409, "quota_exceeded")
    assert over.json()["detail"].startswith("write.2: ")
    assert (over.json()["quota"], over.json()["cap"]) == ("secrets", 25)
    assert fits.status_code == 200
    assert Secret.objects.live().filter(service=service).count() == 25
    assert not SecretVersion.objects.filter(secret__key="k1", version=2).exists()


@pytest.mark.parametrize("kind", ITEMS)
def test_the_cost_is_linear_and_small(cast: Cast, kind: str) -> None:
    mona, path, item = Manage(cast, "mona"), in_service(cast.umbrella, kind), ITEMS[kind]
    mona.ask("put", f"{path}/warm", item)

    def queries(first: int, count: int) -> int:
        writes = [{"key": f"k{number}", **item} for number in range(first, first + count)]
        with CaptureQueriesContext(connection) as captured:
            assert mona.ask("patch", path, {"write": writes}).status_code == 200
        return len(captured)

    one, eleven = queries(0, 1), queries(1, 11)

    assert one <= 18
    assert (eleven - one) / 10 <= 7


def test_a_secret_written_in_bulk_opens(cast: Cast, command: Actor) -> None:
    mona, path = Manage(cast, "mona"), in_service(cast.backend, "secrets")
    set_config(actor=command, service=cast.backend, key="x", value="y")

    mona.ask("patch", path, {"write": [{"key": f"k{n}", "value": f"v{n}"} for n in range(3)]})

    for number in range(3):
        assert mona.ask("post", f"{path}/k{number}/reveal").json()["value"] == f"v{number}"
