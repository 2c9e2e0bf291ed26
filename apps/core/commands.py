"""What all commands share: the actor, `--json`, exit codes, and where a value comes from (SPEC 13)."""

import getpass
import json
import sys
from abc import abstractmethod
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from apps.core.actor import Actor, Origin
from apps.core.errors import InvalidInput, NexusError, problem
from apps.core.ids import uuid7

REFUSED, VERIFICATION_FAILED = 1, 3


class NexusCommand(BaseCommand):
    """A door on the host. With `--json` standard output is one object and nothing else."""

    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        return parser

    @abstractmethod
    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """Do it; return the JSON object and one sentence for a person."""

    def exit_code(self, result: dict[str, Any]) -> int:
        return 0

    def handle(self, *args: Any, **options: Any) -> None:
        request_id = str(uuid7())
        actor = Actor.command(getpass.getuser()).at(Origin(request_id=request_id))
        try:
            result, sentence = self.operate(actor, options)
        except NexusError as error:
            if options["json"]:
                self.stdout.write(json.dumps(problem(error, request_id=request_id)))
            else:
                self.stderr.write(error.detail)
            sys.exit(REFUSED)
        self.stdout.write(json.dumps(result) if options["json"] else sentence)
        code = self.exit_code(result)
        if code:
            sys.exit(code)

    def note(self, sentence: str) -> None:
        """Say something beside the result: never on standard output."""
        self.stderr.write(sentence)


def add_value_arguments(parser: ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--value", help="the value; others on this machine may see it while this runs")
    source.add_argument("--file", type=Path, help="read the value from this file, byte for byte")


def value_from(options: dict[str, Any]) -> bytes:
    """The value by `--value`, `--file`, or standard input.

    One line break at the end of standard input is dropped, because `echo` adds it and nobody's
    password ends with it; a file is taken byte for byte.
    """
    if options["value"] is not None:
        return str(options["value"]).encode("utf-8", "surrogateescape")
    if options["file"] is not None:
        try:
            return bytes(options["file"].read_bytes())
        except OSError as error:
            raise InvalidInput.of("file", f"It cannot be read: {error.strerror}.") from None
    data = sys.stdin.buffer.read()
    return data.removesuffix(b"\n").removesuffix(b"\r")


def parse_time(text: str) -> datetime:
    """A time in RFC 3339 with an offset, for argparse."""
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise ValueError("a time needs an offset, as in 2026-01-31T12:00:00Z")
    return value.astimezone(UTC)
