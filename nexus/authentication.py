"""Credential → Actor, for the REST doors."""

import time
from typing import Any

from django.db.models import Q
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from apps.core.actor import Actor
from apps.services import credentials
from apps.services.models import ApiKey


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
        ApiKey.objects.filter(
            Q(last_used_at=None) | Q(last_used_at__lt=now.replace(second=0, microsecond=0)), pk=credential.id
        ).update(last_used_at=now)
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
