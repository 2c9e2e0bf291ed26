"""What every request through Django carries: an id, and where it came from."""

import re
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from apps.core.actor import Origin
from apps.core.client_address import client_address, parse_networks
from apps.core.errors import PROBLEM_CONTENT_TYPE, MalformedRequest, problem
from apps.core.ids import uuid7

# What a proxy in front may hand down; anything else gets an id of ours.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}\Z", re.ASCII)


def request_id_from(given: str) -> str:
    return given if _REQUEST_ID.match(given) else str(uuid7())


def _nul_refused(request_id: str) -> HttpResponse:
    refusal = MalformedRequest("The address holds a NUL character (%00). Leave it out.")
    return JsonResponse(
        problem(refusal, request_id=request_id), status=refusal.status, content_type=PROBLEM_CONTENT_TYPE
    )


class RequestContextMiddleware:
    """Sets `request.request_id` and `request.origin`, and answers with X-Request-Id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.trusted = parse_networks(settings.NEXUS_TRUSTED_PROXIES)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = request_id_from(request.headers.get("X-Request-Id", ""))
        forwarded_for = request.headers.get("X-Forwarded-For", "")
        origin = Origin(
            address=client_address(
                request.META.get("REMOTE_ADDR", ""), [forwarded_for] if forwarded_for else [], self.trusted
            ),
            user_agent=request.headers.get("User-Agent", ""),
            request_id=request_id,
        )
        request.request_id = request_id  # type: ignore[attr-defined]
        request.origin = origin  # type: ignore[attr-defined]
        # U+0000 is in no name, key or id, and PostgreSQL takes no text that holds one: refused here once,
        # so that no filter, search or page of a list has to.
        holds_nul = "%00" in request.META.get("QUERY_STRING", "")
        response = _nul_refused(request_id) if holds_nul else self.get_response(request)
        response["X-Request-Id"] = request_id
        return response
