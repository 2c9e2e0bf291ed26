"""People who have an account here, in the management API: for superusers in a session."""

from typing import Any
from uuid import UUID

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
    ManageView,
    actor_of,
    body_of,
    created,
    etag_of,
    page_of,
    require_no_members,
    tagged,
)
from apps.core.access import allows_here, require_here
from apps.core.api.pages import list_parameters, paged
from apps.core.api.requests import expected_version
from apps.core.errors import NotFound
from apps.core.idempotency import Answer
from apps.tenancy import accounts, operations
from apps.tenancy.api.filters import OperatorFilter
from apps.tenancy.api.serializers import (
    OperatorCreatedSerializer,
    OperatorCreateSerializer,
    OperatorDeactivatedSerializer,
    OperatorSerializer,
)
from apps.tenancy.models import User

_ORDER = ("email", "name", "created_at")


def _show_operator(user: User) -> dict[str, Any]:
    return {
        "id": user.pk,
        "email": user.email,
        "name": user.name,
        "is_active": user.is_active,
        "is_superuser": user.is_superuser,
        "last_login": user.last_login,
        "created_at": user.created_at,
        "row_version": user.row_version,
    }


def _operator(request: Request, operator_id: UUID) -> User:
    """The person, for who manages accounts; to others there is none. Service accounts are no people."""
    if not allows_here(actor_of(request), "account:manage"):
        raise NotFound
    found = User.objects.filter(pk=operator_id, is_service_account=False).first()
    if found is None:
        raise NotFound
    return found


class OperatorsView(ManageView):
    @extend_schema(
        operation_id="manage_list_operators",
        summary="Everybody who has an account here",
        parameters=list_parameters(orderings=_ORDER, filters=OperatorFilter),
        responses={200: page_of(OperatorSerializer), **PROBLEMS},
    )
    def get(self, request: Request) -> Response:
        require_here(actor_of(request), "account:manage")
        return Response(
            paged(
                request,
                User.objects.filter(is_service_account=False),
                _show_operator,
                orderings=_ORDER,
                search=("email", "name"),
                filters=OperatorFilter,
            )
        )

    @extend_schema(
        operation_id="manage_create_operator",
        summary="Make an account; its password is in this answer alone",
        parameters=[IDEMPOTENCY_KEY],
        request=OperatorCreateSerializer,
        responses={201: OperatorCreatedSerializer, **CONFLICT, **PROBLEMS},
    )
    def post(self, request: Request) -> Response:
        # Asked of a repeat too.
        require_here(actor_of(request), "account:manage")
        body = body_of(request, OperatorCreateSerializer)

        def make() -> Answer:
            user, password = operations.create_operator(
                actor=actor_of(request),
                email=body["email"],
                name=body.get("name", ""),
                superuser=body.get("is_superuser", False),
            )
            return Answer(_show_operator(user), etag_of(user), shown_once={"password": password})

        return created(request, asks=[], make=make)


class OperatorView(ManageView):
    @extend_schema(
        operation_id="manage_read_operator",
        summary="One person",
        responses={200: OperatorSerializer, **NOT_FOUND, **PROBLEMS},
    )
    def get(self, request: Request, operator_id: UUID) -> Response:
        user = _operator(request, operator_id)
        return tagged(user, _show_operator(user))


class OperatorDeactivateView(ManageView):
    @extend_schema(
        operation_id="manage_deactivate_operator",
        summary="Stop a person at once, sessions and tokens included",
        parameters=[IF_MATCH],
        request=None,
        responses={200: OperatorDeactivatedSerializer, **NOT_FOUND, **STALE, **PROBLEMS},
    )
    def post(self, request: Request, operator_id: UUID) -> Response:
        require_no_members(request)
        user, left = accounts.deactivate_operator(
            actor=actor_of(request),
            user=_operator(request, operator_id),
            expected_row_version=expected_version(request),
        )
        return tagged(user, {**_show_operator(user), "left_without_owner": left})


class OperatorReactivateView(ManageView):
    @extend_schema(
        operation_id="manage_reactivate_operator",
        summary="Let a person in again",
        parameters=[IF_MATCH],
        request=None,
        responses={200: OperatorSerializer, **NOT_FOUND, **STALE, **PROBLEMS},
    )
    def post(self, request: Request, operator_id: UUID) -> Response:
        require_no_members(request)
        user = accounts.reactivate_operator(
            actor=actor_of(request),
            user=_operator(request, operator_id),
            expected_row_version=expected_version(request),
        )
        return tagged(user, _show_operator(user))
