"""Versions, renaming and bringing back of secrets and configs in the management API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

import orjson
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from apps.audit.api.manage import (
    CONFLICT,
    IF_MATCH,
    NOT_FOUND,
    PROBLEMS,
    STALE,
    actor_of,
    body_of,
    page_of,
    require_no_members,
    tagged,
)
from apps.core.api.pages import list_parameters, paged
from apps.core.api.problems import ProblemSerializer
from apps.core.api.requests import expected_version
from apps.core.errors import InvalidInput, NotFound
from apps.services.api.entries import EntryView
from apps.services.models import Service
from apps.vault import differences, history, operations
from apps.vault.api import manage_configs, manage_secrets
from apps.vault.api.manage_configs import ConfigsDoor
from apps.vault.api.manage_secrets import SecretsDoor
from apps.vault.api.manage_serializers import (
    ConfigDifferenceSerializer,
    ConfigVersionSerializer,
    RenameSerializer,
    SecretDifferenceSerializer,
    SecretVersionSerializer,
    VersionsSerializer,
    WrittenConfigSerializer,
    WrittenSecretSerializer,
)
from apps.vault.history import CONFIGS, SECRETS
from apps.vault.models import Entry

# The newest first.
_ORDER = ("-version",)
_COLUMNS = ("id", "version", "size_bytes", "description", "created_at", "created_by", "destroyed_at")


class _HistoryView(EntryView):
    """A door for what was written before under one key. A subclass says of which kind."""

    of: ClassVar[history.Kind]

    def entry(self, service: Service, key: str) -> Any:
        """The live entry of the service's own. Raises NotFound."""
        rows: Any = self.of.model
        found = rows.objects.live().filter(service=service, key=key).first()
        if found is None:
            raise NotFound
        found.service = service
        return found


class _Versions(_HistoryView):
    columns: ClassVar[tuple[str, ...]]

    def tell(self, request: Request, service: Service) -> None:
        """Tell the audit log that keys were read, where it wants to know."""

    def get(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.reads)
        entry: Entry = self.entry(service, key)
        rows = history.versions_of(entry).values_list(*self.columns, named=True)
        page = paged(request, rows, lambda row: _show(row, entry), orderings=_ORDER)
        self.tell(request, service)
        return Response(page)


def _show(row: Any, entry: Entry) -> dict[str, Any]:
    shown = {
        "version": row.version,
        "active": row.version == entry.active_version,
        "type": row.type,
        "size_bytes": row.size_bytes,
        "description": row.description,
        "created_at": row.created_at,
        "created_by": row.created_by,
        "destroyed_at": row.destroyed_at,
    }
    if hasattr(row, "file_name"):
        return {**shown, "file_name": row.file_name}
    return {**shown, "value": orjson.Fragment(row.value_json) if row.value_json else None}


class _Version(_HistoryView):
    def delete(self, request: Request, service_id: UUID, key: str, version: int) -> Response:
        service = self.item(request, service_id, key, self.of.destroy)
        history.destroy_version(
            actor=actor_of(request),
            of=self.of,
            service=service,
            key=key,
            version=version,
            expected_row_version=expected_version(request),
        )
        return Response(status=204)


class _WritesView(_HistoryView):
    def answer(self, written: operations.Written) -> Response:
        show = manage_secrets.show_written if self.of is SECRETS else manage_configs.show_written
        return tagged(written.entry, show(written))


class _RestoreVersion(_WritesView):
    def post(self, request: Request, service_id: UUID, key: str, version: int) -> Response:
        service = self.item(request, service_id, key, self.writes)
        require_no_members(request)
        written = history.restore_version(
            actor=actor_of(request),
            of=self.of,
            service=service,
            key=key,
            version=version,
            expected_row_version=expected_version(request),
        )
        return self.answer(written)


class _Rename(_WritesView):
    def post(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.writes)
        body = body_of(request, RenameSerializer)
        written = history.rename_entry(
            actor=actor_of(request),
            of=self.of,
            service=service,
            key=key,
            new_key=body["new_key"],
            force=body.get("force", False),
            expected_row_version=expected_version(request),
        )
        return self.answer(written)


class _Restore(_WritesView):
    def post(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.writes)
        require_no_members(request)
        written = history.restore_entry(
            actor=actor_of(request),
            of=self.of,
            service=service,
            key=key,
            expected_row_version=expected_version(request),
        )
        return self.answer(written)


@extend_schema_view(
    get=extend_schema(
        operation_id="manage_list_secret_versions",
        summary="What was written of a secret, without its values",
        parameters=list_parameters(orderings=_ORDER, search=False),
        responses={200: page_of(SecretVersionSerializer), **PROBLEMS, **NOT_FOUND},
    )
)
class SecretVersionsView(SecretsDoor, _Versions):
    of = SECRETS
    columns = (*_COLUMNS, "type", "file_name")

    def tell(self, request: Request, service: Service) -> None:
        operations.note_secret_list(actor=actor_of(request), service=service)


@extend_schema_view(
    delete=extend_schema(
        operation_id="manage_destroy_secret_version",
        summary="Overwrite the value of a version that is not the active one",
        parameters=[IF_MATCH],
        responses={204: None, **PROBLEMS, **NOT_FOUND, **CONFLICT, **STALE},
    )
)
class SecretVersionView(SecretsDoor, _Version):
    of = SECRETS


@extend_schema_view(
    post=extend_schema(
        operation_id="manage_restore_secret_version",
        summary="Append a version that holds the value of an earlier one",
        parameters=[IF_MATCH],
        request=None,
        responses={
            200: WrittenSecretSerializer,
            503: ProblemSerializer,
            **PROBLEMS,
            **NOT_FOUND,
            **CONFLICT,
            **STALE,
        },
    )
)
class RestoreSecretVersionView(SecretsDoor, _RestoreVersion):
    of = SECRETS


@extend_schema_view(
    post=extend_schema(
        operation_id="manage_rename_secret",
        summary="Give a secret another key",
        parameters=[IF_MATCH],
        request=RenameSerializer,
        responses={200: WrittenSecretSerializer, **PROBLEMS, **NOT_FOUND, **CONFLICT, **STALE},
    )
)
class RenameSecretView(SecretsDoor, _Rename):
    of = SECRETS


@extend_schema_view(
    post=extend_schema(
        operation_id="manage_restore_secret",
        summary="Bring a deleted secret back with its versions",
        parameters=[IF_MATCH],
        request=None,
        responses={200: WrittenSecretSerializer, **PROBLEMS, **NOT_FOUND, **CONFLICT, **STALE},
    )
)
class RestoreSecretView(SecretsDoor, _Restore):
    of = SECRETS


@extend_schema_view(
    get=extend_schema(
        operation_id="manage_list_config_versions",
        summary="What was written of a config, templates unresolved",
        parameters=list_parameters(orderings=_ORDER, search=False),
        responses={200: page_of(ConfigVersionSerializer), **PROBLEMS, **NOT_FOUND},
    )
)
class ConfigVersionsView(ConfigsDoor, _Versions):
    of = CONFIGS
    columns = (*_COLUMNS, "type", "value_json")


@extend_schema_view(
    delete=extend_schema(
        operation_id="manage_destroy_config_version",
        summary="Overwrite the value of a version that is not the active one",
        parameters=[IF_MATCH],
        responses={204: None, **PROBLEMS, **NOT_FOUND, **CONFLICT, **STALE},
    )
)
class ConfigVersionView(ConfigsDoor, _Version):
    of = CONFIGS


@extend_schema_view(
    post=extend_schema(
        operation_id="manage_restore_config_version",
        summary="Append a version that holds the value of an earlier one",
        parameters=[IF_MATCH],
        request=None,
        responses={200: WrittenConfigSerializer, **PROBLEMS, **NOT_FOUND, **CONFLICT, **STALE},
    )
)
class RestoreConfigVersionView(ConfigsDoor, _RestoreVersion):
    of = CONFIGS


@extend_schema_view(
    post=extend_schema(
        operation_id="manage_rename_config",
        summary="Give a config another key",
        parameters=[IF_MATCH],
        request=RenameSerializer,
        responses={200: WrittenConfigSerializer, **PROBLEMS, **NOT_FOUND, **CONFLICT, **STALE},
    )
)
class RenameConfigView(ConfigsDoor, _Rename):
    of = CONFIGS


@extend_schema_view(
    post=extend_schema(
        operation_id="manage_restore_config",
        summary="Bring a deleted config back with its versions",
        parameters=[IF_MATCH],
        request=None,
        responses={200: WrittenConfigSerializer, **PROBLEMS, **NOT_FOUND, **CONFLICT, **STALE},
    )
)
class RestoreConfigView(ConfigsDoor, _Restore):
    of = CONFIGS


class DiffSecretsView(SecretsDoor, _HistoryView):
    of = SECRETS

    @extend_schema(
        operation_id="manage_diff_secret_versions",
        summary="Whether two versions of a secret are the same, told to the audit log",
        request=VersionsSerializer,
        responses={200: SecretDifferenceSerializer, 503: ProblemSerializer, **PROBLEMS, **NOT_FOUND},
    )
    def post(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.reveals)
        body = body_of(request, VersionsSerializer)
        secret = self.entry(service, key)
        found = differences.diff_secrets(actor=actor_of(request), secret=secret, **body)
        return Response(
            {"same": found.is_same, "left_bytes": found.left_bytes, "right_bytes": found.right_bytes}
        )


class DiffConfigsView(ConfigsDoor, _HistoryView):
    of = CONFIGS

    @extend_schema(
        operation_id="manage_diff_config_versions",
        summary="How two versions of a config differ, templates unresolved",
        parameters=[
            OpenApiParameter(side, OpenApiTypes.INT, required=True, description="The number of a version.")
            for side in ("left", "right")
        ],
        responses={200: ConfigDifferenceSerializer, **PROBLEMS, **NOT_FOUND},
    )
    def get(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.reads)
        asked = _asked(request)
        config = self.entry(service, key)
        return Response({"diff": differences.diff_configs(actor=actor_of(request), config=config, **asked)})


def _asked(request: Request) -> Mapping[str, Any]:
    """The two versions that the query names."""
    if request.query_params.keys() - {"left", "right"}:
        raise InvalidInput.of("", "Known parameters are left and right.")
    shape = VersionsSerializer(data=request.query_params.dict())
    shape.is_valid(raise_exception=True)
    return dict(shape.validated_data)


@dataclass(frozen=True, slots=True)
class Views:
    """What stands below the address of an entry."""

    versions: type[EntryView]
    version: type[EntryView]
    restore_version: type[EntryView]
    rename: type[EntryView]
    restore: type[EntryView]
    diff: type[EntryView]


SECRET_VIEWS = Views(
    SecretVersionsView,
    SecretVersionView,
    RestoreSecretVersionView,
    RenameSecretView,
    RestoreSecretView,
    DiffSecretsView,
)
CONFIG_VIEWS = Views(
    ConfigVersionsView,
    ConfigVersionView,
    RestoreConfigVersionView,
    RenameConfigView,
    RestoreConfigView,
    DiffConfigsView,
)
