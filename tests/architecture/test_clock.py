"""The clock that dates events can be set by the demo alone, and never in production."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django import Settings

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core import clock
from apps.core.access import is_present
from apps.core.errors import InvalidInput, NotPermitted
from apps.services.operations import issue_api_key
from apps.vault.operations import set_secret
from tests.conftest import Cast

ROOT = Path(__file__).resolve().parents[2]
SETS_THE_CLOCK = re.compile(r"\b_?demo_time\b")
HOUR = timedelta(hours=1)


def test_only_the_demo_sets_the_clock() -> None:
    sources = [path for folder in ("apps", "nexus") for path in (ROOT / folder).rglob("*.py")]

    setting = {
        str(path.relative_to(ROOT)) for path in sources if SETS_THE_CLOCK.search(path.read_text("utf-8"))
    }

    setting.discard("apps/core/clock.py")
    assert all(name.startswith("nexus/demo/") for name in setting), setting


def test_nothing_but_the_demo_imports_the_demo() -> None:
    importing = set()
    for folder in ("apps", "nexus"):
        for path in (ROOT / folder).rglob("*.py"):
            if re.search(r"^\s*(from|import) nexus\.demo\b", path.read_text("utf-8"), re.MULTILINE):
                importing.add(str(path.relative_to(ROOT)))

    outside = {name for name in importing if not name.startswith("nexus/demo/")}
    assert outside == {"nexus/management/commands/up.py"}


@pytest.mark.parametrize("environment", ["production", "", "staging"])
def test_production_refuses_to_set_it(settings: Settings, environment: str) -> None:
    settings.NEXUS_ENV = environment
    moment = timezone.now() - timedelta(days=1)

    with pytest.raises(NotPermitted), clock.demo_time(moment):
        pytest.fail("the clock was set")

    assert clock.now() - timezone.now() < timedelta(seconds=1)


def test_it_goes_back_only_and_comes_home() -> None:
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)

    with pytest.raises(ValueError, match="future"), clock.demo_time(timezone.now() + timedelta(minutes=1)):
        pytest.fail("the clock was set")
    with pytest.raises(KeyError), clock.demo_time(moment):
        assert clock.now() == moment
        raise KeyError

    assert abs(clock.now() - timezone.now()) < timedelta(seconds=1)


def test_what_is_written_is_dated_by_it(cast: Cast) -> None:
    moment = timezone.now() - timedelta(days=9)
    mona = cast.actor("mona")

    with clock.demo_time(moment):
        secret = set_secret(actor=mona, service=cast.backend, key="a", value=b"1").entry
        event = record(actor=mona, action=Action.LOGOUT, target=cast.users["mona"].audit_target())
    set_secret(actor=mona, service=cast.backend, key="a", value=b"2")

    secret.refresh_from_db()
    first, second = secret.versions.order_by("version")
    assert event.time == secret.created_at == first.created_at == moment
    assert timezone.now() - second.created_at < timedelta(minutes=1)
    assert timezone.now() - secret.updated_at < timedelta(minutes=1)


def test_nothing_is_decided_by_it(cast: Cast) -> None:
    moment = timezone.now() - timedelta(days=9)
    here = cast.actor("mona")
    was_there_then = replace(here, present_at=moment)

    with clock.demo_time(moment):
        assert is_present(here)
        assert not is_present(was_there_then)
        with pytest.raises(InvalidInput):
            issue_api_key(actor=here, service=cast.backend, slot="secondary", expires_at=moment + HOUR)
