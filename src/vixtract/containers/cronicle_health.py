"""The container's health check: the engine answers and its runner is up."""

from __future__ import annotations

import http.client
import json
import sys


def check(port: int = 3012, timeout_s: float = 6.0) -> str:
    """Return the problem of the engine or its runner, or an empty text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/cronicle/api/app/status")
        status = json.loads(connection.getresponse().read(65536))
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"The engine does not answer: {error}"
    finally:
        connection.close()
    if status.get("code") != 0:
        return f"The engine says: {status.get('description', status)}"
    # A missing database is reported by its own check; jobs that do not need it still run.
    return "" if status.get("runner", "up") == "up" else "The runner is down."


def main() -> int:
    """Print the problem, if any; return the exit code, 0 or 1."""
    problem = check()
    if problem:
        sys.stdout.write(problem + "\n")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
