"""`GET /export`: what a workload's credential reads, as one flat file."""

from collections.abc import Iterable
from typing import cast

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from apps.core.actor import Actor
from apps.core.api import requests
from apps.core.api.problems import ProblemSerializer
from apps.services.models import Kind
from apps.vault.api.views import WorkloadView
from apps.vault.formats import EXPORT_FORMATS, MEDIA_TYPES, require_export_format
from apps.vault.transfer import export_entries


class ByParameter(BaseContentNegotiation):
    """The format is a parameter; what `Accept` says decides nothing."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        return next(iter(parsers))

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class ExportView(WorkloadView):
    content_negotiation_class = ByParameter

    @extend_schema(
        operation_id="export_entries",
        summary="Configs and secrets in effect as one flat file; of a frontend configs alone",
        parameters=[OpenApiParameter("format", OpenApiTypes.STR, enum=EXPORT_FORMATS, required=True)],
        responses={
            (200, "text/plain"): OpenApiTypes.STR,
            (200, "application/json"): OpenApiTypes.OBJECT,
            (200, "application/yaml"): OpenApiTypes.OBJECT,
            **dict.fromkeys((401, 402, 403, 422, 503), ProblemSerializer),
        },
    )
    def get(self, request: Request) -> HttpResponse:
        service = self.service_of(request)
        requests.require_parameters(request, "format")
        form = require_export_format(request.query_params.get("format"))
        content = export_entries(
            actor=cast(Actor, request.user),
            service=service,
            form=form,
            reveal=True,
            # Said here, so that a frontend's export never asks for secrets.
            kinds=("secrets", "configs") if service.kind == Kind.BACKEND else ("configs",),
        )
        return HttpResponse(content, content_type=MEDIA_TYPES[form])
