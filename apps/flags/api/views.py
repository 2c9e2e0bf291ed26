"""Flags in the management API."""

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

import orjson
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
    require_no_members,
    tagged,
)
from apps.core.api.pages import list_parameters, paged
from apps.core.api.requests import expected_version
from apps.core.errors import InvalidInput, NotFound
from apps.core.idempotency import Answer
from apps.core.prepared import Source
from apps.flags import operations
from apps.flags.api.filters import FlagFilter
from apps.flags.api.serializers import (
    FlagBulkSerializer,
    FlagCreateSerializer,
    FlagPutSerializer,
    FlagSerializer,
    FlagStateSerializer,
)
from apps.flags.models import Flag
from apps.flags.operations import FlagDraft
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

_ORDER = ("key", "created_at", "updated_at")
_COLUMNS = (
    "id",
    "key",
    "type",
    "enabled",
    "starts_at",
    "ends_at",
    "is_final",
    "definition",
    "created_at",
    "updated_at",
    "row_version",
    "deleted_at",
    "purge_after",
)


def _rows(service_id: UUID) -> Any:
    return _named(Flag.objects.filter(service=service_id, deleted_at=None))


def _named(flags: Any) -> Any:
    return flags.values_list(*_COLUMNS, named=True)


def _show(row: Any) -> dict[str, Any]:
    # The definition as it stands: nothing is read and written again on the way.
    return {**_members_of(row), "definition": orjson.Fragment(row.definition)}


def _show_flag(flag: Flag) -> dict[str, Any]:
    return {**_members_of(flag), "definition": flag.wire}


def _members_of(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "key": row.key,
        "type": row.type,
        "enabled": row.enabled,
        "starts_at": row.starts_at,
        "ends_at": row.ends_at,
        "final": row.is_final,
        "definition": None,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "row_version": row.row_version,
        "deleted_at": row.deleted_at,
        "purge_after": row.purge_after,
    }


class _FlagsDoor(EntryView):
    reads: ClassVar[str] = "flag:read"
    writes: ClassVar[str] = "flag:write"


class FlagsView(_FlagsDoor):
    @extend_schema(
        operation_id="manage_list_flags",
        summary="A service's own flags with their definitions",
        parameters=[*list_parameters(orderings=_ORDER, filters=FlagFilter), DELETED],
        responses={200: page_of(FlagSerializer), **PROBLEMS, **NOT_FOUND},
    )
    def get(self, request: Request, service_id: UUID) -> Response:
        service = self.collection(request, service_id, self.reads)
        rows: Any = Source("flags", _rows, (service.pk,))
        if asks_deleted(request):
            self.collection(request, service_id, self.writes)
            rows = _named(entries.restorable(Flag.objects.filter(service=service)))
        return Response(
            paged(
                request,
                rows,
                _show,
                orderings=_ORDER,
                search=("key",),
                filters=FlagFilter,
                parameters=("deleted",),
            )
        )

    @extend_schema(
        operation_id="manage_create_flag",
        summary="Make a flag; a key that lives is a conflict",
        parameters=[IDEMPOTENCY_KEY],
        request=FlagCreateSerializer,
        responses={201: FlagSerializer, **PROBLEMS, **NOT_FOUND, **CONFLICT},
    )
    def post(self, request: Request, service_id: UUID) -> Response:
        service = self.collection(request, service_id, self.writes)
        body = body_of(request, FlagCreateSerializer)

        def make() -> Answer:
            flag = operations.set_flag(
                actor=actor_of(request),
                service=service,
                key=body["key"],
                definition=body["definition"],
                is_final=body.get("final"),
                must_be_new=True,
            )
            return Answer(_show_flag(flag), etag_of(flag))

        return created(request, asks=[(self.writes, service)], make=make)

    @extend_schema(
        operation_id="manage_change_flags",
        summary="Write and delete up to 200 flags, all or nothing",
        request=FlagBulkSerializer,
        responses={200: ResultsSerializer, **PROBLEMS, **NOT_FOUND, **CONFLICT, **STALE},
    )
    def patch(self, request: Request, service_id: UUID) -> Response:
        service = self.collection(request, service_id, self.writes)
        body = body_of(request, FlagBulkSerializer)

        def write(drafts: Any, deletions: Any) -> Any:
            return operations.write_flags(
                actor=actor_of(request), service=service, writes=drafts, deletions=deletions
            )

        return all_or_nothing(body, _draft, write)


def _draft(item: Mapping[str, Any]) -> FlagDraft:
    return FlagDraft(item["key"], item["definition"], item.get("final"), seen(item))


class FlagView(_FlagsDoor):
    @extend_schema(
        operation_id="manage_read_flag",
        summary="One of a service's own flags",
        responses={200: FlagSerializer, **PROBLEMS, **NOT_FOUND},
    )
    def get(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.reads)
        row = _rows(service.pk).filter(key=key).first()
        if row is None:
            raise NotFound
        return tagged(row, _show(row))

    @extend_schema(
        operation_id="manage_put_flag",
        summary="Make a flag, or replace its definition",
        parameters=[IF_MATCH, IF_NONE_MATCH],
        request=FlagPutSerializer,
        responses={
            200: FlagSerializer,
            201: FlagSerializer,
            **PROBLEMS,
            **NOT_FOUND,
            **CONFLICT,
            **STALE,
        },
    )
    def put(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.writes)
        body = body_of(request, FlagPutSerializer)
        written = operations.put_flag(
            actor=actor_of(request),
            service=service,
            key=key,
            definition=body["definition"],
            is_final=body.get("final"),
            **precondition_of(request),
        )
        return tagged(written.flag, _show_flag(written.flag), status=201 if written.created else 200)

    @extend_schema(
        operation_id="manage_change_flag",
        summary="Switch a flag on or off, and set its schedule",
        parameters=[IF_MATCH],
        request=FlagStateSerializer,
        responses={200: FlagSerializer, **PROBLEMS, **NOT_FOUND, **STALE},
    )
    def patch(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.writes)
        body = body_of(request, FlagStateSerializer)
        if not body:
            raise InvalidInput.of("", "Send enabled, starts_at or ends_at.")
        flag = operations.set_flag_state(
            actor=actor_of(request),
            service=service,
            key=key,
            must_exist=True,
            expected_row_version=expected_version(request),
            **body,
        )
        return tagged(flag, _show_flag(flag))

    @extend_schema(
        operation_id="manage_delete_flag",
        summary="Delete a flag, restorable for 30 days",
        parameters=[IF_MATCH, FORCE],
        responses={204: None, **PROBLEMS, **NOT_FOUND, **CONFLICT, **STALE},
    )
    def delete(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.writes)
        operations.delete_flag(
            actor=actor_of(request),
            service=service,
            key=key,
            expected_row_version=expected_version(request),
            force=forced(request),
        )
        return Response(status=204)


class RestoreFlagView(_FlagsDoor):
    @extend_schema(
        operation_id="manage_restore_flag",
        summary="Bring a deleted flag back",
        parameters=[IF_MATCH],
        request=None,
        responses={200: FlagSerializer, **PROBLEMS, **NOT_FOUND, **CONFLICT, **STALE},
    )
    def post(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.writes)
        require_no_members(request)
        flag = operations.restore_flag(
            actor=actor_of(request),
            service=service,
            key=key,
            expected_row_version=expected_version(request),
        )
        return tagged(flag, _show_flag(flag))
