"""HTTPS at the front door: modes, what is served when files are wrong, swaps under load, ACME."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest

from tests.images.docker_cli import created_container, docker, exit_code, logs, put_file
from tests.images.https_door import (
    DAY,
    DOMAIN,
    NOW,
    TlsDoor,
    build_tools,
    https_door,
    lock_key,
    make_pair,
    stub,
)
from tests.images.test_nginx import HARDENED, IMAGE
from tests.waiting import wait_until
from vixtract.certificates.make import make_self_signed

HSTS = "strict-transport-security"


@pytest.fixture(scope="module")
def wide() -> Iterator[TlsDoor]:
    """A front door that others can reach, HTTPS left to the default, with a name."""
    with https_door("-e", "VIXTRACT_BIND=0.0.0.0", "-e", f"HTTPS_DOMAIN={DOMAIN}") as door:
        yield door


@pytest.fixture(scope="module")
def supplied() -> Iterator[TlsDoor]:
    """A front door with a certificate of the operator's, and Jupyter behind it."""
    with https_door("-e", "HTTPS=files") as door, stub(door):
        pair = make_pair()
        done = door.install(pair.chain, pair.key)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: door.serves(pair), what="the supplied certificate")
        yield door


# --- the mode that nobody has to choose ---


def test_wide_address_gets_a_certificate_of_its_own(wide: TlsDoor) -> None:
    status = wide.status()
    assert (status["mode"], status["source"]) == ("self-signed", "self-signed")
    assert set(status["names"]) == {DOMAIN, "localhost", "127.0.0.1", "::1"}
    answer = wide.ask("/")
    assert answer.status == 200
    # Insisting on HTTPS with a certificate that nobody vouches for would lock people out.
    assert HSTS not in answer.headers
    first = wide.served()
    docker("restart", "--time", "5", wide.container)
    wait_until(lambda: wide.ask("/").status == 200, what="the door after a restart")
    assert wide.served() == first


def test_http_leads_to_the_published_port_with_method_and_query(wide: TlsDoor) -> None:
    for method in ("GET", "POST"):
        answer = wide.ask("/portal/x?y=1", tls=False, method=method)
        expected = f"https://{DOMAIN}:{wide.https_port}/portal/x?y=1"
        assert (answer.status, answer.headers["location"]) == (308, expected)
    assert wide.ask("/nginx-alive", tls=False).body == b"alive\n"
    assert wide.ask("/healthz", tls=False).json["services"]["nginx"] == "up"


def test_http_on_the_https_port_leads_to_https(wide: TlsDoor) -> None:
    with socket.create_connection(("127.0.0.1", wide.https_port), timeout=60) as connection:
        connection.sendall(f"GET /x HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n".encode())
        head = connection.recv(1000)
    assert b"308" in head and f"https://{DOMAIN}:{wide.https_port}/x".encode() in head


@pytest.mark.parametrize("tls", [True, False])
def test_names_of_others_are_not_served(wide: TlsDoor, tls: bool) -> None:
    answer = wide.ask("/", host="evil.example.org", tls=tls)
    assert answer.status == 421 and "location" not in answer.headers
    assert wide.ask("/", host="127.0.0.1", tls=tls).status in (200, 308)


def test_http2_is_spoken(wide: TlsDoor) -> None:
    with wide.connect("h2", "http/1.1") as connection:
        assert connection.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_versions_of_tls_are_refused(wide: TlsDoor, version: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    address = ("127.0.0.1", wide.https_port)
    with socket.create_connection(address, timeout=60) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS", "on"),
        ("HTTPS_DOMAIN", "etl.example.org; return 200"),
        ("HTTPS_PORT", "x"),
        ("POSTGRES_ALLOW", "all; }"),
    ],
)
def test_wrong_setting_is_refused_with_a_cure(name: str, value: str) -> None:
    with created_container(IMAGE, (*HARDENED, "-e", f"{name}={value}")) as container:
        docker("start", container)
        assert exit_code(container) == 3
        assert name in logs(container) and "Correct them in .env" in logs(container)


def test_acme_without_a_name_is_refused() -> None:
    options = (*HARDENED, "-e", "HTTPS=acme", "-e", "HTTPS_DOMAIN=10.0.0.5")
    with created_container(IMAGE, options) as container:
        docker("start", container)
        assert exit_code(container) == 3
        assert "HTTPS_DOMAIN" in logs(container)


def test_only_listed_networks_reach_postgresql() -> None:
    with https_door("-e", "POSTGRES_ALLOW=192.0.2.0/24") as door:
        with socket.create_connection(("127.0.0.1", door.postgres_port), timeout=60) as connection:
            connection.sendall(b"hello")
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100) == b""
        wait_until(lambda: "stream:5432 403" in logs(door.container), what="the log")


# --- certificates of the operator's ---


def test_services_are_told_and_cookies_are_secure(supplied: TlsDoor) -> None:
    answer = supplied.ask("/jupyter/cookie")
    assert answer.json["headers"]["x-scheme"] == "https"
    cookies = [value for name, value in answer.repeated if name == "set-cookie"]
    assert cookies and all("secure" in cookie.lower() for cookie in cookies)
    chosen = supplied.ask("/?lang=ru").headers["set-cookie"]
    assert chosen.endswith("; Secure")


@pytest.mark.parametrize("path", ["/", "/jupyter/x", "/docs/", "/none", "/cronicle/api/none"])
def test_browsers_are_told_to_insist(supplied: TlsDoor, path: str) -> None:
    values = [v for name, v in supplied.ask(path).repeated if name == HSTS]
    assert values == ["max-age=63072000"]


def test_websocket_passes_over_tls(supplied: TlsDoor) -> None:
    with supplied.connect() as connection:
        upgrade(connection)
        assert echo(connection, b"hello")


def upgrade(connection: ssl.SSLSocket) -> None:
    """Make a websocket of a connection."""
    connection.sendall(
        f"GET /jupyter/user/anna/api/kernels/1/channels HTTP/1.1\r\nHost: {DOMAIN}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode()
    )
    assert connection.recv(1000).startswith(b"HTTP/1.1 101 ")


def echo(connection: ssl.SSLSocket, data: bytes) -> bool:
    """Send bytes and wait for their echo."""
    connection.sendall(data)
    received = b""
    while data not in received:
        more = connection.recv(1000)
        assert more, received
        received += more
    return True


def test_key_with_a_password(supplied: TlsDoor) -> None:
    pair = make_pair()
    locked = lock_key(pair, "correct horse")
    for password, reason in (("", "protected by a password"), ("wrong", "cannot be opened")):
        done = supplied.install(pair.chain, locked, password)
        assert done.returncode == 1 and reason in done.stderr
    assert supplied.install(pair.chain, locked, "correct horse\n").returncode == 0
    wait_until(lambda: supplied.serves(pair), what="the new certificate")
    # The key without its password is in memory alone.
    found = docker("exec", supplied.container, "grep", "-rl", "BEGIN PRIVATE", "/etc/nginx/certs")
    assert found.stdout.split() == ["/etc/nginx/certs/self-signed/key.pem"]


def test_wrong_pair_is_refused_and_nothing_changes(supplied: TlsDoor) -> None:
    before = supplied.served()
    pair, other = make_pair(), make_pair()
    expired = make_pair(now=NOW - 500 * DAY)
    for cert, key, reason in (
        (pair.chain, other.key, "does not belong"),
        (expired.chain, expired.key, "expired on"),
        (b"nonsense", pair.key, "no certificate that can be read"),
        (pair.chain, b"nonsense", "no key that can be read"),
    ):
        done = supplied.install(cert, key)
        assert done.returncode == 1
        assert reason in done.stderr and len(done.stderr.strip().splitlines()) == 2
    assert supplied.served() == before and supplied.status()["problem"] == ""


def test_wrong_files_keep_the_old_one_also_over_a_restart(supplied: TlsDoor) -> None:
    before = supplied.served()
    good = make_pair()
    supplied.write("key.pem", good.key)
    wait_until(lambda: supplied.status()["problem"], what="the complaint")
    assert supplied.status()["source"] == "last-good"
    assert "does not belong to the certificate" in logs(supplied.container)
    assert supplied.served() == before
    health = wait_until(
        lambda: (answer := supplied.ask("/healthz").json).get("notes") and answer,
        what="the note",
    )  # fmt: skip
    assert "certificate" in health["notes"][0]
    docker("restart", "--time", "5", supplied.container)
    wait_until(lambda: supplied.served() == before, what="the old one again")
    supplied.write("password.txt", b"")
    supplied.write("cert.pem", good.chain)
    wait_until(lambda: supplied.serves(good), what="the repaired pair")
    assert supplied.status()["problem"] == ""


def test_swap_under_load_drops_no_connection(supplied: TlsDoor) -> None:
    stop, failures, done = threading.Event(), [], [0]

    def visit() -> None:
        while not stop.is_set():
            try:
                assert supplied.ask("/jupyter/x").status == 200
                done[0] += 1
            except (OSError, AssertionError) as error:
                failures.append(repr(error))

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    with supplied.connect() as kept:
        upgrade(kept)
        for visitor in visitors:
            visitor.start()
        try:
            for _ in range(3):
                pair = make_pair()
                assert supplied.install(pair.chain, pair.key).returncode == 0
                wait_until(lambda p=pair: supplied.serves(p), what="the swap")
        finally:
            stop.set()
            for visitor in visitors:
                visitor.join(30)
        # Three certificates ago; its stub echoes once, so this is the proof that it lives.
        assert echo(kept, b"still here")
    assert failures == [] and done[0] > 20


def test_absent_files_leave_a_certificate_of_our_own() -> None:
    with https_door("-e", "HTTPS=files", files={"cert.pem": b"x"}) as door:
        status = door.status()
        assert status["source"] == "self-signed" and "key.pem" in status["problem"]
        assert HSTS not in door.ask("/").headers


def test_front_door_serves_on_from_a_volume_that_it_cannot_write() -> None:
    options = ("-e", "HTTPS=self-signed", "--tmpfs", "/etc/nginx/certs:ro")
    with https_door(*options) as door:
        assert door.ask("/").status == 200


# --- a grade, and an authority ---


@pytest.fixture(scope="module")
def tools() -> str:
    """The image with pebble and testssl."""
    return build_tools()


def test_testssl_finds_nothing(tools: str, wide: TlsDoor) -> None:
    words = (
        "testssl", "--quiet", "--color", "0",
        "--warnings", "off", "--jsonfile", "/tmp/out.json", "--protocols", "--std",
        "--renegotiation", "--crime", "--tls-fallback",
        f"{DOMAIN}:8443",
    )  # fmt: skip
    script = " ".join(words) + " >/tmp/text || true; cat /tmp/out.json"
    done = docker(
        "run", "--rm", f"--network={wide.network}", tools, "sh", "-c", script, timeout_s=300
    )
    found = json.loads(done.stdout)
    assert len(found) > 15, done.stdout[-500:]
    bad = {
        entry["id"]: entry["finding"]
        for entry in found
        # "engine_problem" is about the grader's own OpenSSL, which has no GOST.
        if entry["severity"] not in ("OK", "INFO", "LOG", "DEBUG")
        and entry["id"] != "engine_problem"
    }
    assert bad == {}
    by_id = {entry["id"]: entry["finding"] for entry in found}
    assert "not offered" in by_id["TLS1_1"] and "offered" in by_id["TLS1_3"]


PEBBLE = {
    "pebble": {
        "listenAddress": "0.0.0.0:14000",
        "managementListenAddress": "0.0.0.0:15000",
        "certificate": "/etc/pebble/cert.pem",
        "privateKey": "/etc/pebble/key.pem",
        # nginx's port of plain http inside the network.
        "httpPort": 8080,
        "tlsPort": 5001,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
}


def test_certificate_of_an_acme_authority(tools: str) -> None:
    own = make_self_signed(["pebble"], NOW)
    options = (
        "-e", "HTTPS=acme", "-e", f"HTTPS_DOMAIN={DOMAIN}",
        "-e", "HTTPS_ACME_SERVER=https://pebble:14000/dir", "-e", "HTTPS_ACME_EMAIL=a@example.org",
    )  # fmt: skip
    with https_door(*options, files={"acme-ca.pem": own.chain}) as door:
        # Until the authority answers there is a certificate all the same.
        assert door.status()["source"] == "self-signed"
        wait_until(
            lambda: "No certificate from https://pebble:14000/dir" in logs(door.container),
            what="the complaint",
        )  # fmt: skip
        pebble = (
            f"--network={door.network}", "--network-alias=pebble", "-e", "PEBBLE_VA_NOSLEEP=1",
        )  # fmt: skip
        words = ("pebble", "-config", "/etc/pebble.json", "-dnsserver", "127.0.0.11:53")
        with created_container(tools, pebble, *words) as container:
            put_file(
                container,
                "/etc",
                "pebble.json",
                json.dumps(PEBBLE).replace("/etc/pebble/", "/etc/").encode(),
            )
            put_file(container, "/etc", "cert.pem", own.chain)
            put_file(container, "/etc", "key.pem", own.key)
            docker("start", container)
            wait_until(lambda: "Listening" in logs(container), what="pebble")
            renew(door)
            wait_until(lambda: door.status()["source"] == "acme", what="issued")
            # nginx's new processes come a moment after the keeper's word.
            wait_until(
                lambda: "Pebble" in door.served().issuer.rfc4514_string(),
                what="served",
            )
            first = door.served()
            wait_until(
                lambda: door.ask("/").headers.get(HSTS) == "max-age=63072000",
                what="HSTS",
            )  # fmt: skip
            assert door.status()["problem"] == ""
            stop, failures = threading.Event(), []
            visitor = threading.Thread(target=visit_until, args=(door, stop, failures))
            visitor.start()
            renew(door)
            wait_until(lambda: door.served() != first, what="renewed")
            stop.set()
            visitor.join(30)
            assert failures == []
        # It outlives the container that got it.
        second = door.served()
        docker("restart", "--time", "5", door.container)
        wait_until(lambda: door.served() == second, what="the same after a restart")


def renew(door: TlsDoor) -> None:
    """Ask the authority now."""
    docker("exec", door.container, "front-door", "certificates", "renew")


def visit_until(door: TlsDoor, stop: threading.Event, failures: list[str]) -> None:
    """Visit until told to stop, and note what fails."""
    while not stop.is_set():
        try:
            assert door.ask("/").status == 200
        except (OSError, AssertionError) as error:
            failures.append(repr(error))
        time.sleep(0.05)
