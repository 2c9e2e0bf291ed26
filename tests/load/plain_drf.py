"""The list that REST framework makes of a model by itself, as a yardstick: no rights, no audit, no joins.

A ModelViewSet over the secrets of one service with a ModelSerializer of the columns that the model has, in
the settings that `startproject` writes, on the database of the installation that is measured.
"""

import os
from typing import Any
from uuid import UUID

from nexus.environment import settings_module

os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings_module())

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler

django.setup()
# What `django-admin startproject` puts there.
settings.MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
settings.ROOT_URLCONF = "tests.load.plain_drf"
application = WSGIHandler()

from django.urls import path  # noqa: E402
from rest_framework import serializers, viewsets  # noqa: E402
from rest_framework.pagination import LimitOffsetPagination  # noqa: E402
from rest_framework.parsers import JSONParser  # noqa: E402
from rest_framework.renderers import JSONRenderer  # noqa: E402

from apps.vault.models import Secret  # noqa: E402

_SERVICE = UUID(os.environ["NEXUS_BENCH_SERVICE"])


class PlainSerializer(serializers.ModelSerializer[Secret]):
    class Meta:
        model = Secret
        fields = ("id", "key", "active_version", "is_final", "created_at", "updated_at", "row_version")


class PlainPagination(LimitOffsetPagination):
    default_limit = 100


class PlainViewSet(viewsets.ModelViewSet[Secret]):
    queryset = Secret.objects.filter(service=_SERVICE, deleted_at=None).order_by("key")
    serializer_class = PlainSerializer
    pagination_class = PlainPagination
    authentication_classes = ()
    permission_classes = ()
    parser_classes = (JSONParser,)
    renderer_classes = (JSONRenderer,)


_view: Any = PlainViewSet.as_view({"get": "list"})
urlpatterns = [path("secrets", _view)]
