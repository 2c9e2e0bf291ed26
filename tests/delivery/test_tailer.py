"""Following the changes: none is skipped and none is read twice, whatever order transactions commit in."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, bump
from apps.core.ids import uuid7
from apps.core.models import Change, Installation
from apps.services.models import ApiKey, Service
from apps.services.operations import revoke_api_key
from apps.vault.operations import set_config
from nexus.delivery.changes import Position, Tailer, look_since
from nexus.delivery.memory import Memory, Snapshots, WarmReads
from nexus.delivery.render import Snapshot, render
from tests.conftest import Cast

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "reader"])

InThread = Callable[[Callable[[], Any]], Callable[[], Any]]
WAIT_SECONDS = 20.0
WRITERS, BUMPS_EACH = 8, 20


@pytest.fixture
def postgresql(transactional_db: None) -> None:
    """Only there do transactions commit in another order than they wrote."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer")


@pytest.fixture
def tailer(committed_cast: Cast) -> Tailer:
    tailer = Tailer(Memory(1024 * 1024))
    tailer.look()
    return tailer


def write(service: Service) -> None:
    with transaction.atomic():
        bump(
            origin=service,
            services=Service.objects.filter(pk=service.pk),
            event=ChangeEvent.CONFIG_UPDATED,
            key="a",
        )


@contextmanager
def open_transaction(in_thread: InThread, first: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """A transaction of another connection that did `first` and stays open until the block calls."""
    begun, may_end, failures = threading.Event(), threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            with transaction.atomic():
                first()
                begun.set()
                assert may_end.wait(WAIT_SECONDS)
        except BaseException as error:
            failures.append(error)
            begun.set()

    thread = threading.Thread(target=in_thread(run))

    def commit() -> None:
        may_end.set()
        thread.join(WAIT_SECONDS)

    thread.start()
    try:
        assert begun.wait(WAIT_SECONDS)
        yield commit
    finally:
        commit()
    assert not failures, failures


def take_transaction_id() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()")


def services_since(position: Position) -> tuple[list[Any], Position]:
    look = look_since(position)
    return [row.service_id for row in look.rows], look.position


def anew(tailer: Tailer) -> int:
    """How often everything was loaded anew."""
    return tailer.memory.snapshots.generation(uuid7())[0]


def test_the_first_to_begin_commits_last_and_both_are_seen_once(
    postgresql: None, committed_cast: Cast, in_thread: InThread
) -> None:
    start = look_since(None).position

    with open_transaction(in_thread, lambda: write(committed_cast.backend)) as commit:
        write(committed_cast.frontend)
        before, middle = services_since(start)
        commit()
    after, end = services_since(middle)
    rest, _ = services_since(end)

    # The one that came last has the lower number: a tailer by number alone would have skipped it.
    newest = Change.objects.order_by("-sequence").values_list("service_id", flat=True)[:2]
    assert list(newest) == [committed_cast.frontend.pk, committed_cast.backend.pk]
    assert before == [committed_cast.frontend.pk]
    assert after == [committed_cast.backend.pk]
    assert rest == []


def test_what_is_rolled_back_is_never_seen(
    postgresql: None, committed_cast: Cast, in_thread: InThread
) -> None:
    start = look_since(None).position

    def write_and_roll_back() -> None:
        write(committed_cast.backend)
        transaction.set_rollback(True)

    with open_transaction(in_thread, write_and_roll_back) as commit:
        during, middle = services_since(start)
        commit()
    after, _ = services_since(middle)

    assert during == after == []


def test_a_long_transaction_neither_stalls_the_tailer_nor_makes_it_read_again(
    postgresql: None, committed_cast: Cast, in_thread: InThread
) -> None:
    position = look_since(None).position
    seen = []

    with open_transaction(in_thread, take_transaction_id) as commit:
        for _ in range(5):
            write(committed_cast.backend)
            found, position = services_since(position)
            seen.append(found)
        assert position.running
        commit()
    after, position = services_since(position)

    assert seen == [[committed_cast.backend.pk]] * 5
    assert after == []
    assert not position.running


def test_what_a_long_transaction_writes_at_its_end_is_seen_once(
    postgresql: None, committed_cast: Cast, in_thread: InThread
) -> None:
    position = look_since(None).position
    may_write = threading.Event()
    done = threading.Event()

    def run() -> None:
        with transaction.atomic():
            take_transaction_id()
            begun.set()
            assert may_write.wait(WAIT_SECONDS)
            write(committed_cast.backend)
        done.set()

    begun = threading.Event()
    thread = threading.Thread(target=in_thread(run))
    thread.start()
    assert begun.wait(WAIT_SECONDS)
    for _ in range(3):
        write(committed_cast.frontend)
        _, position = services_since(position)

    may_write.set()
    thread.join(WAIT_SECONDS)
    found, position = services_since(position)
    again, _ = services_since(position)

    assert done.is_set()
    assert found == [committed_cast.backend.pk]
    assert again == []


def test_nothing_new_is_no_row_and_no_new_start(tailer: Tailer) -> None:
    started = anew(tailer)

    tailer.look()
    tailer.look()

    assert anew(tailer) == started


def test_a_pruned_gap_makes_it_start_anew(committed_cast: Cast, tailer: Tailer) -> None:
    started = anew(tailer)
    write(committed_cast.backend)
    # As after a prune that took a row which this process never saw, the revocation among them.
    newest = Change.objects.order_by("-sequence").values_list("sequence", flat=True)[0]
    ApiKey.objects.filter(service=committed_cast.backend).update(revoked_at=timezone.now())
    Change.objects.all().delete()
    Installation.objects.update(changes_pruned_through=newest)

    tailer.look()

    assert anew(tailer) == started + 1
    assert tailer.memory.credentials.find(committed_cast.keys["backend"].encode()) is None
    assert tailer.memory.credentials.find(committed_cast.keys["child"].encode()) is not None
    tailer.look()
    assert anew(tailer) == started + 1


def test_a_prune_of_what_was_seen_changes_nothing(committed_cast: Cast, tailer: Tailer) -> None:
    write(committed_cast.backend)
    tailer.look()
    started = anew(tailer)
    newest = Change.objects.order_by("-sequence").values_list("sequence", flat=True)[0]
    Change.objects.all().delete()
    Installation.objects.update(changes_pruned_through=newest)
    generation = tailer.memory.snapshots.generation(committed_cast.backend.pk)

    tailer.look()
    write(committed_cast.backend)
    tailer.look()

    assert anew(tailer) == started
    assert tailer.memory.snapshots.generation(committed_cast.backend.pk) == (generation[0], generation[1] + 1)


def test_a_new_epoch_makes_it_start_anew(committed_cast: Cast, tailer: Tailer) -> None:
    started = anew(tailer)
    ApiKey.objects.filter(service=committed_cast.backend).update(revoked_at=timezone.now())
    tailer.look()
    unannounced = tailer.memory.credentials.find(committed_cast.keys["backend"].encode())
    Installation.objects.update(epoch=uuid7())

    tailer.look()

    assert unannounced is not None
    assert anew(tailer) == started + 1
    assert tailer.memory.credentials.find(committed_cast.keys["backend"].encode()) is None


def test_a_revocation_reaches_the_memory_and_other_keys_stay(
    committed_cast: Cast, command: Actor, tailer: Tailer
) -> None:
    revoke_api_key(actor=command, service=committed_cast.backend, slot="primary")

    tailer.look()

    find = tailer.memory.credentials.find
    assert find(committed_cast.keys["backend"].encode()) is None
    assert find(committed_cast.keys["frontend"].encode()) is not None


def test_an_umbrellas_change_drops_the_snapshots_of_its_children_alone(
    committed_cast: Cast, command: Actor, tailer: Tailer
) -> None:
    snapshots = tailer.memory.snapshots
    for service in (committed_cast.child, committed_cast.backend):
        snapshot = render(service.pk)
        assert snapshot is not None
        assert snapshots.keep(snapshot, snapshots.generation(service.pk))

    set_config(actor=command, service=committed_cast.umbrella, key="a", value="1")
    tailer.look()

    assert snapshots.get(committed_cast.child.pk, time.time()) is None
    assert snapshots.get(committed_cast.backend.pk, time.time()) is not None


def test_a_render_that_began_before_a_change_is_not_kept(
    committed_cast: Cast, command: Actor, tailer: Tailer
) -> None:
    snapshots = tailer.memory.snapshots
    service_id = committed_cast.backend.pk
    before = snapshots.generation(service_id)
    outdated = render(service_id)
    assert outdated is not None
    set_config(actor=command, service=committed_cast.backend, key="a", value="1")

    tailer.look()
    kept = snapshots.keep(outdated, before)

    assert kept is False
    assert snapshots.get(service_id, time.time()) is None
    assert len(snapshots) == 0
    current = render(service_id)
    assert current is not None
    assert snapshots.keep(current, snapshots.generation(service_id))
    assert snapshots.get(service_id, time.time()) is current


def test_a_render_that_began_before_a_new_start_is_not_kept(committed_cast: Cast, tailer: Tailer) -> None:
    snapshots = tailer.memory.snapshots
    before = snapshots.generation(committed_cast.backend.pk)
    snapshot = render(committed_cast.backend.pk)
    assert snapshot is not None

    snapshots.drop_all()

    assert snapshots.keep(snapshot, before) is False
    assert len(snapshots) == 0


def test_snapshots_are_bounded_by_bytes_and_the_least_used_leaves(committed_cast: Cast) -> None:
    rendered: dict[str, Snapshot] = {}
    for name in ("backend", "child", "frontend"):
        snapshot = render(getattr(committed_cast, name).pk)
        assert snapshot is not None
        rendered[name] = snapshot
    snapshots = Snapshots(rendered["backend"].size_bytes + rendered["child"].size_bytes, WarmReads())
    now = (timezone.now() + timedelta(seconds=1)).timestamp()
    for name in ("backend", "child"):
        snapshots.keep(rendered[name], snapshots.generation(rendered[name].service_id))
    assert snapshots.get(rendered["backend"].service_id, now) is rendered["backend"]

    snapshots.keep(rendered["frontend"], snapshots.generation(rendered["frontend"].service_id))

    assert snapshots.get(rendered["child"].service_id, now) is None
    assert snapshots.get(rendered["backend"].service_id, now) is rendered["backend"]
    assert snapshots.get(rendered["frontend"].service_id, now) is rendered["frontend"]


def test_many_writers_and_each_change_is_seen_exactly_once(committed_cast: Cast, in_thread: InThread) -> None:
    services = [
        committed_cast.backend,
        committed_cast.frontend,
        committed_cast.umbrella,
        committed_cast.child,
    ]
    start = look_since(None).position
    failures: list[BaseException] = []

    def writing(number: int) -> Callable[[], None]:
        dice = random.Random(number)

        def run() -> None:
            try:
                for _ in range(BUMPS_EACH):
                    with transaction.atomic():
                        write(dice.choice(services))
                        # What was written waits for its commit, so that orders differ.
                        time.sleep(dice.random() * 0.004)
            except BaseException as error:
                failures.append(error)

        return run

    threads = [threading.Thread(target=in_thread(writing(number))) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    position, seen = start, list[int]()
    writing_on = True
    while writing_on:
        # Asked before the look, so that one look follows the last commit.
        writing_on = any(thread.is_alive() for thread in threads)
        look = look_since(position)
        position = look.position
        seen += [row.sequence for row in look.rows]
        time.sleep(0.001)

    assert not failures, failures
    written = Change.objects.filter(sequence__gt=start.sequence).values_list("sequence", flat=True)
    assert len(seen) == WRITERS * BUMPS_EACH
    assert sorted(seen) == sorted(written)


def test_a_read_that_was_decided_before_a_change_is_remembered_by_nobody(committed_cast: Cast) -> None:
    snapshot = render(committed_cast.backend.pk)
    assert snapshot is not None
    warm = WarmReads()
    snapshots = Snapshots(1_000_000, warm)
    snapshots.keep(snapshot, snapshots.generation(snapshot.service_id))

    before = warm.by_digest
    snapshots.drop([snapshot.service_id])
    before[b"digest"] = object()  # type: ignore[assignment] # whatever was decided on the old state

    assert warm.by_digest == {}


def test_a_snapshot_that_leaves_for_want_of_room_leaves_the_warm_reads_too(committed_cast: Cast) -> None:
    snapshot = render(committed_cast.backend.pk)
    assert snapshot is not None
    warm = WarmReads()
    snapshots = Snapshots(snapshot.size_bytes - 1, warm)
    before = warm.by_digest

    snapshots.keep(snapshot, snapshots.generation(snapshot.service_id))

    assert len(snapshots) == 0
    assert warm.by_digest is not before
