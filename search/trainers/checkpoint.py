"""Checkpoints as bytes: an uncompressed ``.npz`` without pickles, whose checksums tell damage."""

import io
import json

import numpy as np

from search.health.snapshot import Health
from search.trainers.contract import Checkpoint, EpochResult


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint as bytes, somewhat more of them than its arrays take."""
    # NumPy's format forgets the names of types that are not its own, such as bfloat16.
    header = [checkpoint.kind, *(array.dtype.name for array in checkpoint.arrays)]
    curve = [(r.loss, r.score, r.val_loss, r.val_score) for r in checkpoint.curve]
    looks = json.dumps([result.health and result.health.to_json() for result in checkpoint.curve])
    records = (np.array(header), np.array(curve, np.float64), np.array(looks.encode()))
    buffer = io.BytesIO()
    np.savez(buffer, *records, *checkpoint.arrays)
    return buffer.getvalue()


def from_bytes(data: bytes) -> Checkpoint:
    """Return the checkpoint that `to_bytes` turned into bytes, the same to the last bit.

    Raises:
        ValueError: the bytes are damaged, or never were a checkpoint.

    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            header, rows, looks, *arrays = (archive[name] for name in archive.files)
        kind, *types = header.tolist()
        healths = [stored and Health.from_json(stored) for stored in json.loads(looks.item())]
        results = zip(rows.tolist(), healths, strict=True)
        curve = (
            EpochResult(
                epoch=epoch,
                loss=row[0],
                score=row[1],
                val_loss=row[2],
                val_score=row[3],
                health=health,
            )
            for epoch, (row, health) in enumerate(results, start=1)
        )
        typed = (array.view(name) for array, name in zip(arrays, types, strict=True))
        return Checkpoint(kind, tuple(curve), tuple(typed))
    except Exception as error:  # of which a damaged archive can raise almost any
        raise ValueError("these bytes are not a checkpoint") from error
