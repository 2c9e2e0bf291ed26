"""Import, export, compare and promote in the management API."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.audit.api.manage import CONFLICT, NOT_FOUND, PROBLEMS, ManageView, actor_of, body_of, visible
from apps.core.api.problems import ProblemSerializer
from apps.services.api.entries import ExactText, KeyText
from apps.services.models import Service
from apps.vault import formats, transfer

_UNREADABLE = {503: ProblemSerializer}


def _choice(names: tuple[str, ...], **options: Any) -> serializers.ChoiceField:
    # The framework's words repeat what came: a value put into the wrong member, for one.
    told = f"Choose one of {', '.join(names)}."
    return serializers.ChoiceField(choices=names, error_messages={"invalid_choice": told}, **options)


def _keys() -> serializers.ListField:
    return serializers.ListField(child=KeyText(), required=False, max_length=formats.ENTRIES_MAX)


class EntriesImportSerializer(serializers.Serializer[dict[str, Any]]):
    format = _choice(formats.IMPORT_FORMATS)
    content = ExactText(help_text="The file: at most 1 MiB and 2,000 entries.")
    secrets = serializers.BooleanField(default=False, help_text="A flat file names secrets, not configs.")
    dry_run = serializers.BooleanField(default=False)


class EntryChangeSerializer(serializers.Serializer[dict[str, Any]]):
    kind = serializers.ChoiceField(choices=["secret", "config", "flag"])
    key = serializers.CharField()
    change = serializers.ChoiceField(choices=["create", "update", "unchanged"])
    old = serializers.JSONField(
        required=False,
        help_text="Of a config `{type, text}`, of a flag its definition; null where it is new. Secrets "
        "have neither.",
    )
    new = serializers.JSONField(required=False)


class EntryChangesSerializer(serializers.Serializer[dict[str, Any]]):
    changes = EntryChangeSerializer(many=True)
    dry_run = serializers.BooleanField()


class EntriesExportSerializer(serializers.Serializer[dict[str, Any]]):
    format = _choice(formats.EXPORT_FORMATS)
    kinds = serializers.ListField(child=_choice(("secrets", "configs")), required=False, max_length=2)
    reveal = serializers.BooleanField(
        default=False, help_text="Without it secrets and results of templates are left out."
    )


class EntriesExportedSerializer(serializers.Serializer[dict[str, Any]]):
    format = serializers.ChoiceField(choices=formats.EXPORT_FORMATS)
    content = serializers.CharField()


class EntriesCompareSerializer(serializers.Serializer[dict[str, Any]]):
    other = serializers.UUIDField(error_messages={"invalid": "Send the id of a service."})


class ComparedKindSerializer(serializers.Serializer[dict[str, Any]]):
    only_left = serializers.ListField(child=serializers.CharField())
    only_right = serializers.ListField(child=serializers.CharField())
    same = serializers.ListField(child=serializers.CharField())
    different = serializers.ListField(child=serializers.CharField())
    not_compared = serializers.ListField(
        child=serializers.CharField(), help_text="In both; whether they are equal is not for this reader."
    )
    values = serializers.DictField(help_text="Of what differs `{left, right}`. Never of a secret.")


class ComparisonSerializer(serializers.Serializer[dict[str, Any]]):
    """Left is the service of the address. Null stands for a kind that one may not read in both."""

    left = serializers.UUIDField()
    right = serializers.UUIDField()
    secrets = ComparedKindSerializer(allow_null=True)
    configs = ComparedKindSerializer(allow_null=True)
    flags = ComparedKindSerializer(allow_null=True)


class EntriesPromoteSerializer(serializers.Serializer[dict[str, Any]]):
    target = serializers.UUIDField(error_messages={"invalid": "Send the id of a service."})
    secrets = _keys()
    configs = _keys()
    flags = _keys()
    dry_run = serializers.BooleanField(default=False)


def _service(request: Request, service_id: UUID) -> Service:
    rows = Service.objects.select_related("project__tenant", "umbrella")
    return visible(request, rows, "service:read", service_id)


def _told(changes: list[transfer.Change], *, dry_run: bool) -> Response:
    return Response({"changes": [change.document() for change in changes], "dry_run": dry_run})


class ImportView(ManageView):
    @extend_schema(
        operation_id="manage_import_entries",
        summary="Write what a file names, all or nothing, or see what that would do",
        request=EntriesImportSerializer,
        responses={200: EntryChangesSerializer, **NOT_FOUND, **CONFLICT, **PROBLEMS},
    )
    def post(self, request: Request, service_id: UUID) -> Response:
        service = _service(request, service_id)
        body = body_of(request, EntriesImportSerializer)
        document = formats.read(body["format"], body["content"], secrets=body["secrets"])
        changes = transfer.import_entries(
            actor=actor_of(request), service=service, document=document, dry_run=body["dry_run"]
        )
        return _told(changes, dry_run=body["dry_run"])


class ExportView(ManageView):
    @extend_schema(
        operation_id="manage_export_entries",
        summary="What is in effect as one flat file",
        request=EntriesExportSerializer,
        responses={200: EntriesExportedSerializer, **NOT_FOUND, **_UNREADABLE, **PROBLEMS},
    )
    def post(self, request: Request, service_id: UUID) -> Response:
        service = _service(request, service_id)
        body = body_of(request, EntriesExportSerializer)
        content = transfer.export_entries(
            actor=actor_of(request),
            service=service,
            form=body["format"],
            reveal=body["reveal"],
            kinds=body.get("kinds"),
        )
        return Response({"format": body["format"], "content": content})


class CompareView(ManageView):
    @extend_schema(
        operation_id="manage_compare_services",
        summary="What two services have in effect, side by side",
        request=EntriesCompareSerializer,
        responses={200: ComparisonSerializer, **NOT_FOUND, **PROBLEMS},
    )
    def post(self, request: Request, service_id: UUID) -> Response:
        left = _service(request, service_id)
        body = body_of(request, EntriesCompareSerializer)
        right = _service(request, body["other"])
        found = transfer.compare_services(actor=actor_of(request), left=left, right=right)
        kinds = {kind: asdict(each) if each else None for kind, each in found.items()}
        return Response({"left": left.pk, "right": right.pk, **kinds})


class PromoteView(ManageView):
    @extend_schema(
        operation_id="manage_promote_entries",
        summary="Copy chosen entries in effect into another service, all or nothing",
        request=EntriesPromoteSerializer,
        responses={200: EntryChangesSerializer, **NOT_FOUND, **CONFLICT, **_UNREADABLE, **PROBLEMS},
    )
    def post(self, request: Request, service_id: UUID) -> Response:
        source = _service(request, service_id)
        body = body_of(request, EntriesPromoteSerializer)
        target = _service(request, body["target"])
        changes = transfer.promote(
            actor=actor_of(request),
            source=source,
            target=target,
            secrets=body.get("secrets", ()),
            configs=body.get("configs", ()),
            flags=body.get("flags", ()),
            dry_run=body["dry_run"],
        )
        return _told(changes, dry_run=body["dry_run"])
