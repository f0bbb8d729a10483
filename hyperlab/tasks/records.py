"""TFRecord files of images without TensorFlow: where in a file each image lies.

Source: tensorflow.org/tutorials/load_data/tfrecord (framing), protobuf.dev (encoding), and
`tensorflow/core/example/{example,feature}.proto` (the numbers of the fields).
"""

import io
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..base import ArtifactError

HEADER = struct.Struct("<QI")  # bytes of the record, checksum of that number
FOOTER_BYTES = 4  # checksum of the record; not verified, a damaged image fails to decode
POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
Span = tuple[int, int]  # first byte and the one after the last


@dataclass(frozen=True, slots=True)
class Record:
    """An encoded image inside a larger file; opens like a file of its own."""

    path: Path
    offset: int  # bytes
    length: int  # bytes

    def open(self, mode: str = "rb") -> io.BytesIO:
        """The bytes of this image alone."""
        with self.path.open(mode) as file:
            file.seek(self.offset)
            return io.BytesIO(file.read(self.length))

    def __str__(self) -> str:
        return f"{self.path} (image at byte {self.offset})"


def labelled(path: Path, *, at_most: int | None = None) -> list[tuple[Record, int]]:
    """The images of a TFRecord file and their labels, in the order of the file.

    Each record is a tf.train.Example with the features `image` (bytes) and `label` (int64).

    Args:
        at_most: records to read; None is all.

    Raises:
        ArtifactError: if the file is cut short, no TFRecord file, or lacks a feature.
    """
    if not path.stat().st_size:
        return []
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        spans = islice(_records(path, data), at_most)
        return [_image_and_label(path, data, span) for span in spans]


def _records(path: Path, data: mmap.mmap) -> Iterator[Span]:
    """Of each record the bytes between its header and its footer."""
    at = 0
    while at < len(data):
        start = at + HEADER.size
        if start > len(data):
            raise ArtifactError(f"{path} is cut short at byte {at}; convert it again")
        length, checksum = HEADER.unpack(data[at:start])
        if checksum != masked(crc32c(data[at : at + 8])):
            raise ArtifactError(f"{path} is damaged or no TFRecord file: byte {at}")
        at = start + length + FOOTER_BYTES
        if at > len(data):
            raise ArtifactError(
                f"{path} is cut short: it ends at byte {len(data)}, its last record at {at}; "
                f"convert it again"
            )
        yield start, start + length


def _image_and_label(path: Path, data: mmap.mmap, span: Span) -> tuple[Record, int]:
    try:
        features = _features(data, span)
        start, end = _field(data, _field(data, features["image"], 1), 1)  # bytes_list
        label, _ = _varint(data, *_field(data, _field(data, features["label"], 3), 1))
    except (KeyError, ValueError) as error:
        raise ArtifactError(
            f"{path}: the record at byte {span[0]} has no image and label: {error}"
        ) from error
    return Record(path, start, end - start), label


def _features(data: mmap.mmap, span: Span) -> dict[str, Span]:
    """Name -> tf.train.Feature, from a tf.train.Example."""
    found = {}
    for number, entry in _fields(data, _field(data, span, 1)):
        if number == 1:
            start, end = _field(data, entry, 1)
            found[data[start:end].decode()] = _field(data, entry, 2)
    return found


def _field(data: mmap.mmap, span: Span, wanted: int) -> Span:
    """The first field of that number in a message."""
    for number, found in _fields(data, span):
        if number == wanted:
            return found
    raise ValueError(f"no field {wanted}")


def _fields(data: mmap.mmap, span: Span) -> Iterator[tuple[int, Span]]:
    """The number and the content of each field of a protobuf message."""
    at, end = span
    while at < end:
        key, at = _varint(data, at, end)
        kind, length = key & 7, 0
        if kind == 0:
            length = _varint(data, at, end)[1] - at
        elif kind == 2:
            length, at = _varint(data, at, end)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"unknown wire type {kind}")
        if at + length > end:
            raise ValueError(f"a field runs {at + length - end} bytes over its message")
        yield key >> 3, (at, at + length)
        at += length


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the byte after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number without an end")


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum of a few bytes.

    Source: RFC 3720, section 12.1 (polynomial) and appendix B.4 (examples).
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _after_eight_bits(crc: int) -> int:
    for _ in range(8):
        crc = crc >> 1 ^ (POLYNOMIAL if crc & 1 else 0)
    return crc


def masked(crc: int) -> int:
    """A checksum as TFRecord files keep it: turned by 15 bits, plus a constant."""
    return (crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF


TABLE = tuple(map(_after_eight_bits, range(256)))
