"""Mail to owners of secrets that expire, or are to be rotated, soon (SPEC 5). Keys alone stand in it."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from apps.core import outbox
from apps.core.access import ProjectRole, system_actor
from apps.core.actor import Actor
from apps.core.errors import NotFound
from apps.core.models import OutboxMessage
from apps.projects.models import Project
from apps.tenancy.models import User
from apps.vault.models import Secret
from apps.vault.reminders import NAMES

# So long before its time a secret is told of, and then each day.
AHEAD = timedelta(days=14)
# A mail names no more; the console lists them all.
KEYS_MAX = 200
_SAID = {"expires_at": "expires", "rotate_by": "is to be rotated by"}


def remind_of_secrets() -> int:
    """Tell the owners of each project, once a day (UTC), of its secrets whose time is near or past.

    Returns how many projects were told of. Run at any time and as often as one likes; killed, the next
    run goes on with the projects that are left.
    """
    actor = system_actor("remind_of_secrets")
    due = _due(actor).order_by().values_list("service__project_id", flat=True).distinct()
    return sum(_tell(actor, project_id) for project_id in sorted(set(due) - _told_today()))


def _due(actor: Actor) -> Any:
    until = timezone.now() + AHEAD
    return Secret.objects.visible_to(actor, "secret:list").filter(
        Q(expires_at__lte=until) | Q(rotate_by__lte=until)
    )


def _told_today() -> set[UUID]:
    """The projects that somebody was reminded of today: the messages themselves remember it."""
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    messages = OutboxMessage.objects.filter(topic="mail", created_at__gte=midnight)
    told = messages.filter(payload__has_key="reminds_of").values_list("payload__reminds_of", flat=True)
    return {UUID(project_id) for project_id in told}


@transaction.atomic
def _tell(actor: Actor, project_id: UUID) -> bool:
    """Whether this call told the owners; False where the project is gone or another run was first."""
    try:
        project = Project.objects.locked(project_id)
    except NotFound:
        return False
    if project.pk in _told_today():
        return False
    secrets = list(
        _due(actor)
        .filter(service__project=project)
        .select_related("service")
        .order_by("service__environment", "service__slug", "key")[: KEYS_MAX + 1]
    )
    owners = list(_owners(project))
    if not secrets or not owners:
        return False
    name = f"{project.tenant.slug}/{project.slug}"
    for owner in owners:
        outbox.enqueue(
            "mail",
            {
                "to": owner.email,
                "subject": f"Secrets of {name} need somebody",
                "text": _text(name, secrets),
                "reminds_of": str(project.pk),
            },
        )
    return True


def _owners(project: Project) -> Iterable[User]:
    """The project's owners, or where it has none of its own the tenant's: active people, each once."""
    own = User.objects.filter(
        is_active=True,
        # Automation reads no mail.
        service_account=None,
        project_memberships__project=project,
        project_memberships__role=ProjectRole.OWNER,
        project_memberships__ends_at=None,
    )
    if own.exists():
        return own.distinct().order_by("email")
    return [each.user for each in project.tenant.members.lasting_owners().select_related("user")]


def _text(name: str, secrets: list[Secret]) -> str:
    lines = []
    for secret in secrets[:KEYS_MAX]:
        times = [
            f"{_SAID[each]} {getattr(secret, each):%Y-%m-%d %H:%M} UTC"
            for each in NAMES
            if _near(secret, each)
        ]
        where = f"{secret.service.environment}/{secret.service.slug}"
        lines.append(f"- {where} {secret.key}: {' and '.join(times)}\n")
    more = "There are more; the console lists them all.\n" if len(secrets) > KEYS_MAX else ""
    return (
        f"These secrets of {name} expire or are to be rotated within {AHEAD.days} days, or their time is "
        f"past. Nexus goes on serving them.\n\n{''.join(lines)}{more}\n"
        "Write a new version and move the date, or clear it.\n"
    )


def _near(secret: Secret, name: str) -> bool:
    moment = getattr(secret, name)
    return moment is not None and moment <= timezone.now() + AHEAD
