"""Projects, add-ons and usage through the management API."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.models import Change
from apps.projects.models import Project
from apps.projects.operations import activate_add_on, create_project
from apps.services.models import Kind
from apps.services.operations import create_service
from apps.tenancy.models import Tenant
from apps.vault.operations import set_secret
from tests.conftest import Cast
from tests.projects.manage import BASE, NOBODY, send, session_client, token_client, without_request_id

# By hand from SPEC 3: who sees the project at all, and who owns it.
SEES = {"alice", "mona", "bob", "tess", "vic", "carol"}
OWNS = {"alice", "carol"}
PEOPLE = ["alice", "mona", "bob", "tess", "vic", "carol", "finn", "mallory", "sue"]
MEMBERS = {
    "id",
    "tenant",
    "slug",
    "name",
    "tier",
    "environments",
    "add_ons",
    "created_at",
    "deleted_at",
    "purge_after",
    "row_version",
}


@pytest.mark.parametrize("name", PEOPLE)
def test_who_reads_changes_and_deletes_a_project(cast: Cast, name: str) -> None:
    client = session_client(cast, name)
    path = f"projects/{cast.project.pk}"

    read = send(client, "get", path)
    listed = send(client, "get", "projects").json()["results"]
    changed = send(client, "patch", path, {"name": f"By {name}"})
    tier = send(client, "patch", path, {"tier": "l"})
    add_on = send(client, "post", f"{path}/add-ons", {"name": "ab_testing"})
    add_ons = send(client, "get", f"{path}/add-ons")
    deleted = send(client, "delete", path)
    restored = send(client, "post", f"{path}/restore")

    sees, owns = name in SEES, name in OWNS
    assert read.status_code == (200 if sees else 404)
    assert (str(cast.project.pk) in [each["id"] for each in listed]) is sees
    refused = 403 if sees else 404
    assert changed.status_code == (200 if owns else refused)
    assert tier.status_code == (200 if owns else refused)
    assert add_on.status_code == (201 if owns else refused)
    assert add_ons.status_code == (200 if sees else 404)
    assert deleted.status_code == (204 if owns else refused)
    # Of the others it is as it was: seen, and not theirs to change.
    assert restored.status_code == (200 if owns else refused)
    assert Project.objects.get(pk=cast.project.pk).name == (f"By {name}" if owns else "shop")


def test_a_project_from_its_making_to_its_return(cast: Cast) -> None:
    client = session_client(cast, "carol")
    body = {
        "tenant": str(cast.tenant.pk),
        "slug": "api",
        "name": "The API",
        "tier": "m",
        "environments": ["qa", "develop"],
        "add_ons": ["ab_testing"],
    }

    made = send(client, "post", "projects", body, **{"Idempotency-Key": "one"})
    again = send(client, "post", "projects", body, **{"Idempotency-Key": "one"})
    taken = send(client, "post", "projects", body)
    path = f"projects/{made.json()['id']}"
    deleted = send(client, "delete", path, **{"If-Match": made["ETag"]})
    gone = send(client, "get", path)
    still_taken = send(client, "post", "projects", body)
    restorable = send(client, "get", "projects?deleted=true").json()["results"]
    back = send(client, "post", f"{path}/restore")
    twice = send(client, "post", f"{path}/restore")

    assert made.status_code == 201, made.content
    assert made.json().keys() == MEMBERS
    assert made.json()["environments"] == ["develop", "qa"]
    assert made.json()["add_ons"] == ["ab_testing"]
    assert again.json() == made.json()
    assert again["Idempotent-Replayed"] == "true"
    assert (taken.status_code, taken.json()["code"]) == (409, "already_exists")
    assert (deleted.status_code, gone.status_code) == (204, 404)
    assert still_taken.json()["code"] == "already_exists"
    assert [each["slug"] for each in restorable] == ["api"]
    assert restorable[0].keys() == MEMBERS
    assert restorable[0]["purge_after"] > restorable[0]["deleted_at"]
    assert (back.status_code, back.json()["deleted_at"]) == (200, None)
    assert (twice.status_code, twice.json()["code"]) == (409, "conflict")
    told = AuditEvent.objects.filter(object_id=made.json()["id"]).order_by("sequence")
    assert list(told.values_list("action", flat=True)) == [
        "project.created",
        "project.deleted",
        "project.restored",
    ]


def test_who_makes_projects_and_where(cast: Cast) -> None:
    body = {"tenant": str(cast.tenant.pk), "slug": "new"}

    assert send(session_client(cast, "alice"), "post", "projects", body).status_code == 403
    assert send(session_client(cast, "finn"), "post", "projects", body).status_code == 403
    foreign = send(session_client(cast, "mallory"), "post", "projects", body)
    none = send(session_client(cast, "mallory"), "post", "projects", {**body, "tenant": NOBODY})

    assert foreign.status_code == 404
    assert without_request_id(foreign) == without_request_id(none)
    assert not Project.objects.filter(slug="new").exists()


def test_bodies_of_another_shape_are_refused_and_not_repeated(cast: Cast) -> None:
    client = session_client(cast, "carol")
    good = {"tenant": str(cast.tenant.pk), "slug": "new"}
    wrong: list[Any] = [
        {},
        {**good, "slug": "No Slug"},
        {**good, "slug": "x" * 64},
        {**good, "name": "a\nb"},
        {**good, "name": "a\x00b"},
        {**good, "name": "x" * 151},
        {**good, "tier": "huge-canary"},
        {**good, "environments": ["canary value"]},
        {**good, "add_ons": ["canary-add-on"], "tier": "m"},
        {**good, "canary": "canary"},
        {**good, "tenant": "canary"},
        [],
    ]

    answers = [send(client, "post", "projects", body) for body in wrong]
    answers += [
        send(client, "get", f"projects?{query}") for query in ("tenant=canary", "tier=canary", "deleted=x")
    ]

    assert [answer.status_code for answer in answers] == [422] * len(answers)
    assert not any(b"canary" in answer.content for answer in answers)
    assert not Project.objects.filter(slug="new").exists()


def test_an_edit_is_all_or_nothing_and_widens_or_narrows_both_at_once(cast: Cast, command: Actor) -> None:
    project = create_project(actor=command, tenant=cast.tenant, slug="tiny", tier="s")
    client = session_client(cast, "carol")
    path = f"projects/{project.pk}"

    wider = send(client, "patch", path, {"tier": "m", "environments": ["develop", "qa"]})
    narrower = send(client, "patch", path, {"tier": "free", "environments": []})
    blocked = send(client, "patch", f"projects/{cast.project.pk}", {"name": "Renamed", "tier": "free"})
    nothing = send(client, "patch", path, {})

    assert (wider.status_code, wider.json()["environments"]) == (200, ["develop", "qa"])
    assert (narrower.status_code, narrower.json()["tier"]) == (200, "free")
    assert (blocked.status_code, blocked.json()["code"]) == (409, "downgrade_blocked")
    assert "4 services; free allows 3" in blocked.json()["blockers"]
    assert Project.objects.get(pk=cast.project.pk).name == "shop"
    assert not AuditEvent.objects.filter(project_id=cast.project.pk, action="project.updated").exists()
    assert (nothing.status_code, nothing["ETag"]) == (200, narrower["ETag"])


def test_a_lost_update_or_deletion_is_refused(cast: Cast) -> None:
    client = session_client(cast, "alice")
    path = f"projects/{cast.project.pk}"
    tag = {"If-Match": send(client, "get", path)["ETag"]}

    first = send(client, "patch", path, {"name": "First"}, **tag)
    second = send(client, "patch", path, {"name": "Second"}, **tag)
    tier = send(client, "patch", path, {"tier": "l"}, **tag)
    deletion = send(client, "delete", path, **tag)

    assert [each.status_code for each in (first, second, tier, deletion)] == [200, 412, 412, 412]
    assert first["ETag"] != tag["If-Match"]
    project = Project.objects.get(pk=cast.project.pk)
    assert (project.name, project.tier, project.deleted_at) == ("First", "m", None)


def test_without_self_service_owners_change_no_tier(cast: Cast, settings: Any) -> None:
    settings.NEXUS_SELF_SERVICE_TIERS = False
    client = session_client(cast, "alice")
    path = f"projects/{cast.project.pk}"

    tier = send(client, "patch", path, {"tier": "l", "name": "Renamed"})
    name = send(client, "patch", path, {"name": "Only the name"})
    larger = send(
        session_client(cast, "carol"),
        "post",
        "projects",
        {"tenant": str(cast.tenant.pk), "slug": "big", "tier": "xl"},
    )

    assert (tier.status_code, name.status_code, larger.status_code) == (403, 200, 403)
    assert Project.objects.get(pk=cast.project.pk).tier == "m"
    assert AuditEvent.objects.filter(project_id=cast.project.pk, action="action.denied").exists()


def test_keys_die_with_the_project_and_come_back_with_it(cast: Cast, command: Actor) -> None:
    set_secret(actor=command, service=cast.backend, key="a", value=b"one")
    workload = Client(headers={"X-Nexus-API-Key": cast.keys["backend"]})
    client = session_client(cast, "alice")
    before = workload.get("/api/v1/secrets/a")

    send(client, "delete", f"projects/{cast.project.pk}")
    dead = workload.get("/api/v1/secrets/a")
    last = Change.objects.order_by("-sequence").first()
    send(client, "post", f"projects/{cast.project.pk}/restore")
    alive = workload.get("/api/v1/secrets/a")

    assert (before.status_code, dead.status_code, alive.status_code) == (200, 401, 200)
    assert last is not None
    assert (last.event, last.project_id) == ("project.changed", cast.project.pk)
    again = Change.objects.order_by("-sequence").first()
    assert again is not None
    assert (again.event, again.sequence > last.sequence) == ("project.changed", True)


def test_after_its_time_or_in_a_deleted_tenant_it_is_not_restored(cast: Cast) -> None:
    client = session_client(cast, "carol")
    path = f"projects/{cast.project.pk}"
    send(client, "delete", path)

    Project.objects.filter(pk=cast.project.pk).update(purge_after=timezone.now() - timedelta(seconds=1))
    late = send(client, "post", f"{path}/restore")
    listed = send(client, "get", "projects?deleted=true").json()["results"]
    ahead = timezone.now() + timedelta(days=3)
    Project.objects.filter(pk=cast.project.pk).update(purge_after=ahead)
    Tenant.objects.filter(pk=cast.tenant.pk).update(deleted_at=timezone.now(), purge_after=ahead)
    without_tenant = send(client, "post", f"{path}/restore")

    assert (late.status_code, late.json()["code"]) == (409, "conflict")
    assert listed == []
    assert (without_tenant.status_code, without_tenant.json()["code"]) == (409, "conflict")
    assert Project.objects.get(pk=cast.project.pk).deleted_at is not None


def test_the_list_is_filtered_searched_and_costs_the_same_for_many(cast: Cast, command: Actor) -> None:
    client = session_client(cast, "carol")
    for number in range(3):
        made = create_project(actor=command, tenant=cast.tenant, slug=f"p{number}", tier="s")
        activate_add_on(actor=command, project=made, name="ab_testing")

    with CaptureQueriesContext(
        connection,
    ) as few:
        send(client, "get", "projects")
    for number in range(3, 12):
        made = create_project(actor=command, tenant=cast.tenant, slug=f"p{number}", tier="s")
        activate_add_on(actor=command, project=made, name="ab_testing")
    with CaptureQueriesContext(connection) as many:
        found = send(client, "get", "projects?tier=s&ordering=-slug").json()["results"]

    assert len(many) == len(few) <= 12
    assert len(found) == 12
    assert all(each["add_ons"] == ["ab_testing"] for each in found)
    assert [each["slug"] for each in send(client, "get", "projects?search=SHO").json()["results"]] == ["shop"]
    foreign = send(client, "get", f"projects?tenant={cast.other_tenant.pk}").json()
    assert foreign == {"results": [], "next": None}


def test_an_add_on_is_activated_once_and_deactivated(cast: Cast) -> None:
    client = session_client(cast, "alice")
    path = f"projects/{cast.project.pk}/add-ons"

    made = send(client, "post", path, {"name": "ab_testing"})
    again = send(client, "post", path, {"name": "ab_testing"})
    unknown = send(client, "post", path, {"name": "teleport"})
    listed = send(client, "get", path).json()["results"]
    by_viewer = send(session_client(cast, "vic"), "delete", f"{path}/ab_testing")
    ended = send(client, "delete", f"{path}/ab_testing")
    none = send(client, "delete", f"{path}/ab_testing")

    assert (made.status_code, again.status_code, unknown.status_code) == (201, 409, 422)
    assert again.json()["code"] == "already_exists"
    assert b"teleport" not in unknown.content
    assert [each["name"] for each in listed] == ["ab_testing"]
    assert listed[0].keys() == made.json().keys()
    assert (by_viewer.status_code, ended.status_code, none.status_code) == (403, 204, 404)


def test_a_tier_without_add_ons_refuses_them(cast: Cast, command: Actor) -> None:
    project = create_project(actor=command, tenant=cast.tenant, slug="tiny")

    answer = send(
        session_client(cast, "carol"), "post", f"projects/{project.pk}/add-ons", {"name": "ab_testing"}
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "tier_forbids")


# ---- usage


@pytest.mark.parametrize("name", PEOPLE)
def test_who_reads_usage(cast: Cast, name: str) -> None:
    client = session_client(cast, name)

    of_project = send(client, "get", f"projects/{cast.project.pk}/usage")
    of_tenant = send(client, "get", f"tenants/{cast.tenant.pk}/usage")

    # Finance sees usage of every project, and no project.
    assert of_project.status_code == (200 if name in SEES | {"finn"} else 404)
    of_members = 403 if name in SEES else 404
    assert of_tenant.status_code == (200 if name in ("carol", "finn") else of_members)


def test_usage_counts_what_the_caps_count(cast: Cast, command: Actor) -> None:
    set_secret(actor=command, service=cast.backend, key="a", value=b"one")
    set_secret(actor=command, service=cast.umbrella, key="b", value=b"two")
    huge = create_project(actor=command, tenant=cast.tenant, slug="huge", tier="xl")
    create_service(actor=command, project=huge, environment="qa", slug="one", kind=Kind.BACKEND)
    client = session_client(cast, "finn")

    one = send(client, "get", f"projects/{cast.project.pk}/usage").json()
    listed = send(client, "get", f"tenants/{cast.tenant.pk}/usage").json()["results"]

    assert one == {
        "project": str(cast.project.pk),
        "slug": "shop",
        "tier": "m",
        "quotas": [
            {"quota": "services", "used": 4, "cap": 100},
            {"quota": "secrets", "used": 2, "cap": 2500},
            {"quota": "configs", "used": 0, "cap": 10000},
            {"quota": "flags", "used": 0, "cap": 2500},
            {"quota": "members", "used": 5, "cap": 100},
        ],
    }
    assert [each["slug"] for each in listed] == ["huge", "shop"]
    assert listed[1] == one
    assert listed[0]["quotas"][0] == {"quota": "services", "used": 1, "cap": None}


def test_a_tenants_usage_costs_the_same_for_many_projects(cast: Cast, command: Actor) -> None:
    client = session_client(cast, "finn")
    with CaptureQueriesContext(connection) as few:
        send(client, "get", f"tenants/{cast.tenant.pk}/usage")
    for number in range(8):
        create_project(actor=command, tenant=cast.tenant, slug=f"p{number}")

    with CaptureQueriesContext(connection) as many:
        answer = send(client, "get", f"tenants/{cast.tenant.pk}/usage")

    assert len(answer.json()["results"]) == 9
    assert len(many) == len(few) <= 12


def test_tokens_reach_as_far_as_their_scopes(cast: Cast) -> None:
    reader = token_client(cast, "alice", "project:read")
    path = f"projects/{cast.project.pk}"

    assert send(reader, "get", path).status_code == 200
    assert send(reader, "patch", path, {"name": "x"}).status_code == 403
    assert send(reader, "delete", path).status_code == 403
    assert send(token_client(cast, "vic", "project:read"), "get", path).status_code == 200
    assert send(token_client(cast, "carol", "usage:read"), "get", path).status_code == 404
    assert send(Client(), "get", path).status_code == 401


def test_the_body_of_404_is_one_and_tells_nothing(cast: Cast) -> None:
    client = session_client(cast, "mallory")
    rest = ("", "/members", "/grants", "/add-ons", "/usage", "/audit-events", f"/members/{NOBODY}")

    for each in rest:
        foreign = send(client, "get", f"projects/{cast.project.pk}{each}")
        none = send(client, "get", f"projects/{NOBODY}{each}")
        assert (foreign.status_code, none.status_code) == (404, 404), each
        assert without_request_id(foreign) == without_request_id(none)
    assert BASE.encode() not in send(client, "get", f"projects/{NOBODY}").content
