"""Every refusal of the REST doors becomes one problem document (RFC 9457)."""

import logging
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions, serializers, views
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.errors import (
    PROBLEM_CONTENT_TYPE,
    AuthenticationRequired,
    InvalidInput,
    MalformedRequest,
    MethodNotAllowed,
    NexusError,
    NotAcceptable,
    NotFound,
    NotPermitted,
    UnsupportedMediaType,
    problem,
)

logger = logging.getLogger(__name__)

_FRAMEWORK_ERRORS: tuple[tuple[type[Exception], type[NexusError]], ...] = (
    (exceptions.NotAuthenticated, AuthenticationRequired),
    (exceptions.AuthenticationFailed, AuthenticationRequired),
    (exceptions.PermissionDenied, NotPermitted),
    (PermissionDenied, NotPermitted),
    (exceptions.NotFound, NotFound),
    (Http404, NotFound),
    (exceptions.MethodNotAllowed, MethodNotAllowed),
    (exceptions.NotAcceptable, NotAcceptable),
    (exceptions.UnsupportedMediaType, UnsupportedMediaType),
    (exceptions.ParseError, MalformedRequest),
)


class ProblemSerializer(serializers.Serializer[dict[str, object]]):
    """RFC 9457, with the members of ours."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField()
    request_id = serializers.CharField()
    errors = serializers.DictField(  # type: ignore[assignment]
        child=serializers.ListField(child=serializers.CharField()), required=False
    )


def as_nexus_error(error: Exception) -> NexusError | None:
    """The error of ours that `error` means, or None for one that nobody foresaw."""
    if isinstance(error, NexusError):
        return error
    if isinstance(error, exceptions.ValidationError):
        return InvalidInput(_flat(error.detail))
    for theirs, ours in _FRAMEWORK_ERRORS:
        if isinstance(error, theirs):
            return ours()
    return None


def _flat(detail: Any, path: str = "") -> dict[str, list[str]]:
    """DRF's nested messages as path → messages; `non_field_errors` are about the whole."""
    if isinstance(detail, dict):
        found: dict[str, list[str]] = {}
        for name, inner in detail.items():
            own = "" if name == "non_field_errors" else str(name)
            found.update(_flat(inner, f"{path}.{own}".strip(".")))
        return found
    if isinstance(detail, list) and any(isinstance(inner, dict | list) for inner in detail):
        found = {}
        for number, inner in enumerate(detail):
            found.update(_flat(inner, f"{path}.{number}".strip(".")))
        return found
    return {path: [_said(message) for message in (detail if isinstance(detail, list) else [detail])]}


def _said(message: Any) -> str:
    # DRF's own words for a wrong choice quote it, and it may be a value in a wrong place.
    return (
        "This is none of the choices." if getattr(message, "code", "") == "invalid_choice" else str(message)
    )


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer `error` as a problem document, and record a denial once the refusal rolled back."""
    refusal = as_nexus_error(error)
    if refusal is None:
        return None
    views.set_rollback()
    request: Request = context["request"]
    denied = getattr(context["view"], "record_denied", None)
    if isinstance(refusal, NotPermitted) and denied is not None:
        denied(request, refusal)
    response = Response(
        problem(refusal, request_id=getattr(request, "request_id", "")),
        status=refusal.status,
        content_type=PROBLEM_CONTENT_TYPE,
    )
    if refusal.status == 401:
        # RFC 9110 section 11.6.1: a 401 names how to authenticate.
        response["WWW-Authenticate"] = 'Bearer realm="nexus"'
    if isinstance(error, exceptions.MethodNotAllowed):
        response["Allow"] = ", ".join(context["view"].allowed_methods)
    return response
