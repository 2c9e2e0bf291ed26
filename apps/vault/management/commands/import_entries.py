"""`import_entries SERVICE --format F [FILE] [--dry-run] [--secrets] [--reveal]`"""

import sys
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from typing import Any

from apps.core.actor import Actor
from apps.core.errors import InvalidInput
from apps.services.addresses import service_at
from apps.vault.commands import FileCommand
from apps.vault.formats import CONTENT_MAX_BYTES, IMPORT_FORMATS, read
from apps.vault.transfer import import_entries


class Command(FileCommand):
    formats = IMPORT_FORMATS
    help = "Write what a file names into a service, all or nothing; without FILE from standard input."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="only tell what it would do")
        parser.add_argument("--secrets", action="store_true", help="a flat file names secrets, not configs")
        parser.add_argument("--reveal", action="store_true", help="tell configs' old and new texts")

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        service = service_at(options["service"])
        document = read(options["format"], _content(options["file"]), secrets=options["secrets"])
        self.note(f"The file names {len(document.secrets)} secrets and {len(document.configs)} configs.")
        changes = import_entries(actor=actor, service=service, document=document, dry_run=options["dry_run"])
        for change in changes:
            self.note(f"{change.change} {change.kind} {change.key}")
        counts = Counter(change.change for change in changes)
        sentence = (
            f"{service}: {counts['create']} created, {counts['update']} updated, "
            f"{counts['unchanged']} unchanged."
        )
        told = [change.document(with_values=options["reveal"]) for change in changes]
        return {"changes": told}, f"Dry run. {sentence}" if options["dry_run"] else sentence


def _content(file: Path | None) -> str:
    try:
        if file is None:
            data = sys.stdin.buffer.read(CONTENT_MAX_BYTES + 1)
        else:
            with file.open("rb") as opened:
                data = opened.read(CONTENT_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput.of("file", f"It cannot be read: {error.strerror}.") from None
    if len(data) > CONTENT_MAX_BYTES:
        raise InvalidInput.of("content", f"The file has more than {CONTENT_MAX_BYTES} bytes.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        # From None: the cause quotes bytes of the file.
        raise InvalidInput.of("content", "The file is not UTF-8.") from None
