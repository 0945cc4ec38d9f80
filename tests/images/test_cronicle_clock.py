"""The wall clock under Cronicle: nights in which a time is skipped or comes twice, and jumps."""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tests.images.docker_cli import docker, unique_name
from tests.images.edge_box import IMAGE, EdgeBox, has_image
from tests.waiting import wait_until

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not has_image(), reason=f"Cronicle's image is absent: {IMAGE}"),
    pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed here"),
]
# The supervisor gives its processes an environment of their own, so Node is wrapped; its jobs do
# not inherit the library, for Python 3.13's sleep fails under libfaketime 0.9.10. Python's clock is
# shifted by a module that each start loads.
NODE = """#!/bin/bash
export LD_PRELOAD=/clock/faketime.so FAKETIME_TIMESTAMP_FILE=/clock/now FAKETIME_CACHE_DURATION=1
export DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_RESET=1 NO_FAKE_STAT=1
exec -a /usr/bin/node /usr/bin/node.real --require /clock/jobs.js "$@"
"""
JOBS = "delete process.env.LD_PRELOAD;\n"
PYTHON = """
import time
real = time.time
def now():
    try:
        with open("/clock/now") as file:
            return real() + float(file.read() or 0)
    except (OSError, ValueError):
        return real()
time.time, time.time_ns = now, lambda: int(now() * 1e9)
"""
PACKAGES = "/opt/vixtract/lib/python3.13/site-packages"
RECIPE = f"""FROM {IMAGE}
COPY clock /clock
RUN mv /usr/bin/node /usr/bin/node.real && cp /clock/node /usr/bin/node && chmod 755 /usr/bin/node \
 && cp /clock/shift.py {PACKAGES}/shifted_clock.py && echo 'import shifted_clock' > {PACKAGES}/zz_clock.pth \
 && chmod 644 {PACKAGES}/shifted_clock.py {PACKAGES}/zz_clock.pth && chmod -R a+rX /clock
"""
SPRING = datetime(2026, 3, 29, 0, 59, 20, tzinfo=timezone.utc).timestamp()
AUTUMN = datetime(2026, 10, 25, 0, 29, 20, tzinfo=timezone.utc).timestamp()
DAILY = {"hours": [2], "minutes": [30]}
DAY = 86400
SCRIPT = "#!/bin/bash\necho ran\n"


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """The image with a clock that can be set."""
    assert LIBRARY is not None
    files = {
        "clock/faketime.so": LIBRARY.read_bytes(),
        "clock/now": b"+0\n",
        "clock/node": NODE.encode(),
        "clock/jobs.js": JOBS.encode(),
        "clock/shift.py": PYTHON.encode(),
        "Dockerfile": RECIPE.encode(),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    name = f"{unique_name('vixtract-clock')}:tests"
    done = subprocess.run(
        ["docker", "build", "--quiet", "--tag", name, "-"],
        input=buffer.getvalue(), capture_output=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    yield name
    docker("rmi", "--force", name, check=False)


class Clock:
    """A container whose clock is set."""

    def __init__(self, image: str) -> None:
        self.box = EdgeBox(unique_name("edge-clock"), image)

    def set(self, moment: float) -> None:
        """Set the clock of all processes; it goes on from there."""
        offset = int(moment - time.time())
        self.box.execute("bash", "-c", f"echo '{offset:+d}' > /clock/now")
        time.sleep(1.5)

    def slots(self, event: str) -> dict[int, str]:
        """Return the outcome of each slot of an event."""
        rows = self.box.query(f"SELECT due_at, outcome FROM slot WHERE event = '{event}'")
        return dict(rows)


@pytest.fixture
def clock(image) -> Iterator[Clock]:
    """A container of the test's own, on time."""
    clock = Clock(image)
    try:
        clock.box.start()
        yield clock
    finally:
        clock.box.delete()


def test_a_time_that_comes_twice_is_run_once(clock):
    """Berlin, 25 October: 02:30 comes at 00:30 and at 01:30 UTC."""
    clock.set(AUTUMN)
    event = clock.box.make_event(SCRIPT, timing=DAILY, timezone="Europe/Berlin")
    first = int(AUTUMN) + 40
    wait_until(lambda: clock.slots(event).get(first) == "succeeded", "the first 02:30", 150, 1)
    clock.set(first + 3580)
    # Shown by another event that Cronicle came past the second 02:30.
    other = clock.box.make_event(SCRIPT, timing={"hours": [1], "minutes": [30]}, timezone="UTC")
    wait_until(lambda: first + 3600 in clock.slots(other), "01:30 UTC", interval_s=1)
    wait_until(lambda: set(clock.slots(other).values()) == {"succeeded"}, "its end", interval_s=1)
    # The reconciler looks for lost slots within 20 s and a look.
    time.sleep(40)
    assert clock.slots(event) == {first: "succeeded"}


def test_a_time_that_is_skipped_is_run_once(clock):
    """Berlin, 29 March: 02:30 does not come; 03:00 is 01:00 UTC."""
    clock.set(SPRING)
    event = clock.box.make_event(SCRIPT, timing=DAILY, timezone="Europe/Berlin")
    gap_end = int(SPRING) + 40
    wait_until(lambda: clock.slots(event).get(gap_end) == "succeeded", "the run at 03:00", 240, 1)
    clock.set(gap_end + 1790)
    time.sleep(60)
    assert clock.slots(event) == {gap_end: "succeeded"}


@pytest.mark.long
def test_a_jump_of_two_months_starts_no_storm_and_back_runs_nothing_twice(clock):
    start = time.time()
    clock.set(start)
    hourly = {"minutes": [0]}
    # Without a limit Cronicle starts a job for each slot at once.
    caught_up = clock.box.make_event(SCRIPT, timing=hourly, catch_up=1, max_children=0)
    plain = clock.box.make_event(SCRIPT, timing=hourly)
    time.sleep(25)
    clock.set(start + 60 * DAY)

    def all_settled() -> dict[int, str]:
        found = clock.slots(caught_up)
        due = 60 * 24 - 1 <= len(found) <= 60 * 24 + 2
        return found if due and all(found.values()) and "succeeded" in found.values() else {}

    found = wait_until(all_settled, "an outcome of each slot", 240, 2)
    # Cronicle comes to its next minute too before the runs are counted.
    time.sleep(65)
    found = clock.slots(caught_up)
    ran = sorted(due for due, outcome in found.items() if outcome == "succeeded")
    # One stands for all; another is that of an hour which begins during the test.
    assert 1 <= len(ran) <= 2 and ran[0] >= max(found) - 3600, ran
    assert set(found.values()) == {"succeeded", "missed"}
    assert len(clock.slots(plain)) >= 60 * 24 - 1
    jobs = clock.box.client.get_event_history(caught_up).length
    assert jobs <= 3, "refused jobs are processes too"
    clock.set(start + 300)
    job = clock.box.client.run_event(clock.box.make_event(SCRIPT))
    assert clock.box.client.wait_for_job(job, 120)["code"] == 0
    # By the right clock those slots are still to come.
    wait_until(
        lambda: "missed" not in later(clock, plain), "no slot of the time to come", interval_s=2
    )
    assert [due for due, what in clock.slots(caught_up).items() if what == "succeeded"] == ran


def later(clock: Clock, event: str) -> set[str]:
    """Return the outcomes of slots that are still to come."""
    return {what for due, what in clock.slots(event).items() if due > time.time() + 3600}


@pytest.mark.parametrize(("days", "minutes"), [(1, 1), pytest.param(7, 2, marks=pytest.mark.long)])
def test_a_long_absence_is_made_up_for_by_so_many_jobs_alone(clock, tmp_path, days, minutes):
    """Hundreds of slots of an event that sets no limit to jobs at once."""
    timing = {"minutes": list(range(0, 60, minutes))}
    event = clock.box.make_event(SCRIPT, timing=timing, catch_up=1)
    clock.box.client.update_event(event, {"max_children": 0})
    # Cronicle's storage has the event's cursor after its next minute.
    wait_until(lambda: clock.slots(event), "the first slot", 240, 1)
    docker("stop", "--time", "30", clock.box.name)
    (tmp_path / "now").write_text(f"+{days * DAY}\n")
    docker("cp", str(tmp_path / "now"), f"{clock.box.name}:/clock/now")
    docker("start", clock.box.name)
    wait_until(clock.box.is_up, "the engine's return", 180)
    time.sleep(75)
    found = clock.slots(event)
    ran = [due for due, outcome in found.items() if outcome == "succeeded"]
    assert 20 <= len(ran) <= 24 + 4, len(ran)
    assert len(found) >= days * 24 * 60 // minutes and set(found.values()) <= {
        "succeeded",
        "missed",
        None,
    }
    # Each of the newest is started by the reconciler and by Cronicle; the ledger refuses one of both.
    assert clock.box.client.get_event_history(event).length <= 2 * (24 + 2)
