"""What the console answers when an operation refuses: a page that says what to do."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse

from apps.audit.operations import record_denial
from apps.audit.targets import target_of
from apps.core.actor import Actor
from apps.core.errors import NexusError, NotFound, NotPermitted

View = Callable[..., HttpResponseBase]


def refusing(view: View) -> View:
    """`view`, its refusals answered as pages and its denials told to the audit log after the roll-back."""

    @wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except NotPermitted as error:
            actor = getattr(request, "actor", None)
            if isinstance(actor, Actor):
                record_denial(actor=actor, permission=error.permission, target=target_of(error.target))
            return refusal_page(request, error)
        except NexusError as error:
            return refusal_page(request, error)
        except Http404:
            # What one may not see and what does not exist: one page, naming neither.
            return refusal_page(request, NotFound())
        except PermissionDenied:
            return refusal_page(request, NotPermitted())

    return answered


def refusal_page(request: HttpRequest, error: NexusError) -> TemplateResponse:
    context = {
        **admin.site.each_context(request),
        "title": {403: "Not yours to do", 404: "Nothing here"}.get(error.status, "Refused"),
        "detail": error.detail,
        "request_id": getattr(request, "request_id", ""),
    }
    return TemplateResponse(request, "console/refusal.html", context, status=error.status)
