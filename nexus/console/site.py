"""The console's site: who may enter, and as whom."""

from django.http import HttpRequest
from unfold.sites import UnfoldAdminSite

from apps.core.actor import Origin
from apps.projects.memberships import operator_actor
from apps.tenancy.models import User
from nexus.console.login import ConsoleLoginForm
from nexus.console.presence import present_at


class ConsoleSite(UnfoldAdminSite):  # type: ignore[misc] # unfold has no types
    index_title = "Dashboard"
    login_form = ConsoleLoginForm

    def has_permission(self, request: HttpRequest) -> bool:
        """Every active person may enter; who they are is read anew for each request."""
        user = request.user
        if not isinstance(user, User) or not user.is_active:
            return False
        if not hasattr(request, "actor"):
            request.actor = operator_actor(  # type: ignore[attr-defined]
                user, origin=getattr(request, "origin", Origin()), present_at=present_at(request)
            )
        return True
