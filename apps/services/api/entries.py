"""What the doors of secrets, configs and flags share: which service, who may, and many at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.audit.api.manage import ManageView, actor_of
from apps.core import prepared
from apps.core.access import refusal, rights_of, with_rights
from apps.core.actor import Actor
from apps.core.api import requests
from apps.core.api.shapes import KEY_SCHEMA, ROW_VERSION_MAX
from apps.core.errors import InvalidInput, NotFound, ServiceKindMismatch
from apps.core.names import is_entry_key
from apps.services.bulk import ITEMS_MAX, Deletion, Result, each
from apps.services.entries import Precondition
from apps.services.models import Kind, Service

# What tells one actor from another to no rule: who it is, where it comes from, since when it is there.
_IDENTITY = {"id", "name", "origin", "user_id", "present_at", "tenant_roles", "project_roles"}


def _shape_of(actor: Actor) -> tuple[object, ...]:
    """All of the actor that a rule may look at besides the ids that it is given: a field that `Actor`
    gets tomorrow is part of it without a thought."""
    told = tuple(getattr(actor, each.name) for each in fields(actor) if each.name not in _IDENTITY)
    return (*told, actor.user_id is None)


class EntryView(ManageView):
    """A door for the entries of one service.

    The service is there for whoever may see it or anything of this kind in it. A collection that one
    may not read is 403, an item in it 404, whether it exists or not and whatever the method (SPEC 3).
    """

    reads: ClassVar[str]
    writes: ClassVar[str]
    reveals: ClassVar[str] = ""
    backend_only: ClassVar[bool] = False

    def _service(
        self, request: Request, service_id: UUID, permissions: Sequence[str]
    ) -> tuple[Service | None, frozenset[str]]:
        """The live service, and which of `permissions` the actor has there. One query."""
        actor = actor_of(request)
        tenants, projects = tuple(actor.tenant_roles), tuple(actor.project_roles)
        roles = tuple(actor.tenant_roles.values()), tuple(actor.project_roles.values())

        def build(service_id: UUID, tenants: tuple[UUID, ...], projects: tuple[UUID, ...]) -> Any:
            asks = replace(
                actor,
                tenant_roles=dict(zip(tenants, roles[0], strict=True)),
                project_roles=dict(zip(projects, roles[1], strict=True)),
            )
            services = Service.objects.live().select_related("project__tenant").filter(pk=service_id)
            return with_rights(services, asks, permissions)

        if actor.may_hold_grants:
            rows = list(build(service_id, tenants, projects))
        else:
            name = "services.entries", tuple(permissions), _shape_of(actor), roles
            rows = prepared.fetch(name, build, service_id, tenants, projects)
        found = rows[0] if rows else None
        return found, frozenset() if found is None else rights_of(found, permissions)

    def _held(self, request: Request, service_id: UUID, permission: str) -> tuple[Service, frozenset[str]]:
        # The one right first: each further one makes the query dearer, and most who ask have it.
        found, held = self._service(request, service_id, [permission])
        if found is not None and not held:
            rest = {"service:read", self.reads, self.writes, self.reveals} - {"", permission}
            found, held = self._service(request, service_id, sorted(rest))
        if found is None or not held:
            raise NotFound
        if self.backend_only and found.kind != Kind.BACKEND:
            raise ServiceKindMismatch
        return found, held

    def collection(self, request: Request, service_id: UUID, permission: str) -> Service:
        """The service, for something with all its entries of this kind."""
        service, held = self._held(request, service_id, permission)
        if permission not in held:
            raise refusal(actor_of(request), permission, service)
        return service

    def item(self, request: Request, service_id: UUID, key: str, permission: str) -> Service:
        """The service, for something with its entry `key`."""
        service, held = self._held(request, service_id, permission)
        if permission in held and (is_entry_key(key) or request.method == "PUT"):
            return service
        # Who may read the list sees that the right is missing, and others nothing.
        if permission not in held and self.reads in held:
            raise refusal(actor_of(request), permission, service)
        raise NotFound


def precondition_of(request: Request) -> Mapping[str, Any]:
    """What If-Match and If-None-Match ask of a write, as keywords of the operations."""
    return {
        "expected_row_version": requests.expected_version(request),
        "only_create": requests.only_create(request),
        "must_exist": requests.must_exist(request),
    }


def forced(request: Request) -> bool:
    """Whether `?force=true` asks to delete what templates still refer to."""
    requests.require_parameters(request, "force")
    value = request.query_params.get("force", "false")
    if value not in ("true", "false"):
        raise InvalidInput.of("force", "Send force=true, or leave it out.")
    return value == "true"


class ExactSerializer(serializers.Serializer[dict[str, Any]]):
    """A shape inside a body that refuses members it does not have, without repeating them."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping) and data.keys() - self.fields.keys():
            known = ", ".join(self.fields)
            raise serializers.ValidationError({"non_field_errors": [f"Known members are: {known}."]})
        return super().to_internal_value(data)


class ExactText(serializers.CharField):
    """A string as it came: nothing is trimmed, and a number is not a string."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_blank=True, trim_whitespace=False, **options)
        # A secret may hold any character, U+0000 included: it is stored as bytes.
        self.validators = []

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(data)


@extend_schema_field(KEY_SCHEMA)
class KeyText(ExactText):
    """A key as it came; that it is one, the operation asks."""


class DeletionSerializer(ExactSerializer):
    key = KeyText()
    row_version = serializers.IntegerField(required=False, min_value=1, max_value=ROW_VERSION_MAX)


class ResultSerializer(serializers.Serializer[dict[str, Any]]):
    key = serializers.CharField()
    version = serializers.IntegerField(allow_null=True)
    row_version = serializers.IntegerField(min_value=1)
    created = serializers.BooleanField()


class ResultsSerializer(serializers.Serializer[dict[str, Any]]):
    results = ResultSerializer(many=True)


def items_of(shape: Any) -> Any:
    """Up to 200 of `shape`, or none at all."""
    return shape(many=True, required=False, max_length=ITEMS_MAX)


def seen(item: Mapping[str, Any]) -> Precondition:
    """What an item of a bulk write asks to find: the `row_version` that was seen, if it names one."""
    return Precondition(row_version=item.get("row_version"))


def all_or_nothing(
    body: Mapping[str, Any],
    draft: Callable[[Mapping[str, Any]], Any],
    write: Callable[[Sequence[Any], Sequence[Deletion]], Sequence[Result]],
) -> Response:
    """Answer a bulk write: `draft` makes of each item what `write` takes."""
    deletions = [Deletion(item["key"], item.get("row_version")) for item in body.get("delete", ())]
    results = write(each("write", body.get("write", ()), draft), deletions)
    return Response(
        {
            "results": [
                {
                    "key": result.key,
                    "version": result.version,
                    "row_version": result.row_version,
                    "created": result.created,
                }
                for result in results
            ]
        }
    )


def asks_deleted(request: Request) -> bool:
    """Whether `?deleted=true` asks for what was deleted and can be restored, in place of the live."""
    asked = request.query_params.get("deleted", "false")
    if asked not in ("true", "false"):
        raise InvalidInput.of("deleted", "Give true or false.")
    return asked == "true"


# What the OpenAPI schema of every door here says.
DELETED = OpenApiParameter(
    "deleted",
    OpenApiTypes.BOOL,
    description="true: those that were deleted and can be restored, for those who may write.",
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match", OpenApiTypes.STR, OpenApiParameter.HEADER, description="* creates and never overwrites."
)
FORCE = OpenApiParameter(
    "force", OpenApiTypes.BOOL, description="Delete it although templates still refer to it."
)
