"""A front door with HTTPS on a network of its own, and what the tests ask of it."""

from __future__ import annotations

import datetime
import http.client
import json
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.images.docker_cli import created_container, docker, logs, put_file, unique_name
from tests.images.test_nginx import HARDENED, IMAGE, STUB, STUB_IMAGE, Answer
from tests.own_images import debian_base, own_image
from tests.waiting import free_port, wait_until
from vixtract.certificates.make import issue, make_authority
from vixtract.certificates.pair import Pair

DOMAIN = "etl.example.test"
TOOLS = own_image("tls-tools", "tests")
NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


class TlsDoor:
    """A running front door that serves HTTPS."""

    def __init__(self, container: str, network: str, ports: tuple[int, int, int]) -> None:
        self.container = container
        self.network = network
        self.http_port, self.https_port, self.postgres_port = ports

    def connect(self, *alpn: str, timeout_s: float = 20.0) -> ssl.SSLSocket:
        """Open a TLS connection, whoever vouches for the certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(list(alpn or ("http/1.1",)))
        plain = socket.create_connection(("127.0.0.1", self.https_port), timeout=timeout_s)
        return context.wrap_socket(plain, server_hostname=DOMAIN)

    def served(self) -> x509.Certificate:
        """Return the certificate that is served now."""
        with self.connect() as connection:
            coded = connection.getpeercert(binary_form=True)
        assert coded is not None
        return x509.load_der_x509_certificate(coded)

    def serves(self, pair: Pair) -> bool:
        """Say whether the certificate of a pair is served now."""
        return self.served() == x509.load_pem_x509_certificate(pair.chain)

    def ask(
        self, path: str, *, host: str = DOMAIN, tls: bool = True, method: str = "GET"
    ) -> Answer:
        """Send one request."""
        port = self.https_port if tls else self.http_port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        if tls:
            connection.sock = self.connect()
        connection.request(method, path, headers={"Host": f"{host}:{port}"})
        reply = connection.getresponse()
        pairs = [(name.lower(), value) for name, value in reply.getheaders()]
        answer = Answer(reply.status, dict(pairs), reply.read(), pairs)
        connection.close()
        return answer

    def status(self) -> dict:
        """Return what the keeper says."""
        return json.loads(
            docker("exec", self.container, "cat", "/run/nginx/tls-status.json").stdout
        )

    def install(self, cert: bytes, key: bytes, password: str = "") -> subprocess.CompletedProcess:
        """Give it a certificate as the operator's command does."""
        given = {"cert": cert.decode(), "key": key.decode(), "password": password}
        words = ("exec", "-i", self.container, "front-door", "certificates", "install")
        return docker(*words, check=False, text=json.dumps(given))

    def write(self, name: str, content: bytes) -> None:
        """Write a file into the volume of certificates, as a person would by hand."""
        put_file(self.container, "/etc/nginx/certs", name, content)


@contextmanager
def https_door(*options: str, files: dict[str, bytes] | None = None) -> Iterator[TlsDoor]:
    """Start a front door with HTTPS; ``files`` lie in the volume of certificates beforehand."""
    network = unique_name("https-test")
    docker("network", "create", network)
    ports = (free_port(), free_port(), free_port())
    publish = [
        f"-p127.0.0.1:{mine}:{inner}" for mine, inner in zip(ports, (8080, 8443, 5432), strict=True)
    ]
    settings = ("-e", f"HTTPS_PORT={ports[1]}", f"--network={network}", f"--network-alias={DOMAIN}")
    mounts = ("-v", "/etc/nginx/certs", "-v", "/etc/nginx/custom")
    try:
        with created_container(IMAGE, (*HARDENED, *publish, *settings, *mounts, *options)) as name:
            for file, content in (files or {}).items():
                put_file(name, "/etc/nginx/certs", file, content)
            docker("start", name)
            wait_until(lambda: is_alive(name), what="the front door is healthy")
            yield TlsDoor(name, network, ports)
    finally:
        docker("network", "rm", network, check=False)


def is_alive(container: str) -> bool:
    """True once the image's own check passes."""
    done = docker("exec", container, "front-door", "alive", check=False)
    assert done.returncode == 0, logs(container)[-800:]
    return True


@contextmanager
def stub(door: TlsDoor) -> Iterator[str]:
    """Put a service behind the door under Jupyter's name."""
    options = (
        "--init", f"--network={door.network}", "--network-alias=jupyter", "--stop-timeout=1",
        "--entrypoint=/usr/bin/python3",
    )  # fmt: skip
    with created_container(STUB_IMAGE, options, "-I", "/stub.py", "jupyter", "8000") as container:
        put_file(container, "/", "stub.py", STUB.encode())
        docker("start", container)
        wait_until(lambda: "ready" in logs(container), what="the stub")
        yield container


def make_pair(authority: Pair | None = None, now: datetime.datetime = NOW) -> Pair:
    """Return a certificate of a company's authority for the door's name."""
    return issue(authority or make_authority("Company CA", now), [DOMAIN], now)


def lock_key(pair: Pair, password: str) -> bytes:
    """Return the key of a pair under a password."""
    key = serialization.load_pem_private_key(pair.key, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.encode()),
    )


def build_tools() -> str:
    """Return the image with an ACME authority and testssl in it, built where it is missing."""
    folder = Path(__file__).parent / "tls"
    debian = f"DEBIAN_IMAGE={debian_base()}"
    words = ("build", "-q", "-t", TOOLS, "--build-arg", debian, str(folder))
    done = docker(*words, check=False, timeout_s=600)
    if done.returncode != 0 and os.environ.get("CI") != "true":
        pytest.skip(f"the tools' image cannot be built: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr[-800:]
    return TOOLS
