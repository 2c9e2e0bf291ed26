"""A compiled query answers as the queryset does, and keeps nothing that may change."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models import Q, QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.core import keys, prepared
from apps.core.actor import Actor
from apps.core.models import KeyState, Purpose, ServerKey
from apps.services.credentials import find_in_database
from apps.services.models import Service, ServiceGrant
from apps.services.operations import issue_api_key
from apps.vault.operations import set_secret
from tests.conftest import Cast
from tests.vault.manage import Manage, in_service


@pytest.fixture(autouse=True)
def _no_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "_plans", {})


def services(pk: UUID, others: tuple[UUID, ...]) -> "QuerySet[Service]":
    return (
        Service.objects.select_related("project__tenant").filter(Q(pk=pk) | Q(pk__in=others)).order_by("slug")
    )


def test_it_gives_what_the_queryset_gives_for_whatever_arguments(cast: Cast) -> None:
    asked: list[tuple[UUID, tuple[UUID, ...]]] = [
        (cast.backend.pk, ()),
        (cast.frontend.pk, ()),
        (cast.frontend.pk, (cast.backend.pk, cast.child.pk)),
        (cast.child.pk, (cast.backend.pk, cast.umbrella.pk)),
        (cast.project.pk, (cast.tenant.pk, cast.tenant.pk)),
    ]

    for arguments in asked:
        with CaptureQueriesContext(connection) as captured:
            found = prepared.fetch("services", services, *arguments)
            assert [str(row) for row in found] == [str(row) for row in found]
        assert len(captured) == 1
        expected = list(services(*arguments))
        assert found == expected
        for ours, theirs in zip(found, expected, strict=True):
            for row in (lambda each: each, lambda each: each.project, lambda each: each.project.tenant):
                values = [
                    [getattr(row(each), field.attname) for field in row(each)._meta.concrete_fields]
                    for each in (ours, theirs)
                ]
                assert values[0] == values[1]
    assert len(prepared._plans) == 2


def test_a_query_that_looks_at_the_time_is_never_remembered(cast: Cast) -> None:
    def born_before_now(pk: UUID) -> Any:
        return Service.objects.filter(pk=pk, created_at__lt=timezone.now())

    assert prepared.fetch("now", born_before_now, cast.backend.pk) == [cast.backend]

    assert list(prepared._plans.values()) == [None]


def test_an_argument_that_is_changed_on_its_way_is_not_taken_for_a_constant(cast: Cast) -> None:
    def named(part: str) -> Any:
        return Service.objects.filter(slug__contains=part)

    assert prepared.fetch("part", named, "ap") == [cast.backend]
    assert prepared.fetch("part", named, "we") == [cast.frontend]


def test_an_extra_grant_opens_the_door_and_its_end_shuts_it(cast: Cast, command: Actor) -> None:
    set_secret(actor=command, service=cast.backend, key="a", value=b"x")
    vic, path = Manage(cast, "vic", "service:read"), in_service(cast.backend, "secrets")
    from apps.tenancy.models import AccessToken

    # As if the token had been given the scope while the grant held.
    row = AccessToken.objects.get(user=cast.users["vic"])
    row.scopes = ["service:read", "secret:list"]
    from apps.tenancy.tokens import row_mac

    row.mac = row_mac(keys.server_key(Purpose.API_KEY_PEPPER), row)
    row.save()

    before = vic.ask("get", path)
    grant = ServiceGrant.objects.create(
        user=cast.users["vic"],
        content_object=cast.backend,
        permission=Permission.objects.get(codename="secret:list", content_type__model="service"),
        ends_at=timezone.now() + timedelta(hours=1),
    )
    while_it_holds = vic.ask("get", path)
    ServiceGrant.objects.filter(pk=grant.pk).update(ends_at=timezone.now() - timedelta(seconds=1))
    afterwards = vic.ask("get", path)

    assert [each.status_code for each in (before, while_it_holds, afterwards)] == [403, 200, 403]


def test_a_key_under_a_pepper_that_came_a_moment_ago_is_found(cast: Cast, command: Actor) -> None:
    find_in_database(cast.keys["backend"])
    ServerKey.objects.filter(purpose=Purpose.API_KEY_PEPPER).update(state=KeyState.RETIRING)
    # Another process rotates: this one's memory of the peppers stays as it was.
    serving = keys._keyring._serving.copy()
    keys._keyring._current.clear()
    row = ServerKey.objects.get(purpose=Purpose.API_KEY_PEPPER)
    secret_id, wrapped = keys._wrap(b"p" * 32, (new := keys.uuid7()), Purpose.API_KEY_PEPPER, None, None)
    ServerKey.objects.create(
        id=new, purpose=row.purpose, version=2, root_key_id=secret_id, wrapped_key=wrapped
    )
    _, text = issue_api_key(actor=command, service=cast.backend, slot="secondary")
    keys._keyring._serving.update(serving)

    found = find_in_database(text)

    assert found.service_id == cast.backend.pk
    assert find_in_database(cast.keys["backend"]).service_id == cast.backend.pk
