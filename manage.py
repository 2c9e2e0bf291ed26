#!/usr/bin/env python
"""Nexus on the command line: `manage.py help` lists the commands."""

import os
import sys

from nexus.environment import settings_module


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings_module(sys.argv))
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
