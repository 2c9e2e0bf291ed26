"""Fail if a file that git holds, or would take, contains a credential. The credential is not printed."""

import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

# Larger files are data, and no one pastes a key into them.
MAX_BYTES = 5 * 1024 * 1024


def is_nexus_key(found: re.Match[str]) -> bool:
    """An API key ends in the CRC-32 of all before it, so that sixty-four zeros in an example are none."""
    key = found[0]
    return zlib.crc32(key[:-8].encode()) == int(key[-8:], 16)


def always(found: re.Match[str]) -> bool:
    return True


PATTERNS: list[tuple[str, re.Pattern[str], Callable[[re.Match[str]], bool]]] = [
    ("private key", re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"), always),
    ("Nexus API key", re.compile(r"\b[sp]k_live_[0-9a-f]{64}\b"), is_nexus_key),
    ("Nexus access token", re.compile(r"\bnxp_[0-9a-f]{64}\b"), always),
    ("Nexus root key", re.compile(r"\bNEXUS_ROOT_KEY=[\"']?[A-Za-z0-9_-]{43}\b"), always),
    # Amazon's own documentation uses identifiers that end in EXAMPLE.
    ("AWS access key", re.compile(r"\b(?:AKIA|ASIA)(?![A-Z0-9]{9}EXAMPLE)[A-Z2-7]{16}\b"), always),
    (
        "AWS secret key",
        re.compile(
            r"(?i)aws_?secret_?access_?key[\"']?\s*[:=]\s*[\"']?(?![a-z0-9/+]{30}EXAMPLEKEY)[a-z0-9/+]{40}\b"
        ),
        always,
    ),
]


def findings(path: Path) -> Iterator[tuple[int, str]]:
    """Line (from 1; 0 is the whole file) and kind of each credential in `path`."""
    if path.name == ".env" or (path.name.startswith(".env.") and path.name != ".env.example"):
        yield 0, "environment file"
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES:
        return
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        for kind, pattern, is_credential in PATTERNS:
            if any(is_credential(found) for found in pattern.finditer(line)):
                yield number, kind


def main() -> int:
    # With the files not yet added: afterwards is too late.
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        stdout=subprocess.PIPE,
        check=True,
    )
    names = sorted(set(listed.stdout.decode().split("\0")) - {""})
    count = 0
    for name in names:
        for number, kind in findings(Path(name)):
            print(f"{name}:{number}: {kind}")
            count += 1
    print(f"{count} credentials in {len(names)} files.", file=sys.stderr)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
