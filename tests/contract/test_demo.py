"""The demo: a company worth looking at, and a history that the operations wrote."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings
from django.utils import timezone
from pytest_django import DjangoDbBlocker, Settings

from apps.audit.events import Action
from apps.audit.models import AuditChain, AuditEvent
from apps.audit.verification import verify
from apps.core import keys
from apps.core.access import ProjectRole, TenantRole
from apps.core.actor import Actor, ActorType
from apps.core.errors import NotPermitted
from apps.core.models import Installation
from apps.flags.models import Flag
from apps.projects.models import AddOn, Project, ProjectMember
from apps.services.addresses import service_at
from apps.services.credentials import find_in_database
from apps.services.models import ApiKey, Kind, Service
from apps.tenancy.models import Tenant, TenantMember, User
from apps.vault.models import Config, ConfigType, ConfigVersion, Secret, SecretType, SecretVersion
from apps.vault.resolution import stored_configs, stored_secrets
from apps.vault.verification import verify_vault
from nexus.demo import make_demo
from nexus.demo.history import history
from nexus.installation import first_operator
from nexus.management.commands.up import _banner

URL = "http://127.0.0.1:8000"
HOST = Actor.command("tester")
KEYS_OF_BEFORE = {f"acme/shop/{place}" for place in ("develop/checkout", "develop/web")} | {
    f"acme/shop/{place}" for place in ("production/checkout", "production/web")
}


@pytest.fixture(scope="module")
def demo(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """One demo for all tests that only look at it: making it takes seconds."""
    var = tmp_path_factory.mktemp("var")
    with django_db_blocker.unblock(), override_settings(NEXUS_VAR=var), transaction.atomic():
        Installation.current()
        keys.create_missing_server_keys()
        made = make_demo(HOST, URL)
        assert made == json.loads((var / "demo.json").read_text())
        yield made
        transaction.set_rollback(True)


@pytest.fixture
def var(db: None, settings: Settings, tmp_path: Path) -> Path:
    Installation.current()
    settings.NEXUS_VAR = tmp_path
    return tmp_path


def test_everything_that_a_company_has_is_there(demo: Any) -> None:
    tenant = Tenant.objects.get()

    assert tenant.slug == "acme"
    assert {role.value for role in TenantRole} == set(tenant.members.values_list("role", flat=True))
    assert {role.value for role in ProjectRole} == set(ProjectMember.objects.values_list("role", flat=True))
    tiers = dict(Project.objects.values_list("slug", "tier"))
    assert tiers == {"shop": "s", "warehouse": "m"}
    assert AddOn.objects.filter(project__slug="shop", name="ab_testing").exists()
    kinds = Counter(
        Service.objects.filter(project__slug="shop").values_list("environment", "kind", "is_umbrella")
    )
    for environment in ("develop", "staging", "production"):
        for kind in Kind.values:
            assert kinds[environment, kind, False] and kinds[environment, kind, True]


def test_entries_of_every_sort_with_their_past(demo: Any) -> None:
    now = timezone.now()

    entries = sum(model.objects.live().count() for model in (Secret, Config, Flag))
    assert 60 <= entries <= 150
    assert {str(kind) for kind in ConfigType} == set(ConfigVersion.objects.values_list("type", flat=True))
    assert SecretVersion.objects.filter(type=SecretType.FILE, file_name="ca.pem").exists()
    assert Secret.objects.filter(active_version__gte=2).count() >= 8
    assert Config.objects.filter(active_version__gte=2).count() >= 8
    assert SecretVersion.objects.exclude(description="").count() >= 10
    assert {"boolean", "string", "number", "json"} == set(Flag.objects.values_list("type", flat=True))
    assert Flag.objects.filter(starts_at__gt=now).exists()
    assert Flag.objects.filter(ends_at__lt=now).exists()
    assert Flag.objects.live().filter(enabled=False).exists()


def test_a_child_inherits_overrides_and_obeys_what_is_final(demo: Any) -> None:
    checkout = service_at("acme/shop/production/checkout")

    secrets = {key: source for key, (_, source) in stored_secrets(checkout).items()}
    configs = stored_configs(checkout)

    assert secrets["database.password"] == "umbrella"
    assert secrets["mail.token"] == "service"
    stored, source = configs["tls.required"]
    assert (stored.is_final, source) == (True, "umbrella")
    assert configs["log.level"][1] == "service"


def test_keys_in_each_state(demo: Any) -> None:
    soon = timezone.now() + timedelta(days=7)

    assert ApiKey.objects.filter(revoked_at=None, expires_at__lt=soon, slot="secondary").exists()
    assert ApiKey.objects.filter(revoked_at__isnull=False).exists()
    assert ApiKey.objects.filter(last_used_at__isnull=False).exists()
    assert ApiKey.objects.filter(last_used_at=None, revoked_at=None).exists()
    disabled = Service.objects.get(disabled_at__isnull=False)
    assert str(disabled) not in demo["services"]


def test_demo_json_opens_every_door_that_it_names(demo: Any) -> None:
    assert list(demo) == ["url", "operator", "people", "services"]
    assert demo["services"].keys() >= KEYS_OF_BEFORE
    for address, found in demo["services"].items():
        assert found.keys() == {"id", "kind", "key"}
        credential = find_in_database(found["key"])
        service = service_at(address)
        assert found["id"] == str(service.pk) == str(credential.service_id)
        assert found["kind"] == service.kind == credential.kind

    people = {demo["operator"]["email"]: demo["operator"], **demo["people"]}
    assert demo["operator"]["email"] == "carol@acme.example" not in demo["people"]
    assert set(people) == set(User.objects.values_list("email", flat=True))
    for user in User.objects.all():
        assert user.check_password(people[user.email]["password"])
        assert not user.must_change_password
        assert not user.is_superuser
    assert demo["people"]["finn@acme.example"]["role"] == "finance of acme"
    assert demo["people"]["mona@acme.example"]["role"] == "manager of acme/shop, owner of acme/warehouse"
    owner = TenantMember.objects.get(user__email="carol@acme.example")
    assert owner.role == TenantRole.OWNER


def test_thirty_days_stand_in_the_log_and_hold(demo: Any) -> None:
    now = timezone.now()

    events = list(AuditEvent.objects.order_by("time"))

    assert verify(AuditChain.objects.all()).holds
    vault = verify_vault()
    assert (vault.failed, vault.unanchored) == ([], 0)
    assert vault.opened == SecretVersion.objects.count()
    assert events[-1].time <= now
    assert events[-1].time - events[0].time >= timedelta(days=28)
    assert len({event.action for event in events}) >= 25
    assert len({(event.actor_type, event.actor_id) for event in events}) >= 12
    assert {event.actor_name for event in events if event.actor_type == ActorType.OPERATOR} == set(
        User.objects.values_list("email", flat=True)
    )
    recent = sum(event.time > now - timedelta(days=10) for event in events)
    assert recent > len(events) / 3
    assert max(Counter(event.time.date() for event in events[100:]).values()) < 60


def test_each_chain_goes_forward_in_time(demo: Any) -> None:
    for chain in AuditChain.objects.all():
        times = list(chain.events.order_by("sequence").values_list("time", flat=True))

        assert all(earlier <= later for earlier, later in pairwise(times)), chain


def test_people_come_by_day_and_to_what_they_may(demo: Any) -> None:
    hour_ago = timezone.now() - timedelta(minutes=70)
    by_people = AuditEvent.objects.filter(actor_type=ActorType.OPERATOR, time__lt=hour_ago)

    assert all(event.time.weekday() < 5 and 8 <= event.time.hour <= 17 for event in by_people)
    assert not AuditEvent.objects.filter(address="", actor_type=ActorType.OPERATOR).exists()
    written = AuditEvent.objects.filter(action=Action.SECRET_UPDATED, actor_name="bob@acme.example")
    places = set(Service.objects.filter(pk__in=written.values("service_id")).values_list("environment"))
    assert places == {("develop",)}
    denied = AuditEvent.objects.filter(action=Action.ACTION_DENIED)
    assert {"tess@acme.example", "bob@acme.example", "vic@acme.example", "finn@acme.example"} <= set(
        denied.values_list("actor_name", flat=True)
    )


def test_rows_bear_the_dates_of_their_events(demo: Any) -> None:
    created = (Action.SECRET_CREATED, Action.CONFIG_CREATED, Action.SERVICE_CREATED, Action.API_KEY_ISSUED)
    at = dict(AuditEvent.objects.filter(action__in=created).values_list("object_id", "time"))

    rows = [row for model in (Secret, Config, Service, ApiKey) for row in model.objects.all()]

    assert {str(row.pk): row.created_at for row in rows} == at
    for key in ApiKey.objects.filter(revoked_at__isnull=False):
        event = AuditEvent.objects.get(action=Action.API_KEY_REVOKED, object_id=str(key.pk))
        assert key.revoked_at is not None
        assert timedelta() <= key.revoked_at - event.time < timedelta(hours=1)


def test_a_second_start_changes_nothing(var: Path) -> None:
    first = _banner(HOST, URL, demo=True)
    before = (var / "demo.json").read_bytes()
    events = AuditEvent.objects.count()

    second = _banner(HOST, URL, demo=True)

    assert second == first
    assert (var / "demo.json").read_bytes() == before
    assert (var / "demo.json").stat().st_mode & 0o777 == 0o600
    assert AuditEvent.objects.count() == events
    assert make_demo(HOST, URL) is None
    passwords = [each["password"] for each in json.loads(before)["people"].values()]
    assert not any(password in first for password in passwords)


def test_an_installation_that_was_used_keeps_its_chain_in_order(var: Path) -> None:
    assert first_operator(HOST) is not None

    assert make_demo(HOST, URL) is not None

    assert verify(AuditChain.objects.all()).holds
    for chain in AuditChain.objects.all():
        times = list(chain.events.order_by("sequence").values_list("time", flat=True))
        assert times == sorted(times), chain


def test_where_tiers_are_not_the_owners_the_host_sets_them(var: Path, settings: Settings) -> None:
    settings.NEXUS_SELF_SERVICE_TIERS = False

    make_demo(HOST, URL)

    changed = AuditEvent.objects.get(action=Action.PROJECT_TIER_CHANGED)
    assert changed.actor_type == ActorType.COMMAND


def test_production_has_no_demo(var: Path, settings: Settings) -> None:
    settings.NEXUS_ENV = "production"

    with pytest.raises(NotPermitted):
        make_demo(HOST, URL)

    assert not Tenant.objects.exists()
    assert not AuditEvent.objects.exists()
    assert not (var / "demo.json").exists()


@pytest.mark.parametrize("day", range(1, 8))
@pytest.mark.parametrize("hour", [0, 12, 23])
def test_every_day_has_a_past(day: int, hour: int) -> None:
    today = datetime(2026, 3, day, hour, 59, tzinfo=UTC)

    moments = history(today)

    assert moments == sorted(moments, key=lambda moment: moment.at)
    assert moments[-1].at < today
    assert timedelta(days=29) <= today - moments[0].at <= timedelta(days=33)
