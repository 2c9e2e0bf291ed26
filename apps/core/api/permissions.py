"""The door asks only whether somebody is there; rights are asked by operations."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from apps.core.actor import Actor
from apps.core.errors import AuthenticationRequired


class ActorRequired(BasePermission):
    def has_permission(self, request: Request, view: Any) -> bool:
        actor: object = request.user
        if not isinstance(actor, Actor):
            raise AuthenticationRequired
        return True
