"""The one authentication backend: passwords as Django checks them, rights as our tables give them."""

from typing import Any

from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.hashers import make_password
from django.db import models
from django.http import HttpRequest

from apps.core import access
from apps.projects.memberships import operator_actor
from apps.tenancy.models import User


class MembershipBackend(BaseBackend):
    """Answers `user.has_perm("secret:reveal", service)` by the rule that `visible_to` follows."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **_: Any
    ) -> User | None:
        if not username or not password:
            return None
        user = User.objects.filter(email=username.strip().lower()).first()
        if user is None:
            # The same work as for a wrong password: time must not tell who has an account.
            make_password(password)
            return None
        return user if user.check_password(password) and user.is_active else None

    def get_user(self, user_id: Any) -> User | None:
        return User.objects.filter(pk=user_id, is_active=True).first()

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        if not isinstance(user_obj, User) or not user_obj.is_active:
            return False
        actor = operator_actor(user_obj)
        if isinstance(obj, models.Model):
            return access.allows(actor, perm, obj)
        return access.allows_here(actor, perm)
