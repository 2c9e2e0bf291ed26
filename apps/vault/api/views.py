"""Secrets by a workload's credential: the part of the workload API that control answers."""

from typing import Any, cast

from django.core.exceptions import ObjectDoesNotExist
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.audit.operations import record_denial
from apps.audit.targets import target_of
from apps.core.actor import Actor
from apps.core.api import requests
from apps.core.api.problems import ProblemSerializer
from apps.core.api.shapes import require_types
from apps.core.errors import InvalidCredential, InvalidInput, NotFound, NotPermitted, VersionConflict
from apps.core.names import is_entry_key
from apps.services.credentials import Credential
from apps.services.models import Service
from apps.vault import operations
from apps.vault.api.serializers import (
    SecretListSerializer,
    SecretMapSerializer,
    SecretValueSerializer,
    SecretWriteSerializer,
    SecretWrittenSerializer,
)
from apps.vault.models import Secret, SecretType
from apps.vault.values import secret_bytes

_PROBLEMS = dict.fromkeys((401, 402, 403), ProblemSerializer)
_KEY = OpenApiParameter("key", OpenApiTypes.STR, OpenApiParameter.PATH)


class WorkloadView(APIView):
    """A door for one service: the one that the credential belongs to."""

    def service_of(self, request: Request) -> Service:
        credential = cast(Credential, request.auth)
        try:
            return Service.objects.select_related("project__tenant").live().get(pk=credential.service_id)
        except ObjectDoesNotExist:
            # Deleted between the look at the key and this one.
            raise InvalidCredential from None

    def record_denied(self, request: Request, refusal: NotPermitted) -> None:
        record_denial(
            actor=cast(Actor, request.user),
            permission=refusal.permission,
            target=target_of(refusal.target),
        )

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        final = super().finalize_response(request, response, *args, **kwargs)
        # Every credentialed answer, refusals too (SPEC 8).
        final["Cache-Control"] = "private, no-store"
        final["Vary"] = "Authorization, X-Nexus-API-Key, X-API-Key, Origin"
        return final


class SecretsView(WorkloadView):
    @extend_schema(
        operation_id="list_secrets",
        summary="Keys of the secrets in effect, or with format=map their values",
        parameters=[OpenApiParameter("format", OpenApiTypes.STR, enum=["map"])],
        responses={
            200: PolymorphicProxySerializer(
                "Secrets", [SecretListSerializer, SecretMapSerializer], resource_type_field_name=None
            ),
            **_PROBLEMS,
        },
    )
    def get(self, request: Request) -> Response:
        service = self.service_of(request)
        actor = cast(Actor, request.user)
        requests.require_parameters(request, "format")
        form = request.query_params.get("format")
        if form == "map":
            return Response({"secrets": operations.export_secrets(actor=actor, service=service)})
        if form is not None:
            raise InvalidInput.of("format", "Send format=map, or leave it out.")
        found = operations.list_secrets(actor=actor, service=service)
        return Response(
            {
                "secrets": [
                    {"key": key, "type": stored.type, "version": stored.version, "source": source}
                    for key, (stored, source) in found.items()
                ]
            }
        )


class SecretView(WorkloadView):
    @extend_schema(
        operation_id="read_secret",
        summary="One secret in effect",
        parameters=[_KEY],
        responses={200: SecretValueSerializer, 404: ProblemSerializer, 503: ProblemSerializer, **_PROBLEMS},
    )
    def get(self, request: Request, key: str) -> Response:
        service = self.service_of(request)
        return Response(operations.read_secret(actor=cast(Actor, request.user), service=service, key=key))

    @extend_schema(
        operation_id="write_secret",
        summary="Append a version to one of the service's own secrets",
        parameters=[
            _KEY,
            OpenApiParameter("If-Match", OpenApiTypes.STR, OpenApiParameter.HEADER),
            OpenApiParameter("If-None-Match", OpenApiTypes.STR, OpenApiParameter.HEADER),
        ],
        request=SecretWriteSerializer,
        responses={
            200: SecretWrittenSerializer,
            201: SecretWrittenSerializer,
            **dict.fromkeys((400, 409, 412, 413, 415, 422), ProblemSerializer),
            **_PROBLEMS,
        },
    )
    def put(self, request: Request, key: str) -> Response:
        service = self.service_of(request)
        shape = SecretWriteSerializer(data=request.data)
        _require_object(request.data, shape)
        require_types(shape, request.data)
        shape.is_valid(raise_exception=True)
        body = shape.validated_data
        secret_type = body.get("type") or SecretType.TEXT
        self._require_target(request, service, key)
        written = operations.set_secret(
            actor=cast(Actor, request.user),
            service=service,
            key=key,
            value=secret_bytes(secret_type, body["value"]),
            type=secret_type,
            file_name=body.get("file_name", ""),
            description=body.get("description", ""),
            expected_version=requests.expected_version(request),
            only_create=requests.only_create(request),
        )
        return Response(
            {"key": key, "type": written.type, "version": written.version},
            status=201 if written.created else 200,
            headers={"ETag": f'"{written.version}"'},
        )

    @extend_schema(
        operation_id="delete_secret",
        summary="Delete one of the service's own secrets, restorable for 30 days",
        parameters=[_KEY, OpenApiParameter("If-Match", OpenApiTypes.STR, OpenApiParameter.HEADER)],
        responses={
            204: None,
            404: ProblemSerializer,
            409: ProblemSerializer,
            412: ProblemSerializer,
            **_PROBLEMS,
        },
    )
    def delete(self, request: Request, key: str) -> Response:
        service = self.service_of(request)
        self._require_target(request, service, key)
        operations.delete_secret(
            actor=cast(Actor, request.user),
            service=service,
            key=key,
            expected_version=requests.expected_version(request),
        )
        return Response(status=204)

    def _require_target(self, request: Request, service: Service, key: str) -> None:
        """`If-Match: *` asks for something of the service's own to be there."""
        if requests.must_exist(request) and not (
            is_entry_key(key) and Secret.objects.live().filter(service=service, key=key).exists()
        ):
            raise VersionConflict


def _require_object(data: Any, shape: SecretWriteSerializer) -> None:
    if not isinstance(data, dict):
        raise InvalidInput.of("", "Send a JSON object with at least the member value.")
    unknown = sorted(set(data) - set(shape.fields))
    if unknown:
        raise InvalidInput.of(unknown[0][:100], "There is no such member.")


class UnknownAddressView(WorkloadView):
    """Everything below /api/ that is not there answers as an item that is not there."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(exclude=True)
    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise NotFound
