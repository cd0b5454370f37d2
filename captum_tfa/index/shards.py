"""The files of one shard: a raw matrix of projections, its codes, the exact norms and losses.

While a shard grows its files end in ``.part`` and hold whole batches, the norms written after the
projections that they belong to. A finished shard is renamed into place, and is finished once its
small JSON file with the checksums is there.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captum_tfa.index.codes import bytes_of, encode
from captum_tfa.index.locks import held_file
from captum_tfa.index.sealed import read_sealed, remove_leftovers, write_sealed
from captum_tfa.index.settings import Settings
from captum_tfa.whole_file import whole_file

#: Beside each projection: the gradient's norm and the loss.
BESIDE = np.dtype([("norm", "<f4"), ("loss", "<f4")])
_PART = ".part"
# So many numbers are looked at together.
_NUMBERS_AT_ONCE = 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ShardFiles:
    """The names of one shard's files, and what they hold.

    Args:
        folder: of the index.
        settings: of the index.
        number: of the shard, from 0.
    """

    def __init__(self, folder: Path, settings: Settings, number: int) -> None:
        self.settings, self.number = settings, number
        self.rows = settings.rows(number)
        self.projections = folder / f"{number:06d}.projections"
        self.norms = folder / f"{number:06d}.norms"
        self.codes = folder / f"{number:06d}.codes"
        self.seal = folder / f"{number:06d}.json"

    @property
    def parts(self) -> tuple[Path, Path]:
        """The files while the shard grows."""
        return tuple(path.with_name(path.name + _PART) for path in (self.projections, self.norms))  # type: ignore[return-value]

    @property
    def sizes(self) -> dict[Path, int]:
        """Bytes of the files when the shard is finished."""
        count, settings = len(self.rows), self.settings
        return {
            self.projections: count * settings.row_bytes,
            self.norms: count * BESIDE.itemsize,
            self.codes: bytes_of(count, settings.dimension),
        }

    def finished(self) -> bool:
        """Whether the shard is there with all the examples that it shall have."""
        return self.problem(contents=False) is None

    def rows_there(self) -> int:
        """Examples of a shard that is finished or grows, as far as file sizes say."""
        if self.finished():
            return len(self.rows)
        sizes = [path.stat().st_size if path.exists() else 0 for path in self.parts]
        return min(sizes[0] // self.settings.row_bytes, sizes[1] // BESIDE.itemsize)

    def problem(self, contents: bool) -> str | None:
        """What is wrong with a finished shard; ``None`` if nothing is.

        Args:
            contents: whether to read the files and compare checksums, or to look at sizes only.
        """
        try:
            seal = read_sealed(self.seal)
        except FileNotFoundError:
            return f"shard {self.number} is missing or not finished ({self.seal.name})"
        except ValueError:
            return f"{self.seal.name} is damaged"
        if seal["count"] != len(self.rows):
            return f"shard {self.number} has {seal['count']} of {len(self.rows)} examples"
        for path, size in self.sizes.items():
            if path == self.codes and "codes" not in seal:  # made before there were any
                continue
            if not path.exists():
                return f"{path.name} is missing"
            found = path.stat().st_size
            if found != size:
                return f"{path.name} has {found} bytes instead of {size}"
            if contents and checksum(path) != seal[path.suffix[1:]]:
                return f"{path.name} is damaged: its checksum is another one"
        return None

    def refuse_unusable(self) -> None:
        """Raise if the shard cannot be read.

        Raises:
            ValueError: it is not finished, or a file is missing or has another size.
        """
        problem = self.problem(contents=False)
        if problem is not None:
            raise ValueError(
                f"The index in {self.seal.parent} cannot be used: {problem}. Build it again with "
                "the same arguments: what is there stays, what is missing is made."
            )


@contextmanager
def growing(files: ShardFiles, batch_size: int) -> Iterator[GrowingShard]:
    """A shard to add examples to, from where an earlier run left it.

    Raises:
        BlockingIOError: another process adds to it.
        OSError: the files cannot be written.
    """
    parts = files.parts
    files.seal.unlink(missing_ok=True)  # of a shard with fewer examples
    for whole, part in zip((files.projections, files.norms), parts, strict=True):
        if whole.exists():
            whole.replace(part)
    # Whole batches only: a batch that is computed again must be the same batch.
    done = files.rows_there() // batch_size * batch_size if files.rows_there() else 0
    with held_file(parts[0]) as projections, held_file(parts[1]) as norms:
        for path in (files.seal, files.codes):
            remove_leftovers(path)
        yield GrowingShard(files, min(done, len(files.rows)), projections, norms)


class GrowingShard:
    """A shard that is being written; see `growing`."""

    def __init__(self, files: ShardFiles, done: int, projections: Any, norms: Any) -> None:
        self.files, self.done = files, done
        self._files = projections, norms
        sizes = files.settings.row_bytes, BESIDE.itemsize
        for file, size in zip(self._files, sizes, strict=True):
            file.truncate(done * size)
            file.seek(done * size)

    def add(self, projections: NDArray[Any], beside: NDArray[Any]) -> None:
        """Write a batch so that it is there even if the machine stops.

        Args:
            projections: ``[B, D]`` in the index's type.
            beside: ``[B]`` of `BESIDE`.
        """
        for file, rows in zip(self._files, (projections, beside), strict=True):
            file.write(np.ascontiguousarray(rows).data.cast("B"))
            file.flush()
            os.fsync(file.fileno())
        self.done += len(beside)

    def finish(self) -> None:
        """Rename the files into place and seal them."""
        files = self.files
        seal: dict[str, Any] = {"start": files.rows.start, "count": self.done}
        for part, whole in zip(files.parts, (files.projections, files.norms), strict=True):
            seal[whole.suffix[1:]] = checksum(part)
            part.replace(whole)
        write_codes(files)
        seal[files.codes.suffix[1:]] = checksum(files.codes)
        write_sealed(files.seal, seal)


@contextmanager
def told_of_storage(folder: Path) -> Iterator[None]:
    """Turns errors of the file system into one line that says what to do.

    Raises:
        OSError: with that line.
    """
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno is None:  # one of ours
            raise
        if error.errno in _FULL:
            what = "there is no space left; make some"
        elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            what = "it must not be written to; give a folder that may be"
        else:
            what = f"{error.strerror or error}; put that right"
        raise OSError(
            f"The index in {folder} cannot be written: {what}, and run the same again. It goes on "
            "where it stopped."
        ) from error


def write_codes(files: ShardFiles) -> None:
    """Write the codes of a shard's projections: all of them, then what stands beside each."""
    shape = len(files.rows), files.settings.dimension
    rows = np.memmap(files.projections, files.settings.dtype, "r", shape=shape)
    step = max(1, _NUMBERS_AT_ONCE // files.settings.dimension)
    beside = []
    with whole_file(files.codes) as new, new.open("wb") as file:
        for start in range(0, len(rows), step):
            codes, own = encode(rows[start : start + step])
            file.write(codes.data)
            beside.append(own)
        file.write(np.concatenate(beside).data)
        file.flush()
        os.fsync(file.fileno())


def checksum(path: Path) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
