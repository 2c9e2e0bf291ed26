"""Log-in, with its events."""

from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError
from django.db import transaction

from apps.audit.events import Action, Outcome
from apps.audit.operations import record, record_coalesced
from apps.audit.targets import Target
from apps.core.actor import Actor, Origin
from apps.projects.memberships import operator_actor
from apps.tenancy.models import User


class ConsoleLoginForm(AdminAuthenticationForm):
    """Tells the audit log of each log-in and each failure, and tells strangers nothing."""

    def clean(self) -> dict[str, Any]:
        origin: Origin = getattr(self.request, "origin", Origin())
        try:
            cleaned = super().clean()
        except ValidationError:
            # The address may be a password typed into the wrong field: it is not written down.
            record_coalesced(
                actor=Actor.anonymous(origin),
                action=Action.LOGIN_FAILED,
                target=Target("operator"),
                outcome=Outcome.FAILED,
            )
            raise
        user = self.get_user()
        if isinstance(user, User):
            with transaction.atomic():
                record(
                    actor=operator_actor(user, origin=origin),
                    action=Action.LOGIN_SUCCEEDED,
                    target=user.audit_target(),
                )
        return cleaned
