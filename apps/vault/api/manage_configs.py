"""Configs in the management API: templates as they were written, never resolved."""

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

import orjson
from django.db.models import F
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.audit.api.manage import (
    CONFLICT,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    NOT_FOUND,
    PROBLEMS,
    STALE,
    actor_of,
    body_of,
    created,
    etag_of,
    page_of,
    tagged,
)
from apps.core import strict_json
from apps.core.api.pages import list_parameters, paged
from apps.core.api.requests import expected_version
from apps.core.errors import NotFound
from apps.core.idempotency import Answer
from apps.core.prepared import Source
from apps.services import entries
from apps.services.api.entries import (
    DELETED,
    FORCE,
    IF_NONE_MATCH,
    EntryView,
    ResultsSerializer,
    all_or_nothing,
    asks_deleted,
    forced,
    precondition_of,
    seen,
)
from apps.vault import bulk, operations
from apps.vault.api.filters import ConfigFilter
from apps.vault.api.manage_serializers import (
    ConfigBulkSerializer,
    ConfigCreateSerializer,
    ConfigPutSerializer,
    ManagedConfigSerializer,
    WrittenConfigSerializer,
)
from apps.vault.drafts import ConfigDraft
from apps.vault.models import Config, ConfigType
from apps.vault.operations import Written

_ORDER = ("key", "created_at", "updated_at")


def _rows(service_id: UUID) -> Any:
    return _with_version(Config.objects.filter(service=service_id, deleted_at=None))


def _with_version(rows: Any) -> Any:
    """The configs, each with its active version, in one query."""
    return (
        rows.filter(versions__version=F("active_version"))
        .annotate(
            type=F("versions__type"),
            value_json=F("versions__value_json"),
            size_bytes=F("versions__size_bytes"),
            description=F("versions__description"),
            created_by=F("versions__created_by"),
        )
        .values_list(
            "id",
            "key",
            "type",
            "value_json",
            "active_version",
            "is_final",
            "size_bytes",
            "description",
            "created_by",
            "created_at",
            "updated_at",
            "row_version",
            "deleted_at",
            "purge_after",
            named=True,
        )
    )


def _show(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "key": row.key,
        "type": row.type,
        # As it stands: nothing is read and written again on the way.
        "value": orjson.Fragment(row.value_json),
        "version": row.active_version,
        "final": row.is_final,
        "size_bytes": row.size_bytes,
        "description": row.description,
        "created_by": row.created_by,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "row_version": row.row_version,
        "deleted_at": row.deleted_at,
        "purge_after": row.purge_after,
    }


def show_written(written: Written) -> dict[str, Any]:
    entry, version = written.entry, written.row
    return {
        "id": entry.pk,
        "key": entry.key,
        "type": version.type,
        "value": strict_json.loads(version.value_json),
        "version": version.version,
        "final": entry.is_final,
        "size_bytes": version.size_bytes,
        "description": version.description,
        "created_by": version.created_by,
        "created_at": entry.created_at,
        "updated_at": entry.updated_at,
        "row_version": entry.row_version,
        "deleted_at": entry.deleted_at,
        "purge_after": entry.purge_after,
        "warnings": list(written.warnings),
    }


def _members(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body's members as the operation takes them."""
    return {
        "type": body.get("type") or ConfigType.STRING,
        "value": body["value"],
        "description": body.get("description", ""),
        "is_final": body.get("final"),
    }


class ConfigsDoor(EntryView):
    reads: ClassVar[str] = "config:read"
    writes: ClassVar[str] = "config:write"


class ManagedConfigsView(ConfigsDoor):
    @extend_schema(
        operation_id="manage_list_configs",
        summary="A service's own configs, templates unresolved",
        parameters=[*list_parameters(orderings=_ORDER, filters=ConfigFilter), DELETED],
        responses={200: page_of(ManagedConfigSerializer), **PROBLEMS, **NOT_FOUND},
    )
    def get(self, request: Request, service_id: UUID) -> Response:
        service = self.collection(request, service_id, self.reads)
        rows: Any = Source("configs", _rows, (service.pk,))
        if asks_deleted(request):
            self.collection(request, service_id, self.writes)
            rows = _with_version(entries.restorable(Config.objects.filter(service=service)))
        return Response(
            paged(
                request,
                rows,
                _show,
                orderings=_ORDER,
                search=("key",),
                filters=ConfigFilter,
                parameters=("deleted",),
            )
        )

    @extend_schema(
        operation_id="manage_create_config",
        summary="Make a config; a key that lives is a conflict",
        parameters=[IDEMPOTENCY_KEY],
        request=ConfigCreateSerializer,
        responses={201: WrittenConfigSerializer, **PROBLEMS, **NOT_FOUND, **CONFLICT},
    )
    def post(self, request: Request, service_id: UUID) -> Response:
        service = self.collection(request, service_id, self.writes)
        body = body_of(request, ConfigCreateSerializer)

        def make() -> Answer:
            written = operations.set_config(
                actor=actor_of(request), service=service, key=body["key"], must_be_new=True, **_members(body)
            )
            return Answer(show_written(written), etag_of(written.entry))

        return created(request, asks=[(self.writes, service)], make=make)

    @extend_schema(
        operation_id="manage_change_configs",
        summary="Write and delete up to 200 configs, all or nothing",
        request=ConfigBulkSerializer,
        responses={200: ResultsSerializer, **PROBLEMS, **NOT_FOUND, **CONFLICT, **STALE},
    )
    def patch(self, request: Request, service_id: UUID) -> Response:
        service = self.collection(request, service_id, self.writes)
        body = body_of(request, ConfigBulkSerializer)

        def write(drafts: Any, deletions: Any) -> Any:
            return bulk.write_configs(
                actor=actor_of(request), service=service, writes=drafts, deletions=deletions
            )

        return all_or_nothing(body, _draft, write)


def _draft(item: Mapping[str, Any]) -> ConfigDraft:
    return ConfigDraft(key=item["key"], precondition=seen(item), **_members(item))


class ManagedConfigView(ConfigsDoor):
    @extend_schema(
        operation_id="manage_read_config",
        summary="One of a service's own configs, its template unresolved",
        responses={200: ManagedConfigSerializer, **PROBLEMS, **NOT_FOUND},
    )
    def get(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.reads)
        row = _rows(service.pk).filter(key=key).first()
        if row is None:
            raise NotFound
        return tagged(row, _show(row))

    @extend_schema(
        operation_id="manage_put_config",
        summary="Make a config, or append a version to it",
        parameters=[IF_MATCH, IF_NONE_MATCH],
        request=ConfigPutSerializer,
        responses={
            200: WrittenConfigSerializer,
            201: WrittenConfigSerializer,
            **PROBLEMS,
            **NOT_FOUND,
            **CONFLICT,
            **STALE,
        },
    )
    def put(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.writes)
        body = body_of(request, ConfigPutSerializer)
        written = operations.set_config(
            actor=actor_of(request), service=service, key=key, **_members(body), **precondition_of(request)
        )
        return tagged(written.entry, show_written(written), status=201 if written.created else 200)

    @extend_schema(
        operation_id="manage_delete_config",
        summary="Delete a config, restorable for 30 days",
        parameters=[IF_MATCH, FORCE],
        responses={204: None, **PROBLEMS, **NOT_FOUND, **CONFLICT, **STALE},
    )
    def delete(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.writes)
        operations.delete_config(
            actor=actor_of(request),
            service=service,
            key=key,
            expected_row_version=expected_version(request),
            force=forced(request),
        )
        return Response(status=204)
