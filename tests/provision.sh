#!/bin/sh
# Install those of the named Debian packages whose programs are missing.
# Usage: tests/provision.sh [postgresql] [redis-server] [chromium] [wrk] [nginx] [python3.11-venv]
set -eu

is_present() {
    case $1 in
        # Debian keeps the servers of PostgreSQL out of PATH.
        postgresql) command -v initdb || ls /usr/lib/postgresql/*/bin/initdb ;;
        python3.11-venv) /usr/bin/python3.11 -c "import ensurepip" ;;
        *) command -v "$1" || ls "/usr/sbin/$1" ;;
    esac >/dev/null 2>&1
}

missing=
for package in "$@"; do
    is_present "$package" || missing="$missing $package"
done
if [ -z "$missing" ]; then exit 0; fi

fail() {
    echo "Missing:$missing. $1 Install them by hand; for the tests, DATABASE_URL and REDIS_URL" \
        "may instead name servers of your own." >&2
    exit 1
}

command -v apt-get >/dev/null || fail "This is no Debian."
as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "Installing needs root, and there is no sudo."
    as_root=sudo
fi

echo "Installing$missing" >&2
{
    $as_root apt-get update --quiet=2 &&
        # The list is split on purpose: one word a package.
        # shellcheck disable=SC2086
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends $missing
} >&2 || fail "apt-get could not install them."
