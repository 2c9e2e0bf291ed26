"""Every address that Django answers. Delivery answers its own before they come here."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from apps.core.errors import PROBLEM_CONTENT_TYPE, NexusError, NotFound, problem
from apps.vault.api.views import UnknownAddressView
from nexus.console.invitation import invitation
from nexus.console.limits import too_many_attempts
from nexus.console.login import give_code, log_in
from nexus.probes import livez, readyz


def _home(request: HttpRequest) -> HttpResponse:
    return redirect("admin:index")


urlpatterns = [
    path("", _home),
    path("livez", livez),
    path("readyz", readyz),
    path("api/schema/", SpectacularJSONAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("api/v1/", include("apps.vault.api.urls")),
    path("api/v1/manage/", include("apps.tenancy.api.urls")),
    path("api/v1/manage/", include("apps.projects.api.urls")),
    path("api/v1/manage/", include("apps.services.api.urls")),
    path("api/v1/manage/", include("apps.flags.api.urls")),
    path("api/v1/manage/", include("apps.vault.api.manage_urls")),
    path("api/v1/manage/", include("apps.audit.api.urls")),
    # The two of allauth's that a log-in consists of; nobody signs up without an invitation, and nothing is
    # reset by mail.
    path("accounts/login/", log_in, name="account_login"),
    path("accounts/code/", give_code, name="account_code"),
    path("accounts/invitation/", invitation, name="account_invitation"),
    path("admin/", admin.site.urls),
    re_path(r"^(api|ofrep|v1)/", UnknownAddressView.as_view()),
]


def _problem(request: HttpRequest, error: NexusError) -> HttpResponse:
    document = problem(error, request_id=getattr(request, "request_id", ""))
    return JsonResponse(document, status=error.status, content_type=PROBLEM_CONTENT_TYPE)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404 outside the admin, without the path: it may hold what somebody typed in the wrong place."""
    return _problem(request, NotFound())


def server_error(request: HttpRequest) -> HttpResponse:
    return _problem(request, NexusError())


handler404 = not_found
# allauth asks for it where a limit is reached.
handler429 = too_many_attempts
handler500 = server_error
