"""Services and keys when several people act at once."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.projects.operations import create_project
from apps.services.models import ApiKey, Kind, Service
from apps.services.operations import create_service
from tests.conftest import Cast
from tests.tenancy.test_manage_api import BASE, by_token, post, token_of

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "reader"])

InThread = Callable[[Callable[[], Any]], Callable[[], Any]]
CREATES, THREADS = 50, 8
SCOPES = (
    "project:read",
    "service:read",
    "service:manage",
    "api_key:issue",
    "api_key:revoke",
    "secret:list",
    "secret:reveal",
    "config:read",
    "flag:read",
)


def at_once(in_thread: InThread, requests: Sequence[Callable[[], Any]]) -> list[Any]:
    """The answers of requests that are sent in the same moment."""
    barrier = threading.Barrier(len(requests))

    def sent(request: Callable[[], Any]) -> Any:
        barrier.wait(20)
        return request()

    with ThreadPoolExecutor(len(requests)) as pool:
        futures = [pool.submit(in_thread(lambda request=request: sent(request))) for request in requests]
        return [future.result() for future in futures]


def test_two_who_issue_into_one_slot_get_one_key(committed_cast: Cast, in_thread: InThread) -> None:
    text = token_of(committed_cast, "alice", *SCOPES)
    path = f"services/{committed_cast.backend.pk}/api-keys"

    answers = at_once(
        in_thread, [lambda: post(by_token(text), path, {"slot": "secondary"}) for _ in range(2)]
    )

    assert sorted(answer.status_code for answer in answers) == [201, 409]
    (refused,) = [answer for answer in answers if answer.status_code == 409]
    assert refused.json()["code"] == "slot_taken"
    assert ApiKey.objects.filter(service=committed_cast.backend, slot="secondary").count() == 1


def test_two_who_rotate_one_key_get_one_new_key(committed_cast: Cast, in_thread: InThread) -> None:
    text = token_of(committed_cast, "alice", *SCOPES)
    old = ApiKey.objects.get(service=committed_cast.backend)
    path = f"services/{committed_cast.backend.pk}/api-keys/{old.pk}/rotate"

    answers = at_once(in_thread, [lambda: post(by_token(text), path, {}) for _ in range(2)])

    assert sorted(answer.status_code for answer in answers) == [201, 409]
    (refused,) = [answer for answer in answers if answer.status_code == 409]
    assert refused.json()["code"] == "conflict"
    assert ApiKey.objects.filter(service=committed_cast.backend, revoked_at=None).count() == 2
    assert AuditEvent.objects.filter(action="api_key.rotated").count() == 1


def test_one_place_left_is_given_once_to_fifty_who_ask(
    committed_cast: Cast, command: Actor, in_thread: InThread
) -> None:
    project = create_project(actor=command, tenant=committed_cast.tenant, slug="tiny", tier="free")
    for number in range(2):
        create_service(
            actor=command, project=project, environment="develop", slug=f"s{number}", kind=Kind.BACKEND
        )
    text = token_of(committed_cast, "carol", *SCOPES)

    def create(number: int) -> Any:
        body = {
            "project": str(project.pk),
            "environment": "develop",
            "slug": f"new-{number}",
            "kind": "backend",
        }
        return post(by_token(text), "services", body)

    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(in_thread(lambda number=number: create(number))) for number in range(CREATES)]
        answers = [future.result() for future in futures]

    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: CREATES - 1}
    for answer in answers:
        if answer.status_code == 409:
            problem = answer.json()
            assert problem["code"] == "quota_exceeded"
            assert (problem["quota"], problem["cap"], problem["tier"]) == ("services", 3, "free")
    assert Service.objects.filter(project=project).count() == 3


def test_a_child_is_never_left_with_an_umbrella_that_is_deleted(
    committed_cast: Cast, command: Actor, in_thread: InThread
) -> None:
    cast = committed_cast
    text = token_of(cast, "alice", *SCOPES)
    umbrellas = [
        create_service(
            actor=command,
            project=cast.project,
            environment="production",
            slug=f"u{number}",
            kind=Kind.BACKEND,
            is_umbrella=True,
        )
        for number in range(4)
    ]

    for umbrella in umbrellas:
        body = {"umbrella": str(umbrella.pk)}
        linked, deleted = at_once(
            in_thread,
            [
                lambda body=body: post(by_token(text), f"services/{cast.backend.pk}/link", body),  # type: ignore[misc]
                lambda umbrella=umbrella: by_token(text).delete(f"{BASE}/services/{umbrella.pk}"),  # type: ignore[misc]
            ],
        )

        umbrella.refresh_from_db()
        child = Service.objects.get(pk=cast.backend.pk)
        # Either the link came first and holds the umbrella, or the umbrella is gone for whoever links.
        # 403: it went between the look and the question of the right to reveal.
        if deleted.status_code == 204:
            assert linked.status_code in (403, 404)
            assert umbrella.deleted_at is not None
            assert child.umbrella_id != umbrella.pk
        else:
            assert (linked.status_code, deleted.status_code) == (200, 409)
            assert deleted.json()["code"] == "umbrella_has_children"
            assert child.umbrella_id == umbrella.pk
