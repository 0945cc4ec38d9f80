"""Real servers of each kind of connection, on loopback: what a connection is tried against."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from tests.waiting import free_port, wait_until

MARIADB = "/usr/sbin/mariadbd"
PASSWORD = "p@ss:w/rd with 100% of it"


@contextmanager
def open_mariadb(folder: Path) -> Iterator[int]:
    """Run Debian's MariaDB; database `shop` and user `etl` are there. Yields its port."""
    data, port = folder / "mariadb", free_port()
    account = pwd.getpwnam("nobody")
    options: dict = {}
    data.mkdir()
    if os.geteuid() == 0:
        os.chown(data, account.pw_uid, account.pw_gid)
        options = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    setup = data / "setup.sql"
    quoted = PASSWORD.replace("'", "''")
    setup.write_text(
        "SET NAMES utf8mb4;\nCREATE DATABASE shop CHARACTER SET utf8mb4;\nCREATE DATABASE closed;\n"
        f"CREATE USER etl@'%' IDENTIFIED BY '{quoted}';\n"
        "GRANT ALL ON shop.* TO etl@'%';\n"
        "CREATE TABLE shop.sales (city varchar(20), people int);\n"
        "INSERT INTO shop.sales VALUES ('Roma ☕', 1), ('Oslo', 2);\n"
    )
    setup.chmod(0o644)
    subprocess.run(
        ["/usr/bin/mariadb-install-db", "--no-defaults", f"--datadir={data}/db", "--skip-test-db",
         "--auth-root-authentication-method=normal"],
        check=True, capture_output=True, timeout=120, cwd="/", **options,
    )  # fmt: skip
    process = subprocess.Popen(
        [MARIADB, "--no-defaults", f"--datadir={data}/db", f"--port={port}", f"--socket={data}/s",
         "--bind-address=127.0.0.1", f"--init-file={setup}", f"--pid-file={data}/pid",
         "--innodb-flush-log-at-trx-commit=0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **options,
    )  # fmt: skip
    try:
        wait_until(lambda: _answers(port), "MariaDB's answer", interval_s=0.2)
        yield port
    finally:
        process.terminate()
        process.wait(60)


def _answers(port: int) -> bool:
    import pymysql

    try:
        pymysql.connect(
            host="127.0.0.1", port=port, user="etl", password=PASSWORD, database="shop"
        ).close()
    except pymysql.Error:
        return False
    return True


class Service(ThreadingHTTPServer):
    """An HTTP service that wants a token, and notes what it is sent."""

    def __init__(self, elsewhere: str = "") -> None:
        service = self
        self.seen: list[dict[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                service.seen.append({"path": self.path, **self.headers})
                token = self.headers.get("Authorization") or self.headers.get("X-Api-Key")
                known = token in {"Bearer good-token", "good-token", "Basic ZXRsOmdvb2QtdG9rZW4="}
                status = 200 if known or not elsewhere else 401
                places = {"/v1/gone": 404, "/v1/broken": 500, "/v1/away": 302}
                status = places.get(self.path, status)
                body = b"city,people\nRome,1\n"
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", f"{elsewhere}/landed")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop it."""
        self.shutdown()
        self.server_close()


@contextmanager
def open_sftp(folder: Path) -> Iterator[dict]:
    """Run a server of another make than the client; yields port, fingerprint and a private key."""
    import asyncssh

    files = folder / "sftp"
    (files / "in").mkdir(parents=True)
    (files / "in" / "sales.csv").write_text("city,people\nRome,1\nOslo,2\n")
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    user_key = asyncssh.generate_private_key("ssh-ed25519")
    allowed = asyncssh.import_authorized_keys(user_key.export_public_key().decode())

    class Server(asyncssh.SSHServer):
        def begin_auth(self, username):
            return True

        def password_auth_supported(self):
            return True

        def validate_password(self, username, password):
            return username == "etl" and password == PASSWORD

    def make_files(channel):
        return asyncssh.SFTPServer(channel, chroot=str(files).encode())

    loop = asyncio.new_event_loop()

    async def listen():
        return await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Server, server_host_keys=[host_key],
            sftp_factory=make_files, authorized_client_keys=allowed,
        )  # fmt: skip

    listener = loop.run_until_complete(listen())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield {
            "port": str(listener.get_port()),
            "fingerprint": host_key.get_fingerprint(),
            "key": user_key.export_private_key("openssh", passphrase="of the key").decode(),
        }
    finally:
        loop.call_soon_threadsafe(listener.close)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.1), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@contextmanager
def open_s3() -> Iterator[dict[str, str]]:
    """Run moto's server; yields address, access key and secret key."""
    import boto3

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = shutil.which("moto_server") or str(Path(sys.executable).with_name("moto_server"))
    process = subprocess.Popen(
        [program, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: _is_up(url), "moto's answer", interval_s=0.2)
        login = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        iam = boto3.client("iam", endpoint_url=url, **login)
        iam.create_user(UserName="etl")
        policy = (
            '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*",'
            ' "Resource": "*"}}'
        )
        iam.put_user_policy(UserName="etl", PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName="etl")["AccessKey"]
        s3 = boto3.client("s3", endpoint_url=url, **login)
        s3.create_bucket(Bucket="lake")
        s3.put_object(Bucket="lake", Key="in/sales.csv", Body=b"city,people\nRome,1\nOslo,2\n")
        yield {
            "address": url, "access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"],
        }  # fmt: skip
    finally:
        process.terminate()
        process.wait(20)


def check_logins(url: str, *, wanted: bool) -> None:
    """Have moto check signatures; it then refuses right ones too where a bucket is in the path."""
    count = b"0" if wanted else b"1000000000"
    answer = httpx.post(f"{url}/moto-api/reset-auth", content=count, timeout=60)
    assert answer.status_code == 200, answer.text


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/moto-api/", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
