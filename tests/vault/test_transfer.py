"""Import, export, compare and promote through their doors: what moves, who may, what is told."""

import base64
import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.audit.events import Action
from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import InvalidInput, NexusError
from apps.flags.models import Flag
from apps.flags.operations import set_flag_state
from apps.projects.operations import create_project
from apps.services.models import Kind, Service
from apps.services.operations import create_service
from apps.vault.formats import Document
from apps.vault.models import Config, ConfigVersion, Secret, SecretVersion
from apps.vault.operations import set_config, set_secret
from apps.vault.transfer import effective_configs, import_entries, plan_import, promote
from apps.vault.transfer.effective import results
from tests.architecture.test_canary import CANARY, CONTROL, cells, stands_in
from tests.conftest import Cast
from tests.console.session import absent, signed_in
from tests.tenancy.test_manage_api import NOBODY, PEOPLE, by_token, token_of

BASE = "/api/v1/manage/services"


@pytest.fixture
def develop(cast: Cast, command: Actor) -> Service:
    return service_in(cast, command, "develop", "api")


def service_in(cast: Cast, command: Actor, environment: str, slug: str, kind: str = Kind.BACKEND) -> Service:
    return create_service(actor=command, project=cast.project, environment=environment, slug=slug, kind=kind)


def post(client: Client, service: Service | str, verb: str, **body: Any) -> Any:
    pk = service.pk if isinstance(service, Service) else service
    return client.post(f"{BASE}/{pk}/{verb}", json.dumps(body), content_type="application/json")


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def configs_of(service: Service) -> dict[str, tuple[str, Any]]:
    return {key: (kind, json.loads(value)) for key, (kind, value) in results(service, None).texts.items()}


def secret_versions(service: Service) -> dict[str, int]:
    return dict(Secret.objects.live().filter(service=service).values_list("key", "active_version"))


def changes_of(answer: Any) -> list[tuple[str, str, str]]:
    assert answer.status_code == 200, answer.content
    return [(each["kind"], each["key"], each["change"]) for each in answer.json()["changes"]]


def events(*actions: Action) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action__in=actions).order_by("chain", "sequence"))


def make_template(service: Service, key: str, text: str) -> None:
    """A stored template, as a write of one makes it."""
    ConfigVersion.objects.filter(config__service=service, config__key=key).update(value_json=json.dumps(text))


# ---- import


def test_a_file_becomes_entries_with_their_types(cast: Cast) -> None:
    mona = signed_in(cast, "mona")
    both = {
        "secrets": {"s.a": CANARY},
        "configs": {"c.a": "x", "c.b": 1.5, "c.c": True, "c.d": [1], "c.e": None},
    }

    flat = post(mona, cast.backend, "import", format="dotenv", content="export A='1'\nB=\"two\\nlines\"\n")
    secrets = post(mona, cast.backend, "import", format="yaml", content=f"s.b: {CANARY}\n", secrets=True)
    named = post(mona, cast.backend, "import", format="json", content=json.dumps(both))

    assert changes_of(flat) == [("config", "A", "create"), ("config", "B", "create")]
    assert changes_of(secrets) == [("secret", "s.b", "create")]
    assert changes_of(named)[0] == ("secret", "s.a", "create")
    assert len(changes_of(named)) == 6
    assert configs_of(cast.backend) == {
        "A": ("string", "1"),
        "B": ("string", "two\nlines"),
        "c.a": ("string", "x"),
        "c.b": ("number", 1.5),
        "c.c": ("boolean", True),
        "c.d": ("json", [1]),
        "c.e": ("json", None),
    }
    assert secret_versions(cast.backend) == {"s.a": 1, "s.b": 1}
    for answer in (flat, secrets, named):
        assert CANARY not in answer.content.decode()
        assert answer["Cache-Control"] == "private, no-store"
    assert len(events(Action.CONFIG_CREATED)) == 7
    assert len(events(Action.SECRET_CREATED)) == 2


def test_what_is_equal_already_is_not_written(cast: Cast, command: Actor) -> None:
    set_config(actor=command, service=cast.backend, key="a", value="1")
    set_config(actor=command, service=cast.backend, key="b", value="old")
    set_secret(actor=command, service=cast.backend, key="s", value=CANARY.encode())
    set_secret(actor=command, service=cast.backend, key="t", value=b"other")
    content = json.dumps({"secrets": {"s": CANARY, "t": CANARY}, "configs": {"a": "1", "b": 2}})
    mona = signed_in(cast, "mona")

    dry = post(mona, cast.backend, "import", format="json", content=content, dry_run=True)
    again = post(mona, cast.backend, "import", format="json", content=content)

    assert (
        dry.json()["changes"]
        == again.json()["changes"]
        == [
            {"kind": "secret", "key": "s", "change": "unchanged"},
            {"kind": "secret", "key": "t", "change": "update"},
            {
                "kind": "config",
                "key": "a",
                "change": "unchanged",
                "old": {"type": "string", "text": "1"},
                "new": {"type": "string", "text": "1"},
            },
            {
                "kind": "config",
                "key": "b",
                "change": "update",
                "old": {"type": "string", "text": "old"},
                "new": {"type": "number", "text": "2"},
            },
        ]
    )
    assert (dry.json()["dry_run"], again.json()["dry_run"]) == (True, False)
    assert secret_versions(cast.backend) == {"s": 1, "t": 2}
    assert [event.object_key for event in events(Action.SECRET_UPDATED, Action.CONFIG_UPDATED)] == ["t", "b"]
    # Opening values to compare them is accounted for, once each time.
    compared = events(Action.SECRET_REVEAL)
    assert [json.loads(event.changes) for event in compared] == [{"compared": {"s": 1, "t": 1}}] * 2
    assert not [event for event in AuditEvent.objects.all() if CANARY in event.changes]


def test_who_may_not_reveal_does_not_learn_what_is_equal(cast: Cast, command: Actor) -> None:
    set_secret(actor=command, service=cast.backend, key="s", value=CANARY.encode())
    content = f"s='{CANARY}'\nnew='x'\n"
    body = {"format": "dotenv", "content": content, "secrets": True, "dry_run": True}

    writer = post(
        by_token(token_of(cast, "mona", "service:read", "secret:write")), cast.backend, "import", **body
    )
    away = post(absent(signed_in(cast, "mona")), cast.backend, "import", **body)
    present = post(signed_in(cast, "mona"), cast.backend, "import", **body)

    expected = [("secret", "s", "update"), ("secret", "new", "create")]
    assert changes_of(writer) == changes_of(away) == expected
    assert changes_of(present) == [("secret", "s", "unchanged"), ("secret", "new", "create")]
    assert len(events(Action.SECRET_REVEAL)) == 1


def test_a_dry_run_leaves_nothing_and_asks_all_rules(cast: Cast, command: Actor) -> None:
    mona = signed_in(cast, "mona")
    revision = Service.objects.get(pk=cast.backend.pk).revision
    count = AuditEvent.objects.count()

    good = post(mona, cast.backend, "import", format="json", content='{"a": 1}', dry_run=True)
    bad = post(
        mona, cast.backend, "import", format="json", content=json.dumps({"a": "x" * 65_537}), dry_run=True
    )

    assert changes_of(good) == [("config", "a", "create")]
    assert code_of(bad) == (422, "invalid_input")
    assert not Config.objects.exists()
    assert Service.objects.get(pk=cast.backend.pk).revision == revision
    assert AuditEvent.objects.count() == count


def test_all_or_nothing_and_every_refusal_by_its_path(cast: Cast) -> None:
    document = {
        "secrets": {"good": "x", "large": CANARY * 3_000},
        "configs": {"fine": 1, "unserved": "{{nothing", "big": "x" * 65_537},
    }

    answer = post(
        signed_in(cast, "mona"), cast.backend, "import", format="json", content=json.dumps(document)
    )

    assert code_of(answer) == (422, "invalid_input")
    assert sorted(answer.json()["errors"]) == [
        "configs.big.value",
        "configs.unserved.value",
        "secrets.large.value",
    ]
    assert not Config.objects.exists() and not Secret.objects.exists()
    assert not events(Action.SECRET_CREATED, Action.CONFIG_CREATED)


def test_a_quota_stops_the_whole_file(cast: Cast, command: Actor) -> None:
    tiny = create_project(actor=command, tenant=cast.tenant, slug="tiny", tier="free")
    service = create_service(
        actor=command, project=tiny, environment="develop", slug="api", kind=Kind.BACKEND
    )
    client = signed_in(cast, "carol")

    fits = post(client, service, "import", format="dotenv", content="".join(f"a{n}=1\n" for n in range(100)))
    over = post(client, service, "import", format="dotenv", content="a1=2\nb=1\n")
    dry = post(client, service, "import", format="dotenv", content="a1=2\nb=1\n", dry_run=True)

    assert len(changes_of(fits)) == 100
    assert code_of(over) == code_of(dry) == (409, "quota_exceeded")
    assert ConfigVersion.objects.count() == 100


def test_what_stands_further_down_in_the_file_is_there_for_what_names_it(
    cast: Cast, command: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A write that is refused until another entry is there, as one of a template is.
    def write(*, actor: Actor, service: Service, key: str, **more: Any) -> Any:
        if key < "e" and not Config.objects.filter(service=service, key=chr(ord(key) + 1)).exists():
            raise InvalidInput.of("value", "It is missing.")
        return set_config(actor=actor, service=service, key=key, **more)

    monkeypatch.setattr("apps.vault.transfer.changes.set_config", write)

    import_entries(actor=command, service=cast.backend, document=Document({}, dict.fromkeys("abcde", 1)))
    with pytest.raises(InvalidInput) as refused:
        import_entries(actor=command, service=cast.child, document=Document({}, dict.fromkeys("abc", 1)))

    assert list(configs_of(cast.backend)) == list("abcde")
    assert refused.value.errors == {f"configs.{key}.value": ["It is missing."] for key in "abc"}
    assert not configs_of(cast.child)


def test_a_plan_writes_nothing(cast: Cast, command: Actor) -> None:
    set_config(actor=command, service=cast.backend, key="a", value="1")

    changes = plan_import(
        actor=cast.actor("mona"), service=cast.backend, document=Document({"s": CANARY}, {"a": "2"})
    )

    assert [(each.kind, each.key, each.change) for each in changes] == [
        ("secret", "s", "create"),
        ("config", "a", "update"),
    ]
    assert not Secret.objects.exists()
    assert CANARY not in repr(changes)


def test_a_frontend_takes_configs_alone(cast: Cast) -> None:
    mona = signed_in(cast, "mona")

    configs = post(mona, cast.frontend, "import", format="dotenv", content="a=1")
    secrets = post(mona, cast.frontend, "import", format="dotenv", content=f"b={CANARY}", secrets=True)

    assert changes_of(configs) == [("config", "a", "create")]
    assert code_of(secrets) == (403, "service_kind_mismatch")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"format": "sh", "content": f"a={CANARY}"},
        {"format": CANARY, "content": "a=1"},
        {"format": "json", "content": {"a": CANARY}},
        {"format": "json", "content": f'{{"a": "{CANARY}"'},
        {"format": "json", "content": "{}", CANARY: 1},
        {"format": "dotenv", "content": f"{CANARY}"},
        {"format": "dotenv", "content": f"{CANARY}é=1"},
        {"format": "yaml", "content": f"a: !!binary {CANARY}"},
        {"format": "yaml", "content": f"a: [{CANARY}"},
        {"format": "yaml", "content": "a: 1", "secrets": True},
        {"format": "json", "content": json.dumps({"secrets": {"a": CANARY}, "b": 1})},
        {"format": "json", "content": "{}", "dry_run": CANARY},
    ],
)
def test_a_wrong_import_is_refused_without_what_it_holds(cast: Cast, body: dict[str, Any]) -> None:
    answer = post(signed_in(cast, "mona"), cast.backend, "import", **body)

    assert code_of(answer) == (422, "invalid_input")
    assert CANARY not in answer.content.decode()
    assert not Config.objects.exists() and not Secret.objects.exists()


# ---- who may, by hand from SPEC 3

SEES = {"alice", "mona", "bob", "tess", "vic", "carol"}
MANAGES = {"alice", "mona", "carol"}
IN_DEVELOP = {*MANAGES, "bob"}


@pytest.mark.parametrize("name", PEOPLE)
def test_who_may_do_what(cast: Cast, command: Actor, develop: Service, name: str) -> None:
    for service in (cast.backend, develop):
        set_secret(actor=command, service=service, key="s", value=CANARY.encode())
        set_config(actor=command, service=service, key="c", value=service.environment)
    client = signed_in(cast, name)
    dotenv: dict[str, Any] = {"format": "dotenv", "content": "x=1"}
    secrets: dict[str, Any] = {"format": "dotenv", "content": "y=1", "secrets": True}
    requests: list[tuple[Service, str, dict[str, Any], set[str]]] = [
        (cast.backend, "import", dotenv, MANAGES),
        (cast.backend, "import", secrets, MANAGES),
        (cast.backend, "import", {**dotenv, "dry_run": True}, MANAGES),
        (develop, "import", dotenv, IN_DEVELOP),
        (develop, "import", secrets, IN_DEVELOP),
        (cast.backend, "export", {"format": "json"}, SEES),
        (cast.backend, "export", {"format": "json", "reveal": True}, MANAGES),
        (develop, "export", {"format": "json", "reveal": True}, IN_DEVELOP),
        (cast.backend, "compare", {"other": str(develop.pk)}, SEES),
        (develop, "promote", {"target": str(cast.backend.pk), "configs": ["c"]}, MANAGES),
        (develop, "promote", {"target": str(cast.backend.pk), "secrets": ["s"]}, MANAGES),
        (cast.backend, "promote", {"target": str(develop.pk), "configs": ["c"]}, IN_DEVELOP),
        # Copying amounts to a reveal where the secret lives.
        (cast.backend, "promote", {"target": str(develop.pk), "secrets": ["s"]}, MANAGES),
        (cast.backend, "promote", {"target": str(develop.pk), "secrets": ["s"], "dry_run": True}, MANAGES),
    ]

    for service, verb, body, allowed in requests:
        answer = post(client, service, verb, **body)

        expected = 200 if name in allowed else 403 if name in SEES else 404
        assert answer.status_code == expected, (verb, body, answer.content)
        revealing = verb == "export" and body.get("reveal") and expected == 200
        assert (CANARY in answer.content.decode()) is bool(revealing)
    compared = post(client, cast.backend, "compare", other=str(develop.pk)).json()
    if name in SEES:
        told = compared["secrets"]
        assert (told and told["same"]) == (["s", "y"] if name in MANAGES else None)
    assert (CANARY in "".join(event.changes for event in AuditEvent.objects.all())) is False


def test_a_service_that_one_does_not_see_is_none_in_the_body_too(cast: Cast, command: Actor) -> None:
    foreign = create_service(
        actor=command, project=cast.other_project, environment="develop", slug="x", kind=Kind.BACKEND
    )
    mona = signed_in(cast, "mona")
    bodies = []

    for other in (str(foreign.pk), NOBODY):
        for service, verb, body in (
            (cast.backend, "compare", {"other": other}),
            (cast.backend, "promote", {"target": other, "configs": ["a"]}),
            (other, "import", {"format": "dotenv", "content": ""}),
            (other, "export", {"format": "json"}),
        ):
            answer = post(mona, service, verb, **body)
            assert answer.status_code == 404
            bodies.append({**answer.json(), "request_id": ""})

    assert all(body == bodies[0] for body in bodies)


def test_values_leave_a_session_only_after_a_proof_of_presence(
    cast: Cast, command: Actor, develop: Service
) -> None:
    set_secret(actor=command, service=cast.backend, key="s", value=CANARY.encode())
    set_secret(actor=command, service=develop, key="s", value=CANARY.encode())
    away = absent(signed_in(cast, "mona"))

    exported = post(away, cast.backend, "export", format="json", reveal=True)
    promoted = post(away, cast.backend, "promote", target=str(develop.pk), secrets=["s"])
    compared = post(away, cast.backend, "compare", other=str(develop.pk))

    assert code_of(exported) == code_of(promoted) == (403, "reauthentication_required")
    assert compared.json()["secrets"]["not_compared"] == ["s"]
    assert compared.json()["secrets"]["same"] == compared.json()["secrets"]["different"] == []
    assert not events(Action.SECRET_EXPORTED, Action.SECRET_REVEAL)
    # What reveals nothing goes on.
    assert post(away, cast.backend, "export", format="json").status_code == 200


def test_a_token_needs_the_scope_that_reveals(cast: Cast, command: Actor, develop: Service) -> None:
    set_secret(actor=command, service=cast.backend, key="s", value=CANARY.encode())
    set_config(actor=command, service=cast.backend, key="c", value="1")
    target = str(develop.pk)

    for scopes, body, verb, status in (
        (["config:read"], {"format": "json"}, "export", 200),
        (["secret:list"], {"format": "json"}, "export", 403),
        (["config:read", "secret:list"], {"format": "json", "reveal": True}, "export", 403),
        (["config:read", "secret:reveal"], {"format": "json", "reveal": True}, "export", 200),
        (["secret:reveal"], {"format": "json", "reveal": True, "kinds": ["secrets"]}, "export", 200),
        (["secret:write"], {"target": target, "secrets": ["s"]}, "promote", 403),
        (["secret:reveal"], {"target": target, "secrets": ["s"]}, "promote", 403),
        (["secret:reveal", "secret:write"], {"target": target, "secrets": ["s"]}, "promote", 200),
        (["config:write"], {"target": target, "configs": ["c"]}, "promote", 403),
        (["config:write", "config:read"], {"target": target, "configs": ["c"]}, "promote", 200),
        (["config:write"], {"format": "dotenv", "content": "a=1"}, "import", 403),
        (["secret:list"], {"other": target}, "compare", 200),
        (["secret:write"], {"other": target}, "compare", 403),
    ):
        client = by_token(token_of(cast, "mona", "service:read", *scopes))
        answer = post(client, cast.backend, verb, **body)
        assert answer.status_code == status, (scopes, body, answer.content)


# ---- export


def fill(command: Actor, service: Service) -> None:
    set_secret(actor=command, service=service, key="s.a", value=b"it's")
    set_secret(actor=command, service=service, key="s.file", value=b"\x00\xff", type="file", file_name="f")
    set_config(actor=command, service=service, key="c.text", value="a\\{{b")
    set_config(actor=command, service=service, key="c.number", value=1.5, type="number")
    set_config(actor=command, service=service, key="c.json", value={"a": [True]}, type="json")


def test_a_backends_key_exports_everything_in_each_format(cast: Cast, command: Actor, tmp_path: Path) -> None:
    fill(command, cast.umbrella)
    set_config(actor=command, service=cast.child, key="c.number", value=2, type="number")
    client = Client(headers={"X-Nexus-API-Key": cast.keys["child"]})

    answers = {form: client.get(f"/api/v1/export?format={form}") for form in ("sh", "dotenv", "json", "yaml")}

    file = base64.b64encode(b"\x00\xff").decode()
    assert json.loads(answers["json"].content) == {
        "c.json": {"a": [True]},
        "c.number": 2,
        "c.text": "a{{b",
        "s.a": "it's",
        "s.file": file,
    }
    (tmp_path / "file").write_bytes(answers["sh"].content)
    script = f'. {tmp_path}/file; printf "%s\\n" "$C_JSON" "$C_NUMBER" "$C_TEXT" "$S_A" "$S_FILE"'
    found = subprocess.run(["sh", "-c", script], capture_output=True, check=True, text=True)
    assert found.stdout.splitlines() == ['{"a":[true]}', "2", "a{{b", "it's", file]
    assert answers["yaml"].content.decode() == (
        f'c.json: {{"a": [true]}}\nc.number: 2\nc.text: "a{{{{b"\ns.a: "it\'s"\ns.file: "{file}"\n'
    )
    assert [answer["Content-Type"] for answer in answers.values()] == [
        "text/plain; charset=utf-8",
        "text/plain; charset=utf-8",
        "application/json",
        "application/yaml",
    ]
    assert all(answer["Cache-Control"] == "private, no-store" for answer in answers.values())
    told = events(Action.SECRET_EXPORTED)
    assert [json.loads(event.changes)["versions"] for event in told] == [{"s.a": 1, "s.file": 1}] * 4


def test_a_frontends_key_exports_configs_alone(cast: Cast, command: Actor) -> None:
    set_config(actor=command, service=cast.frontend, key="c", value="x")

    with CaptureQueriesContext(connection) as queries:
        answer = Client(headers={"X-Nexus-API-Key": cast.keys["frontend"]}).get("/api/v1/export?format=json")

    assert answer.json() == {"c": "x"}
    assert not [query for query in queries if "vault_secret" in query["sql"]]
    assert not events(Action.SECRET_EXPORTED)


def test_what_the_workload_door_refuses(cast: Cast, command: Actor) -> None:
    client = Client(headers={"X-Nexus-API-Key": cast.keys["backend"]})
    set_secret(actor=command, service=cast.backend, key="a.b", value=f"{CANARY}\x00".encode())

    for query, status in (
        ("", 422),
        ("?format=csv", 422),
        ("?format=json&format=sh", 422),
        ("?format=sh", 422),
        ("?format=dotenv", 422),
        ("?format=json", 200),
    ):
        assert client.get(f"/api/v1/export{query}").status_code == status, query
    set_config(actor=command, service=cast.backend, key="a_b", value="x")
    collision = client.get("/api/v1/export?format=sh")
    assert collision.status_code == 422
    assert "a.b" in collision.json()["detail"] and "a_b" in collision.json()["detail"]
    assert CANARY not in collision.content.decode()
    SecretVersion.objects.update(sealed=b"\x01" * 64)
    assert code_of(client.get("/api/v1/export?format=json")) == (503, "unreadable")
    assert code_of(Client().get("/api/v1/export?format=json")) == (401, "authentication_required")
    assert client.post("/api/v1/export?format=json").status_code == 405
    # What was refused was not exported.
    assert len(events(Action.SECRET_EXPORTED)) == 1


def test_any_accept_header_is_fine(cast: Cast) -> None:
    for accept in ("text/plain", "application/yaml", "*/*", "application/json"):
        client = Client(headers={"X-Nexus-API-Key": cast.keys["backend"], "Accept": accept})
        assert client.get("/api/v1/export?format=dotenv").status_code == 200
        assert client.get("/api/v1/export")["Content-Type"] == "application/problem+json"


def test_an_export_without_reveal_has_neither_secrets_nor_results_of_templates(
    cast: Cast, command: Actor
) -> None:
    fill(command, cast.backend)
    set_config(actor=command, service=cast.backend, key="c.template", value="x")
    make_template(cast.backend, "c.template", "postgres://{{secret:s.a}}@db")
    mona = signed_in(cast, "mona")

    plain = post(mona, cast.backend, "export", format="json")
    configs = post(mona, cast.backend, "export", format="json", kinds=["configs"], reveal=True)
    secrets = post(mona, cast.backend, "export", format="json", kinds=["secrets"], reveal=True)

    assert sorted(json.loads(plain.json()["content"])) == ["c.json", "c.number", "c.text"]
    assert sorted(json.loads(configs.json()["content"])) == ["c.json", "c.number", "c.template", "c.text"]
    assert sorted(json.loads(secrets.json()["content"])) == ["s.a", "s.file"]
    assert set(secrets.json()) == {"format", "content"}
    told = [json.loads(event.changes) for event in events(Action.SECRET_EXPORTED)]
    assert [(each["kinds"], list(each["versions"])) for each in told] == [
        # What went into a config's result left as well.
        (["configs"], ["s.a"]),
        (["secrets"], ["s.a", "s.file"]),
    ]
    # Results need the right to reveal, whoever reads the template.
    vic = signed_in(cast, "vic")
    assert post(vic, cast.backend, "export", format="json", kinds=["configs"], reveal=True).status_code == 403
    for body, status in (
        ({"kinds": ["secrets"]}, 422),
        ({"kinds": []}, 422),
        ({"kinds": ["flags"]}, 422),
        ({"kinds": ["configs"], "format": "csv"}, 422),
    ):
        assert post(mona, cast.backend, "export", **{"format": "json", **body}).status_code == status, body
    refused = post(mona, cast.frontend, "export", format="json", kinds=["secrets"], reveal=True)
    assert code_of(refused) == (403, "service_kind_mismatch")


# ---- compare


def test_two_services_side_by_side(cast: Cast, command: Actor, develop: Service) -> None:
    for service, values in (
        (cast.child, {"only": "1", "same": CANARY, "differs": f"{CANARY}1"}),
        (develop, {"other": "1", "same": CANARY, "differs": f"{CANARY}2"}),
    ):
        for key, value in values.items():
            set_secret(actor=command, service=service, key=f"s.{key}", value=value.encode())
            set_config(actor=command, service=service, key=f"c.{key}", value=value.replace(CANARY, "x"))
            set_flag_state(actor=command, service=service, key=f"f.{key}", enabled=value == f"{CANARY}1")
    set_secret(actor=command, service=cast.umbrella, key="s.above", value=b"1")

    answer = post(signed_in(cast, "mona"), cast.child, "compare", other=str(develop.pk))

    found = answer.json()
    assert (found["left"], found["right"]) == (str(cast.child.pk), str(develop.pk))
    assert found["secrets"] == {
        "only_left": ["s.above", "s.only"],
        "only_right": ["s.other"],
        "same": ["s.same"],
        "different": ["s.differs"],
        "not_compared": [],
        "values": {},
    }
    assert found["configs"]["different"] == ["c.differs"]
    assert found["configs"]["values"] == {
        "c.differs": {
            "left": {"type": "string", "text": "x1"},
            "right": {"type": "string", "text": "x2"},
        }
    }
    assert (found["flags"]["same"], found["flags"]["different"]) == (["f.same"], ["f.differs"])
    assert found["flags"]["values"]["f.differs"]["left"]["enabled"] is True
    assert CANARY not in answer.content.decode()
    assert [json.loads(event.changes)["compared"] for event in events(Action.SECRET_REVEAL)] == [
        {"s.differs": 1, "s.same": 1},
        {"s.differs": 1, "s.same": 1},
    ]


def test_a_comparison_shows_templates_and_passes_over_what_does_not_open(
    cast: Cast, command: Actor, develop: Service
) -> None:
    for service in (cast.backend, develop):
        set_config(actor=command, service=service, key="c", value="x")
        set_secret(actor=command, service=service, key="s", value=CANARY.encode())
    make_template(develop, "c", "{{secret:s}}")
    SecretVersion.objects.filter(secret__service=develop).update(sealed=b"\x01" * 64)

    found = post(signed_in(cast, "mona"), cast.backend, "compare", other=str(develop.pk)).json()

    assert found["configs"]["values"]["c"]["right"] == {"type": "string", "text": "{{secret:s}}"}
    assert found["secrets"]["not_compared"] == ["s"]
    assert found["secrets"]["same"] == found["secrets"]["different"] == []


def test_a_comparison_costs_the_same_however_much_there_is(
    cast: Cast, command: Actor, develop: Service
) -> None:
    client = by_token(token_of(cast, "mona", "service:read", "secret:list", "secret:reveal", "config:read"))
    counts = []

    for number in range(4):
        for service in (cast.backend, develop):
            set_secret(actor=command, service=service, key=f"s{number}", value=b"x")
            set_config(actor=command, service=service, key=f"c{number}", value="x")
        with CaptureQueriesContext(connection) as queries:
            assert post(client, cast.backend, "compare", other=str(develop.pk)).status_code == 200
        counts.append(len(queries))

    assert counts[1] == counts[3]


# ---- promote


def test_chosen_entries_go_over_and_others_stay(cast: Cast, command: Actor, develop: Service) -> None:
    fill(command, cast.umbrella)
    set_flag_state(actor=command, service=cast.child, key="f", enabled=True)
    set_config(actor=command, service=develop, key="c.number", value=1.5, type="number")
    mona = signed_in(cast, "mona")
    body = {
        "target": str(develop.pk),
        "secrets": ["s.a", "s.file"],
        "configs": ["c.text", "c.number", "c.text"],
        "flags": ["f"],
    }

    dry = post(mona, cast.child, "promote", **body, dry_run=True)
    assert not Flag.objects.filter(service=develop).exists() and not secret_versions(develop)
    done = post(mona, cast.child, "promote", **body)
    again = post(mona, cast.child, "promote", **body)

    expected = [
        ("secret", "s.a", "create"),
        ("secret", "s.file", "create"),
        ("config", "c.text", "create"),
        ("config", "c.number", "unchanged"),
        ("flag", "f", "create"),
    ]
    assert changes_of(dry) == changes_of(done) == expected
    assert {change for _, _, change in changes_of(again)} == {"unchanged"}
    assert configs_of(develop) == {"c.number": ("number", 1.5), "c.text": ("string", "a{{b")}
    # The text went as it was written, with its escape.
    assert done.json()["changes"][2]["new"] == {"type": "string", "text": "a\\{{b"}
    file = SecretVersion.objects.get(secret__service=develop, secret__key="s.file")
    assert (file.type, file.file_name, file.size_bytes) == ("file", "f", 2)
    assert Flag.objects.get(service=develop).enabled
    exported = events(Action.SECRET_EXPORTED)
    assert [(event.service_id, json.loads(event.changes)) for event in exported] == [
        (cast.child.pk, {"to": str(develop.pk), "versions": {"s.a": 1, "s.file": 1}})
    ] * 2
    written = [event for event in AuditEvent.objects.all() if event.service_id == develop.pk]
    assert sorted(event.action for event in written if event.action.endswith("created")) == [
        "config.created",
        "config.created",
        "flag.created",
        "secret.created",
        "secret.created",
        "service.created",
    ]


def test_a_promotion_is_all_or_nothing_and_names_what_is_missing(
    cast: Cast, command: Actor, develop: Service
) -> None:
    set_config(actor=command, service=cast.backend, key="a", value="1")
    set_config(actor=command, service=cast.backend, key="b", value="x")
    make_template(cast.backend, "b", "{{nothing")
    mona = signed_in(cast, "mona")
    target = str(develop.pk)

    missing = post(
        mona, cast.backend, "promote", target=target, configs=["a", "gone", f"{CANARY} "], flags=["f"]
    )
    refused = post(mona, cast.backend, "promote", target=target, configs=["a", "b"])

    assert sorted(missing.json()["errors"]) == ["configs.2", "configs.gone"]
    assert CANARY not in missing.content.decode()
    assert list(refused.json()["errors"]) == ["configs.b.value"]
    assert not configs_of(develop)
    assert not events(Action.SECRET_EXPORTED)


def test_a_config_that_names_a_secret_goes_with_the_right_to_reveal_it(
    cast: Cast, command: Actor, develop: Service
) -> None:
    set_config(actor=command, service=cast.backend, key="dsn", value={"a": ["x"]}, type="json")
    ConfigVersion.objects.update(value_json='{"a":["at {{secret:s}}"]}')
    for key, text in (("escaped", "\\\\{{secret:s}}"), ("other", "{{config:a}}")):
        set_config(actor=command, service=cast.backend, key=key, value="x")
        make_template(cast.backend, key, text.replace("\\\\", "\\"))

    found = effective_configs(cast.backend)
    refused = post(signed_in(cast, "bob"), cast.backend, "promote", target=str(develop.pk), configs=["dsn"])
    escaped = post(
        signed_in(cast, "bob"), cast.backend, "promote", target=str(develop.pk), configs=["escaped"]
    )

    assert [(key, bool(each.references), each.names_secret) for key, each in found.items()] == [
        ("dsn", True, True),
        ("escaped", False, False),
        ("other", True, False),
    ]
    assert code_of(refused) == (403, "not_permitted")
    assert escaped.status_code == 200


def test_where_a_promotion_does_not_go(cast: Cast, command: Actor, develop: Service) -> None:
    set_secret(actor=command, service=cast.backend, key="s", value=CANARY.encode())
    set_config(actor=command, service=cast.backend, key="c", value="1")
    elsewhere = create_project(actor=command, tenant=cast.tenant, slug="else", tier="m")
    other = create_service(
        actor=command, project=elsewhere, environment="develop", slug="api", kind=Kind.BACKEND
    )
    carol = signed_in(cast, "carol")

    for target, body, told in (
        (cast.frontend, {"secrets": ["s"]}, (403, "service_kind_mismatch")),
        (cast.backend, {"configs": ["c"]}, (422, "invalid_input")),
        (other, {"configs": ["c"]}, (422, "invalid_input")),
        (develop, {}, (422, "invalid_input")),
        (develop, {"secrets": []}, (422, "invalid_input")),
        (develop, {"configs": [f"{n}" for n in range(2_001)]}, (422, "invalid_input")),
        (develop, {"configs": "c"}, (422, "invalid_input")),
    ):
        assert code_of(post(carol, cast.backend, "promote", target=str(target.pk), **body)) == told, body
    assert (
        post(carol, cast.backend, "promote", target=str(cast.frontend.pk), configs=["c"]).status_code == 200
    )
    SecretVersion.objects.update(sealed=b"\x01" * 64)
    unreadable = post(carol, cast.backend, "promote", target=str(develop.pk), secrets=["s"])
    assert code_of(unreadable) == (503, "unreadable")


# ---- commands


def run(*arguments: str) -> tuple[int, Any, str]:
    out, err = io.StringIO(), io.StringIO()
    code = 0
    try:
        call_command(*arguments, "--json", stdout=out, stderr=err)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, json.loads(out.getvalue()), err.getvalue()


def test_the_commands_print_what_the_contract_says(
    cast: Cast, command: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, file = str(cast.backend), tmp_path / "in"
    file.write_text(json.dumps({"secrets": {"s": CANARY}, "configs": {"c": "new"}}))
    set_config(actor=command, service=cast.backend, key="c", value="stored-before")
    arguments = ("import_entries", address, "--format", "json", str(file))

    dry = run(*arguments, "--dry-run")
    shown = run(*arguments, "--dry-run", "--reveal")
    done = run(*arguments)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(f"t={CANARY}\n".encode())))
    piped = run("import_entries", address, "--format", "dotenv", "--secrets")
    plain = run("export_entries", address, "--format", "dotenv")
    revealed = run("export_entries", address, "--format", "json", "--reveal")
    to_file = run("export_entries", address, "--format", "sh", "--reveal", str(tmp_path / "out"))

    create, update = {"kind": "secret", "key": "s", "change": "create"}, {"kind": "config", "key": "c"}
    assert dry[:2] == (0, {"changes": [create, {**update, "change": "update"}]})
    assert shown[1]["changes"][1]["old"]["text"] == "stored-before"
    assert "old" not in shown[1]["changes"][0]
    assert done[:2] == dry[:2]
    assert piped[:2] == (0, {"changes": [{"kind": "secret", "key": "t", "change": "create"}]})
    assert plain[:2] == (0, {"content": "C='new'\n"})
    assert json.loads(revealed[1]["content"]) == {"c": "new", "s": CANARY, "t": CANARY}
    assert (tmp_path / "out").read_text() == to_file[1]["content"]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
    for _, result, told in (dry, shown, done, piped, plain):
        assert CANARY not in json.dumps(result) + told
        assert "stored-before" not in told
    assert CANARY not in revealed[2] + to_file[2]
    assert len(events(Action.SECRET_EXPORTED)) == 2


def test_a_person_gets_the_file_itself(cast: Cast, command: Actor) -> None:
    set_config(actor=command, service=cast.backend, key="c", value="x")
    out, err = io.StringIO(), io.StringIO()

    call_command("export_entries", str(cast.backend), "--format", "sh", stdout=out, stderr=err)

    assert (out.getvalue(), err.getvalue()) == ("export C='x'\n", "")


def test_what_the_commands_refuse(cast: Cast, command: Actor, tmp_path: Path) -> None:
    address = str(cast.backend)
    for name, data in (
        ("line", f"a=1\n{CANARY}\n".encode()),
        ("binary", f"a={CANARY}\xff".encode("latin-1")),
        ("large", b"a=" + CANARY.encode() * 50_000),
    ):
        (tmp_path / name).write_bytes(data)
        code, problem, told = run("import_entries", address, "--format", "dotenv", str(tmp_path / name))
        assert (code, problem["code"]) == (1, "invalid_input")
        assert CANARY not in json.dumps(problem) + told
    for arguments in (
        ("import_entries", address, "--format", "dotenv", str(tmp_path / "absent")),
        ("export_entries", address, "--format", "sh", str(tmp_path / "absent" / "x"), "--reveal"),
        ("export_entries", "acme/shop/develop/none", "--format", "sh"),
    ):
        assert run(*arguments)[0] == 1
    with pytest.raises(Exception, match="invalid choice"):
        call_command("import_entries", address, "--format", "sh", "--json")
    assert not events(Action.SECRET_EXPORTED)


# ---- nowhere else


def test_a_secrets_value_stands_nowhere_but_in_the_exports_that_reveal_it(
    cast: Cast, command: Actor, develop: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    mona, vic = signed_in(cast, "mona"), signed_in(cast, "vic")
    workload = Client(headers={"X-Nexus-API-Key": cast.keys["backend"]})
    both = json.dumps({"secrets": {"s": CANARY, "t": f"{CANARY}\x00"}, "configs": {"control": CONTROL}})
    target = str(develop.pk)
    (tmp_path / "wrong").write_text(f"{CANARY}\n")
    (tmp_path / "right").write_text(f"u='{CANARY}'\n")
    said = []

    for client, service, verb, body in (
        (mona, cast.backend, "import", {"format": "json", "content": both, "dry_run": True}),
        (mona, cast.backend, "import", {"format": "json", "content": both}),
        (mona, cast.backend, "import", {"format": "json", "content": both, "dry_run": True}),
        (vic, cast.backend, "import", {"format": "json", "content": both}),
        (mona, cast.backend, "import", {"format": "json", "content": both[:-1]}),
        (mona, cast.backend, "import", {"format": "yaml", "content": both + CANARY}),
        (mona, cast.backend, "import", {"format": "dotenv", "content": f"a='{CANARY}", "secrets": True}),
        (mona, cast.backend, "promote", {"target": target, "secrets": ["s", "t"], "dry_run": True}),
        (mona, cast.backend, "promote", {"target": target, "secrets": ["s", "t"]}),
        (mona, cast.backend, "promote", {"target": target, "secrets": ["s", CANARY + " "]}),
        (mona, cast.backend, "compare", {"other": target}),
        (mona, cast.backend, "compare", {"other": CANARY}),
        (mona, cast.backend, "export", {"format": "json"}),
        (mona, cast.backend, "export", {"format": "sh", "reveal": True}),
        (vic, cast.backend, "export", {"format": "json", "reveal": True}),
    ):
        said.append(post(client, service, verb, **body).content.decode())
    said.append(workload.get("/api/v1/export?format=dotenv").content.decode())
    for arguments in (
        ("import_entries", str(cast.backend), "--format", "dotenv", str(tmp_path / "wrong")),
        ("import_entries", str(cast.backend), "--format", "dotenv", str(tmp_path / "right"), "--secrets"),
        ("export_entries", str(cast.backend), "--format", "sh", "--reveal"),
        ("export_entries", str(cast.backend), "--format", "json"),
    ):
        _, result, told = run(*arguments)
        said += [json.dumps(result), told]
    served = workload.get("/api/v1/export?format=json").content

    assert stands_in(CANARY, served)
    assert secret_versions(cast.backend) == {"s": 1, "t": 1, "u": 1}
    places = [*cells(), ("the log", caplog.text.encode())]
    places += [(f"answer {number}", text.encode()) for number, text in enumerate(said)]
    assert [name for name, data in places if stands_in(CANARY, data)] == []
    found = {name for name, data in places if stands_in(CONTROL, data)}
    assert {"vault_configversion.value_json", "audit_auditevent.changes"} <= found


# ---- at the same time


def test_promotions_across_each_other_and_imports_wait_for_one_another(
    committed_cast: Cast, command: Actor, in_thread: Callable[[Callable[[], Any]], Callable[[], Any]]
) -> None:
    cast = committed_cast
    left, right = cast.backend, cast.child
    for service in (left, right):
        set_secret(actor=command, service=service, key="s", value=service.slug.encode())
        set_config(actor=command, service=service, key="c", value=service.slug)

    def attempt(number: int) -> str:
        source, target = (left, right) if number % 2 else (right, left)
        try:
            if number % 3:
                promote(actor=command, source=source, target=target, secrets=["s"], configs=["c"])
            else:
                document = Document({f"n{number}": "x"}, {"c": number})
                import_entries(actor=command, service=target, document=document)
        except NexusError as error:
            return error.code
        return "done"

    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(in_thread(lambda number=number: attempt(number))) for number in range(18)]
        results = {future.result() for future in futures}

    assert results == {"done"}
    for service in (left, right):
        for versions in (
            SecretVersion.objects.filter(secret__service=service, secret__key="s"),
            ConfigVersion.objects.filter(config__service=service, config__key="c"),
        ):
            numbers = sorted(versions.values_list("version", flat=True))
            assert numbers == list(range(1, len(numbers) + 1))
