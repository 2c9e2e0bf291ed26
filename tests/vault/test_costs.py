"""A write costs the same in a small installation and in a large one, and reaches all children at once."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.core.actor import Actor
from apps.core.ids import uuid7
from apps.core.models import Change
from apps.services.models import ApiKey, Kind, Service
from apps.services.operations import issue_api_key
from apps.tenancy.models import AccessToken
from apps.vault.operations import set_secret
from tests.conftest import Cast
from tests.vault.manage import Manage, in_service

MAX_QUERIES = 15


def make_services(cast: Cast, count: int, **more: Any) -> None:
    Service.objects.bulk_create(
        Service(
            project=cast.project,
            slug=f"of-many-{uuid7()}",
            name="x",
            environment="production",
            kind=Kind.BACKEND,
            **more,
        )
        for _ in range(count)
    )


@pytest.mark.parametrize("services", [10, 5_000])
def test_a_put_of_a_secret_costs_fifteen_queries_by_either_door(
    cast: Cast, command: Actor, services: int
) -> None:
    make_services(cast, services)
    _, key = issue_api_key(actor=command, service=cast.backend, slot="secondary", scopes=["read", "write"])
    workload = Client(headers={"X-Nexus-API-Key": key})
    mona = Manage(cast, "mona", "secret:write", "secret:list")

    def by_key(name: str) -> int:
        body = json.dumps({"value": "x"})
        return workload.put(f"/api/v1/secrets/{name}", body, content_type="application/json").status_code

    def by_token(name: str) -> int:
        path = in_service(cast.backend, f"secrets/{name}")
        return int(mona.ask("put", path, {"value": "x"}).status_code)

    for door in (by_key, by_token):
        # The first use of a credential in a minute is written down, and keys are unwrapped once.
        door("warm")
        for model in (ApiKey, AccessToken):
            model.objects.update(last_used_at=timezone.now() + timedelta(hours=1))
        for name, status in ((f"new-{door.__name__}", 201), ("warm", 200)):
            with CaptureQueriesContext(connection) as captured:
                assert door(name) == status
            statements = "\n".join(query["sql"][:120] for query in captured)
            assert len(captured) <= MAX_QUERIES, f"{door.__name__} {name}\n{statements}"


def test_a_write_to_an_umbrella_of_five_hundred_is_one_update_and_one_insert(
    cast: Cast, command: Actor
) -> None:
    make_services(cast, 499, umbrella=cast.umbrella)
    before = dict(Service.objects.values_list("pk", "revision"))

    with CaptureQueriesContext(connection) as captured:
        set_secret(actor=command, service=cast.umbrella, key="a", value=b"1")

    statements = [query["sql"] for query in captured]
    assert len([sql for sql in statements if sql.startswith('UPDATE "services_service"')]) == 1
    assert len([sql for sql in statements if sql.startswith("INSERT INTO core_change")]) == 1
    assert len(statements) <= MAX_QUERIES
    raised = {
        pk for pk, revision in Service.objects.values_list("pk", "revision") if revision == before[pk] + 1
    }
    readers = set(cast.umbrella.readers().values_list("pk", flat=True))
    assert raised == readers and len(readers) == 501
    changes = Change.objects.filter(event="secret.updated")
    assert changes.filter(source="umbrella").count() == 500
    assert changes.filter(source="service").count() == 1
