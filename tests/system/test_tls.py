"""A pool as it is beyond loopback: REST over TLS, everything else encrypted with CURVE."""

from __future__ import annotations

import datetime
import ipaddress
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import gpupool
from gpupool.rest import RestClient

pytestmark = pytest.mark.system


def _self_signed(folder: Path) -> tuple[Path, Path]:
    """Write a certificate of 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(hours=1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    certificate, secret = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    return certificate, secret


@pytest.fixture(scope="module")
def encrypted_pool(make_pool: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("encrypted")
    certificate, key = _self_signed(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificate))
        pool = make_pool(folder, "--encrypt", "--tls-cert", str(certificate), "--tls-key", str(key))
        try:
            pool.start_agent("one", "--encrypt")
            yield pool
        finally:
            pool.close()


def _gpupool(environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "gpupool", *words], capture_output=True, text=True, env=environ, timeout=60)


def test_a_model_runs_where_everything_is_encrypted(encrypted_pool: Any, doubling: bytes) -> None:
    assert encrypted_pool.url.startswith("curve://")
    assert encrypted_pool.http.startswith("https://")
    with encrypted_pool.connect() as pool, pool.slice(20, "64MiB") as slice_:
        (doubled,) = slice_.inference_session(doubling).run(None, {"x": np.arange(4, dtype=np.float32)})
        (told,) = encrypted_pool.slices()
    assert doubled.tolist() == [0.0, 2.0, 4.0, 6.0]
    assert told["slice_id"] == slice_.slice_id


def test_the_command_line_asks_over_tls(encrypted_pool: Any) -> None:
    environ = encrypted_pool.environ | {"GPUPOOL_TOKEN": encrypted_pool.token}
    answer = _gpupool(environ, "nodes", "--json")
    assert answer.returncode == 0, answer.stderr
    assert [node["node"] for node in json.loads(answer.stdout)] == ["one"]


def test_who_does_not_trust_the_certificate_is_told_what_to_set(encrypted_pool: Any, tmp_path: Path) -> None:
    other, _ = _self_signed(tmp_path)
    environ = encrypted_pool.environ | {"GPUPOOL_TOKEN": encrypted_pool.token, "SSL_CERT_FILE": str(other)}
    answer = _gpupool(environ, "nodes")
    assert answer.returncode != 0
    assert "SSL_CERT_FILE" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_without_encryption_nobody_is_answered(encrypted_pool: Any) -> None:
    plain = RestClient(encrypted_pool.http.replace("https://", "http://"), encrypted_pool.token, timeout_s=5)
    with pytest.raises(gpupool.PoolUnreachable):
        plain.get("/nodes")


def test_a_broker_with_a_wrong_key_says_so_and_does_not_start(encrypted_pool: Any, tmp_path: Path) -> None:
    certificate, _ = _self_signed(tmp_path)
    wrong = ["--tls-cert", str(certificate), "--tls-key", str(encrypted_pool.home / "key.pem")]
    ports = ["--bind", "127.0.0.1:0", "--http", "127.0.0.1:0", "--home", str(tmp_path)]
    answer = _gpupool(encrypted_pool.environ, "broker", *ports, *wrong)
    assert answer.returncode != 0
    assert "TLS cannot be served" in answer.stderr
    assert "Traceback" not in answer.stderr
