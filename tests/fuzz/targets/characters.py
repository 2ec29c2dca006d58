"""Texts in every character set, to the letter or U+FFFD (PS3.3 C.12.1.1.2, PS3.5 6.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from node.objects.characters import SINGLE, UNREADABLE, decoded, terms
from tests.fuzz.target import Reader, Target

SETS = (
    b"", b"ISO_IR 100", b"ISO_IR 192", b"GB18030", b"ISO_IR 13", b"ISO 2022 IR 6\\ISO 2022 IR 87", b"ISO_IR 144",
    b"\\ISO 2022 IR 149", b"ISO 2022 IR 13\\ISO 2022 IR 87\\ISO 2022 IR 159", b"\\ISO 2022 IR 58", b"nonsense",
    b"ISO_IR 166",
)  # fmt: skip
VRS = ("PN", "LO", "LT")
#: whole sets without code extensions, each by one codec of Python's
PLAIN = {b"ISO_IR 192": "utf_8", b"ISO_IR 100": SINGLE[100], b"ISO_IR 144": SINGLE[144], b"ISO_IR 166": SINGLE[166]}


def check(read: Reader, data: bytes) -> bool:
    """The first two bytes say in which set, and of which VR, the others are."""
    charset, vr = (SETS[data[0] % len(SETS)], VRS[data[1] % len(VRS)]) if len(data) > 1 else (b"", "LO")
    data = data[2:]
    text: str = read(data, terms(charset), vr)
    assert len(text) <= len(data), "more letters than bytes"
    text.encode()  # no surrogates
    assert "\x1b" not in text, "an escape"
    if data.isascii() and b"\x1b" not in data:
        assert text == data.decode(), "ASCII is not ASCII"
    elif (codec := PLAIN.get(charset)) and b"\x1b" not in data and UNREADABLE not in text:
        assert text == data.decode(codec).removeprefix("\ufeff"), "another letter"
    return UNREADABLE not in text and not data.isascii()


def guessing(data: bytes, charset: Sequence[str], vr: str) -> str:
    """Takes what cannot be read for Latin letters."""
    text = decoded(data, charset, vr)
    return data.decode("latin-1") if UNREADABLE in text else text


def seeds() -> Iterable[bytes]:
    yield b"\1\0" + "Bücher^Ä".encode("latin-1")
    yield b"\2\1" + "Bücher^Ä".encode()
    yield b"\3\0" + "王^小东".encode("gb18030")
    yield b"\5\0Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B="
    yield b"\4\0" + "ﾔﾏﾀﾞ^ﾀﾛｳ".encode("shift_jis") + b"=\x1b$B;3ED\x1b(J"
    yield b"\7\0Hong^Gildong=\x1b$)C" + "洪^\x1b$)C吉洞".encode("euc_kr")
    yield b"\x09\2\x1b$)A" + "第一行文字。".encode("gb2312") + b"\r\n"
    yield b"\6\1" + "Люксембург".encode("iso8859_5")


TARGET = Target(
    read=decoded,
    check=check,
    seeds=seeds,
    faults={"guesses letters": guessing},
    words=[b"\x1b$B", b"\x1b(B", b"\x1b(J", b"\x1b$)C", b"\x1b$)A", b"\x1b-A", b"\x1b$(D", b"\x1b)I", b"^", b"="],
    longest=400,
)
