"""The console's site: who may enter, and as whom."""

from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest
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

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().each_context(request), "public_url": settings.NEXUS_PUBLIC_URL}

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        # Admin modules register at this site, so that what imports them is imported late.
        from nexus.console.dashboard import dashboard

        return super().index(request, dashboard(request, extra_context or {}))

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """unfold's search keeps results for five minutes, which rights may not outlive."""
        raise Http404

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Every view of the console, its refusals answered as pages. None may be cached."""
        from nexus.console.refusals import refusing

        return super().admin_view(refusing(view), cacheable)
