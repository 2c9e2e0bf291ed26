"""Secrets in the management API. A value leaves by the reveal alone."""

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

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
from apps.core.api.pages import list_parameters, paged
from apps.core.api.problems import ProblemSerializer
from apps.core.api.requests import expected_version
from apps.core.errors import InvalidInput, NotFound
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
from apps.vault.api.filters import SecretFilter
from apps.vault.api.manage_serializers import (
    ManagedSecretSerializer,
    RemindersSerializer,
    RevealedSerializer,
    RevealSerializer,
    SecretBulkSerializer,
    SecretCreateSerializer,
    SecretPutSerializer,
    WrittenSecretSerializer,
)
from apps.vault.drafts import SecretDraft
from apps.vault.models import Secret, SecretType
from apps.vault.operations import Written
from apps.vault.reminders import NAMES as REMINDERS
from apps.vault.reminders import Reminders, set_reminders
from apps.vault.values import secret_bytes, secret_wire_value

_ORDER = ("key", "created_at", "updated_at")


def _rows(service_id: UUID) -> Any:
    return _with_version(Secret.objects.filter(service=service_id, deleted_at=None))


def _with_version(rows: Any) -> Any:
    """The secrets, each with its active version, in one query."""
    # Named values, because rows of models would cost more than all the rest of the list.
    return (
        rows.filter(versions__version=F("active_version"))
        .annotate(
            type=F("versions__type"),
            file_name=F("versions__file_name"),
            size_bytes=F("versions__size_bytes"),
            description=F("versions__description"),
            created_by=F("versions__created_by"),
        )
        .values_list(
            "id",
            "key",
            "type",
            "active_version",
            "is_final",
            "file_name",
            "size_bytes",
            "description",
            "created_by",
            "created_at",
            "updated_at",
            "row_version",
            "deleted_at",
            "purge_after",
            "expires_at",
            "rotate_by",
            named=True,
        )
    )


def _show(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "key": row.key,
        "type": row.type,
        "version": row.active_version,
        "final": row.is_final,
        "file_name": row.file_name,
        "size_bytes": row.size_bytes,
        "description": row.description,
        "created_by": row.created_by,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "row_version": row.row_version,
        "deleted_at": row.deleted_at,
        "purge_after": row.purge_after,
        "expires_at": row.expires_at,
        "rotate_by": row.rotate_by,
    }


def show_written(written: Written) -> dict[str, Any]:
    entry: Any = written.entry
    version = written.row
    return {
        "id": entry.pk,
        "key": entry.key,
        "type": version.type,
        "version": version.version,
        "final": entry.is_final,
        "file_name": version.file_name,
        "size_bytes": version.size_bytes,
        "description": version.description,
        "created_by": version.created_by,
        "created_at": entry.created_at,
        "updated_at": entry.updated_at,
        "row_version": entry.row_version,
        "deleted_at": entry.deleted_at,
        "purge_after": entry.purge_after,
        "expires_at": entry.expires_at,
        "rotate_by": entry.rotate_by,
        "warnings": list(written.warnings),
    }


def _members(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body's members as the operation takes them."""
    secret_type = body.get("type") or SecretType.TEXT
    return {
        "type": secret_type,
        "value": secret_bytes(secret_type, body["value"]),
        "file_name": body.get("file_name", ""),
        "description": body.get("description", ""),
        "is_final": body.get("final"),
        "reminders": _reminders(body),
    }


def _reminders(body: Mapping[str, Any]) -> Reminders:
    return {name: body[name] for name in REMINDERS if name in body}


class SecretsDoor(EntryView):
    reads: ClassVar[str] = "secret:list"
    writes: ClassVar[str] = "secret:write"
    reveals: ClassVar[str] = "secret:reveal"
    backend_only: ClassVar[bool] = True


class ManagedSecretsView(SecretsDoor):
    @extend_schema(
        operation_id="manage_list_secrets",
        summary="A service's own secrets: keys and metadata, never a value",
        parameters=[*list_parameters(orderings=_ORDER, filters=SecretFilter), DELETED],
        responses={200: page_of(ManagedSecretSerializer), **PROBLEMS, **NOT_FOUND},
    )
    def get(self, request: Request, service_id: UUID) -> Response:
        service = self.collection(request, service_id, self.reads)
        rows: Any = Source("secrets", _rows, (service.pk,))
        if asks_deleted(request):
            self.collection(request, service_id, self.writes)
            rows = _with_version(entries.restorable(Secret.objects.filter(service=service)))
        page = paged(
            request,
            rows,
            _show,
            orderings=_ORDER,
            search=("key",),
            filters=SecretFilter,
            parameters=("deleted",),
        )
        operations.note_secret_list(actor=actor_of(request), service=service)
        return Response(page)

    @extend_schema(
        operation_id="manage_create_secret",
        summary="Make a secret; a key that lives is a conflict",
        parameters=[IDEMPOTENCY_KEY],
        request=SecretCreateSerializer,
        responses={201: WrittenSecretSerializer, **PROBLEMS, **NOT_FOUND, **CONFLICT},
    )
    def post(self, request: Request, service_id: UUID) -> Response:
        service = self.collection(request, service_id, self.writes)
        body = body_of(request, SecretCreateSerializer)
        members = _members(body)

        def make() -> Answer:
            written = operations.set_secret(
                actor=actor_of(request), service=service, key=body["key"], must_be_new=True, **members
            )
            return Answer(show_written(written), etag_of(written.entry))

        return created(request, asks=[(self.writes, service)], make=make)

    @extend_schema(
        operation_id="manage_change_secrets",
        summary="Write and delete up to 200 secrets, all or nothing",
        request=SecretBulkSerializer,
        responses={200: ResultsSerializer, **PROBLEMS, **NOT_FOUND, **CONFLICT, **STALE},
    )
    def patch(self, request: Request, service_id: UUID) -> Response:
        service = self.collection(request, service_id, self.writes)
        body = body_of(request, SecretBulkSerializer)

        def write(drafts: Any, deletions: Any) -> Any:
            return bulk.write_secrets(
                actor=actor_of(request), service=service, writes=drafts, deletions=deletions
            )

        return all_or_nothing(body, _draft, write)


def _draft(item: Mapping[str, Any]) -> SecretDraft:
    return SecretDraft(key=item["key"], precondition=seen(item), **_members(item))


class ManagedSecretView(SecretsDoor):
    @extend_schema(
        operation_id="manage_read_secret",
        summary="One of a service's own secrets, without its value",
        responses={200: ManagedSecretSerializer, **PROBLEMS, **NOT_FOUND},
    )
    def get(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.reads)
        row = _rows(service.pk).filter(key=key).first()
        if row is None:
            raise NotFound
        return tagged(row, _show(row))

    @extend_schema(
        operation_id="manage_put_secret",
        summary="Make a secret, or append a version to it",
        parameters=[IF_MATCH, IF_NONE_MATCH],
        request=SecretPutSerializer,
        responses={
            200: WrittenSecretSerializer,
            201: WrittenSecretSerializer,
            **PROBLEMS,
            **NOT_FOUND,
            **CONFLICT,
            **STALE,
        },
    )
    def put(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.writes)
        body = body_of(request, SecretPutSerializer)
        written = operations.set_secret(
            actor=actor_of(request), service=service, key=key, **_members(body), **precondition_of(request)
        )
        return tagged(written.entry, show_written(written), status=201 if written.created else 200)

    @extend_schema(
        operation_id="manage_change_secret",
        summary="Set or clear when its owners are reminded of a secret; appends no version",
        parameters=[IF_MATCH],
        request=RemindersSerializer,
        responses={200: ManagedSecretSerializer, **PROBLEMS, **NOT_FOUND, **STALE},
    )
    def patch(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.writes)
        body = body_of(request, RemindersSerializer)
        if not body:
            raise InvalidInput.of("", "Send expires_at or rotate_by.")
        secret = set_reminders(
            actor=actor_of(request),
            service=service,
            key=key,
            reminders=_reminders(body),
            expected_row_version=expected_version(request),
        )
        return tagged(secret, _show(_with_version(Secret.objects.filter(pk=secret.pk)).get()))

    @extend_schema(
        operation_id="manage_delete_secret",
        summary="Delete a secret, restorable for 30 days",
        parameters=[IF_MATCH, FORCE],
        responses={204: None, **PROBLEMS, **NOT_FOUND, **CONFLICT, **STALE},
    )
    def delete(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.writes)
        operations.delete_secret(
            actor=actor_of(request),
            service=service,
            key=key,
            expected_row_version=expected_version(request),
            force=forced(request),
        )
        return Response(status=204)


class RevealSecretView(SecretsDoor):
    @extend_schema(
        operation_id="manage_reveal_secret",
        summary="The value of a secret's version, told to the audit log before it leaves",
        request=RevealSerializer,
        responses={200: RevealedSerializer, 503: ProblemSerializer, **PROBLEMS, **NOT_FOUND},
    )
    def post(self, request: Request, service_id: UUID, key: str) -> Response:
        service = self.item(request, service_id, key, self.reveals)
        body = body_of(request, RevealSerializer)
        secret = Secret.objects.live().filter(service=service, key=key).first()
        if secret is None:
            raise NotFound
        secret.service = service
        found = operations.reveal_secret(actor=actor_of(request), secret=secret, version=body.get("version"))
        return Response(
            {
                "key": key,
                "type": found.type,
                "version": found.version,
                "file_name": found.file_name,
                "value": secret_wire_value(found.type, found.value),
            },
            headers={"ETag": etag_of(secret)},
        )
