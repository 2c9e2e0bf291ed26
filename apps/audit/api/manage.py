"""What all doors of the management API share (SPEC 10)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast
from uuid import UUID

from django.conf import settings
from django.db import models
from django.utils.module_loading import import_string
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.audit.operations import record_denial
from apps.audit.targets import target_of
from apps.core.access import ScopedQuerySet, allows, require
from apps.core.actor import Actor
from apps.core.api.problems import ProblemSerializer
from apps.core.api.shapes import require_types
from apps.core.errors import InvalidInput, NotFound, NotPermitted
from apps.core.idempotency import Answer, once

M = TypeVar("M", bound=models.Model)


class ManageView(APIView):
    """A door for people and automation: a session with its CSRF token, or an access token."""

    def get_authenticators(self) -> list[BaseAuthentication]:
        # Named by the settings: who a session is, only the composition root can say.
        return [import_string(settings.NEXUS_MANAGE_AUTHENTICATION)()]

    def record_denied(self, request: Request, refusal: NotPermitted) -> None:
        # Who was refused at the door itself is nobody yet, and asking `user` would ask the door again.
        actor: object = getattr(request, "_user", None)
        if isinstance(actor, Actor):
            record_denial(actor=actor, permission=refusal.permission, target=target_of(refusal.target))

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        final = super().finalize_response(request, response, *args, **kwargs)
        final["Cache-Control"] = "private, no-store"
        final["Vary"] = "Authorization, Cookie, Origin"
        return final


def actor_of(request: Request) -> Actor:
    return cast(Actor, request.user)


def visible(
    request: Request, rows: "ScopedQuerySet[M]", permission: str, pk: UUID, *, deleted: bool = False
) -> M:
    """The row, if it exists for this actor; a soft-deleted one only if `deleted` asks.

    Raises NotFound alike for all others.
    """
    found = rows.visible_to(actor_of(request), permission, deleted=deleted).filter(pk=pk).first()
    if found is None:
        raise NotFound
    return found


def require_list(request: Request, permission: str, scope: models.Model) -> None:
    """Raise NotPermitted where the actor sees `scope` but may not read that collection of it (SPEC 3)."""
    if not allows(actor_of(request), permission, scope):
        raise NotPermitted(permission=permission, target=scope)


def body_of(
    request: Request, shape: type[serializers.Serializer[Any]], *, partial: bool = False
) -> Mapping[str, Any]:
    """The body by its shape. Raises InvalidInput, also for members that the shape does not have."""
    if not isinstance(request.data, dict):
        raise InvalidInput.of("", "Send a JSON object.")
    # Nothing at all comes as an empty form, which would fill in what it leaves out.
    serializer = shape(data=request.data or {}, partial=partial)
    unknown = sorted(request.data.keys() - serializer.fields.keys())
    if unknown:
        # Not repeated: what came in the wrong place may be a value.
        known = ", ".join(serializer.fields)
        raise InvalidInput.of("", f"The body has members that mean nothing here. Known are: {known}.")
    require_types(serializer, request.data)
    serializer.is_valid(raise_exception=True)
    return cast(Mapping[str, Any], serializer.validated_data)


class NothingSerializer(serializers.Serializer[dict[str, Any]]):
    """A body without members."""


def require_no_members(request: Request) -> None:
    """Raise InvalidInput for a body that says something to a verb which takes nothing."""
    # null says nothing.
    if request.data is not None:
        body_of(request, NothingSerializer)


def etag_of(row: Any) -> str:
    """The `row_version` in the form that If-Match takes."""
    return f'"{row.row_version}"'


def tagged(row: Any, document: Mapping[str, Any], *, status: int = 200) -> Response:
    """A row with its ETag."""
    return Response(dict(document), status=status, headers={"ETag": etag_of(row)})


def created(
    request: Request,
    *,
    asks: Sequence[tuple[str, models.Model]],
    make: Callable[[], Answer],
) -> Response:
    """Answer a create: once for each `Idempotency-Key` where one is sent.

    `asks` are the rights that a repeat needs anew, as (permission, row); `make` runs the operation and
    says what to answer.
    """
    actor = actor_of(request)
    key = request.headers.get("Idempotency-Key")
    if key is None:
        answer = make()
    else:
        answer = once(
            actor=actor,
            method=str(request.method),
            path=request.path,
            key=key,
            body=request.data,
            ask_again=lambda: _ask(actor, asks),
            make=make,
        )
    headers = {"ETag": answer.etag} if answer.etag else {}
    if answer.is_replay:
        headers["Idempotent-Replayed"] = "true"
    return Response(answer.body, status=answer.status, headers=headers)


def _ask(actor: Actor, asks: Sequence[tuple[str, models.Model]]) -> None:
    for permission, target in asks:
        require(actor, permission, target)


# What the OpenAPI schema of every door here says.
PROBLEMS = dict.fromkeys((400, 401, 403, 422), ProblemSerializer)
NOT_FOUND = {404: ProblemSerializer}
CONFLICT = {409: ProblemSerializer}
STALE = {412: ProblemSerializer}
IF_MATCH = OpenApiParameter(
    "If-Match", OpenApiTypes.STR, OpenApiParameter.HEADER, description="The ETag that was read."
)
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="Makes it once, however often it is sent within 24 hours.",
)


def page_of(item: type[serializers.Serializer[Any]]) -> Any:
    """The shape of a list of `item`."""
    name = item.__name__.removesuffix("Serializer") + "Page"
    return inline_serializer(
        name, {"results": item(many=True), "next": serializers.CharField(allow_null=True)}
    )
