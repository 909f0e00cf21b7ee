"""Uncompressed tar files in the layout of WebDataset: what readers of images and readers of events share."""

from __future__ import annotations

import os
import posixpath
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_BLOCK = tarfile.BLOCKSIZE
_END_OF_ARCHIVE = bytes(2 * _BLOCK)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_WITHOUT_DATA = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
_LARGEST_EXTENSION = 2**20  # bytes of a pax header or long name
_LONGEST_NUMBER = 20  # digits
_SPARSE_CONTINUES = 482, 504  # offsets of this mark in the header of a sparse file, and in the blocks after it


class TarMember(NamedTuple):
    """A regular file in a tar."""

    name: str
    offset: int  #: of its content in the tar in bytes
    size: int  #: in bytes


def visible_files(file: BinaryIO) -> Iterator[TarMember]:
    """Yield each regular file in a tar. Hidden files, sparse files, links and folders are left out.

    Names are normalized: ``./a.jpg``, as ``tar -C FOLDER -cf FILE .`` writes it, and ``/a.jpg`` become ``a.jpg``.

    The headers are read here and not by ``tarfile.open``, which can be made to loop forever, to take quadratic time, or
    to allocate any amount of memory. Here time is linear in the size of the file, and a header takes at most 1 MiB.

    Args:
        file: the open tar file. The caller may seek and read in it between two members.

    Raises:
        tarfile.TarError: if the file is not a tar, or is compressed, damaged or truncated.
    """
    end = os.fstat(file.fileno()).st_size
    if read_at(file, 0, 6).startswith(_COMPRESSED):
        raise tarfile.ReadError("it is compressed, which prevents reading by offset; decompress it first")
    position, extension = 0, _Extension()
    while any(block := read_at(file, position, _BLOCK)):
        header = _header(block, position)
        offset = position + _BLOCK
        if header.type == tarfile.GNUTYPE_SPARSE:
            offset = _skip_sparse_map(file, offset, block)
        name = extension.name or header.name
        size = header.size if extension.size is None else extension.size
        if header.type in _WITHOUT_DATA:
            size = 0
        if not 0 <= size <= end - offset:
            raise tarfile.ReadError(f"its member {name!r} needs {size:,} bytes and is cut off")
        position = offset + -(-size // _BLOCK) * _BLOCK
        if header.type in (*_PAX, tarfile.GNUTYPE_LONGNAME):
            extension = extension.joined(header.type, _extension_content(file, offset, size))
        elif header.type not in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
            name = posixpath.normpath(name).lstrip("/")
            sparse = extension.sparse or header.type == tarfile.GNUTYPE_SPARSE
            if header.isreg() and not sparse and not posixpath.basename(name).startswith("."):
                yield TarMember(name, offset, size)
            extension = _Extension()
    if read_at(file, position, len(_END_OF_ARCHIVE)) != _END_OF_ARCHIVE or extension != _Extension():
        raise tarfile.ReadError(f"no end-of-archive mark at byte {position}")


def split_name(name: str) -> tuple[str, str]:
    """Return sample and extension of a file name, split at the first dot as in WebDataset: ``a/0001``, ``seg.png``."""
    folder, base = posixpath.split(name)
    stem, _, extension = base.partition(".")
    return posixpath.join(folder, stem), extension.lower()


def read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Return ``size`` bytes from an offset on, or fewer if the file ends before."""
    file.seek(offset)
    return file.read(size)


class _Extension(NamedTuple):
    """What the headers before a member say about it."""

    name: str | None = None
    size: int | None = None
    sparse: bool = False

    def joined(self, kind: bytes, content: bytes) -> _Extension:
        """Return what this and the content of another pax header or long name say."""
        if kind == tarfile.GNUTYPE_LONGNAME:
            return self._replace(name=_text(content.partition(b"\0")[0]))
        extension = self
        for keyword, value in _pax_records(content):
            if keyword == b"path":
                extension = extension._replace(name=_text(value))
            elif keyword == b"size":
                extension = extension._replace(size=_number(value))
            elif keyword.startswith(b"GNU.sparse."):
                extension = extension._replace(sparse=True)
        return extension


def _header(block: bytes, position: int) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError) as error:
        raise tarfile.ReadError(f"no end-of-archive mark at byte {position}, but a damaged header: {error}") from error


def _extension_content(file: BinaryIO, offset: int, size: int) -> bytes:
    if size > _LARGEST_EXTENSION:
        raise tarfile.ReadError(f"a header has {size:,} bytes, at most {_LARGEST_EXTENSION:,} are read")
    return read_at(file, offset, size)


def _pax_records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keyword and value of each record ``length keyword=value`` and a line feed. Length is that of the record."""
    start = 0
    while start < len(content) and content[start]:
        digits, space, _ = content[start : start + _LONGEST_NUMBER + 1].partition(b" ")
        stop = start + _number(digits)
        keyword, equals, value = content[start + len(digits) + 1 : stop].partition(b"=")
        if not (space and equals) or stop > len(content) or not value.endswith(b"\n"):
            raise tarfile.ReadError("a pax header is damaged")
        yield keyword, value[:-1]
        start = stop


def _skip_sparse_map(file: BinaryIO, offset: int, header: bytes) -> int:
    """Return the offset after the blocks that continue the map of a sparse file."""
    in_header, in_block = _SPARSE_CONTINUES
    continues = header[in_header]
    while continues:
        block = read_at(file, offset, _BLOCK)
        offset += _BLOCK
        continues = len(block) == _BLOCK and block[in_block]
    return offset


def _number(digits: bytes) -> int:
    if not (digits.isdigit() and len(digits) <= _LONGEST_NUMBER):
        raise tarfile.ReadError(f"a number in a pax header is damaged: {digits[:_LONGEST_NUMBER]!r}")
    return int(digits)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
