"""What people and programs do in the demo: each act is an operation, as a door would call it.

An act is made from what the diary says and run later, with the company as it then is and the actor
as they then come through the door.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from apps.audit.events import Action, Outcome
from apps.audit.models import AuditEvent
from apps.audit.operations import record, record_coalesced, record_denial
from apps.audit.targets import Target, target_of
from apps.core import clock
from apps.core.access import ProjectRole, TenantRole
from apps.core.actor import Actor, Origin
from apps.core.errors import NotPermitted
from apps.core.ids import uuid7
from apps.flags.operations import delete_flag, set_flag, set_flag_state
from apps.projects import operations as projects
from apps.projects.memberships import operator_actor
from apps.projects.models import Project
from apps.services import credentials
from apps.services import operations as services
from apps.services.models import ApiKey, Service, Slot
from apps.tenancy.models import Tenant, User
from apps.tenancy.operations import create_operator, create_tenant, set_tenant_member
from apps.vault import operations as vault
from apps.vault.models import ConfigType
from nexus.demo.company import (
    A_STRANGERS,
    AGENT,
    CLUSTER,
    OWNER,
    PEOPLE,
    TENANT,
    TENANT_NAME,
    UMBRELLA,
    Day,
    ServiceRow,
)

HOST, STRANGER = "host", "stranger"
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass
class Company:
    """The company at one moment of its history. `keys` holds texts by `address` and `address#slot`."""

    host: Actor
    # When the demo is made.
    today: datetime
    tenant: Tenant = field(init=False)
    people: dict[str, User] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)
    projects: dict[str, Project] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    # An installation may have been used before: no event of its chain goes before one that is there.
    installation_since: datetime = _NEVER
    # Read once and not at each door: some hundred people come through it in a few seconds.
    _actors: dict[str, Actor] = field(default_factory=dict)
    _credentials: dict[str, credentials.Credential] = field(default_factory=dict)

    def __post_init__(self) -> None:
        outside = AuditEvent.objects.filter(tenant_id=None, project_id=None)
        self.installation_since = outside.aggregate(last=Max("time"))["last"] or _NEVER

    def actor(self, who: str) -> Actor:
        """Whoever `who` names, as they come through the door at this moment.

        A person's name, HOST, STRANGER, or the place of a key: a program that holds it.
        """
        if who == HOST:
            return self.host
        request_id = str(uuid7())
        if who == STRANGER:
            return Actor.anonymous(replace(A_STRANGERS, request_id=request_id))
        if who not in PEOPLE:
            return self._program(who, request_id)
        if who not in self._actors:
            self._actors[who] = operator_actor(self.people[who])
        # Whether they are there is decided now, whatever date the act will bear.
        origin = replace(PEOPLE[who].origin, request_id=request_id)
        return replace(self._actors[who], origin=origin, present_at=timezone.now())

    def forget_roles(self) -> None:
        """Rights have changed: the next act of anybody reads them anew."""
        self._actors.clear()

    def _program(self, place: str, request_id: str) -> Actor:
        address = place.partition("#")[0]
        origin = Origin(CLUSTER.format(10 + list(self.services).index(address)), AGENT, request_id)
        if place not in self._credentials:
            self._credentials[place] = credentials.find_in_database(self.keys[place])
        credential = self._credentials[place]
        credential.require_good(now=time.time(), address=origin.address)
        # The door writes this down as well (nexus/authentication.py).
        ApiKey.objects.filter(pk=credential.id).update(last_used_at=clock.now())
        return credential.actor(origin)


Act = Callable[[Company, Actor], Any]


def found_company(company: Company, actor: Actor) -> None:
    """Make accounts for all people, and the tenant with its owner."""
    with clock.demo_time(max(clock.now(), company.installation_since)):
        for short, person in PEOPLE.items():
            company.people[short], company.passwords[short] = create_operator(
                actor=actor, email=person.email, name=person.name, must_change_password=False
            )
    company.tenant = create_tenant(actor=actor, slug=TENANT, name=TENANT_NAME, owner=company.people[OWNER])


# Log-ins and refusals are told by the door and not by an operation (nexus/console/login.py).


def log_in() -> Act:
    def act(company: Company, actor: Actor) -> None:
        if clock.now() >= company.installation_since:
            with transaction.atomic():
                record(
                    actor=actor,
                    action=Action.LOGIN_SUCCEEDED,
                    target=Target("operator", actor.id, actor.name),
                )

    return act


def mistype_password(attempts: int = 1) -> Act:
    """Nobody is logged in, so the event names an address and no person."""

    def act(company: Company, actor: Actor) -> None:
        if clock.now() >= company.installation_since:
            for _ in range(attempts):
                record_coalesced(
                    actor=Actor.anonymous(actor.origin),
                    action=Action.LOGIN_FAILED,
                    target=Target("operator"),
                    outcome=Outcome.FAILED,
                )

    return act


def be_refused(tried: Act) -> Act:
    """Try what one may not do. Raises RuntimeError if one may: the demo would tell a lie."""

    def act(company: Company, actor: Actor) -> None:
        try:
            tried(company, actor)
        except NotPermitted as refusal:
            record_denial(actor=actor, permission=refusal.permission, target=target_of(refusal.target))
        else:
            raise RuntimeError(f"{actor.name} was to be refused.")

    return act


# Tenant and projects


def tenant_member(who: str, role: TenantRole) -> Act:
    def act(company: Company, actor: Actor) -> None:
        set_tenant_member(actor=actor, tenant=company.tenant, user=company.people[who], role=role)
        company.forget_roles()

    return act


def project(slug: str, name: str, tier: str) -> Act:
    def act(company: Company, actor: Actor) -> None:
        company.projects[slug] = projects.create_project(
            actor=actor, tenant=company.tenant, slug=slug, name=name, tier=tier
        )

    return act


def tier(slug: str, name: str) -> Act:
    return lambda company, actor: projects.change_tier(actor=actor, project=company.projects[slug], tier=name)


def add_on(slug: str, name: str) -> Act:
    return lambda company, actor: projects.activate_add_on(
        actor=actor, project=company.projects[slug], name=name
    )


def member(slug: str, who: str, role: ProjectRole) -> Act:
    def act(company: Company, actor: Actor) -> None:
        projects.set_project_member(
            actor=actor, project=company.projects[slug], user=company.people[who], role=role
        )
        company.forget_roles()

    return act


def remove_member(slug: str, who: str) -> Act:
    def act(company: Company, actor: Actor) -> None:
        projects.remove_project_member(actor=actor, project=company.projects[slug], user=company.people[who])
        company.forget_roles()

    return act


# Services and keys. `address` is PROJECT/ENVIRONMENT/SLUG.


def service(address: str, row: ServiceRow) -> Act:
    def act(company: Company, actor: Actor) -> None:
        slug, environment, _ = address.split("/")
        parent = row.parent.strip(UMBRELLA)
        company.services[address] = services.create_service(
            actor=actor,
            project=company.projects[slug],
            environment=environment,
            slug=row.slug,
            kind=row.kind,
            name=row.name,
            is_umbrella=row.parent == UMBRELLA,
            umbrella=company.services[f"{slug}/{environment}/{parent}"] if parent else None,
        )

    return act


def link(address: str, umbrella: str) -> Act:
    def act(company: Company, actor: Actor) -> None:
        company.services[address] = services.link_umbrella(
            actor=actor, service=company.services[address], umbrella=company.services[umbrella]
        )

    return act


def disable(address: str) -> Act:
    return lambda company, actor: services.disable_service(actor=actor, service=company.services[address])


def resume(address: str) -> Act:
    return lambda company, actor: services.resume_service(actor=actor, service=company.services[address])


def delete(address: str) -> Act:
    return lambda company, actor: services.delete_service(actor=actor, service=company.services[address])


def _place(address: str, slot: str) -> str:
    return address if slot == Slot.PRIMARY else f"{address}#{slot}"


def issue_key(
    address: str, slot: str = Slot.PRIMARY, scopes: Sequence[str] = ("read",), days: int | None = None
) -> Act:
    """`days` is how long the key lives from the day on which the demo is made."""

    def act(company: Company, actor: Actor) -> None:
        expires_at = None if days is None else company.today + timedelta(days=days)
        _, text = services.issue_api_key(
            actor=actor, service=company.services[address], slot=slot, scopes=scopes, expires_at=expires_at
        )
        company.keys[_place(address, slot)] = text

    return act


def revoke_key(address: str, slot: str = Slot.PRIMARY) -> Act:
    def act(company: Company, actor: Actor) -> None:
        services.revoke_api_key(actor=actor, service=company.services[address], slot=slot)
        del company.keys[_place(address, slot)]

    return act


# Entries


def secret(address: str, key: str, value: str, description: str = "", **more: Any) -> Act:
    return lambda company, actor: vault.set_secret(
        actor=actor,
        service=company.services[address],
        key=key,
        value=value.encode(),
        description=description,
        **more,
    )


def config(address: str, key: str, value: Any, description: str = "", **more: Any) -> Act:
    return lambda company, actor: vault.set_config(
        actor=actor,
        service=company.services[address],
        key=key,
        value=value,
        type=_config_type(value),
        description=description,
        **more,
    )


def _config_type(value: Any) -> ConfigType:
    match value:
        case bool():
            return ConfigType.BOOLEAN
        case int() | float():
            return ConfigType.NUMBER
        case str():
            return ConfigType.STRING
        case _:
            return ConfigType.JSON


def flag(address: str, key: str, definition: dict[str, Any], description: str = "", **more: Any) -> Act:
    def act(company: Company, actor: Actor) -> None:
        midnight = company.today.replace(hour=0, minute=0, second=0, microsecond=0)
        wire = {
            name: (midnight + timedelta(days=value.offset)).isoformat() if isinstance(value, Day) else value
            for name, value in definition.items()
        }
        if description:
            wire["description"] = description
        set_flag(actor=actor, service=company.services[address], key=key, definition=wire, **more)

    return act


def toggle(address: str, key: str, enabled: bool) -> Act:
    return lambda company, actor: set_flag_state(
        actor=actor, service=company.services[address], key=key, enabled=enabled
    )


def drop_secret(address: str, key: str) -> Act:
    return lambda company, actor: vault.delete_secret(actor=actor, service=company.services[address], key=key)


def drop_config(address: str, key: str) -> Act:
    return lambda company, actor: vault.delete_config(actor=actor, service=company.services[address], key=key)


def drop_flag(address: str, key: str) -> Act:
    return lambda company, actor: delete_flag(actor=actor, service=company.services[address], key=key)


# Reads by programs


def read(address: str, key: str, times: int = 1) -> Act:
    """Repeats within a minute are counted by the event of the next read."""

    def act(company: Company, actor: Actor) -> None:
        for _ in range(times):
            vault.read_secret(actor=actor, service=company.services[address], key=key)

    return act


def list_keys(address: str) -> Act:
    return lambda company, actor: vault.list_secrets(actor=actor, service=company.services[address])


def export(address: str) -> Act:
    return lambda company, actor: vault.export_secrets(actor=actor, service=company.services[address])
