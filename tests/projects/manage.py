"""Requests to the management API, as the tests of projects send them."""

import json
from datetime import timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from apps.tenancy.automation import issue_access_token
from tests.conftest import Cast

BASE = "/api/v1/manage"
NOBODY = "01a00000-0000-7000-8000-000000000000"


def token_client(cast: Cast, name: str, *scopes: str) -> Client:
    """A client with an access token of this person."""
    _, text = issue_access_token(
        actor=cast.actor(name),
        bearer=cast.users[name],
        name="tests",
        scopes=scopes,
        expires_at=timezone.now() + timedelta(days=1),
    )
    return Client(headers={"Authorization": f"Bearer {text}"})


def session_client(cast: Cast, name: str) -> Client:
    """A session without the walk through the log-in, which is tested elsewhere."""
    client = Client()
    client.force_login(cast.users[name])
    return client


def send(client: Client, method: str, path: str, body: Any = None, **headers: str) -> Any:
    data = "" if body is None else json.dumps(body)
    return client.generic(
        method.upper(), f"{BASE}/{path}", data, content_type="application/json", headers=headers
    )


def without_request_id(answer: Any) -> dict[str, Any]:
    document: dict[str, Any] = answer.json()
    document.pop("request_id", None)
    return document
