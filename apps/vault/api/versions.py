"""The versions of a service's own secrets, by a workload's credential."""

from typing import cast

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.actor import Actor
from apps.core.api import requests
from apps.core.api.problems import ProblemSerializer
from apps.core.errors import NotFound
from apps.core.names import is_entry_key
from apps.services.models import Service
from apps.vault import history
from apps.vault.api.serializers import SecretVersionsSerializer, SecretWrittenSerializer
from apps.vault.api.views import WorkloadView

_REFUSED = dict.fromkeys((401, 402, 403, 404), ProblemSerializer)
_STALE = dict.fromkeys((409, 412, 422), ProblemSerializer)
_IF_MATCH = OpenApiParameter("If-Match", OpenApiTypes.STR, OpenApiParameter.HEADER)


class _VersionsDoor(WorkloadView):
    def service_with(self, request: Request, key: str) -> Service:
        """The credential's service. Raises NotFound for what can be nobody's key."""
        service = self.service_of(request)
        if not is_entry_key(key):
            raise NotFound
        return service


class SecretVersionsView(_VersionsDoor):
    @extend_schema(
        operation_id="list_secret_versions",
        summary="The newest 200 versions of one of the service's own secrets, never a value",
        responses={200: SecretVersionsSerializer, **_REFUSED},
    )
    def get(self, request: Request, key: str) -> Response:
        service = self.service_with(request, key)
        found = history.list_versions(actor=cast(Actor, request.user), service=service, key=key)
        return Response(
            {
                "versions": [
                    {
                        "version": row.version,
                        "type": row.type,
                        "size_bytes": row.size_bytes,
                        "description": row.description,
                        "created_at": row.created_at,
                        "created_by": row.created_by,
                        "destroyed_at": row.destroyed_at,
                    }
                    for row in found
                ]
            }
        )


class RestoreSecretVersionView(_VersionsDoor):
    @extend_schema(
        operation_id="restore_secret_version",
        summary="Append a version that holds the value of an earlier one",
        parameters=[_IF_MATCH],
        request=None,
        responses={200: SecretWrittenSerializer, 503: ProblemSerializer, **_REFUSED, **_STALE},
    )
    def post(self, request: Request, key: str, version: int) -> Response:
        service = self.service_with(request, key)
        written = history.restore_version(
            actor=cast(Actor, request.user),
            of=history.SECRETS,
            service=service,
            key=key,
            version=version,
            expected_version=requests.expected_version(request),
        )
        return Response(
            {"key": key, "type": written.type, "version": written.version},
            headers={"ETag": f'"{written.version}"'},
        )


class DestroySecretVersionView(_VersionsDoor):
    @extend_schema(
        operation_id="destroy_secret_version",
        summary="Overwrite the value of a version that is not the active one",
        parameters=[_IF_MATCH],
        responses={204: None, **_REFUSED, **_STALE},
    )
    def delete(self, request: Request, key: str, version: int) -> Response:
        service = self.service_with(request, key)
        history.destroy_version(
            actor=cast(Actor, request.user),
            of=history.SECRETS,
            service=service,
            key=key,
            version=version,
            expected_version=requests.expected_version(request),
        )
        return Response(status=204)
