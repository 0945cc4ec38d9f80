"""petl's `convert` with one function call per converted value.

petl calls a function for each value of a row, converted or not. Conversions that look at the row
(`where`, `pass_row`) are left to petl.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vixtract.loading.petl_groups import stock


def iter_field_convert(*arguments: Any) -> Iterator[tuple[Any, ...]]:
    """Replace petl's `iterfieldconvert`, with the same rows and the same errors."""
    source, converters, failonerror, errorvalue, where, pass_row, _ = arguments
    if where is not None or pass_row:
        yield from stock["petl.transform.conversions", "iterfieldconvert"](*arguments)
        return
    iterator = iter(source)
    fields: list[str] = []
    for header in iterator:
        fields = [str(field) for field in header]
        yield tuple(header)
        break
    functions = _find_functions(converters, fields)
    for row in iterator:
        values = list(row)
        width = len(values)
        for index, function in functions:
            if index >= width:
                break
            try:
                values[index] = function(values[index])
            except Exception as error:
                if failonerror == "inline":
                    values[index] = error
                elif failonerror:
                    raise
                else:
                    values[index] = errorvalue
        yield tuple(values)


def _find_functions(
    converters: Mapping[Any, Any], fields: Sequence[str]
) -> list[tuple[int, Callable[[Any], Any]]]:
    """Return the function of each column, in the columns' order; of two, the later."""
    from petl.errors import ArgumentError, FieldSelectionError
    from petl.transform.conversions import dictconverter

    found: dict[int, Callable[[Any], Any]] = {}
    for field, converter in converters.items():
        if isinstance(field, int):
            index = field
        elif field in fields:
            index = fields.index(field)
        else:
            raise FieldSelectionError(field)
        if callable(converter):
            found[index] = converter
        elif isinstance(converter, str):
            found[index] = operator.methodcaller(converter)
        elif isinstance(converter, (tuple, list)) and isinstance(converter[0], str):
            found[index] = operator.methodcaller(*converter)
        elif isinstance(converter, dict):
            found[index] = dictconverter(converter)
        elif converter is not None:
            text = f"unexpected converter specification on field {index!r}: {converter!r}"
            raise ArgumentError(text)
    # petl counts columns from 0 and never meets a negative one.
    return sorted((pair for pair in found.items() if pair[0] >= 0), key=operator.itemgetter(0))
