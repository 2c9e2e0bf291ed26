"""Fill a new installation for the benchmark, in one process: `python -m tests.load.seed --out FILE`.

Nexus is filled through its own commands (SPEC 13), called in process: a hundred entries by a hundred
processes would take minutes of interpreter starts. Only the entries of services that nobody reads are
copied by row. The file named by --out receives `{"keys": [...]}`, the API keys of the warm services.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TENANT, PROJECT, ENVIRONMENT = "acme", "bench", "production"
# A service of a hundred entries, of all three sorts: each is held in memory in a form of its own.
CONFIGS, SECRETS, FLAGS = 60, 30, 10
ENTRIES = CONFIGS + SECRETS + FLAGS


@dataclass(frozen=True)
class Entry:
    kind: str
    key: str
    value: str


def _snapshot(slug: str, entries: Iterable[Entry]) -> bytes:
    """What the server will send for these entries (SPEC 8), to know its size beforehand."""
    members: dict[str, dict[str, Any]] = {"secret": {}, "config": {}, "flag": {}}
    for entry in entries:
        if entry.kind == "flag":
            shown: dict[str, Any] = {"enabled": True, "variant": "on", "value": True, "source": "service"}
        else:
            kind = "text" if entry.kind == "secret" else "string"
            shown = {"type": kind, "value": entry.value, "version": 1, "source": "service"}
        members[entry.kind][entry.key] = shown
    service = {"id": "0" * 36, "slug": slug, "kind": "backend", "environment": ENVIRONMENT}
    snapshot = {
        "service": {**service, "project": PROJECT, "tenant": TENANT},
        "revision": ENTRIES + 1,
        "edge": 0,
        "secrets": members["secret"],
        "configs": members["config"],
        "flags": members["flag"],
        "errors": [],
    }
    return json.dumps(snapshot, separators=(",", ":")).encode()


def entries_of(slug: str, body_bytes: int) -> list[Entry]:
    """A hundred entries whose snapshot is `body_bytes` long; no two services hold the same values."""

    def filled(length: int, last: int) -> Iterator[Entry]:
        valued = [("config", f"c.{n:03}") for n in range(CONFIGS)]
        valued += [("secret", f"s.{n:03}") for n in range(SECRETS)]
        for index, (kind, key) in enumerate(valued):
            digest = hashlib.sha256(f"{slug} {key}".encode()).hexdigest()
            wanted = last if index == len(valued) - 1 else length
            yield Entry(kind, key, (digest * (wanted // len(digest) + 1))[:wanted])
        for n in range(FLAGS):
            yield Entry("flag", f"f.{n:03}", "")

    count = CONFIGS + SECRETS
    room = body_bytes - len(_snapshot(slug, filled(0, 0)))
    length = max(1, room // count)
    return list(filled(length, max(1, room - length * (count - 1))))


def call(command: str, *arguments: str) -> dict[str, Any]:
    """Run one of Nexus's commands in this process and return the JSON object that it prints."""
    from django.core.management import call_command

    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            call_command(command, *arguments, "--json", stdout=printed)
    except SystemExit as ended:
        if ended.code:
            sys.exit(f"{command} {' '.join(arguments[:2])} was refused: {printed.getvalue()}")
    answer = json.loads(printed.getvalue() or "{}")
    return dict(answer)


def seed(*, services: int, warm: int, body_bytes: int) -> list[str]:
    """Make `services` services with a key and a hundred entries each; return the keys of the first `warm`.

    This function and `copy_configs` are all that knows Nexus from inside.
    """
    call("create_operator", "bench@example.com")
    call("create_tenant", TENANT, "--owner", "bench@example.com")
    call("create_project", f"{TENANT}/{PROJECT}", "--tier", "xl")
    slugs = [f"service-{number:04}" for number in range(services)]
    ids, keys = [], []
    for slug in slugs:
        path = f"{TENANT}/{PROJECT}/{ENVIRONMENT}/{slug}"
        ids.append(str(call("create_service", path, "--kind", "backend")["id"]))
        keys.append(str(call("issue_key", path)["key"]))
    for number, slug in enumerate(slugs[:warm], start=1):
        _set_entries(slug, entries_of(slug, body_bytes))
        if number % 10 == 0:
            print(f"seeded {number} of {warm} services entry by entry", flush=True)
    if services > warm:
        # The first of the others is written as every entry is; the rest copy its rows.
        template = slugs[warm]
        configs = [
            Entry("config", f"c.{n:03}", hashlib.sha256(f"{template} {n}".encode()).hexdigest()[:12])
            for n in range(ENTRIES)
        ]
        _set_entries(template, configs)
        copy_configs(ids[warm], ids[warm + 1 :])
        print(f"copied {ENTRIES} entries to each of {services - warm - 1} services", flush=True)
    return keys[:warm]


def _set_entries(slug: str, entries: Iterable[Entry]) -> None:
    path = f"{TENANT}/{PROJECT}/{ENVIRONMENT}/{slug}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "flag.json"
        for entry in entries:
            if entry.kind == "flag":
                file.write_text(json.dumps(_flag(entry.key)), encoding="utf-8")
                call("set_flag", path, entry.key, "--definition", str(file))
            else:
                call(f"set_{entry.kind}", path, entry.key, "--value", entry.value)


def _flag(key: str) -> dict[str, Any]:
    return {"key": key, "type": "boolean", "enabled": True, "default": "on", "off": "off"}


def copy_configs(template_id: str, service_ids: list[str]) -> None:
    """Give each service a copy of the template's configs with their versions, row by row.

    100,000 entries through the operation would take a quarter of an hour. Rows can be copied because
    configs are not sealed: a secret's additional data names its service, and a copy would not open.
    Nothing reads these services, so the changes and events that an operation leaves are not missed.
    """
    from apps.vault.models import Config, ConfigVersion

    configs = list(Config.objects.filter(service_id=template_id))
    versions = {row.config_id: row for row in ConfigVersion.objects.filter(config__in=configs)}
    if len(configs) != ENTRIES or len(versions) != ENTRIES:
        sys.exit(f"the template has {len(configs)} configs with {len(versions)} versions, not {ENTRIES}")
    for service_id in service_ids:
        copies, copied_versions = [], []
        for config in configs:
            copies.append(_copy(config, service_id=service_id))
            copied_versions.append(_copy(versions[config.pk], config_id=copies[-1].pk))
        Config.objects.bulk_create(copies)
        ConfigVersion.objects.bulk_create(copied_versions)


def _copy(row: Any, **changes: Any) -> Any:
    """An unsaved copy of a row under an id of its own."""
    values = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    return type(row)(**{**values, "id": row._meta.pk.get_default(), **changes})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--services", type=int, default=1)
    parser.add_argument("--warm", type=int, default=1)
    parser.add_argument("--body-bytes", type=int, default=8192)
    chosen = parser.parse_args()

    import django

    from nexus.environment import settings_module

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings_module())
    django.setup()
    keys = seed(
        services=chosen.services, warm=min(chosen.warm, chosen.services), body_bytes=chosen.body_bytes
    )
    chosen.out.write_text(json.dumps({"keys": keys}), encoding="utf-8")


if __name__ == "__main__":
    main()
