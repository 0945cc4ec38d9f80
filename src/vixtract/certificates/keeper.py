"""The process beside nginx that watches, renews and switches its certificate.

nginx reads `tls/current/`, a link in its run directory, which is in memory: only there is a key
kept without its password. Open connections keep the old certificate.
"""

from __future__ import annotations

import datetime
import json
import logging
import subprocess
import time
from pathlib import Path

from vixtract.certificates import acme
from vixtract.certificates.choose import SUPPLIED, Choice, choose
from vixtract.certificates.pair import CertificateError, Pair, covers, read_pair
from vixtract.files import write_whole
from vixtract.settings import Settings
from vixtract.values import is_address

log = logging.getLogger("certificates")

CERTS = Path("/etc/nginx/certs")
RUN = Path("/run/nginx")
LOOK_S = 2.0
#: Certificates expire without any change of a file.
JUDGE_S = 600.0
NGINX_S = 30.0
SOON_DAYS = 14.0
HSTS = "max-age=63072000"
RENEW_REQUEST = "acme-renew"


class Keeper:
    """Chooses the certificate that nginx serves, and keeps it up to date."""

    def __init__(self, settings: Settings, certs: Path = CERTS, run: Path = RUN) -> None:
        self.mode = settings.https_mode
        self.names = settings.certificate_names()
        self.domains = settings.domains
        self.certs = certs
        self.run_directory = run
        # ACME authorities certify public names, not addresses.
        public = tuple(name for name in settings.domains if not is_address(name))
        self.account = acme.Account(
            public, settings["HTTPS_ACME_EMAIL"], settings["HTTPS_ACME_SERVER"]
        )
        self._serving: Pair | None = None
        self._said = ""
        self._acme_problem = ""
        self._retry_s = acme.FIRST_RETRY_S

    # --- choosing ---

    def judge(self, *, reload: bool = True) -> Choice:
        """Choose again, and switch where the choice differs.

        Args:
            reload: whether nginx runs already and must be told.
        """
        now = datetime.datetime.now(datetime.timezone.utc)
        choice = choose(self.mode, self.certs, self.names, now, self._serving)
        if self._serving is None or choice.pair.digest != self._serving.digest:
            self._switch(choice, reload=reload)
        problem, cure = self._complaint(choice, now)
        self._tell(choice, problem, cure)
        return choice

    def _complaint(self, choice: Choice, now: datetime.datetime) -> tuple[str, str]:
        if choice.problem:
            return choice.problem, choice.cure
        if self._acme_problem:
            return f"No certificate from {self.account.server}: {self._acme_problem}", (
                "The names must lead to this machine's port 80 from where the authority is; "
                "docs/how-to/https.md."
            )
        left = choice.pair.days_left(now)
        if choice.source != "self-signed" and left < SOON_DAYS:
            return f"The certificate expires in {left:.0f} days.", (
                "Supply a renewed one: ./vixtract certs install CERT KEY."
                if choice.source == "files"
                else "It could not be renewed so far: see ./vixtract logs nginx."
            )
        missing = covers(choice.pair, self.domains)
        if missing and choice.source == "files":
            return f"The certificate is not for {', '.join(missing)} of HTTPS_DOMAIN.", (
                "Supply one for these names, or correct HTTPS_DOMAIN."
            )
        return "", ""

    def _switch(self, choice: Choice, *, reload: bool) -> None:
        place = self.run_directory / "tls"
        place.mkdir(mode=0o700, exist_ok=True)
        folder = place / choice.pair.digest
        folder.mkdir(mode=0o700, exist_ok=True)
        write_whole(folder / "key.pem", choice.pair.key)
        write_whole(folder / "chain.pem", choice.pair.chain)
        hsts = HSTS if choice.is_vouched_for else ""
        write_whole(place / "hsts.conf", f'map $host $hsts {{ default "{hsts}"; }}\n'.encode())
        current = place / "current"
        before = current.readlink() if current.is_symlink() else None
        _point(current, Path(choice.pair.digest))
        if reload and not self._reload():
            if before is not None:
                _point(current, before)
            return
        self._serving = choice.pair
        if before is not None and before.name != choice.pair.digest:
            for file in (place / before).iterdir():
                file.unlink()
            (place / before).rmdir()
        log.info(
            "serving the certificate of %s, issued by %s, until %s (%s)",
            ", ".join(choice.pair.names) or "no name",
            "itself" if choice.pair.is_self_signed else choice.pair.issuer,
            f"{choice.pair.not_after:%Y-%m-%d}",
            choice.source,
        )

    def _reload(self) -> bool:
        """Let nginx read its files again; False, and the reason in the log, where it refuses."""
        configuration = str(self.run_directory / "nginx.conf")
        for words in (("-t", "-q"), ("-s", "reload")):
            done = subprocess.run(
                ["/usr/sbin/nginx", *words, "-c", configuration],
                check=False,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=NGINX_S,
            )
            if done.returncode != 0:
                log.error("nginx refuses the certificate: %s", done.stderr.strip()[-500:])
                return False
        return True

    def _tell(self, choice: Choice, problem: str, cure: str) -> None:
        """Write the status for /healthz and the operator's command; log each new problem once."""
        pair = choice.pair
        status = {
            "mode": self.mode,
            "source": choice.source,
            "names": list(pair.names),
            "issuer": "itself" if pair.is_self_signed else pair.issuer,
            "not_before": pair.not_before.isoformat(),
            "not_after": pair.not_after.isoformat(),
            "hsts": choice.is_vouched_for,
            "problem": problem,
            "cure": cure,
        }
        write_whole(self.run_directory / "tls-status.json", json.dumps(status).encode(), mode=0o644)
        if problem and problem != self._said:
            log.error("%s", problem)
            log.error("%s Until then the certificate of %s is served.", cure, choice.source)
        elif self._said and not problem:
            log.info("the certificate is good again")
        self._said = problem

    # --- watching ---

    def watch(self) -> None:
        """Watch for changes and renew; does not return."""
        self._adopt()
        # None: changes since `prepare` are judged at once.
        seen = self._fingerprint()
        settled: tuple[object, ...] | None = None
        judged = time.monotonic()
        # The first request waits until nginx serves the directory of challenges.
        ask_at = time.monotonic() + LOOK_S
        while True:
            time.sleep(LOOK_S)
            found = self._fingerprint()
            # Wait until the files stop changing: certificate and key arrive one after the other.
            if found == seen and found != settled:
                settled = found
                judged = self._judged()
            seen = found
            if time.monotonic() - judged > JUDGE_S:
                judged = self._judged()
            is_asked = (self.run_directory / RENEW_REQUEST).exists()
            if self.mode == "acme" and (time.monotonic() > ask_at or is_asked):
                ask_at = time.monotonic() + self._ask()
                settled = seen = self._fingerprint()
                judged = self._judged()

    def _adopt(self) -> None:
        """Take over the choice of `prepare`, which nginx serves or is about to."""
        current = self.run_directory / "tls" / "current"
        try:
            chain, key = (current / "chain.pem").read_bytes(), (current / "key.pem").read_bytes()
            self._serving = read_pair(chain, key, None, None)
        except (OSError, CertificateError):
            self.judge()

    def _judged(self) -> float:
        self.judge()
        return time.monotonic()

    def _fingerprint(self) -> tuple[object, ...]:
        marks: list[object] = []
        for name in SUPPLIED:
            try:
                status = (self.certs / name).stat()
            except OSError:
                marks.append(None)
            else:
                # Not the modification time, which a copy may have from its original.
                marks.append((status.st_ctime_ns, status.st_size, status.st_ino))
        return tuple(marks)

    def _ask(self) -> float:
        """Ask the authority; return the seconds until the next request."""
        request = self.run_directory / RENEW_REQUEST
        force = request.exists()
        request.unlink(missing_ok=True)
        if not self.account.domains:
            self._acme_problem = "HTTPS_DOMAIN names no host."
            return acme.ASK_S
        self._acme_problem = acme.obtain(self.account, self.certs, self.run_directory, force=force)
        if not self._acme_problem:
            self._retry_s = acme.FIRST_RETRY_S
            return acme.ASK_S
        wait, self._retry_s = self._retry_s, min(self._retry_s * 2, acme.LONGEST_RETRY_S)
        log.warning("trying again in %.0f s", wait)
        return wait


def _point(link: Path, target: Path) -> None:
    """Replace a link in one step."""
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
