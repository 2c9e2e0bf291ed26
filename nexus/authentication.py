"""Credential → Actor, for the REST doors."""

import time
from typing import Any

from django.db.models import Q
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from apps.core.actor import Actor
from apps.core.errors import InvalidCredential, NotPermitted
from apps.projects.memberships import operator_actor, token_actor
from apps.services import credentials
from apps.services.models import ApiKey
from apps.tenancy.models import User
from apps.tenancy.tokens import good_token
from nexus.console.gate import owed
from nexus.console.presence import present_at


class WorkloadAuthentication(BaseAuthentication):
    """`request.user` becomes the Actor of an API key, `request.auth` its Credential."""

    def authenticate(self, request: Request) -> tuple[Actor, credentials.Credential]:
        meta = request.META
        text = credentials.presented_key(
            api_key_headers=[
                meta[name] for name in ("HTTP_X_NEXUS_API_KEY", "HTTP_X_API_KEY") if name in meta
            ],
            authorization_headers=[meta["HTTP_AUTHORIZATION"]] if "HTTP_AUTHORIZATION" in meta else [],
            query_string=meta.get("QUERY_STRING", ""),
        )
        credential = credentials.find_in_database(text)
        origin = request.origin  # type: ignore[attr-defined]
        credential.require_good(now=time.time(), address=origin.address)
        now = timezone.now()
        minute = now.replace(second=0, microsecond=0)
        if credential.last_used_at is None or credential.last_used_at < minute:
            ApiKey.objects.filter(Q(last_used_at=None) | Q(last_used_at__lt=minute), pk=credential.id).update(
                last_used_at=now
            )
        return credential.actor(origin), credential

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="nexus"'


class WorkloadAuthenticationScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI schema tells of it."""

    target_class = WorkloadAuthentication
    name = "ApiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "X-Nexus-API-Key",
            "description": "X-API-Key and Authorization: Bearer mean the same.",
        }


class ManageAuthentication(SessionAuthentication):
    """`request.user` becomes the Actor of an access token, or of the person whose session this is.

    A session needs its CSRF token for whatever changes something, and a person who still owes a
    password or a second factor is nobody here. Keys of services are not for this door.
    """

    def authenticate(self, request: Request) -> tuple[Actor, None] | None:
        origin = request.origin  # type: ignore[attr-defined]
        presented = request.META.get("HTTP_AUTHORIZATION")
        if presented is not None or "nxp_" in request.META.get("QUERY_STRING", ""):
            scheme, _, text = (presented or "").partition(" ")
            if scheme.lower() != "bearer" or "nxp_" in request.META.get("QUERY_STRING", ""):
                raise InvalidCredential
            return token_actor(good_token(text.strip()), origin=origin), None
        inner = request._request
        user = inner.user
        if not isinstance(user, User) or not user.is_active:
            return None
        if owed(inner):
            raise NotPermitted("Finish your log-in in the console first: it asks for something of you.")
        try:
            self.enforce_csrf(request)
        except PermissionDenied:
            raise NotPermitted("A session needs its CSRF token here: send it as X-CSRFToken.") from None
        return operator_actor(user, origin=origin, present_at=present_at(inner)), None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="nexus"'


class ManageAuthenticationScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI schema tells of it."""

    target_class = ManageAuthentication
    name = "AccessToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token (nxp_…), or the session of the console with its CSRF token.",
        }
