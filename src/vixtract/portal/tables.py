"""Pages and calls of the catalog: the list of tables, one table, how to connect to it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from vixtract.portal.api import INVALID, MISSING
from vixtract.portal.api import router as api
from vixtract.portal.catalog import Catalog, Details, Table
from vixtract.portal.connection_strings import list_connection_strings
from vixtract.portal.web import PersonDep, get_pages, make_page

router = APIRouter(include_in_schema=False)
WordQuery = Annotated[str, Query(max_length=200)]


def get_catalog(request: Request, person: PersonDep) -> Catalog:
    """Return the catalog with the rights of the person."""
    return Catalog(get_pages(request).config, person)


CatalogDep = Annotated[Catalog, Depends(get_catalog)]


@router.get("/tables", response_class=HTMLResponse)
def show_tables(
    request: Request, person: PersonDep, catalog: CatalogDep, word: WordQuery = ""
) -> Response:
    """Show the tables that the person may read."""
    tables = catalog.list_tables(word.strip())
    tables.sort(key=lambda table: not table.is_late)
    return make_page(request, "tables.html", person, {"tables": tables, "word": word})


@router.get("/tables/{schema}/{name:path}", response_class=HTMLResponse)
def show_table(
    request: Request, person: PersonDep, catalog: CatalogDep, schema: str, name: str
) -> Response:
    """Show one table."""
    details = catalog.find_table(schema, name)
    host = request.headers.get("x-forwarded-host") or request.headers.get("host") or "localhost"
    port = get_pages(request).config.postgresql_port
    values = {
        "details": details,
        "table": details.table,
        "connection_strings": list_connection_strings(_strip_port(host), port, schema, name),
    }
    return make_page(request, "table.html", person, values)


def _strip_port(host: str) -> str:
    head, _, tail = host.rpartition(":")
    return head if head and tail.isdecimal() else host


class LoadedOut(BaseModel):
    """The last load of a table."""

    data_as_of: datetime
    late_after: datetime | None = Field(description="None where it runs only by hand")
    is_late: bool
    rows: int | None
    mode: str | None
    owner: str
    notebook: str
    schedule: str
    event: str
    run: str


class TableOut(BaseModel):
    """A table or view."""

    model_config = ConfigDict(from_attributes=True)

    schema_name: str = Field(validation_alias="schema")
    name: str
    kind: str = Field(description="table, view, materialized or foreign")
    comment: str
    owner: str
    rows: int | None = Field(description="Estimate of the planner")
    size: int | None = Field(description="Bytes, with indexes")
    loaded: LoadedOut | None


class ColumnOut(BaseModel):
    """A column."""

    name: str
    type: str
    required: bool
    comment: str


class TableDetailsOut(BaseModel):
    """A table with columns and some rows."""

    model_config = ConfigDict(from_attributes=True)

    table: TableOut
    columns: list[ColumnOut]
    rows: int | None = Field(description="Counted; None where that would take too long")
    sample: list[list[str | None]] | None = Field(description="Values as text, cut short")
    refusal: str = Field(description="Why there is no sample, or empty")


@api.get("/tables", response_model=list[TableOut], responses=INVALID)
def list_tables(catalog: CatalogDep, word: WordQuery = "") -> list[Table]:
    """List the tables that the person's PostgreSQL role may read."""
    return catalog.list_tables(word.strip())


@api.get("/tables/{schema}/{name:path}", response_model=TableDetailsOut, responses=MISSING)
def find_table(catalog: CatalogDep, schema: str, name: str) -> Details:
    """Return one table with columns and some rows."""
    return catalog.find_table(schema, name)
