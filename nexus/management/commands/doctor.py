"""`doctor`: what is wrong with this installation, and what to do about it."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from apps.core import keys, triggers
from apps.core.actor import Actor
from apps.core.commands import VERIFICATION_FAILED, NexusCommand
from apps.core.errors import NexusError

# Signed times of workloads are given 30 s of leeway (SPEC 9); a clock should be far nearer.
CLOCK_TOLERANCE_SECONDS = 5.0


class Command(NexusCommand):
    help = "Check settings, database, Redis, root key and clock."

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        findings = [{"check": check, "finding": finding} for check, finding in _findings()]
        if not findings:
            return {"findings": []}, "Everything is in order."
        lines = [f"{each['check']}: {each['finding']}" for each in findings]
        return {"findings": findings}, "\n".join(lines)

    def exit_code(self, result: dict[str, Any]) -> int:
        return VERIFICATION_FAILED if result["findings"] else 0


def _findings() -> Iterator[tuple[str, str]]:
    yield from _of_settings()
    try:
        keys.root_keys()
    except ImproperlyConfigured as error:
        yield "root key", str(error)
    try:
        yield from _of_database()
    except DatabaseError as error:
        yield "database", f"It does not answer ({type(error).__name__}). Check DATABASE_URL and that it runs."
    if settings.REDIS_URL:
        yield from _of_redis()


def _of_settings() -> Iterator[tuple[str, str]]:
    if settings.NEXUS_ENV != "production" and urlsplit(settings.NEXUS_PUBLIC_URL).scheme != "https":
        host = settings.NEXUS_BIND.rsplit(":", 1)[0]
        if host not in ("127.0.0.1", "localhost", "[::1]"):
            yield "settings", f"NEXUS_BIND is {host} without https: keys would cross the network in clear."
    mode = settings.NEXUS_VAR.stat().st_mode & 0o777 if settings.NEXUS_VAR.exists() else 0o700
    if mode & 0o077:
        yield "settings", f"NEXUS_VAR is readable by others ({mode:o}). Run chmod 700 on it."


def _of_database() -> Iterator[tuple[str, str]]:
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        yield "database", "Migrations are missing. Run `manage.py migrate`."
        return
    gone = triggers.missing()
    if gone:
        yield "database", f"Triggers are missing ({', '.join(gone)}). Run `manage.py migrate`."
    try:
        keys.require_all_root_keys()
    except (NexusError, ImproperlyConfigured) as error:
        yield "root key", str(error)
    if connection.vendor == "postgresql":
        before = time.time()
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            theirs: datetime = cursor.fetchone()[0]
        off = theirs.timestamp() - (before + time.time()) / 2
        if abs(off) > CLOCK_TOLERANCE_SECONDS:
            yield "clock", f"This clock and the database's differ by {off:.0f} s. Run a time service on both."


def _of_redis() -> Iterator[tuple[str, str]]:
    try:
        redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=2).ping()
    except redis.RedisError as error:
        yield (
            "redis",
            f"It does not answer ({type(error).__name__}). Changes then travel by a poll each second.",
        )
