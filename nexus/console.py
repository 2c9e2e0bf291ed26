"""The Django admin as Nexus's console: the site, log-in with its events, and what is shown."""

from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.admin.sites import AdminSite
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest

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


class ConsoleSite(AdminSite):
    site_header = "Nexus"
    site_title = "Nexus"
    index_title = "Console"
    login_form = ConsoleLoginForm

    def has_permission(self, request: HttpRequest) -> bool:
        """Every active person may enter; who they are is read anew for each request."""
        user = request.user
        if not isinstance(user, User) or not user.is_active:
            return False
        if not hasattr(request, "actor"):
            request.actor = operator_actor(user, origin=getattr(request, "origin", Origin()))  # type: ignore[attr-defined]
        return True
