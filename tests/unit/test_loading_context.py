"""Where in the source a refused row is, by the server's words for it in several languages."""

from __future__ import annotations

import pytest

from vixtract.loading.writer import make_context_pattern

# PostgreSQL's own translations: the line alone, with a column, with its value, with the whole line.
CONTEXTS = [
    'COPY {}, line {}|COPY {}, line {}, column {}|COPY {}, line {}, column {}: "x"|COPY {}, line {}: "1"',
    "COPY {}, строка {}|COPY {}, строка {}, столбец {}|COPY {}, строка {}, столбец {}: значение NULL"
    '|COPY {}, строка {}: "1"',
    "COPY {}, Zeile {}|COPY {}, Zeile {}, Spalte {}|COPY {}, Zeile {}, Spalte {}: »x«|COPY {}, Zeile {}: »1«",
    "COPY {}, ligne {}|COPY {}, ligne {}, colonne {}|COPY {}, ligne {}, colonne {} : « x »|COPY {}, ligne {} : « 1 »",
    '{}のCOPY、行 {}|{}のCOPY、行 {}、列 {}|{}のCOPY、行 {}、列 {}: "x"|{}のCOPY、行 {}: "1"',
    'COPY {}, 行 {}|COPY {}, 行 {}, 列 {}|COPY {}, 行 {}, 列 {}: "x"|COPY {}, 行 {}: "1"',
]
COLUMNS = ["a", "a\nb", "a: b", "column a", "столбец a", "1", '"']


@pytest.mark.parametrize("forms", CONTEXTS)
@pytest.mark.parametrize("table", ["t", "t5", "COPY t, line 7", "(x", "a\nb"])
def test_row_and_column_are_found_in_any_language(forms, table):
    before, after = "PL/pgSQL function f() line 3 at RAISE\n", "\nSQL statement"
    for position, form in enumerate(forms.split("|")):
        for column in COLUMNS:
            context = before + form.format(table, 42, column) + after
            found = make_context_pattern(table, COLUMNS).search(context)
            assert found is not None, context
            assert found[1] == "42"
            assert found[2] == (column if position in (1, 2) else None), context


@pytest.mark.parametrize(
    "context", ["", "COPY other, line 3", "PL/pgSQL function t line 3 at RAISE", "COPY t"]
)
def test_other_contexts_name_no_row(context):
    assert make_context_pattern("t", ["a"]).search(context) is None
