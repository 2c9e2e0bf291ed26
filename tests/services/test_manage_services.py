"""Services and their umbrellas through the management API."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.models import Change
from apps.flags.operations import set_flag_state
from apps.projects.models import Project
from apps.projects.operations import create_project
from apps.services.models import Kind, Service
from apps.services.operations import create_service, delete_service, link_umbrella
from apps.vault.operations import set_config, set_secret
from tests.conftest import Cast
from tests.console.session import signed_in
from tests.projects.test_rights import extra
from tests.tenancy.test_manage_api import BASE, NOBODY, by_token, patch, post, token_of

PEOPLE = ("alice", "mona", "bob", "tess", "vic", "carol", "finn", "mallory", "sue")
# By hand from SPEC 3: who sees services of the project, and who manages them.
SEES = {"alice", "mona", "bob", "tess", "vic", "carol"}
MANAGES = {"alice", "mona", "carol"}


def new_service(cast: Cast, **more: Any) -> dict[str, Any]:
    return {
        "project": str(cast.project.pk),
        "environment": "develop",
        "slug": "fresh",
        "kind": "backend",
        **more,
    }


def events_since(moment: Any) -> list[str]:
    return list(AuditEvent.objects.filter(time__gt=moment).order_by("time").values_list("action", flat=True))


@pytest.mark.parametrize("name", PEOPLE)
def test_who_reads_makes_changes_stops_deletes_and_restores_services(cast: Cast, name: str) -> None:
    client = signed_in(cast, name)
    path = f"services/{cast.backend.pk}"
    seen, manages = name in SEES, name in MANAGES
    changing = 200 if manages else 403 if seen else 404

    listed = client.get(f"{BASE}/services?project={cast.project.pk}").json()["results"]
    got = {
        "read": client.get(f"{BASE}/{path}"),
        "create": post(client, "services", new_service(cast)),
        "rename": patch(client, path, {"name": f"By {name}"}),
        "disable": post(client, f"{path}/disable", {}),
        "resume": post(client, f"{path}/resume", {}),
        "link": post(client, f"{path}/link", {"umbrella": str(cast.umbrella.pk)}),
        "unlink": post(client, f"{path}/unlink", {}),
        "delete": client.delete(f"{BASE}/{path}"),
    }
    gone = client.get(f"{BASE}/services?deleted=true").json()["results"]
    restored = post(client, f"{path}/restore", {})

    assert {each["slug"] for each in listed} == ({"api", "web", "common", "checkout"} if seen else set())
    assert {verb: answer.status_code for verb, answer in got.items()} == {
        "read": 200 if seen else 404,
        "create": 201 if manages else 403 if seen else 404,
        "rename": changing,
        "disable": changing,
        "resume": changing,
        "link": changing,
        "unlink": changing,
        "delete": 204 if manages else changing,
    }
    assert [each["slug"] for each in gone] == (["api"] if manages else [])
    assert restored.status_code == changing
    assert Service.objects.get(pk=cast.backend.pk).deleted_at is None
    assert Service.objects.filter(slug="fresh").exists() is manages


def test_a_service_is_made_once_with_its_document_event_and_tag(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    body = new_service(cast, name="Fresh one")
    moment = timezone.now()

    first = post(client, "services", body, **{"Idempotency-Key": "one"})
    again = post(client, "services", body, **{"Idempotency-Key": "one"})
    other = post(client, "services", {**body, "slug": "other"}, **{"Idempotency-Key": "one"})
    taken = post(client, "services", body)

    document = first.json()
    assert first.status_code == 201
    assert first["ETag"] == '"1"'
    assert document == {
        "id": document["id"],
        "project": str(cast.project.pk),
        "environment": "develop",
        "slug": "fresh",
        "kind": "backend",
        "name": "Fresh one",
        "is_umbrella": False,
        "umbrella": None,
        "disabled": False,
        "revision": 1,
        "created_at": document["created_at"],
        "deleted_at": None,
        "purge_after": None,
        "row_version": 1,
    }
    assert client.get(f"{BASE}/services/{document['id']}").json() == document
    assert (again.status_code, again.json()["id"]) == (201, document["id"])
    assert again["Idempotent-Replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert (taken.status_code, taken.json()["code"]) == (409, "already_exists")
    assert events_since(moment)[-1] == "service.created"
    assert events_since(moment).count("service.created") == 1


def test_what_cannot_be_made_is_refused_and_nothing_sent_is_repeated(cast: Cast, command: Actor) -> None:
    client = signed_in(cast, "mona")
    free = create_project(actor=command, tenant=cast.tenant, slug="tiny", tier="free")
    umbrella = str(cast.umbrella.pk)
    odd = [
        ({"kind": "zyx-kind"}, 422, "invalid_input"),
        ({"slug": "Zyx_"}, 422, "invalid_input"),
        ({"slug": "a\0b"}, 422, "invalid_input"),
        ({"environment": "-zyx"}, 422, "invalid_input"),
        ({"name": "zyx\u202e"}, 422, "invalid_input"),
        ({"name": "x" * 151}, 422, "invalid_input"),
        ({"zyx": 1}, 422, "invalid_input"),
        ({"project": "zyx"}, 422, "invalid_input"),
        ({"project": NOBODY}, 404, "not_found"),
        ({"project": str(cast.other_project.pk)}, 404, "not_found"),
        ({"umbrella": NOBODY}, 404, "not_found"),
        ({"umbrella": umbrella}, 422, "invalid_input"),  # of another environment
        ({"umbrella": umbrella, "environment": "production", "kind": "frontend"}, 422, "invalid_input"),
        ({"umbrella": umbrella, "environment": "production", "is_umbrella": True}, 422, "invalid_input"),
        ({"umbrella": str(cast.backend.pk), "environment": "production"}, 422, "invalid_input"),
    ]
    for change, status, code in odd:
        answer = post(client, "services", new_service(cast, **change))
        assert (answer.status_code, answer.json()["code"]) == (status, code), change
        assert "zyx" not in answer.content.decode().lower(), change
    forbidden = post(
        signed_in(cast, "carol"),
        "services",
        new_service(cast, project=str(free.pk), environment="production"),
    )
    child = post(
        client, "services", new_service(cast, umbrella=umbrella, environment="production", slug="kid")
    )

    assert (forbidden.status_code, forbidden.json()["code"]) == (409, "tier_forbids")
    assert (child.status_code, child.json()["umbrella"]) == (201, umbrella)


def test_what_never_changes_is_no_member_of_a_change(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    path = f"services/{cast.backend.pk}"
    before = Service.objects.filter(pk=cast.backend.pk).values().get()

    answers = [
        patch(client, path, {"name": "x", member: value})
        for member, value in (
            ("kind", "frontend"),
            ("environment", "develop"),
            ("project", str(cast.other_project.pk)),
            ("is_umbrella", True),
            ("umbrella", str(cast.umbrella.pk)),
            ("slug", "other"),
        )
    ]

    assert {answer.status_code for answer in answers} == {422}
    assert Service.objects.filter(pk=cast.backend.pk).values().get() == before


def test_every_change_heeds_if_match(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    path = f"services/{cast.backend.pk}"
    stale = {"If-Match": '"7"'}
    before = Service.objects.filter(pk=cast.backend.pk).values().get()
    moment = timezone.now()

    refused = [
        patch(client, path, {"name": "x"}, **stale),
        client.delete(f"{BASE}/{path}", headers=stale),
        post(client, f"{path}/restore", {}, **stale),
        post(client, f"{path}/disable", {}, **stale),
        post(client, f"{path}/resume", {}, **stale),
        post(client, f"{path}/unlink", {}, **stale),
        post(client, f"{path}/link", {"umbrella": str(cast.umbrella.pk)}, **stale),
    ]
    tag = client.get(f"{BASE}/{path}")["ETag"]
    renamed = patch(client, path, {"name": "Renamed"}, **{"If-Match": tag})
    stopped = post(client, f"{path}/disable", {}, **{"If-Match": renamed["ETag"]})
    twice = post(client, f"{path}/disable", {})

    assert {answer.status_code for answer in refused} == {412}
    assert before["row_version"] == 1
    assert renamed.json()["name"] == "Renamed"
    assert stopped.json()["disabled"] is True
    assert twice["ETag"] == stopped["ETag"]
    assert events_since(moment) == ["service.updated", "service.disabled"]


def test_a_key_stops_with_its_service_in_the_same_breath(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    path = f"services/{cast.backend.pk}"
    workload = {"X-Nexus-API-Key": cast.keys["backend"]}
    bearer = by_token(cast.keys["backend"])

    def served() -> int:
        assert bearer.get(f"{BASE}/services").status_code == 401
        return int(client.get("/api/v1/secrets", headers=workload).status_code)

    seen = [served()]
    for verb in ("disable", "resume"):
        assert post(client, f"{path}/{verb}", {}).status_code == 200
        seen.append(served())
    assert client.delete(f"{BASE}/{path}").status_code == 204
    seen.append(served())
    assert post(client, f"{path}/restore", {}).status_code == 200
    seen.append(served())

    assert seen == [200, 401, 200, 401, 200]


# ---- lists


def test_lists_are_narrowed_searched_and_told_in_constant_queries(cast: Cast, command: Actor) -> None:
    client = signed_in(cast, "mona")
    lab = create_service(
        actor=command, project=cast.project, environment="develop", slug="zyx-lab", kind=Kind.FRONTEND
    )

    def slugs(query: str) -> list[str]:
        answer = client.get(f"{BASE}/services?{query}")
        assert answer.status_code == 200, query
        return [each["slug"] for each in answer.json()["results"]]

    assert slugs("") == ["api", "checkout", "common", "web", "zyx-lab"]
    assert slugs("kind=frontend") == ["web", "zyx-lab"]
    assert slugs("environment=develop") == ["zyx-lab"]
    assert slugs("is_umbrella=true") == ["common"]
    assert slugs(f"umbrella={cast.umbrella.pk}") == ["checkout"]
    assert slugs(f"tenant={cast.tenant.pk}&kind=frontend&search=ZYX") == ["zyx-lab"]
    assert slugs(f"project={cast.other_project.pk}") == []
    assert slugs("ordering=-slug&limit=1") == ["zyx-lab"]
    assert slugs("deleted=true") == []
    for wrong in (
        "kind=x",
        "umbrella=x",
        "deleted=x",
        "deleted=",
        "is_umbrella=x",
        "is_umbrella=",
        "slug=x",
        "project=1",
        "search=a&search=b",
    ):
        assert client.get(f"{BASE}/services?{wrong}").status_code == 422, wrong
    listed = client.get(f"{BASE}/services").json()["results"]
    assert listed[-1] == client.get(f"{BASE}/services/{lab.pk}").json()

    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as counted:
            assert client.get(f"{BASE}/services?limit=200").status_code == 200
        return len(counted)

    few = queries()
    Service.objects.bulk_create(
        Service(
            project=cast.project,
            environment="develop",
            slug=f"s{n}",
            name="s",
            kind=Kind.BACKEND,
            umbrella=None,
        )
        for n in range(80)
    )
    assert queries() == few <= 12


def test_an_extra_grant_for_the_child_alone_names_no_umbrella(cast: Cast, command: Actor) -> None:
    extra(cast.users["finn"], "service:read", cast.child)
    extra(cast.users["finn"], "service:manage", cast.child)
    extra(cast.users["finn"], "config:read", cast.child)
    client = signed_in(cast, "finn")
    set_config(actor=command, service=cast.umbrella, key="zyx.host", value="v")

    document = client.get(f"{BASE}/services/{cast.child.pk}").json()
    listed = client.get(f"{BASE}/services").json()["results"]
    by_umbrella = client.get(f"{BASE}/services?umbrella={cast.umbrella.pk}").json()["results"]
    linking = post(client, f"services/{cast.child.pk}/link", {"umbrella": str(cast.umbrella.pk)})
    dry = post(client, f"services/{cast.child.pk}/unlink", {"dry_run": True}).json()

    assert document["umbrella"] is None
    assert [each["umbrella"] for each in listed] == [None]
    assert by_umbrella == []
    assert linking.status_code == 404
    assert dry["configs"] == {
        "gains": None,
        "loses": None,
        "changes": None,
        "counts": {"gains": 0, "loses": 1, "changes": 0},
    }
    assert "zyx" not in json.dumps(dry)


def test_a_token_reaches_as_far_as_its_scopes(cast: Cast) -> None:
    reads = by_token(token_of(cast, "mona", "service:read", "project:read"))
    manages = by_token(token_of(cast, "mona", "service:read", "project:read", "service:manage"))
    path = f"services/{cast.backend.pk}"
    link = {"umbrella": str(cast.umbrella.pk)}

    assert reads.get(f"{BASE}/{path}").status_code == 200
    assert post(reads, "services", new_service(cast)).status_code == 403
    assert patch(reads, path, {"name": "x"}).status_code == 403
    assert post(manages, "services", new_service(cast)).status_code == 201
    assert patch(manages, path, {"name": "x"}).status_code == 200
    # Linking a backend is a reveal of what it inherits.
    assert post(manages, f"{path}/link", link).status_code == 403
    assert Service.objects.get(pk=cast.backend.pk).umbrella_id is None


# ---- deletion and return


def test_an_umbrella_with_children_stays_and_names_those_that_one_sees(cast: Cast) -> None:
    for permission in ("service:read", "service:manage"):
        extra(cast.users["finn"], permission, cast.umbrella)

    refused = signed_in(cast, "mona").delete(f"{BASE}/services/{cast.umbrella.pk}")
    blind = signed_in(cast, "finn").delete(f"{BASE}/services/{cast.umbrella.pk}")

    assert (refused.status_code, refused.json()["code"]) == (409, "umbrella_has_children")
    assert refused.json()["children"] == ["checkout"]
    assert (blind.status_code, blind.json()["children"]) == (409, [])
    assert "checkout" not in blind.content.decode()
    assert "1 children" in blind.json()["detail"]
    assert Service.objects.get(pk=cast.umbrella.pk).deleted_at is None


def test_a_service_comes_back_with_what_it_had(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    path = f"services/{cast.child.pk}"
    client.delete(f"{BASE}/{path}")

    gone = client.get(f"{BASE}/{path}").status_code
    (listed,) = client.get(f"{BASE}/services?deleted=true").json()["results"]
    moment = timezone.now()
    restored = post(client, f"{path}/restore", {}, **{"If-Match": f'"{listed["row_version"]}"'})
    again = post(client, f"{path}/restore", {})

    assert gone == 404
    assert listed["deleted_at"] < listed["purge_after"]
    assert restored.status_code == 200
    document = restored.json()
    assert document["deleted_at"] is document["purge_after"] is None
    assert (document["umbrella"], document["was_unlinked"]) == (str(cast.umbrella.pk), False)
    assert document["revision"] > listed["revision"]
    assert again.status_code == 200
    assert events_since(moment) == ["service.restored"]
    assert Change.objects.latest("sequence").service_id == cast.child.pk


def test_a_child_whose_umbrella_is_deleted_comes_back_without_it(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    for service in (cast.child, cast.umbrella):
        assert client.delete(f"{BASE}/services/{service.pk}").status_code == 204

    restored = post(client, f"services/{cast.child.pk}/restore", {})

    assert (restored.json()["umbrella"], restored.json()["was_unlinked"]) == (None, True)
    event = AuditEvent.objects.filter(action="service.restored").get()
    assert json.loads(event.changes) == {"deleted": [True, False], "umbrella": ["common", None]}


def test_what_has_no_place_any_more_does_not_come_back(cast: Cast, command: Actor) -> None:
    project = create_project(actor=command, tenant=cast.tenant, slug="tiny", tier="free")

    def service(slug: str) -> Service:
        return create_service(
            actor=command, project=project, environment="develop", slug=slug, kind=Kind.BACKEND
        )

    gone, other = service("gone"), service("other")
    set_secret(actor=command, service=gone, key="k", value=b"v")
    delete_service(actor=command, service=gone)
    for number in range(25):
        set_secret(actor=command, service=other, key=f"k{number}", value=b"v")
    client = signed_in(cast, "carol")

    by_entries = post(client, f"services/{gone.pk}/restore", {})
    more = [service("second"), service("third")]
    by_services = post(client, f"services/{gone.pk}/restore", {})
    for each in (other, *more):
        delete_service(actor=command, service=each)
    Project.objects.filter(pk=project.pk).update(tier="xs", environments=["production"])
    by_environment = post(client, f"services/{gone.pk}/restore", {})
    Project.objects.filter(pk=project.pk).update(tier="free", environments=[])
    Service.objects.filter(pk=gone.pk).update(purge_after=timezone.now() - timedelta(seconds=1))
    too_late = post(client, f"services/{gone.pk}/restore", {})
    unlisted = client.get(f"{BASE}/services?deleted=true&search=gone").json()["results"]

    for answer, quota, cap in ((by_entries, "secrets", 25), (by_services, "services", 3)):
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (409, "quota_exceeded")
        assert (problem["quota"], problem["cap"], problem["tier"]) == (quota, cap, "free")
    assert (by_environment.status_code, by_environment.json()["code"]) == (409, "tier_forbids")
    assert too_late.status_code == 404
    assert unlisted == []
    assert Service.objects.get(pk=gone.pk).deleted_at is not None
    assert not AuditEvent.objects.filter(action="service.restored").exists()


def test_nothing_comes_back_into_a_deleted_project(cast: Cast, command: Actor) -> None:
    delete_service(actor=command, service=cast.backend)
    now = timezone.now()
    Project.objects.filter(pk=cast.project.pk).update(deleted_at=now, purge_after=now + timedelta(days=30))
    client = signed_in(cast, "carol")

    assert client.get(f"{BASE}/services?deleted=true").json()["results"] == []
    assert post(client, f"services/{cast.backend.pk}/restore", {}).status_code == 404


# ---- umbrellas


@pytest.fixture
def entries(cast: Cast, command: Actor) -> None:
    """Of the umbrella `common` and of `api`, which does not inherit from it yet."""
    for service, key, final in (
        (cast.umbrella, "above", None),
        (cast.umbrella, "both", None),
        (cast.umbrella, "final", True),
        (cast.backend, "both", None),
        (cast.backend, "final", None),
        (cast.backend, "own", None),
    ):
        set_secret(actor=command, service=service, key=f"s.{key}", value=b"v", is_final=final)
        set_config(actor=command, service=service, key=f"c.{key}", value="v", is_final=final)
        set_flag_state(actor=command, service=service, key=f"f.{key}", enabled=True, is_final=final)


@pytest.mark.usefixtures("entries")
def test_a_link_tells_what_it_does_before_and_when_it_does_it(cast: Cast) -> None:
    client = signed_in(cast, "mona")
    path = f"services/{cast.backend.pk}"
    body = {"umbrella": str(cast.umbrella.pk)}
    moment = timezone.now()

    dry = post(client, f"{path}/link", {**body, "dry_run": True})
    untouched = Service.objects.get(pk=cast.backend.pk)
    quiet = events_since(moment)
    done = post(client, f"{path}/link", body)
    again = post(client, f"{path}/link", body)
    dry_back = post(client, f"{path}/unlink", {"dry_run": True})
    back = post(client, f"{path}/unlink", {})

    def told(letter: str) -> dict[str, Any]:
        return {
            "gains": [f"{letter}.above"],
            "loses": [],
            "changes": [
                {"key": f"{letter}.both", "effect": "overrides"},
                {"key": f"{letter}.final", "effect": "overridden"},
            ],
            "counts": {"gains": 1, "loses": 0, "changes": 2},
        }

    assert (dry.status_code, done.status_code) == (200, 200)
    assert dry.json() == {
        "umbrella": str(cast.umbrella.pk),
        "applied": False,
        "row_version": 1,
        "secrets": told("s"),
        "configs": told("c"),
        "flags": told("f"),
    }
    assert (untouched.umbrella_id, untouched.row_version, quiet) == (None, 1, [])
    assert done.json() == {**dry.json(), "applied": True, "row_version": 2}
    assert again.json()["secrets"]["counts"] == {"gains": 0, "loses": 0, "changes": 0}
    assert dry_back.json() == {**back.json(), "applied": False, "row_version": 2}
    assert back.json()["umbrella"] is None
    assert back.json()["flags"] == {
        "gains": [],
        "loses": ["f.above"],
        "changes": [{"key": "f.final", "effect": "released"}],
        "counts": {"gains": 0, "loses": 1, "changes": 1},
    }
    assert events_since(moment) == ["service.umbrella_changed"] * 2
    assert Service.objects.get(pk=cast.backend.pk).revision == untouched.revision + 2


@pytest.mark.usefixtures("entries")
def test_another_umbrella_replaces_what_is_inherited(cast: Cast, command: Actor) -> None:
    other = create_service(
        actor=command,
        project=cast.project,
        environment="production",
        slug="other",
        kind=Kind.BACKEND,
        is_umbrella=True,
    )
    set_config(actor=command, service=other, key="c.above", value="v")
    client = signed_in(cast, "mona")

    told = post(client, f"services/{cast.child.pk}/link", {"umbrella": str(other.pk)}).json()

    assert told["configs"]["changes"] == [{"key": "c.above", "effect": "replaced"}]
    assert told["configs"]["loses"] == ["c.both", "c.final"]
    assert told["secrets"]["loses"] == ["s.above", "s.both", "s.final"]


@pytest.mark.usefixtures("entries")
def test_keys_of_secrets_are_listed_where_one_may_list_them(cast: Cast) -> None:
    """Tess may not list secrets; a grant lets her link, and reveal what is above."""
    tess = cast.users["tess"]
    extra(tess, "service:manage", cast.backend)
    extra(tess, "secret:reveal", cast.umbrella)

    told = post(
        signed_in(cast, "tess"),
        f"services/{cast.backend.pk}/link",
        {"umbrella": str(cast.umbrella.pk), "dry_run": True},
    )

    assert told.status_code == 200
    assert told.json()["configs"]["gains"] == ["c.above"]
    assert told.json()["secrets"] == {
        "gains": None,
        "loses": None,
        "changes": None,
        "counts": {"gains": 1, "loses": 0, "changes": 2},
    }


def test_what_does_not_fit_is_not_linked(cast: Cast, command: Actor) -> None:
    client = signed_in(cast, "mona")

    def umbrella(environment: str, kind: str, project: Project = cast.project) -> Service:
        return create_service(
            actor=command, project=project, environment=environment, slug="u", kind=kind, is_umbrella=True
        )

    dead = create_service(
        actor=command,
        project=cast.project,
        environment="production",
        slug="dead",
        kind=Kind.BACKEND,
        is_umbrella=True,
    )
    delete_service(actor=command, service=dead)
    moment = timezone.now()
    tried = {
        "kind": (cast.backend, umbrella("production", Kind.FRONTEND).pk, 422),
        "environment": (cast.backend, umbrella("staging", Kind.BACKEND).pk, 422),
        "itself": (cast.umbrella, cast.umbrella.pk, 422),
        "no umbrella": (cast.backend, cast.child.pk, 422),
        "nesting": (umbrella("develop", Kind.BACKEND), cast.umbrella.pk, 422),
        "foreign": (cast.backend, umbrella("production", Kind.BACKEND, cast.other_project).pk, 404),
        "deleted": (cast.backend, dead.pk, 404),
        "none": (cast.backend, NOBODY, 404),
    }

    for dry_run in (True, False):
        for name, (service, pk, status) in tried.items():
            body = {"umbrella": str(pk), "dry_run": dry_run}
            assert post(client, f"services/{service.pk}/link", body).status_code == status, name

    assert "service.umbrella_changed" not in events_since(moment)
    assert not Service.objects.filter(umbrella__isnull=False).exclude(pk=cast.child.pk).exists()


def test_linking_a_backend_needs_to_reveal_what_is_above_and_a_frontend_has_nothing_to(
    cast: Cast, command: Actor
) -> None:
    looks = create_service(
        actor=command,
        project=cast.project,
        environment="production",
        slug="looks",
        kind=Kind.FRONTEND,
        is_umbrella=True,
    )
    for service in (cast.backend, cast.frontend):
        extra(cast.users["vic"], "service:manage", service)
    client = signed_in(cast, "vic")

    backend = post(client, f"services/{cast.backend.pk}/link", {"umbrella": str(cast.umbrella.pk)})
    frontend = post(client, f"services/{cast.frontend.pk}/link", {"umbrella": str(looks.pk)})

    assert (backend.status_code, frontend.status_code) == (403, 200)
    denied = AuditEvent.objects.filter(action="action.denied").get()
    assert denied.actor_name == "vic@example.org"
    # And the console's operation still links as before.
    assert link_umbrella(actor=command, service=cast.frontend, umbrella=None).umbrella_id is None
