"""The doors of /manage as tests ask them."""

import json
from datetime import timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from apps.core.access import TOKEN_PERMISSIONS
from apps.services.models import Kind, Service
from apps.services.operations import create_service
from apps.tenancy.automation import issue_access_token
from tests.conftest import Cast

BASE = "/api/v1/manage"
NOBODY = "01a00000-0000-7000-8000-000000000000"


class Manage:
    """One person's token with `scopes`, or all that a token may carry and the person has."""

    def __init__(self, cast: Cast, name: str, *scopes: str) -> None:
        actor = cast.actor(name)
        _, text = issue_access_token(
            actor=actor,
            bearer=cast.users[name],
            name="tests",
            scopes=scopes or sorted(held(actor)),
            expires_at=timezone.now() + timedelta(days=1),
        )
        self.client = Client(headers={"Authorization": f"Bearer {text}"}, raise_request_exception=False)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        options: dict[str, Any] = {"data": b"", "content_type": ""} if method == "post" else {}
        if body is not None:
            data = body if isinstance(body, str | bytes) else json.dumps(body)
            options = {"data": data, "content_type": "application/json"}
        answer = getattr(self.client, method)(f"{BASE}/{path}", headers=sent, **options)
        if answer.status_code >= 400:
            assert answer["Content-Type"] == "application/problem+json", answer.content[:300]
            assert "Traceback" not in answer.content.decode()
        assert answer["Cache-Control"] == "private, no-store"
        return answer


def held(actor: Any) -> frozenset[str]:
    from apps.core.access import held_somewhere

    return held_somewhere(actor, TOKEN_PERMISSIONS)


def told(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def develop_service(cast: Cast, command: Any) -> Service:
    return create_service(
        actor=command, project=cast.project, environment="develop", slug="dev", kind=Kind.BACKEND
    )


def in_service(service: Service, rest: str) -> str:
    return f"services/{service.pk}/{rest}"
