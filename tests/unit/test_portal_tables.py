"""A table as programs get it."""

from __future__ import annotations

from datetime import datetime, timezone

from vixtract.portal.catalog import Details, Table
from vixtract.portal.tables import TableDetailsOut

MOMENT = datetime(2027, 1, 5, 6, 30, tzinfo=timezone.utc)
LOADED = {
    "data_as_of": MOMENT, "late_after": None, "is_late": False, "rows": 3, "mode": "replace",
    "owner": "anna", "notebook": "etl/load.ipynb", "schedule": "Nightly", "event": "e1", "run": "j1",
    "schema": "anna",
}  # fmt: skip
COLUMN = {"name": "id", "type": "bigint", "required": True, "comment": ""}


def test_programs_get_a_table_with_its_load_columns_and_rows():
    table = Table("anna", "sales", "table", "Sales", "anna", 3, 8192, LOADED)
    told = TableDetailsOut.model_validate(Details(table, [COLUMN], 3, [["1", None]]))
    loaded = {name: value for name, value in LOADED.items() if name != "schema"}
    assert told.model_dump() == {
        "table": {
            "schema_name": "anna", "name": "sales", "kind": "table", "comment": "Sales",
            "owner": "anna", "rows": 3, "size": 8192, "loaded": loaded,
        },
        "columns": [COLUMN],
        "rows": 3,
        "sample": [["1", None]],
        "refusal": "",
    }  # fmt: skip


def test_a_table_that_was_never_loaded_is_not_late():
    table = Table("anna", "t", "view", "", "anna", None, None, None)
    told = TableDetailsOut.model_validate(Details(table, [], None, None, "view"))
    assert (told.table.loaded, told.sample, told.refusal) == (None, None, "view")
    assert not table.is_late
