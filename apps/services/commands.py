"""What the commands that write entries share."""

from argparse import ArgumentParser, BooleanOptionalAction

from apps.services.addresses import FORM


def add_entry_arguments(parser: ArgumentParser, types: list[str] | None = None) -> None:
    """`SERVICE KEY [--type T] [--final]`"""
    parser.add_argument("service", metavar=FORM)
    parser.add_argument("key")
    if types:
        parser.add_argument("--type", choices=types, help="by default what the entry is already")
    parser.add_argument(
        "--final",
        action=BooleanOptionalAction,
        default=None,
        help="of an umbrella's entry: children cannot replace it",
    )


def add_delete_arguments(parser: ArgumentParser) -> None:
    """`SERVICE KEY [--force]`"""
    parser.add_argument("service", metavar=FORM)
    parser.add_argument("key")
    parser.add_argument("--force", action="store_true", help="also where templates refer to it")
