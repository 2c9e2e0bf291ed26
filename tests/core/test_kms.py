"""Root keys in AWS KMS, against moto's server: what they wrap opens there and nowhere else."""

import base64
import logging
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from apps.core import crypto, keys, kms
from apps.core.actor import Actor
from apps.core.crypto import DoesNotOpen
from apps.core.errors import MissingRootKey
from apps.core.kms import AwsKmsRootKey, KmsUnavailable, parse_root_keys
from apps.core.models import DataKey, ServerKey
from apps.services.credentials import find_in_database
from apps.vault.key_rotation import rotate_root_key
from apps.vault.models import Secret
from apps.vault.operations import reveal_secret, set_secret
from apps.vault.resolution import stored_secrets, unseal_all
from nexus.start import require_ready_to_serve
from tests.conftest import Cast
from tests.plugins.servers import free_port

REGION = "eu-central-1"
CONTEXT = {"key": "k1", "purpose": "data", "tenant": "t1", "project": "p1"}


class Moto:
    """moto's server: KMS without Amazon."""

    def __init__(self) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", self.url.rsplit(":", 1)[1]],
            cwd=tempfile.gettempdir(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/moto-api/", timeout=2).close()  # noqa: S310
                return
            except (urllib.error.URLError, OSError):
                assert self._process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def client(self) -> Any:
        import boto3

        return boto3.client("kms", region_name=REGION, endpoint_url=self.url)

    def new_key(self) -> str:
        """The ARN of a fresh symmetric key."""
        return str(self.client().create_key()["KeyMetadata"]["Arn"])


@pytest.fixture(scope="module")
def server() -> Iterator[Moto]:
    moto = Moto()
    moto.start()
    yield moto
    moto.stop()


@pytest.fixture
def aws(server: Moto, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moto]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    settings.NEXUS_AWS_KMS_URL = server.url
    kms._aws_root_key.cache_clear()
    yield server
    kms._aws_root_key.cache_clear()


def test_what_kms_wrapped_opens_for_its_row_and_under_its_key_alone(aws: Moto) -> None:
    arn = aws.new_key()
    mine, other = AwsKmsRootKey(arn), AwsKmsRootKey(aws.new_key())
    secret = crypto.new_key()

    wrapped = mine.wrap(secret, context=CONTEXT)

    assert mine.unwrap(wrapped, context=CONTEXT) == secret
    assert secret not in wrapped
    assert mine.id == crypto.sha256(arn.encode()).hex()[:8]
    for name in CONTEXT:
        for changed in ({**CONTEXT, name: "other"}, {**CONTEXT, name: ""}):
            with pytest.raises(DoesNotOpen):
                mine.unwrap(wrapped, context=changed)
    with pytest.raises(DoesNotOpen):
        other.unwrap(wrapped, context=CONTEXT)
    with pytest.raises(DoesNotOpen):
        mine.unwrap(wrapped[:-1] + bytes([wrapped[-1] ^ 1]), context=CONTEXT)


def test_an_installation_moves_from_a_key_in_its_environment_to_kms_and_back(
    aws: Moto, cast: Cast, command: Actor, settings: Settings
) -> None:
    local = settings.NEXUS_ROOT_KEY
    remote = f"aws-kms:{aws.new_key()}"
    set_secret(actor=command, service=cast.backend, key="a", value=b"value")
    total = ServerKey.objects.count() + DataKey.objects.count()

    settings.NEXUS_ROOT_KEY = f"{remote},{local}"
    keys.forget_all()
    there = rotate_root_key(actor=command)
    settings.NEXUS_ROOT_KEY = remote
    keys.forget_all()

    keys.require_all_root_keys()
    assert (there.rewrapped, there.left) == (total, 0)
    assert keys.root_key_ids_in_use() == {next(iter(parse_root_keys(remote)))}
    assert value_in(cast, "a") == b"value"
    assert find_in_database(cast.keys["backend"])
    settings.NEXUS_ROOT_KEY = f"{local},{remote}"
    assert rotate_root_key(actor=command).rewrapped == total
    settings.NEXUS_ROOT_KEY = local
    keys.forget_all()
    assert value_in(cast, "a") == b"value"
    settings.NEXUS_ROOT_KEY = remote
    with pytest.raises(MissingRootKey):
        keys.require_all_root_keys()


def value_in(cast: Cast, key: str) -> bytes:
    stored, _ = stored_secrets(cast.backend)[key]
    return unseal_all([stored], tenant_id=cast.tenant.pk, project_id=cast.project.pk)[key]


def test_without_kms_reads_go_on_and_no_process_starts(
    committed_cast: Cast, command: Actor, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto = Moto()
    moto.start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    settings.NEXUS_AWS_KMS_URL = moto.url
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    cast, local = committed_cast, settings.NEXUS_ROOT_KEY
    try:
        settings.NEXUS_ROOT_KEY = f"aws-kms:{moto.new_key()},{local}"
        rotate_root_key(actor=command)
        set_secret(actor=command, service=cast.backend, key="a", value=b"value")
        keys.forget_all()
        require_ready_to_serve()
        secret = Secret.objects.get(key="a")
        assert reveal_secret(actor=cast.actor("alice"), secret=secret).value == b"value"
    finally:
        moto.stop()

    assert reveal_secret(actor=cast.actor("alice"), secret=secret).value == b"value"
    set_secret(actor=command, service=cast.backend, key="b", value=b"goes on")
    keys.forget_all()
    with pytest.raises(KmsUnavailable) as refused:
        reveal_secret(actor=cast.actor("alice"), secret=secret)
    with pytest.raises(SystemExit) as ended:
        require_ready_to_serve()
    assert (refused.value.status, refused.value.code) == (503, "kms_unavailable")
    assert refused.value.__cause__ is None
    assert "Nexus does not start: AWS KMS, which holds the root key" in str(ended.value)
    assert "does not answer" in str(ended.value)


def test_a_key_that_kms_does_not_know_ends_the_start_with_its_reason(
    aws: Moto, cast: Cast, settings: Settings
) -> None:
    settings.NEXUS_ROOT_KEY = (
        f"aws-kms:arn:aws:kms:{REGION}:123456789012:key/00000000-0000-4000-8000-000000000000,"
        + settings.NEXUS_ROOT_KEY
    )

    with pytest.raises(KmsUnavailable) as refused:
        keys.require_all_root_keys()

    assert "refuses to encrypt" in refused.value.detail
    assert "NotFoundException" in refused.value.detail


def test_an_alias_goes_on_opening_what_the_key_before_wrapped(aws: Moto) -> None:
    first, second = aws.new_key(), aws.new_key()
    aws.client().create_alias(AliasName="alias/nexus", TargetKeyId=first)
    (root,) = parse_root_keys("aws-kms:alias/nexus").values()
    secret = crypto.new_key()
    wrapped = root.wrap(secret, context=CONTEXT)

    aws.client().update_alias(AliasName="alias/nexus", TargetKeyId=second)

    assert root.unwrap(wrapped, context=CONTEXT) == secret


def test_no_plaintext_of_a_key_reaches_the_log_at_its_loudest(
    aws: Moto, caplog: pytest.LogCaptureFixture
) -> None:
    root = AwsKmsRootKey(aws.new_key())
    caplog.set_level(logging.DEBUG)
    secret = crypto.new_key()

    assert root.unwrap(root.wrap(secret, context=CONTEXT), context=CONTEXT) == secret
    with pytest.raises(DoesNotOpen):
        root.unwrap(secret, context=CONTEXT)

    for form in (secret.hex(), base64.b64encode(secret).decode(), repr(secret)):
        assert form not in caplog.text
    assert "Plaintext" not in caplog.text


@pytest.mark.parametrize(
    "entry",
    [
        "aws-kms:key/1",
        "aws-kms:alias/ü",
        "aws-kms:arn:aws:s3:::bucket",
        "aws-kms:arn:aws:kms:eu-central-1:123:key/1",
        "aws-kms:http://169.254.169.254/",
        "c2hvcnQ",
        "not base64 at all!",
    ],
)
def test_a_root_key_that_is_none_is_named_by_its_number_and_not_repeated(entry: str) -> None:
    good = base64.urlsafe_b64encode(bytes(range(32))).decode()

    with pytest.raises(ImproperlyConfigured) as refused:
        parse_root_keys(f"{good},{entry}")

    assert "number 2" in str(refused.value)
    assert entry.removeprefix("aws-kms:") not in str(refused.value)
    assert good not in str(refused.value)


def test_without_boto3_the_setting_says_what_to_install(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    kms._aws_root_key.cache_clear()
    monkeypatch.setitem(sys.modules, "boto3", None)
    settings.NEXUS_ROOT_KEY = f"aws-kms:arn:aws:kms:{REGION}:123456789012:key/1"

    with pytest.raises(ImproperlyConfigured, match="boto3 is not installed"):
        keys.root_keys()


@pytest.mark.parametrize("url", ["http://kms.example.org", "ftp://127.0.0.2/", "kms.example.org"])
def test_keys_never_travel_to_kms_in_clear(
    url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.NEXUS_AWS_KMS_URL = url
    settings.NEXUS_ROOT_KEY = f"aws-kms:arn:aws:kms:{REGION}:123456789012:key/1"

    with pytest.raises(ImproperlyConfigured, match="not https"):
        keys.root_keys()


def test_nexus_itself_does_not_import_boto3() -> None:
    code = "import os, django, sys; django.setup(); import apps.core.kms; sys.exit('boto3' in sys.modules)"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "nexus.settings.test"}

    ended = subprocess.run([sys.executable, "-c", code], env=environment, check=False)

    assert ended.returncode == 0
