"""A run as the portal reads it: one table says where each field comes from and who sees it."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from vixtract.portal.api_models import RunOut
from vixtract.portal.models import RUN_FIELDS, Run, read_run

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
KEYS = sorted({each.record.rpartition(".")[0] or each.record for each in RUN_FIELDS.values()})
MORE = ["params", "time_start", "owner", "memo", "code", "attempt", "time_end", "perf", "complete"]


def test_the_table_names_every_field_of_a_run():
    assert list(RUN_FIELDS) == [each.name for each in fields(Run)]
    assert set(RunOut.model_fields) == {
        name for name, each in RUN_FIELDS.items() if not each.hidden
    } | {"why"}
    shown = [each for each in RUN_FIELDS.values() if each.is_column or each.is_fact]
    assert all(each.label for each in shown)
    assert {"start", "elapsed", "owner"} == {each.name for each in shown if each.is_column}


def test_what_the_runner_reported_is_read_by_the_table():
    job = {
        "id": "j1", "complete": 1, "code": 0, "username": "anna", "time_start": 1_700_000_000,
        "chain_data": {"peak_mb": 120.5, "output": "/runs/anna/j1/x.ipynb", "hint": "Try again."},
    }  # fmt: skip
    run = read_run(job)
    assert (run.peak_mb, run.output_name, run.hint) == (120.5, "x.ipynb", "Try again.")
    assert (run.owner, run.state) == ("anna", "succeeded")
    assert RunOut.model_validate(run).peak_mb == 120.5


@given(st.dictionaries(st.sampled_from([*KEYS, *MORE]), ANYTHING))
def test_a_record_of_any_shape_is_a_run(job):
    RunOut.model_validate(read_run(job))
