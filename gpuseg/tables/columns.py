"""Which columns a table has, and in which order."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import InputError
from gpuseg.objects.columns import (
    AMBIGUOUS,
    ID,
    IMAGE,
    NUMBER,
    PREDICTED,
    PROBABILITY,
    TIME,
    UNSURE,
    USER,
)

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = (IMAGE, ID, TIME, NUMBER)  # first, in this order, where a table has them


def of_class(column: str) -> bool:
    """Whether a column says what was predicted of an object."""
    return column in (USER, PREDICTED, UNSURE, AMBIGUOUS) or column.startswith(PROBABILITY)


def classified(
    table: "pd.DataFrame",
    user_labels: Sequence[str],
    predicted: Sequence[str],
    proba: NDArray[Any],
    classes: Sequence[str],
    uncertainty: NDArray[Any],
    ambiguous: Sequence[str],
) -> "pd.DataFrame":
    """The table with what was predicted between what objects are called and what was measured of them.

    user_labels: name of the class, "0" where the user said nothing. proba: (n, classes).
    What an earlier prediction left in the table is replaced.
    """
    import pandas as pd

    def text(values: Sequence[str]) -> "pd.Series[Any]":
        return pd.Series(list(values), index=table.index, dtype=object)  # of no row, too

    made: dict[str, Any] = {USER: text(user_labels), PREDICTED: text(predicted)}
    made |= {f"{PROBABILITY}{name}": p for name, p in zip(classes, np.asarray(proba).T, strict=True)}
    made |= {UNSURE: np.asarray(uncertainty), AMBIGUOUS: text(ambiguous)}
    first = [name for name in IDENTITY if name in table]
    rest = [name for name in table if name not in IDENTITY and not of_class(str(name))]
    found = pd.concat([table[first], pd.DataFrame(made, index=table.index), table[rest]], axis=1)
    found.attrs = dict(table.attrs)
    return found


def join_tables(tables: "Mapping[str, pd.DataFrame]") -> "pd.DataFrame":
    """The tables of several images below each other, `image` first; `object_id` runs over all of them.

    tables: by name of their image, all of the same columns; the order of columns and the `attrs` are those of
    the first. InputError if columns differ.
    """
    import pandas as pd

    first, *others = tables
    columns = list(tables[first])
    for name in others:
        if odd := set(columns) ^ set(tables[name]):
            raise InputError(
                f"{name}: {len(tables[name].columns)} columns, {first}: {len(columns)}; {min(odd, key=str)!r}"
                " is in one of them only",
                hint="measure the same features of all images, or make a table for each",
            )
    # Columns without a row may be of another type, and say nothing.
    full = [table[columns] for table in tables.values() if len(table)] or [tables[first]]
    below = pd.concat(full, ignore_index=True)
    names = np.repeat(np.array(list(tables), object), [len(table) for table in tables.values()])
    identity = {IMAGE: pd.Series(names, dtype=object), ID: pd.Series(np.arange(len(below)), dtype=np.int64)}
    rest = below[[name for name in columns if name not in identity]]
    joined = pd.concat([pd.DataFrame(identity), rest], axis=1)  # insert() warns of more than 100 columns
    joined.attrs = dict(tables[first].attrs)
    return joined
