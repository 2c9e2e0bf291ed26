"""The console's first page: what needs a person, how full things are, what happened last."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, F, Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from apps.audit.admin import activity_panel
from apps.audit.events import Outcome
from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.admin import actor_of, list_url, page_url
from apps.core.pages import Meter, Tone, badge
from apps.flags.models import Flag
from apps.projects.models import Project, ProjectMember
from apps.projects.tiers import QUOTAS
from apps.services.models import ApiKey, Service
from apps.services.tabs import tab_url
from apps.tenancy.models import Tenant
from apps.vault.models import Config, Secret

PROJECTS_SHOWN = 12
EVENTS_SHOWN = 12
TASKS_SHOWN = 20
# SPEC 11 and issue of the dashboard: what is near enough to need somebody.
KEY_EXPIRES_WITHIN = timedelta(days=14)
KEY_UNUSED_FOR = timedelta(days=90)
DENIALS_WITHIN = timedelta(days=1)
QUOTA_PERCENT = 80


@dataclass(frozen=True, slots=True)
class Task:
    """Something that a person should look at."""

    mark: SafeString
    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Fullness:
    project: Project
    url: str
    meters: list[Meter]


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What stands on the first page of this person, in a number of queries that no row changes."""
    actor = actor_of(request)
    projects = list(
        Project.objects.visible_to(actor, "project:read")
        .select_related("tenant")
        .order_by("slug")[:PROJECTS_SHOWN]
    )
    fullness = _fullness(projects)
    events = AuditEvent.objects.readable_by(actor)
    return {
        **context,
        "title": "Dashboard",
        "cards": _cards(actor),
        "tasks": _tasks(actor, fullness, events)[:TASKS_SHOWN],
        "fullness": fullness,
        "activity": activity_panel(list(events.order_by("-time")[:EVENTS_SHOWN])),
        "is_stranger": not actor.tenant_roles and not actor.project_roles,
        "tenants_url": list_url(Tenant),
    }


def _cards(actor: Actor) -> list[tuple[str, int, str]]:
    """How many of what there is that this person may see."""
    shown: list[tuple[str, Any, str]] = [
        ("Projects", Project, "project:read"),
        ("Services", Service, "service:read"),
        ("Secrets", Secret, "secret:list"),
        ("Configs", Config, "config:read"),
        ("Flags", Flag, "flag:read"),
    ]
    return [
        (label, model.objects.visible_to(actor, permission).count(), list_url(model))
        for label, model, permission in shown
    ]


def _fullness(projects: list[Project]) -> list[Fullness]:
    """Used quotas of all projects at once, counted as the caps are."""
    ids = [project.pk for project in projects]
    live = Q(service__deleted_at=None, deleted_at=None)
    counted: dict[str, dict[Any, int]] = {
        "services": _counts(Service.objects.filter(project__in=ids, deleted_at=None), "project_id"),
        "members": _counts(
            ProjectMember.objects.filter(project__in=ids).exclude(
                user__tenant_memberships__tenant=F("project__tenant"),
                user__tenant_memberships__role="owner",
            ),
            "project_id",
        ),
    }
    for quota, model in (("secrets", Secret), ("configs", Config), ("flags", Flag)):
        rows = model.objects.filter(live, service__project__in=ids)
        counted[quota] = _counts(rows, "service__project_id")
    return [
        Fullness(
            project,
            page_url(project),
            [Meter(quota, counted[quota].get(project.pk, 0), project.limits.cap(quota)) for quota in QUOTAS],
        )
        for project in projects
    ]


def _counts(rows: Any, by: str) -> dict[Any, int]:
    return dict(rows.order_by().values_list(by).annotate(Count("pk")))


def _tasks(actor: Actor, fullness: list[Fullness], events: Any) -> list[Task]:
    now = timezone.now()
    tasks = [
        Task(
            badge("quota", meter.tone), f"{each.project}: {meter.used} of {meter.cap} {meter.label}", each.url
        )
        for each in fullness
        for meter in each.meters
        if meter.percent > QUOTA_PERCENT
    ]
    keys = ApiKey.objects.visible_to(actor, "api_key:issue").filter(revoked_at=None)
    keys = keys.select_related("service__project__tenant")
    expiring = keys.filter(expires_at__gt=now, expires_at__lte=now + KEY_EXPIRES_WITHIN)
    for key in expiring.order_by("expires_at")[:TASKS_SHOWN]:
        days = (key.expires_at - now).days if key.expires_at else 0
        tasks.append(
            Task(
                badge("key", Tone.WARNING),
                f"{key.service}: the {key.slot} key expires in {days} days",
                tab_url(key.service, "keys"),
            )
        )
    unused = keys.filter(
        Q(last_used_at__lt=now - KEY_UNUSED_FOR) | Q(last_used_at=None, created_at__lt=now - KEY_UNUSED_FOR)
    )
    for key in unused.order_by("created_at")[:TASKS_SHOWN]:
        text = f"{key.service}: the {key.slot} key was not used for 90 days"
        tasks.append(Task(badge("key", Tone.INFO), text, tab_url(key.service, "keys")))
    due = Secret.objects.visible_to(actor, "secret:list").filter(
        Q(rotate_by__lte=now) | Q(expires_at__lte=now + KEY_EXPIRES_WITHIN)
    )
    for secret in due.select_related("service__project__tenant").order_by("rotate_by")[:TASKS_SHOWN]:
        text = f"{secret.service}: {secret.key} is due for rotation"
        tasks.append(Task(badge("secret", Tone.WARNING), text, page_url(secret)))
    disabled = Service.objects.visible_to(actor, "service:manage").exclude(disabled_at=None)
    for service in disabled.select_related("project__tenant").order_by("disabled_at")[:TASKS_SHOWN]:
        tasks.append(Task(badge("service", Tone.INFO), f"{service} is disabled", page_url(service)))
    denied = events.filter(outcome=Outcome.DENIED, time__gte=now - DENIALS_WITHIN).count()
    if denied:
        url = list_url(AuditEvent) + "?outcome__exact=denied&days=1"
        tasks.append(Task(badge("audit", Tone.DANGER), f"{denied} refusals in the last 24 hours", url))
    return tasks
