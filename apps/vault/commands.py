"""What the commands that move files share."""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apps.core.commands import NexusCommand
from apps.services.addresses import FORM


class FileCommand(NexusCommand):
    """`SERVICE --format F [FILE]`, in this order and in any other."""

    formats: Sequence[str]

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        # argparse settles optional arguments at the first option, and would not know a FILE behind it.
        parser.parse_args = parser.parse_intermixed_args
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("service", metavar=FORM)
        parser.add_argument("file", metavar="FILE", nargs="?", type=Path)
        parser.add_argument("--format", required=True, choices=self.formats)
