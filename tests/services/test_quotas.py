"""Caps are exact and numbers have no gaps, whoever comes at the same time."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import DowngradeBlocked, QuotaExceeded
from apps.projects import holdings
from apps.projects.models import Project
from apps.projects.operations import change_tier, create_project
from apps.services.models import Kind, Service
from apps.services.operations import create_service, delete_service
from apps.vault.models import Config, Secret, SecretVersion
from apps.vault.operations import delete_secret, set_config, set_secret
from tests.conftest import Cast

InThread = Callable[[Callable[[], Any]], Callable[[], Any]]

CREATES, THREADS = 50, 8


def free_project(cast: Cast, command: Actor, *, services: int) -> Project:
    """A project of the tier free, which allows 3 services, 25 secrets and 100 configs."""
    project = create_project(actor=command, tenant=cast.tenant, slug="tiny", tier="free")
    for number in range(services):
        create_service(
            actor=command, project=project, environment="develop", slug=f"s{number}", kind=Kind.BACKEND
        )
    return project


def outcomes(run: Callable[[int], Any], in_thread: InThread) -> list[Any]:
    """What each of the parallel calls gave: its result, or the QuotaExceeded that it raised."""

    def attempt(number: int) -> Any:
        try:
            return run(number)
        except QuotaExceeded as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(in_thread(lambda number=number: attempt(number))) for number in range(CREATES)]
        return [future.result() for future in futures]


def assert_one_place(results: list[Any], *, quota: str, cap: int) -> None:
    refused = [each for each in results if isinstance(each, QuotaExceeded)]
    assert len(refused) == CREATES - 1
    for each in refused:
        assert (each.code, each.status) == ("quota_exceeded", 409)
        assert each.members == {"quota": quota, "cap": cap, "tier": "free"}
        assert f"free allows {cap} {quota}" in each.detail


def test_with_one_place_left_fifty_parallel_services_give_one_and_forty_nine_refusals(
    committed_cast: Cast, command: Actor, in_thread: InThread
) -> None:
    project = free_project(committed_cast, command, services=2)

    results = outcomes(
        lambda number: create_service(
            actor=command, project=project, environment="develop", slug=f"new-{number}", kind=Kind.BACKEND
        ),
        in_thread,
    )

    assert_one_place(results, quota="services", cap=3)
    assert Service.objects.filter(project=project).count() == 3
    assert AuditEvent.objects.filter(project_id=project.pk, action="service.created").count() == 3


def test_with_one_place_left_fifty_parallel_configs_give_one_and_forty_nine_refusals(
    committed_cast: Cast, command: Actor, in_thread: InThread
) -> None:
    project = free_project(committed_cast, command, services=2)
    services = list(Service.objects.filter(project=project).order_by("slug"))
    for number in range(99):
        set_config(actor=command, service=services[number % 2], key=f"old-{number}", value="v")

    results = outcomes(
        lambda number: set_config(
            actor=command, service=services[number % 2], key=f"new-{number}", value="v"
        ),
        in_thread,
    )

    assert_one_place(results, quota="configs", cap=100)
    assert Config.objects.filter(service__project=project).count() == 100
    assert Config.objects.filter(service__project=project, key__startswith="new").count() == 1


def test_overwriting_at_the_cap_works_and_one_more_does_not(cast: Cast, command: Actor) -> None:
    project = free_project(cast, command, services=1)
    service = Service.objects.get(project=project)
    for number in range(25):
        set_secret(actor=command, service=service, key=f"k{number}", value=b"one")

    again = set_secret(actor=command, service=service, key="k7", value=b"two")
    with pytest.raises(QuotaExceeded) as refused:
        set_secret(actor=command, service=service, key="k25", value=b"one")

    assert (again.version, again.created) == (2, False)
    assert refused.value.members == {"quota": "secrets", "cap": 25, "tier": "free"}
    assert not Secret.objects.filter(service=service, key="k25").exists()


def test_a_soft_deleted_entry_frees_its_place_and_reviving_it_takes_one(cast: Cast, command: Actor) -> None:
    project = free_project(cast, command, services=1)
    service = Service.objects.get(project=project)
    for number in range(25):
        set_secret(actor=command, service=service, key=f"k{number}", value=b"one")

    delete_secret(actor=command, service=service, key="k0")
    set_secret(actor=command, service=service, key="other", value=b"one")
    with pytest.raises(QuotaExceeded):
        set_secret(actor=command, service=service, key="k0", value=b"two")

    assert holdings.count("secrets", project.pk) == 25
    assert Secret.objects.get(service=service, key="k0").deleted_at is not None


def test_entries_of_a_deleted_service_do_not_count_and_an_umbrella_does(cast: Cast, command: Actor) -> None:
    project = free_project(cast, command, services=2)
    gone = Service.objects.get(project=project, slug="s0")
    set_secret(actor=command, service=gone, key="k", value=b"one")

    delete_service(actor=command, service=gone)
    for slug in ("umbrella", "third"):
        create_service(
            actor=command,
            project=project,
            environment="develop",
            slug=slug,
            kind=Kind.BACKEND,
            is_umbrella=slug == "umbrella",
        )
    with pytest.raises(QuotaExceeded):
        create_service(
            actor=command, project=project, environment="develop", slug="fourth", kind=Kind.BACKEND
        )

    assert holdings.count("services", project.pk) == 3
    assert holdings.count("secrets", project.pk) == 0


def test_the_largest_tier_has_no_cap(cast: Cast, command: Actor) -> None:
    project = create_project(actor=command, tenant=cast.tenant, slug="huge", tier="xl")

    usage = holdings.usage(project.pk, "xl")

    assert {each.quota for each in usage} == {"services", "secrets", "configs", "flags", "members"}
    assert {each.cap for each in usage} == {None}


def test_a_downgrade_below_what_there_is_names_what_is_in_the_way_and_deletes_nothing(
    cast: Cast, command: Actor
) -> None:
    services = Service.objects.filter(project=cast.project).count()

    with pytest.raises(DowngradeBlocked) as refused:
        change_tier(actor=command, project=cast.project, tier="free")

    blockers = refused.value.members["blockers"]
    assert "4 services; free allows 3" in blockers
    assert "5 members; free allows 3" in blockers
    assert "the service production/api" in blockers
    assert not any("secrets" in blocker for blocker in blockers)
    assert Project.objects.get(pk=cast.project.pk).tier == "m"
    assert Service.objects.filter(project=cast.project).count() == services


def test_parallel_writers_of_one_secret_number_its_versions_without_gaps(
    committed_cast: Cast, command: Actor, in_thread: InThread
) -> None:
    service = committed_cast.backend

    def write_five(writer: int) -> list[int]:
        return [
            set_secret(actor=command, service=service, key="a", value=f"{writer}:{turn}".encode()).version
            for turn in range(5)
        ]

    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(in_thread(lambda writer=writer: write_five(writer))) for writer in range(8)]
        numbers = [number for future in futures for number in future.result()]

    assert sorted(numbers) == list(range(1, 41))
    stored = SecretVersion.objects.filter(secret__key="a").order_by("version")
    assert list(stored.values_list("version", flat=True)) == list(range(1, 41))
    assert Secret.objects.get(key="a").active_version == 40
    told = Counter(AuditEvent.objects.filter(object_type="secret").values_list("action", flat=True))
    assert told == {"secret.created": 1, "secret.updated": 39}
