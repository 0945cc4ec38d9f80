"""Files of runs, sent to a browser. All of them are treated as hostile.

Files are downloads and never pages. The rendered notebook is a page of an origin of its own: the
header `Content-Security-Policy: sandbox` takes scripts, forms, cookies and storage from it also
where it is opened by itself, and nothing at all is loaded from anywhere. The renderer has removed
scripts already; neither is trusted alone.
"""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from vixtract.portal.archive import Archive
from vixtract.portal.errors import NotFoundError
from vixtract.portal.models import Run
from vixtract.portal.runs import ArchiveDep
from vixtract.portal.web import AccessDep

router = APIRouter(include_in_schema=False)

HTML = "output.html"
SANDBOX = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
HOSTILE_HEADERS = {
    "Content-Security-Policy": SANDBOX,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # The run's page shows it in a frame.
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@router.get("/runs/{identifier}/notebook", response_class=HTMLResponse)
def show_notebook(access: AccessDep, archive: ArchiveDep, identifier: str) -> Response:
    """Return the executed notebook as a page without scripts, forms and network."""
    run = access.find_run(identifier)
    if not run.html:
        raise NotFoundError("This run's notebook cannot be shown as a page.")
    return send_file(archive, run, HTML, "text/html; charset=utf-8")


@router.get("/runs/{identifier}/files/{path:path}")
def download(access: AccessDep, archive: ArchiveDep, identifier: str, path: str) -> Response:
    """Return a file that a run wrote, to be saved."""
    return send_file(archive, access.find_run(identifier), path)


def send_file(archive: Archive, run: Run, path: str, kind: str = "") -> StreamingResponse:
    """Send a file of a run that the person may see; without a content type as a download."""
    file = archive.open(run, path)
    # No length: its owner may shorten the file while it is sent.
    headers = dict(HOSTILE_HEADERS)
    if not kind:
        name = quote(path.rpartition("/")[2], safe="")
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{name}"
    return StreamingResponse(
        iter(file), media_type=kind or "application/octet-stream", headers=headers
    )
