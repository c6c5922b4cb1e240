"""Pickles of a megabyte and less that take an unpickler for ever, or all of the memory."""

from __future__ import annotations

import struct

_START = b"\x80\x02}"
_DOUBLED = b"K\x01\x85q\x01" + 60 * b"h\x01\x86q\x01"

PICKLE_BOMBS = {
    "a key that holds itself twice, sixty times over": _START + _DOUBLED + b"K\x00s.",
    "the same in a list of pairs": _START + b"(" + _DOUBLED + b"K\x00u.",
    "a key a million deep": _START + b"K\x01" + 10**6 * b"\x85" + b"K\x00s.",
    "lists in lists": _START + b"K\x01" + 10**4 * b"]" + (10**4 - 1) * b"a" + b"s.",
    "text that is encoded again and again": _START
    + b"c_codecs\nencode\nq\x01X"
    + struct.pack("<I", 10**5)
    + 10**5 * b"a"
    + b"X\x06\x00\x00\x00latin1\x86q\x02"
    + 10**5 * b"0h\x01h\x02R"
    + b"00.",
    "more bytes than the file has": _START + b"K\x01cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85Rs.",
    "the same by its old name": _START + b"K\x01c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85Rs.",
}
"""What is wrong with one -> the pickle."""
