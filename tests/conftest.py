"""The cast that all tests share: people with their roles, services of each kind, and their keys.

Alice owns the project, Mona manages, Bob develops, Tess tests, Vic views, Carol owns the tenant,
Finn is finance, and Mallory owns another tenant.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import pytest
from django.core.cache import cache
from django.db import connections
from django.test import TransactionTestCase
from django.utils import timezone
from hypothesis import HealthCheck
from pytest_django import DjangoDbBlocker

from apps.audit.operations import forget_coalesced
from apps.core import keys
from apps.core.access import ProjectRole, TenantRole
from apps.core.actor import Actor, Origin
from apps.core.models import Installation
from apps.projects.memberships import operator_actor
from apps.projects.models import Project
from apps.projects.operations import create_project, set_project_member
from apps.services.models import Kind, Service
from apps.services.operations import create_service, issue_api_key
from apps.tenancy.models import Tenant, User
from apps.tenancy.operations import create_operator, create_tenant, set_tenant_member
from tests.plugins.stage import Stage

# How long a machine takes to think of an example says nothing of what is tested.
hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.settings.load_profile("suite")

ORIGIN = Origin(address="192.0.2.7", user_agent="tests", request_id="request-0001")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Stage]:
    """The databases as pytest-django makes them; what a test commits leaves by our own hand.

    Django's own way stumbles over append-only tables, and gives content types and permissions new ids.
    """
    with django_db_blocker.unblock():
        stage = Stage()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda test: stage.clear())
        yield stage


@pytest.fixture
def stage(django_db_setup: Stage) -> Stage:
    return django_db_setup


@pytest.fixture(autouse=True)
def _fresh_process_memory() -> Iterator[None]:
    """Keys, counts and log-in limits that a process remembers belong to one test's database."""
    keys.forget_all()
    forget_coalesced()
    cache.clear()
    yield
    keys.forget_all()
    forget_coalesced()
    cache.clear()


@pytest.fixture
def command() -> Actor:
    return Actor.command("tester").at(ORIGIN)


@dataclass
class Cast:
    """Who and what there is. `actor("bob")` is Bob as he stands at a door right now."""

    tenant: Tenant
    project: Project
    other_tenant: Tenant
    other_project: Project
    backend: Service
    frontend: Service
    umbrella: Service
    child: Service
    users: dict[str, User] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    def actor(self, name: str, *, present: bool = True) -> Actor:
        return operator_actor(
            User.objects.get(pk=self.users[name].pk),
            origin=ORIGIN,
            present_at=timezone.now() if present else None,
        )


def make_cast(command: Actor) -> Cast:
    users = {}
    for name in ("alice", "mona", "bob", "tess", "vic", "carol", "finn", "mallory", "sue"):
        # With passwords of their own choice: a given one has to be changed before anything else.
        users[name], _ = create_operator(
            actor=command,
            email=f"{name}@example.org",
            superuser=name == "sue",
            must_change_password=False,
        )
    tenant = create_tenant(actor=command, slug="acme", owner=users["carol"])
    other_tenant = create_tenant(actor=command, slug="evil", owner=users["mallory"])
    set_tenant_member(actor=command, tenant=tenant, user=users["finn"], role=TenantRole.FINANCE)
    project = create_project(actor=command, tenant=tenant, slug="shop", tier="m")
    other_project = create_project(actor=command, tenant=other_tenant, slug="lair", tier="m")
    for name, role in (
        ("alice", ProjectRole.OWNER),
        ("mona", ProjectRole.MANAGER),
        ("bob", ProjectRole.DEVELOPER),
        ("tess", ProjectRole.TESTER),
        ("vic", ProjectRole.VIEWER),
    ):
        set_project_member(actor=command, project=project, user=users[name], role=role)

    def service(slug: str, kind: str, **more: Any) -> Service:
        return create_service(
            actor=command, project=project, environment="production", slug=slug, kind=kind, **more
        )

    umbrella = service("common", Kind.BACKEND, is_umbrella=True)
    cast = Cast(
        tenant=tenant,
        project=project,
        other_tenant=other_tenant,
        other_project=other_project,
        backend=service("api", Kind.BACKEND),
        frontend=service("web", Kind.FRONTEND),
        umbrella=umbrella,
        child=service("checkout", Kind.BACKEND, umbrella=umbrella),
        users=users,
    )
    for name in ("backend", "frontend", "child"):
        _, cast.keys[name] = issue_api_key(actor=command, service=getattr(cast, name))
    return cast


def play_cast(stage: Stage, command: Actor) -> Cast:
    def make() -> Cast:
        Installation.current()
        return make_cast(command)

    return stage.play("cast", make)


@pytest.fixture
def cast(db: None, stage: Stage, command: Actor) -> Cast:
    """The cast inside the test's own transaction."""
    return play_cast(stage, command)


@pytest.fixture
def committed_cast(transactional_db: None, stage: Stage, command: Actor) -> Cast:
    """The cast committed: for tests with threads, servers or the reader's own connection."""

    def make() -> Cast:
        Installation.current()
        keys.create_missing_server_keys()
        return make_cast(command)

    return stage.play("committed cast", make)


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], Any]], Callable[[], Any]]]:
    """Wrap what a thread runs so that its database connections end with it."""

    def wrap(run: Callable[[], Any]) -> Callable[[], Any]:
        def running() -> Any:
            try:
                return run()
            finally:
                connections.close_all()

        return running

    yield wrap
