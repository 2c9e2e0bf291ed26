"""Recordings: what is put back is what was made, and what was committed goes whole."""

from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction

from apps.audit.models import AuditChain
from apps.audit.verification import verify
from apps.core import triggers
from apps.core.actor import Actor
from apps.core.models import Change
from apps.tenancy.operations import create_operator
from apps.vault.operations import set_config
from tests.conftest import Cast, make_cast
from tests.console.test_routes import everything
from tests.plugins.stage import Stage


def test_a_recording_is_the_rows_and_fresh_copies_of_the_objects(
    db: None, stage: Stage, command: Actor
) -> None:
    found, casts = [], list[Cast]()
    for _ in range(3):
        with transaction.atomic():
            casts.append(stage.play("of this test", lambda: make_cast(command)))
            found.append(everything())
            transaction.set_rollback(True)

    assert found[0] == found[1] == found[2]
    assert casts[1] == casts[2]
    assert casts[1].backend is not casts[2].backend
    assert casts[1].users is not casts[2].users


def test_a_recording_is_gone_on_from_as_from_what_was_made(cast: Cast, command: Actor) -> None:
    highest = Change.objects.order_by("-sequence").values_list("sequence", flat=True)[0]

    set_config(actor=command, service=cast.backend, key="a", value="one")

    assert Change.objects.order_by("-sequence").values_list("sequence", flat=True)[0] > highest
    assert verify(AuditChain.objects.all()).first_bad is None


def test_on_other_rows_nothing_is_put(db: None, stage: Stage, command: Actor) -> None:
    stage.play("put on nothing", lambda: create_operator(actor=command, email="a@example.org"))
    made = []

    stage.play("put on nothing", lambda: made.append(create_operator(actor=command, email="b@example.org")))

    assert len(made) == 1


def test_what_was_committed_is_gone_and_what_migrations_left_is_back(
    transactional_db: None, stage: Stage, command: Actor
) -> None:
    before = everything()
    make_cast(command)
    ContentType.objects.create(app_label="none", model="none")

    stage.clear()

    assert everything() == before
    assert triggers.missing() == []
    assert not connection.in_atomic_block
