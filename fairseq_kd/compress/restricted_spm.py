"""A sentencepiece model that uses some of its pieces alone.

sentencepiece has a type for pieces that it may not use, ``UNUSED``. What they would have covered is cut into smaller
pieces. The numbers of all pieces stay. A model is a protobuf message (sentencepiece_model.proto) whose field 1 is a
piece with the fields piece (1), score (2) and type (3). Of a field that comes twice, the last value counts.
"""

from collections.abc import Callable, Iterator

import sentencepiece

UNUSED = b"\x18\x05"
"""Field 3, a number, of value 5."""
PIECE = 0x0A
"""Field 1, with a length."""
AS_WRITTEN = b"\x1a\x04\x18\x00\x20\x00"
"""Field 3, how text is normalised: no space is put in front of it (field 3 there), and none is removed (4)."""


def cutter_of_pieces(model: bytes) -> sentencepiece.SentencePieceProcessor:
    """A serialised model that cuts text which may begin or end within a word."""
    return sentencepiece.SentencePieceProcessor(model_proto=model + AS_WRITTEN)


def restricted(model: sentencepiece.SentencePieceProcessor, keeps: Callable[[str], bool]) -> bytes:
    """The serialised model with all ordinary pieces that ``keeps`` refuses set to unused."""
    data, made, number = model.serialized_model_proto(), bytearray(), 0
    for tag, field, content in _fields(data):
        if tag != PIECE:
            made += field
            continue
        ordinary = not (model.is_control(number) or model.is_unknown(number) or model.is_byte(number))
        if ordinary and not keeps(model.id_to_piece(number)):
            content += UNUSED
        made += bytes([PIECE]) + _varint(len(content)) + content
        number += 1
    return bytes(made)


def _fields(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Each field of a message: its tag, its bytes, and those behind its tag and length."""
    place = 0
    while place < len(data):
        start = place
        tag, place = _read_varint(data, place)
        kind, length = tag & 7, 0
        if kind == 2:
            length, place = _read_varint(data, place)
        elif kind == 0:
            _, place = _read_varint(data, place)
        else:
            length = {1: 8, 5: 4}[kind]
        content = data[place : place + length]
        place += length
        yield tag, data[start:place], content


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _varint(value: int) -> bytes:
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])
