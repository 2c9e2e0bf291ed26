"""The console's site: who may enter, and as whom."""

from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from unfold.sites import UnfoldAdminSite

from apps.core.actor import Origin
from apps.projects.memberships import operator_actor
from apps.tenancy.models import User
from nexus.console.gate import gated
from nexus.console.presence import next_of, present_at


class ConsoleSite(UnfoldAdminSite):  # type: ignore[misc] # unfold has no types
    index_title = "Dashboard"

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

    def autocomplete_view(self, request: HttpRequest) -> Any:
        """No form of the console asks it: choices come with the form, from visible rows."""
        raise Http404

    def get_urls(self) -> list[Any]:
        """Django's addresses but the one that asks each model by itself where its rows are shown."""
        return [url for url in super().get_urls() if getattr(url, "name", "") != "view_on_site"]

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Every view of the console, for those who owe nothing first, its refusals answered as pages.

        None may be cached.
        """
        from nexus.console.refusals import refusing

        return super().admin_view(gated(refusing(view)), cacheable)

    # ---- one's own account: Django's pages for it would write past operations and limits

    def extra_urls(self) -> list[URLPattern]:
        from nexus.console import account, tokens

        return [*account.urls(self), *tokens.urls(self)]

    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return redirect(f"{reverse('account_login')}?{urlencode({'next': next_of(request)})}")

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        from nexus.console.login import sign_out

        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        sign_out(request)
        return redirect("account_login")

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        from nexus.console.account import change_password

        return change_password(request)

    def password_change_done(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return redirect("admin:index")
