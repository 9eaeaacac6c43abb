"""Arrays and frames that a study holds in memory: kept as files, named by what is in them.

So a study goes on when the same is given again, and others can be given the files.
"""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from search.data.formats import Array
from search.errors import DataCorrupt, UsageError, reason_of
from search.machine.rights import CLOSED_FOLDER
from search.study.table import Table

if TYPE_CHECKING:
    import pandas as pd

_LETTERS = 12  # of a digest, in a file's name


@dataclass(frozen=True)
class Held:
    """What is to be in a file."""

    path: Path
    name: str  # what its owner calls it
    write: Callable[[Path], None]


def in_files(data: Table | Mapping[str, Any], folder: Path) -> tuple[str | Table, tuple[Held, ...]]:
    """Return a study's data as files in a folder, and what is to be written there.

    Args:
        data: arrays by their names, as `numpy.savez` takes them; or a table, whose frames are
            kept, and files are left where they are.
        folder: of the files.

    Raises:
        DataCorrupt: something cannot be kept.

    """
    if isinstance(data, Mapping):
        arrays = {str(name): array_of(str(name), value) for name, value in data.items()}
        path = folder / f"arrays-{_digest_of_arrays(arrays)}.npz"
        return str(path), (Held(path, "the arrays", partial(_write_arrays, arrays)),)
    files = []
    if not isinstance(data.source, str):  # a file does not keep which numbers are categories
        roles = (data.label, data.group, data.time, data.weight)
        kinds = {
            str(name): "category"
            for name, dtype in data.source.dtypes.items()
            if getattr(dtype, "name", "") == "category"
            and str(name) not in roles
            and data.source[name].nunique() > 1
        }
        data = replace(data, columns={**kinds, **data.columns})
    for name in ("source", "test", "validation"):
        frame: Any = getattr(data, name)
        if not isinstance(frame, str | float):
            content = _parquet(frame)
            path = folder / f"{name}-{hashlib.sha256(content).hexdigest()[:_LETTERS]}.parquet"
            files.append(Held(path, "the frame", partial(_write_bytes, content)))
            data = replace(data, **{name: str(path)})  # type: ignore[arg-type]  # one of them
    return data, tuple(files)


def keep_files(files: tuple[Held, ...]) -> Callable[[], None]:
    """Write files that are not there yet; return what takes them back, and folders made for them.

    Raises:
        UsageError: a folder does not take them.

    """
    made: list[Path] = []

    def undo() -> None:
        for path in reversed(made):
            with suppress(OSError):  # somebody has put something else into the folder
                path.rmdir() if path.is_dir() else path.unlink()

    try:
        for one in files:
            folder = one.path.parent
            made += [each for each in (*reversed(folder.parents), folder) if not each.exists()]
            folder.mkdir(CLOSED_FOLDER, parents=True, exist_ok=True)
            if not one.path.exists():
                made.append(one.path)
                _whole(one)
    except OSError as error:
        undo()
        raise UsageError(
            f"{folder} cannot hold the data: {error.strerror or error}; name another with --out"
        ) from error
    except BaseException:
        undo()
        raise
    return undo


def _whole(one: Held) -> None:
    """Write a file, which only its owner may read, beside its place and put it there."""
    number, beside = tempfile.mkstemp(dir=one.path.parent, suffix=one.path.suffix)
    os.close(number)
    try:
        one.write(Path(beside))
        Path(beside).replace(one.path)
    finally:
        Path(beside).unlink(missing_ok=True)


def array_of(name: str, value: Any) -> Array:
    """Return what a person calls an array as one that a file can hold, text as text.

    Raises:
        DataCorrupt: it is none.

    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataCorrupt(
            f"{name} is masked, and networks would be given what is under the mask; fill it in "
            "with .filled(...), or leave these examples out"
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataCorrupt(
            f"{name} is no array: its examples differ in shape; pad or cut them to one"
        ) from error
    except (TypeError, RuntimeError) as error:  # of what another library takes for an array
        raise DataCorrupt(
            f"{name} does not become an array of NumPy: {reason_of(error)}; make it one first"
        ) from error
    if array.dtype.kind == "V" and not issubclass(array.dtype.type, np.void):  # bfloat16 and such
        return array.astype(np.float32)
    if array.dtype.kind == "T":  # NumPy's own strings, which no archive holds
        array = array.astype(object)
    if array.dtype.kind in "US" and not hasattr(value, "dtype"):
        array = np.array(value, dtype=object)  # of a list NumPy makes text of all that is in it
    if not array.dtype.hasobject:
        return array
    for kind in (str, bytes):  # as pandas keeps text
        if all(isinstance(one, kind) for one in array.flat):
            return array.astype(kind)
    if missing := [one for one in array.flat if _is_missing(one)]:
        raise DataCorrupt(
            f"{name} lacks {len(missing):,} of {array.size:,} values, where it has {missing[0]!r}; "
            "leave these examples out, or fill in what is missing"
        )
    kinds = sorted({type(one).__name__ for one in array.flat})
    raise DataCorrupt(
        f"{name} holds objects ({', '.join(kinds[:3])}); make all of it numbers, or all text"
    )


def _is_missing(value: object) -> bool:
    """Say whether a value stands for one that is not there, as Python and pandas write it."""
    if isinstance(value, float):
        return value != value  # NaN alone
    return type(value).__name__ in ("NoneType", "NAType", "NaTType")


def _digest_of_arrays(arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        # Of dates NumPy lends no bytes, but of what else their bytes may be.
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:_LETTERS]


def _write_arrays(arrays: Mapping[str, Array], path: Path) -> None:
    """Write what `numpy.savez` would, which takes an array called ``file`` for its own argument."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)


def _parquet(frame: "pd.DataFrame") -> bytes:
    from search.data.cells import checked

    try:
        content: bytes = _storable(checked(frame, "the frame")).to_parquet(None, index=False)
    except (TypeError, ValueError, NotImplementedError) as error:  # pyarrow's own are such
        raise DataCorrupt(f"the frame cannot be kept: {reason_of(error)}") from error
    return content


def _storable(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return a frame whose columns a file can hold, with what they would be taken for."""
    import pandas as pd

    changed = {}
    for name, series in frame.items():
        kind = series.dtype
        if isinstance(kind, pd.SparseDtype):
            changed[str(name)] = series.astype(kind.subtype)
        elif isinstance(kind, pd.CategoricalDtype) and isinstance(
            kind.categories.dtype, pd.IntervalDtype
        ):
            changed[str(name)] = series.astype(object).map(str, na_action="ignore")
        elif (
            pd.api.types.is_object_dtype(kind)
            and str in (kinds := set(map(type, series.dropna())))
            and len(kinds) > 1
        ):
            changed[str(name)] = series.map(str, na_action="ignore")
    return frame.assign(**changed)


def _write_bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)
