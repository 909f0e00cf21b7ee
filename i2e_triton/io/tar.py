"""List the files and the samples of uncompressed tars, as WebDataset does."""

from __future__ import annotations

import json
import os
import posixpath
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from i2e_triton.io import LARGEST_LABEL, NO_LABEL

_BLOCK = tarfile.BLOCKSIZE
_END_OF_ARCHIVE = bytes(2 * _BLOCK)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_WITHOUT_DATA = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
_MAX_EXTENSION_BYTES = 2**20  # of a pax header or long name
_MAX_DIGITS = 20
_SPARSE = "sparse files cannot be read; write the tar without --sparse"
_LARGEST_LABEL_FILE = 1024 * 1024  # bytes


class TarMember(NamedTuple):
    """A regular file in a tar."""

    name: str
    offset: int  #: offset of its content in the tar in bytes
    size: int  #: size of its content in bytes


class TarSample(NamedTuple):
    """A sample of a WebDataset tar: adjacent or scattered files whose names are equal up to the first dot."""

    key: str  #: name of the sample
    offset: int  #: offset of its data file in the tar in bytes
    size: int  #: size of its data file in bytes
    label: int  #: label in its ``.cls`` file, else in its ``.json`` file, else -1
    metadata: dict[str, Any]  #: object in its ``.json`` file; empty without one


def read_samples(path: Path, is_data: Callable[[str], bool]) -> Iterator[TarSample]:
    """Yield the samples of a tar, in the order of their first files. Samples without a data file are left out.

    Args:
        path: the tar. All headers and label files are read.
        is_data: returns whether an extension, in lower case and without the first dot, is that of a data file.

    Raises:
        ValueError: if the file is not an uncompressed tar or is damaged, if a sample has two data, ``.cls`` or
            ``.json`` files, or if a label is invalid. The message names the file.
        OSError: if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            for key, files in _files_by_sample(file, is_data).items():
                if "data" in files:
                    yield _sample(file, key, files)
    except tarfile.TarError as error:
        raise ValueError(f"{path}: not an uncompressed tar, or damaged: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def visible_files(file: BinaryIO) -> Iterator[TarMember]:
    """Yield the regular files in a tar. Hidden files, links and folders are left out.

    Names are normalized: ``/a.jpg`` and ``./a.jpg``, which ``tar -C FOLDER -cf FILE .`` writes, become ``a.jpg``.

    ``tarfile.open`` is not used: for a malicious file, it loops forever, takes quadratic time, or allocates any amount
    of memory. This function takes time linear in the size of the file, and at most 1 MiB for a header.

    Args:
        file: the open tar file. The caller may seek and read in it while the generator is suspended.

    Raises:
        tarfile.TarError: if the file is not a tar, is compressed, damaged or truncated, or contains a sparse file.
    """
    end = os.fstat(file.fileno()).st_size
    if read_at(file, 0, 6).startswith(_COMPRESSED):
        raise tarfile.ReadError("the tar is compressed, so files cannot be read by offset; decompress it first")
    position = 0
    name: str | None = None  # of the next file, from pax headers and long names before its own header
    size: int | None = None
    while any(block := read_at(file, position, _BLOCK)):
        header = _header(block, position)
        stored = header.size if size is None else size
        if header.type in _WITHOUT_DATA:
            stored = 0
        offset = position + _BLOCK
        if not 0 <= stored <= end - offset:
            raise tarfile.ReadError(
                f"the file {name or header.name!r} has {stored:,} bytes, but the tar ends before its end"
            )
        position = offset + -(-stored // _BLOCK) * _BLOCK
        if header.type in _PAX:
            for keyword, value in _pax_records(_extension_content(file, offset, stored)):
                if keyword == b"path":
                    name = _text(value)
                elif keyword == b"size":
                    size = _number(value)
                elif keyword.startswith(b"GNU.sparse."):
                    raise tarfile.ReadError(_SPARSE)
        elif header.type == tarfile.GNUTYPE_LONGNAME:
            name = _text(_extension_content(file, offset, stored).partition(b"\0")[0])
        elif header.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(_SPARSE)
        elif header.type not in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
            path = posixpath.normpath(name or header.name).lstrip("/")
            if header.isreg() and not posixpath.basename(path).startswith("."):
                yield TarMember(path, offset, stored)
            name = size = None
    if read_at(file, position, len(_END_OF_ARCHIVE)) != _END_OF_ARCHIVE or (name, size) != (None, None):
        raise tarfile.ReadError(f"the end-of-archive mark at byte {position} is missing")


def split_name(name: str) -> tuple[str, str]:
    """Return the sample and the extension of a file name: ``("a/0001", "seg.png")`` for ``a/0001.seg.png``.

    As in WebDataset, the name is split at the first dot. The extension is in lower case.
    """
    folder, base = posixpath.split(name)
    stem, _, extension = base.partition(".")
    return posixpath.join(folder, stem), extension.lower()


def read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Return the ``size`` bytes at an offset, or fewer if the file ends before."""
    file.seek(offset)
    return file.read(size)


def _files_by_sample(file: BinaryIO, is_data: Callable[[str], bool]) -> dict[str, dict[str, TarMember]]:
    """Return the ``"data"``, ``"cls"`` and ``"json"`` files of each sample."""
    samples: dict[str, dict[str, TarMember]] = {}
    for member in visible_files(file):
        key, extension = split_name(member.name)
        kind = "data" if is_data(extension) else extension
        if kind in ("data", "cls", "json"):
            files = samples.setdefault(key, {})
            if kind in files:
                raise ValueError(f"the sample {key!r} has two {kind} files; the second is {member.name!r}")
            files[kind] = member
    return samples


def _sample(file: BinaryIO, key: str, files: dict[str, TarMember]) -> TarSample:
    content = _read_label_file(file, files["json"], json.loads) if "json" in files else {}
    metadata = content if isinstance(content, dict) else {}
    label = _read_label_file(file, files["cls"], int) if "cls" in files else metadata.get("label", NO_LABEL)
    if type(label) is not int or not NO_LABEL <= label <= LARGEST_LABEL:
        raise ValueError(
            f"the label of the sample {key!r} must be 0 to {LARGEST_LABEL}, or {NO_LABEL} without a label, "
            f"got {label!r:.80}"
        )
    return TarSample(key, files["data"].offset, files["data"].size, label, metadata)


def _read_label_file(file: BinaryIO, member: TarMember, parse: Callable[[bytes], Any]) -> Any:
    if member.size > _LARGEST_LABEL_FILE:
        raise ValueError(f"{member.name!r} is too large for a label ({member.size:,} bytes)")
    try:
        return parse(read_at(file, member.offset, member.size))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{member.name!r} contains no valid label ({error})") from error


def _header(block: bytes, position: int) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError) as error:
        raise tarfile.ReadError(f"the header at byte {position} is damaged: {error}") from error


def _extension_content(file: BinaryIO, offset: int, size: int) -> bytes:
    if size > _MAX_EXTENSION_BYTES:
        raise tarfile.ReadError(f"a header has {size:,} bytes, more than the limit of {_MAX_EXTENSION_BYTES:,}")
    return read_at(file, offset, size)


def _pax_records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    r"""Yield the keyword and value of each record ``length keyword=value\n``; ``length`` counts all of its bytes."""
    start = 0
    while start < len(content) and content[start]:
        digits, space, _ = content[start : start + _MAX_DIGITS + 1].partition(b" ")
        stop = start + _number(digits)
        keyword, equals, value = content[start + len(digits) + 1 : stop].partition(b"=")
        if not (space and equals) or stop > len(content) or not value.endswith(b"\n"):
            raise tarfile.ReadError("a pax header is damaged")
        yield keyword, value[:-1]
        start = stop


def _number(digits: bytes) -> int:
    if not (digits.isdigit() and len(digits) <= _MAX_DIGITS):
        raise tarfile.ReadError(f"a number in a pax header is damaged: {digits[:_MAX_DIGITS]!r}")
    return int(digits)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
