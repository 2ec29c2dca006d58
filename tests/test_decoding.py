"""The pixels of one image: the same from every transfer syntax, or a refusal; never a crash, a hang or a leak."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import struct
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import convert_color_space
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from models.wire import Disconnected, SharedArray, send
from node.errors import Refused
from node.inbound.syntaxes import ACCEPTED
from node.study import decode_child, pixels
from node.study.decode import Decoders, Piece, _Child
from node.study.palette import coloured
from tests.descriptors import descriptors, watched
from tests.synthetic import small_series
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("patient_nursery")
ROWS, COLUMNS = 72, 68
Values = NDArray[Any]


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(2)
    yield pool
    pool.close()


@pytest.fixture
def decode(tmp_path: Path, decoders: Decoders) -> Callable[[Dataset], Values]:
    def one(ds: Dataset) -> Values:
        (found,) = pixels.decoded([pixels.read(written(ds, tmp_path))], decoders)
        return found

    return one


def ramp(dtype: str = "u2", bits: int | None = None, shape: tuple[int, ...] = (ROWS, COLUMNS)) -> Values:
    """Steps and noise from end to end of what `bits` hold."""
    rng = np.random.default_rng(7)
    kind, bits = np.dtype(dtype), bits or np.dtype(dtype).itemsize * 8
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind.kind == "i" else (0, (1 << bits) - 1)
    smooth = np.linspace(low, high, int(np.prod(shape))).reshape(shape) * rng.uniform(0.98, 1, shape)
    smooth.flat[0], smooth.flat[-1] = low, high
    return smooth.round().astype(kind)


def picture() -> NDArray[np.uint8]:
    """(rows, columns, 3)"""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    return np.stack([(3 * x) % 256, (2 * y + x) % 256, 255 - 2 * y], -1).astype(np.uint8)


def image(values: Values, bits_stored: int | None = None, frames: int = 1, **header: Any) -> Dataset:
    """An uncompressed image of (frames,) rows, columns (, 3)."""
    ds = small_series((4, 4, 2))[0]
    colour = values.ndim == (3 if frames == 1 else 4)
    ds.Rows, ds.Columns = values.shape[-3:-1] if colour else values.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        ds.PlanarConfiguration = 0
    if frames > 1:
        ds.NumberOfFrames = frames
    ds.BitsAllocated = values.dtype.itemsize * 8
    ds.BitsStored = bits_stored or ds.BitsAllocated
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(values.dtype.kind == "i")
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    ds.PixelData = data + bytes(len(data) % 2)
    ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
    for keyword, value in header.items():
        setattr(ds, keyword, value)
    return ds


def item(value: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<L", len(value)) + value


def packed(ds: Dataset, syntax: str, fragments: Sequence[bytes], table: Sequence[int] = (), **header: Any) -> Dataset:
    """The same image with these fragments, and this offset table."""
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = item(struct.pack(f"<{len(table)}L", *table)) + b"".join(item(fragment) for fragment in fragments)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    for keyword, value in header.items():
        setattr(ds, keyword, value)
    return ds


def written(ds: Dataset, folder: Path) -> Path:
    file = folder / f"{len(list(folder.iterdir()))}.dcm"
    ds.save_as(file, enforce_file_format=True)
    return file


def unsigned(values: Values) -> Values:
    return values.view(f"u{values.dtype.itemsize}")


def even(codestream: Any) -> bytes:
    return bytes(codestream) + bytes(len(codestream) % 2)


def rle(values: Values) -> bytes:
    ds = image(values)
    ds.compress(RLELossless, generate_instance_uid=False)
    return next(generate_frames(ds.PixelData, number_of_frames=1))


def jpeg_lossless(predictor: int, bits: int) -> Callable[[Values], bytes]:
    def encode(values: Values) -> bytes:
        whole = unsigned(values) & ((1 << bits) - 1)
        return even(imagecodecs.jpeg8_encode(whole, lossless=True, predictor=predictor, bitspersample=bits))

    return encode


def jpeg_ls(values: Values, near: int = 0) -> bytes:
    return even(imagecodecs.jpegls_encode(unsigned(values), level=near))


def jpeg_2000(values: Values) -> bytes:
    return even(imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k"))


def htj2k(values: Values) -> bytes:
    return even(imagecodecs.htj2k_encode(values))


LOSSLESS: dict[str, tuple[str, Callable[[Values], bytes], Sequence[tuple[str, int]]]] = {
    "RLE": (RLELossless, rle, [("u1", 8), ("i1", 8), ("u2", 16), ("i2", 16), ("u2", 12), ("i2", 12)]),
    "JPEG lossless, 8 bits": (JPEGLosslessSV1, jpeg_lossless(1, 8), [("u1", 8), ("i1", 8)]),
    "JPEG lossless, 12 bits": (JPEGLosslessSV1, jpeg_lossless(1, 12), [("u2", 12), ("i2", 12)]),
    "JPEG lossless, 16 bits": (JPEGLosslessSV1, jpeg_lossless(1, 16), [("u2", 16), ("i2", 16), ("i2", 12)]),
    **{
        f"JPEG lossless, predictor {n}": (JPEGLossless, jpeg_lossless(n, 16), [("u2", 16), ("i2", 16)])
        for n in range(1, 8)
    },
    "JPEG-LS": (JPEGLSLossless, jpeg_ls, [("u1", 8), ("i1", 8), ("u2", 16), ("i2", 16)]),
    "JPEG-LS, near 0": (JPEGLSNearLossless, jpeg_ls, [("u1", 8), ("u2", 16)]),
    "JPEG 2000": (JPEG2000Lossless, jpeg_2000, [("u1", 8), ("i1", 8), ("u2", 16), ("i2", 16), ("u2", 12), ("i2", 12)]),
    "JPEG 2000, reversible": (JPEG2000, jpeg_2000, [("u1", 8), ("i2", 16)]),
    "HTJ2K": (HTJ2KLossless, htj2k, [("u1", 8), ("i1", 8), ("u2", 16), ("i2", 16)]),
    "HTJ2K, RPCL": (HTJ2KLosslessRPCL, htj2k, [("u2", 16), ("i2", 16)]),
    "HTJ2K, reversible": (HTJ2K, htj2k, [("u2", 16), ("i2", 16)]),
}


@pytest.mark.parametrize(
    ("name", "dtype", "bits"), [(name, *kind) for name, (_, _, kinds) in LOSSLESS.items() for kind in kinds]
)
def test_lossless_compression_gives_the_values_that_were_compressed(
    decode: Any, name: str, dtype: str, bits: int
) -> None:
    syntax, encode, _ = LOSSLESS[name]
    values = ramp(dtype, bits)
    found = decode(packed(image(values, bits), syntax, [encode(values)]))
    assert found.dtype == values.dtype
    assert np.array_equal(found, values)


LOSSY: dict[str, tuple[str, Callable[[Values], bytes], str, int, int]] = {
    "JPEG baseline": (JPEGBaseline8Bit, lambda v: imagecodecs.jpeg8_encode(v, level=95), "u1", 8, 8),
    "JPEG extended, 8 bits": (JPEGExtended12Bit, lambda v: imagecodecs.jpeg8_encode(v, level=95), "u1", 8, 8),
    "JPEG extended, 12 bits": (
        JPEGExtended12Bit,
        lambda v: imagecodecs.jpeg8_encode(v, level=95, bitspersample=12),
        "u2",
        12,
        120,
    ),
    "JPEG-LS near-lossless": (JPEGLSNearLossless, lambda v: jpeg_ls(v, near=3), "u2", 16, 3),
    "JPEG-LS near-lossless, 8 bits": (JPEGLSNearLossless, lambda v: jpeg_ls(v, near=2), "u1", 8, 2),
    "JPEG 2000": (
        JPEG2000,
        lambda v: imagecodecs.jpeg2k_encode(v, level=70, reversible=False, codecformat="j2k"),
        "i2",
        16,
        200,
    ),
    "JPEG 2000, 8 bits": (
        JPEG2000,
        lambda v: imagecodecs.jpeg2k_encode(v, level=50, reversible=False, codecformat="j2k"),
        "u1",
        8,
        4,
    ),
    "HTJ2K": (HTJ2K, lambda v: imagecodecs.htj2k_encode(v, level=0.0005, reversible=False), "i2", 16, 200),
    "HTJ2K, 8 bits": (HTJ2K, lambda v: imagecodecs.htj2k_encode(v, level=0.005, reversible=False), "u1", 8, 8),
}


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_compression_gives_nearly_the_values_that_were_compressed(decode: Any, name: str) -> None:
    syntax, encode, dtype, bits, bound = LOSSY[name]
    values = ramp(dtype, bits)
    found = decode(packed(image(values, bits), syntax, [even(encode(values))]))
    assert found.dtype == values.dtype
    off = np.abs(found.astype(np.int64) - values)
    assert 0 < off.max() <= bound, "lossy, but not by more"


def test_there_is_a_decoder_for_every_transfer_syntax_that_is_accepted() -> None:
    assert set(ACCEPTED) == set(decode_child.PLUGINS) | set(pixels.UNCOMPRESSED)


def test_a_transfer_syntax_without_a_decoder_is_refused(decode: Any) -> None:
    with pytest.raises(Refused, match="no decoder for MPEG2") as refused:
        decode(packed(image(ramp()), MPEG2MPML, [b"\0\0"]))
    assert refused.value.code == "undecodable-pixels"


@pytest.mark.parametrize("encode", [jpeg_2000, htj2k])
def test_signed_values_that_were_compressed_as_if_unsigned(decode: Any, encode: Any) -> None:
    values = ramp("i2", 12)
    syntax = JPEG2000Lossless if encode is jpeg_2000 else HTJ2KLossless
    whole = imagecodecs.jpeg2k_encode if encode is jpeg_2000 else imagecodecs.htj2k_encode
    named = {"level": 0, "codecformat": "j2k", "bitspersample": 12} if encode is jpeg_2000 else {}
    frame = even(whole(unsigned(values) & (0xFFF if named else 0xFFFF), **named))
    assert np.array_equal(decode(packed(image(values, 12), syntax, [frame])), values)


# colour


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("planes", [0, 1])
@pytest.mark.parametrize("frames", [1, 3])
def test_uncompressed_colour_comes_by_pixel(decode: Any, syntax: str, planes: int, frames: int) -> None:
    one = picture()[:, :65]
    wanted = one if frames == 1 else np.stack([one, one[::-1], 255 - one])
    stored = np.moveaxis(wanted, -1, -3) if planes else wanted
    ds = image(wanted, frames=frames, PlanarConfiguration=planes, PixelData=stored.tobytes() + bytes(stored.size % 2))
    ds.file_meta.TransferSyntaxUID = syntax
    assert np.array_equal(decode(ds), wanted)


@pytest.mark.parametrize("frames", [1, 3])
def test_bytes_that_are_stored_in_big_endian_words(decode: Any, frames: int) -> None:
    values = ramp("u1", shape=(5, 7)) if frames == 1 else np.stack([ramp("u1", shape=(5, 7)) + n for n in range(3)])
    data = values.tobytes() + bytes(values.size % 2)
    ds = image(values, frames=frames, PixelData=np.frombuffer(data, "<u2").byteswap().tobytes())
    ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    assert np.array_equal(decode(ds), values)


@pytest.mark.parametrize("planes", [0, 1])
def test_uncompressed_luminance_and_colour_difference_become_rgb(decode: Any, planes: int) -> None:
    ybr = convert_color_space(picture(), "RGB", "YBR_FULL")
    stored = np.moveaxis(ybr, -1, 0) if planes else ybr
    ds = image(picture(), PhotometricInterpretation="YBR_FULL", PlanarConfiguration=planes, PixelData=stored.tobytes())
    assert np.array_equal(decode(ds), convert_color_space(ybr, "YBR_FULL", "RGB"))
    assert np.abs(decode(ds).astype(int) - picture()).max() <= 2


@pytest.mark.parametrize("frames", [1, 2])
def test_uncompressed_subsampled_colour_becomes_rgb(decode: Any, frames: int) -> None:
    wanted = np.repeat(picture()[:, ::2], 2, axis=1)
    wanted = wanted if frames == 1 else np.stack([wanted, wanted[::-1]])
    ybr = convert_color_space(wanted, "RGB", "YBR_FULL")
    pairs = ybr.reshape(*ybr.shape[:-2], COLUMNS // 2, 2, 3)
    stored = np.stack([pairs[..., 0, 0], pairs[..., 1, 0], pairs[..., 0, 1], pairs[..., 0, 2]], -1)
    ds = image(wanted, frames=frames, PhotometricInterpretation="YBR_FULL_422", PixelData=stored.tobytes())
    assert stored.nbytes == wanted.nbytes // 3 * 2
    assert np.array_equal(decode(ds), convert_color_space(ybr, "YBR_FULL", "RGB"))


def jpeg(subsampling: str = "444", **named: Any) -> Callable[[Values], bytes]:
    return lambda values: even(imagecodecs.jpeg8_encode(values, level=98, subsampling=subsampling, **named))


def of_planes(values: Values) -> bytes:
    ds = image(values)
    ds.compress(RLELossless, generate_instance_uid=False)
    return next(generate_frames(ds.PixelData, number_of_frames=1))


def jpeg_lossless_rgb(values: Values) -> bytes:
    return even(imagecodecs.jpeg8_encode(values, lossless=True, **RGB_AS_IT_IS))


def nameless(codestream: bytes) -> bytes:
    """With components 1, 2 and 3 where they are named R, G and B."""
    bare = codestream
    for between in (b"\x11\x00", b"\x00"):
        named = b"".join(bytes((letter,)) + between for letter in b"RGB")
        assert bare.count(named) <= 1
        bare = bare.replace(named, named.translate(bytes.maketrans(b"RGB", b"\1\2\3")))
    return bare


RGB_AS_IT_IS = dict(colorspace="RGB", outcolorspace="RGB")
COLOUR: dict[str, tuple[str, str, Callable[[Values], bytes], int]] = {
    "RLE": (RLELossless, "RGB", of_planes, 0),
    "RLE, YBR_FULL": (RLELossless, "YBR_FULL", lambda v: of_planes(convert_color_space(v, "RGB", "YBR_FULL")), 2),
    "JPEG baseline, YBR_FULL_422": (JPEGBaseline8Bit, "YBR_FULL_422", jpeg("422"), 90),
    "JPEG baseline, YBR_FULL": (JPEGBaseline8Bit, "YBR_FULL", jpeg(), 12),
    "JPEG baseline, RGB": (JPEGBaseline8Bit, "RGB", jpeg(**RGB_AS_IT_IS), 12),
    "JPEG baseline, RGB by the header alone": (
        JPEGBaseline8Bit,
        "RGB",
        lambda v: without_marker(nameless(jpeg(**RGB_AS_IT_IS)(v)), 0xEE),
        12,
    ),
    "JPEG baseline, YBR_FULL by the header alone": (
        JPEGBaseline8Bit,
        "YBR_FULL",
        lambda v: without_marker(jpeg()(v), 0xE0),
        12,
    ),
    "JPEG baseline, said to be RGB, with a JFIF marker": (JPEGBaseline8Bit, "RGB", jpeg(), 12),
    "JPEG baseline, said to be YBR_FULL, with components R, G and B": (
        JPEGBaseline8Bit,
        "YBR_FULL",
        lambda v: without_marker(jpeg(**RGB_AS_IT_IS)(v), 0xEE),
        12,
    ),
    "JPEG baseline, said to be YBR_FULL, with Adobe's marker": (
        JPEGBaseline8Bit,
        "YBR_FULL",
        lambda v: nameless(jpeg(**RGB_AS_IT_IS)(v)),
        12,
    ),
    "JPEG lossless": (JPEGLosslessSV1, "RGB", jpeg_lossless_rgb, 0),
    "JPEG lossless, YBR_FULL": (
        JPEGLosslessSV1,
        "YBR_FULL",
        lambda v: without_marker(nameless(jpeg_lossless_rgb(convert_color_space(v, "RGB", "YBR_FULL"))), 0xEE),
        2,
    ),
    "JPEG-LS": (JPEGLSLossless, "RGB", jpeg_ls, 0),
    "JPEG 2000, RGB": (
        JPEG2000Lossless,
        "RGB",
        lambda v: even(imagecodecs.jpeg2k_encode(v, level=0, mct=False, codecformat="j2k")),
        0,
    ),
    "JPEG 2000, YBR_RCT": (
        JPEG2000Lossless,
        "YBR_RCT",
        lambda v: even(imagecodecs.jpeg2k_encode(v, level=0, mct=True, reversible=True, codecformat="j2k")),
        0,
    ),
    "JPEG 2000, YBR_ICT": (
        JPEG2000,
        "YBR_ICT",
        lambda v: even(imagecodecs.jpeg2k_encode(v, level=60, mct=True, reversible=False, codecformat="j2k")),
        8,
    ),
    "HTJ2K": (HTJ2KLossless, "YBR_RCT", htj2k, 0),
}


def without_marker(codestream: bytes, marker: int) -> bytes:
    at = codestream.index(bytes((0xFF, marker)))
    return codestream[:at] + codestream[at + 2 + int.from_bytes(codestream[at + 2 : at + 4], "big") :]


@pytest.mark.parametrize("name", COLOUR)
@pytest.mark.parametrize("planes", [0, 1])
def test_compressed_colour_becomes_rgb(decode: Any, name: str, planes: int) -> None:
    syntax, photometric, encode, bound = COLOUR[name]
    header = dict(PhotometricInterpretation=photometric, PlanarConfiguration=planes)
    found = decode(packed(image(picture()), syntax, [encode(picture())], **header))
    assert found.shape == (ROWS, COLUMNS, 3)
    assert np.abs(found.astype(int) - picture()).max() <= bound


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_gives_colour_where_it_is_asked_for(decode: Any, tmp_path: Path, big_endian: bool, bits: int) -> None:
    indices = (np.arange(ROWS * COLUMNS) % 300).reshape(ROWS, COLUMNS).astype(np.uint16)
    table = np.stack([np.arange(200), np.arange(200)[::-1], np.full(200, 7)], -1) * (1 if bits == 8 else 257)
    ds = image(indices, PhotometricInterpretation="PALETTE COLOR")
    order = ">" if big_endian else "<"
    for n, colour in enumerate(("Red", "Green", "Blue")):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [200, 50, bits])
        data = table[:, n].astype("<u1" if bits == 8 else f"{order}u2").tobytes()
        data = np.frombuffer(data, "<u2").byteswap().tobytes() if bits == 8 and big_endian else data
        setattr(ds, f"{colour}PaletteColorLookupTableData", data)
    if big_endian:
        ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        ds.PixelData = indices.astype(">u2").tobytes()
    stored = decode(ds)
    assert np.array_equal(stored, indices), "stored values, until colour is asked for"
    header = pixels.read(written(ds, tmp_path)).header
    assert np.array_equal(coloured(stored, header), table[np.clip(indices.astype(int) - 50, 0, 199)])
    assert coloured(stored, header).dtype == f"u{bits // 8}"
    del ds.GreenPaletteColorLookupTableData
    with pytest.raises(Refused, match="palette"):
        coloured(stored, ds)


OF_DCMTK = [
    *(("dcmcjpeg", option, 0) for option in ("+e1", "+el +sv 2", "+el +sv 4", "+el +sv 7")),
    *(("dcmcjpeg", option, 8) for option in ("+eb", "+eb +cr", "+eb +s2", "+eb +s4", "+ee")),
    *(("dcmcjpls", option, 0) for option in ("", "+il", "+is", "+in", "+cs")),
    ("dcmcjpls", "+en", 2),
    ("dcmcrle", "", 0),
]


@pytest.mark.parametrize(("tool", "option", "bound"), OF_DCMTK)
def test_images_that_dcmtk_compressed(
    dcmtk: Callable[[str], str], tmp_path: Path, decoders: Decoders, tool: str, option: str, bound: int
) -> None:
    for values in (picture(), picture()[..., 0], ramp("u2", 12)):
        is_deep = values.dtype != np.uint8
        if is_deep and option.startswith("+eb"):
            continue  # scales to eight bits
        plain = written(image(values, 12 if is_deep else 8), tmp_path)
        compressed = tmp_path / "compressed.dcm"
        subprocess.run([dcmtk(tool), *option.split(), plain, compressed], check=True, capture_output=True)
        (found,) = pixels.decoded([pixels.read(compressed)], decoders)
        assert found.shape == values.shape
        assert np.abs(found.astype(int) - values).max() <= bound * (16 if is_deep else 1)


# real images


REAL_PAIRS = [
    ("MR_small.dcm", name, 0)
    for name in (
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
    )
] + [
    ("rtdose.dcm", "rtdose_rle.dcm", 0),
    ("SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm", 0),
    ("SC_rgb_rle.dcm", "SC_rgb_jpeg_gdcm.dcm", 0),
    ("SC_rgb_rle.dcm", "SC_rgb_dcmtk_+eb+cr.dcm", 2),
    ("SC_rgb_rle.dcm", "SC_rgb_dcmtk_+eb+cy+n1.dcm", 80),
    ("SC_rgb_rle.dcm", "SC_rgb_dcmtk_+eb+cy+s4.dcm", 8),
    ("SC_rgb_rle.dcm", "SC_rgb_jpeg_lossy_gdcm.dcm", 80),
    ("SC_rgb_rle.dcm", "SC_rgb_jls_lossy_line.dcm", 10),
    ("SC_rgb_rle.dcm", "SC_rgb_gdcm_KY.dcm", 0),
]


@pytest.mark.parametrize(("plain", "other", "bound"), REAL_PAIRS)
def test_images_of_other_encoders(decoders: Decoders, plain: str, other: str, bound: int) -> None:
    files = [Path(str(get_testdata_file(name, download=False))) for name in (plain, other)]
    first, second = pixels.decoded([pixels.read(file) for file in files], decoders)
    assert first.shape == second.shape
    assert np.abs(first.astype(int) - second).max() <= bound


def test_a_real_image_in_lossy_transfer_syntaxes(dicom_data: Path, decoders: Decoders) -> None:
    folder = dicom_data / "odd" / "cornerstone_ct_transfer_syntaxes"
    wanted = pixels.read(next(folder.rglob("*LittleEndianExplicit*"))).native
    assert wanted is not None
    seen = set()
    for mark, bound in ((".81.", 3), (".91.", 60), (".51.", None), (".50.", None)):
        (file,) = folder.rglob(f"CTImage.dcm_*{mark}dcm")
        (found,) = pixels.decoded([pixels.read(file)], decoders)
        if bound is None:  # scaled to fewer bits before it was compressed
            assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.98
        else:
            assert np.abs(found.astype(int) - wanted).max() <= bound
        seen.add(mark)
    for mark in (".53.", ".55."):
        (file,) = folder.rglob(f"CTImage.dcm_*{mark}dcm")
        with pytest.raises(Refused) as refused:
            list(pixels.decoded([pixels.read(file)], decoders))
        assert refused.value.code == "undecodable-pixels"


def test_real_multi_frame_images(dicom_data: Path, decoders: Decoders) -> None:
    folder = dicom_data / "odd" / "pydicom_data"
    wanted = pixels.read(folder / "emri_small.dcm").native
    for name in ("RLE", "jpeg_2k_lossless", "jpeg_ls_lossless", "big_endian"):
        (found,) = pixels.decoded([pixels.read(folder / f"emri_small_{name}.dcm")], decoders)
        assert np.array_equal(found, wanted), name
    with pytest.raises(Refused, match="file ends") as refused:
        list(pixels.decoded([pixels.read(folder / "emri_small_jpeg_2k_lossless_too_short.dcm")], decoders))
    assert refused.value.code == "undecodable-pixels"


def test_real_colour_and_palette_images(dicom_data: Path, decoders: Decoders) -> None:
    folder = dicom_data / "odd" / "pydicom_data"
    lossless, lossy = (pixels.read(folder / f"{name}_08_RGB.dcm") for name in ("HTJ2KLossless", "HTJ2K"))
    first, second = pixels.decoded([lossless, lossy], decoders)
    assert np.abs(first.astype(int) - second).max() <= 40
    palette = pixels.read(Path(str(get_testdata_file("examples_palette.dcm", download=False))))
    (stored,) = pixels.decoded([palette], decoders)
    wanted = pydicom.pixels.apply_color_lut(stored, palette.header)
    assert np.array_equal(coloured(stored, palette.header), wanted)
    (sonogram,) = (dicom_data / "odd" / "cornerstone_ct_transfer_syntaxes").rglob("US-YBR_FULL_422-EVRLE.dcm")
    stored_sonogram = pixels.read(sonogram)
    (found,) = pixels.decoded([stored_sonogram], decoders)
    assert found.shape == stored_sonogram.shape
    assert np.array_equal(found, pydicom.dcmread(sonogram).pixel_array)


@pytest.mark.parametrize("name", ["parametric_map_float.dcm", "parametric_map_double_float.dcm"])
def test_floating_point_pixels_are_refused_by_name(dicom_data: Path, name: str) -> None:
    with pytest.raises(Refused, match="floating-point") as refused:
        pixels.read(dicom_data / "odd" / "pydicom_data" / name)
    assert refused.value.code == "pixel-format"


# frames and fragments


FRAMES = 37


def cine() -> Values:
    return np.stack([ramp("i2") // (n + 1) for n in range(FRAMES)])


@pytest.mark.parametrize("in_a_row", [1, 5, 1000])
def test_the_frames_of_one_file_are_decoded_in_pieces(tmp_path: Path, in_a_row: int) -> None:
    values = cine()
    ds = packed(image(values, frames=FRAMES), JPEGLSLossless, [jpeg_ls(frame) for frame in values])
    with contextlib.closing(Decoders(2, piece_bytes=in_a_row * ROWS * COLUMNS * 2)) as pool:
        (found,) = pixels.decoded([pixels.read(written(ds, tmp_path))], pool)
    assert np.array_equal(found, values)


def halves(frame: bytes, cut: int = 500) -> list[bytes]:
    return [frame[:cut], frame[cut:]]


def offsets(fragments: Sequence[bytes], first: Sequence[int]) -> list[int]:
    """Where the fragments of these numbers begin."""
    return [sum(len(fragment) + 8 for fragment in fragments[:n]) for n in first]


@pytest.mark.parametrize("table", ["none", "right", "beyond", "zeros", "between"])
@pytest.mark.parametrize("encode", [jpeg_2000, jpeg_ls])
def test_frames_in_several_fragments_whatever_the_offset_table_says(decode: Any, table: str, encode: Any) -> None:
    values = cine()[:3]
    fragments = [part for frame in values for part in halves(encode(frame))]
    said = {
        "none": [],
        "right": offsets(fragments, [0, 2, 4]),
        "beyond": [0, 1 << 30, 0xFFFFFFFE],
        "zeros": [0, 0, 0],
        "between": offsets(fragments, [0, 1, 5]),
    }[table]
    syntax = JPEG2000Lossless if encode is jpeg_2000 else JPEGLSLossless
    assert np.array_equal(decode(packed(image(values, frames=3), syntax, fragments, said)), values)


@pytest.mark.parametrize("offset_table", [[], [0, 1 << 30, 7]])
def test_frames_in_a_fragment_each_whatever_the_offset_table_says(decode: Any, offset_table: list[int]) -> None:
    values = cine()[:3]
    ds = packed(image(values, frames=3), RLELossless, [rle(frame) for frame in values], offset_table)
    assert np.array_equal(decode(ds), values)


def test_fragments_of_no_length_and_of_odd_length_do_no_harm(decode: Any) -> None:
    values = cine()[:2]
    fragments = [b"", *halves(jpeg_ls(values[0]), 501), b"", *halves(jpeg_ls(values[1]), 333), b""]
    assert np.array_equal(decode(packed(image(values, frames=2), JPEGLSLossless, fragments)), values)


def test_an_image_in_a_jp2_file(decode: Any) -> None:
    values = ramp("u2")
    boxed = even(imagecodecs.jpeg2k_encode(values, level=0, codecformat="jp2"))
    assert boxed[4:8] == b"jP  "
    assert np.array_equal(decode(packed(image(values), JPEG2000Lossless, [boxed])), values)


# bounds


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Decoders]:
    """One child; after the test it decodes a good image at once, and nothing of it is left."""
    gc.collect()  # a traceback holds what was mapped
    pool, before = Decoders(1), (children(), descriptors())
    values = ramp("i2")
    good = pixels.read(written(packed(image(values), JPEGLSLossless, [jpeg_ls(values)]), tmp_path))
    yield pool
    (found,) = pixels.decoded([good], pool)
    assert np.array_equal(found, values)
    assert len(children() - before[0]) == 1
    pool.close()
    del found
    gc.collect()
    # of what others held before, some may have gone
    wait_until("nobody hears its children", lambda: not children() - before[0] and not descriptors() - before[1])


def children(parent: int = 0) -> set[str]:
    """The pids of a process's children, or of this one's, those that nobody waited for included."""
    found = set()
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):  # it may be gone by now
            if folder.name.isdigit() and int((folder / "stat").read_text().rsplit(")")[-1].split()[1]) == (
                parent or os.getpid()
            ):
                found.add(folder.name)
    return found


def refusal(ds: Dataset, folder: Path, pool: Decoders) -> Refused:
    with pytest.raises(Refused) as refused:
        list(pixels.decoded([pixels.read(written(ds, folder))], pool))
    assert len(refused.value.sentence) < 400
    return refused.value.with_traceback(None)


def with_size(codestream: bytes, rows: int, columns: int) -> bytes:
    """The same codestream, with another size in its header."""
    if codestream[:4] == b"\xff\x4f\xff\x51":
        return codestream[:8] + struct.pack(">LL", columns, rows) + codestream[16:]
    at = next(n for n in (codestream.find(bytes((0xFF, sof))) for sof in (0xC0, 0xC1, 0xC3, 0xF7)) if n > 0)
    return codestream[: at + 5] + struct.pack(">HH", rows, columns) + codestream[at + 9 :]


BOMBS = {
    "JPEG": (JPEGBaseline8Bit, lambda: with_size(jpeg()(ramp("u1")), 60000, 60000)),
    "JPEG lossless": (JPEGLosslessSV1, lambda: with_size(jpeg_lossless(1, 8)(ramp("u1")), 60000, 60000)),
    "JPEG-LS": (JPEGLSLossless, lambda: with_size(jpeg_ls(ramp("u1")), 60000, 60000)),
    "JPEG 2000": (JPEG2000Lossless, lambda: with_size(jpeg_2000(ramp("u1")), 0x7FFFFFFF, 0x7FFFFFFF)),
    "JPEG 2000, of no size": (JPEG2000Lossless, lambda: with_size(jpeg_2000(ramp("u1")), 0, 0)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_codestream_that_is_larger_than_the_header_says_is_not_decoded(
    alone: Decoders, tmp_path: Path, name: str
) -> None:
    syntax, make = BOMBS[name]
    refused = refusal(packed(image(ramp("u1")), syntax, [make()]), tmp_path, alone)
    assert refused.code == "undecodable-pixels"
    assert "header says otherwise" in refused.sentence


@pytest.mark.parametrize("name", ["JPEG", "JPEG lossless", "JPEG-LS", "JPEG 2000", "RLE"])
def test_a_bomb_that_the_header_agrees_with_ends_at_the_limits_of_the_child(
    alone: Decoders, tmp_path: Path, name: str
) -> None:
    frame = rle(ramp("u1")) if name == "RLE" else with_size(BOMBS[name][1](), 60000, 60000)
    syntax = RLELossless if name == "RLE" else BOMBS[name][0]
    refused = refusal(packed(image(ramp("u1")), syntax, [frame], Rows=60000, Columns=60000), tmp_path, alone)
    assert refused.code == "undecodable-pixels"


def half(frame: bytes) -> bytes:
    return even(frame[: len(frame) // 2])


def spoiled(frame: bytes, at: int, other: bytes) -> bytes:
    return frame[:at] + other + frame[at + len(other) :]


BROKEN: dict[str, tuple[str, Callable[[], list[bytes]]]] = {
    "no fragments": (JPEG2000Lossless, list),
    "one empty fragment": (JPEGLSLossless, lambda: [b""]),
    "not a codestream": (JPEGBaseline8Bit, lambda: [bytes(1000)]),
    "a cut JPEG": (JPEGExtended12Bit, lambda: [half(jpeg()(ramp("u1")))]),
    "a cut JPEG lossless": (JPEGLosslessSV1, lambda: [half(jpeg_lossless(1, 8)(ramp("u1")))]),
    "a cut JPEG-LS": (JPEGLSLossless, lambda: [half(jpeg_ls(ramp("u1")))]),
    "a cut JPEG 2000": (JPEG2000Lossless, lambda: [half(jpeg_2000(ramp("u1")))]),
    "a cut HTJ2K": (HTJ2KLossless, lambda: [half(htj2k(ramp("u1")))]),
    "a cut RLE": (RLELossless, lambda: [half(rle(ramp("u1")))]),
    "a JPEG of markers": (JPEGBaseline8Bit, lambda: [b"\xff\xd8" + b"\xff" * 5000]),
    "a JPEG whose markers lead nowhere": (JPEGBaseline8Bit, lambda: [b"\xff\xd8\xff\xe0\x00\x00" * 50]),
    "RLE with segments beyond its end": (
        RLELossless,
        lambda: [spoiled(rle(ramp("u1")), 4, struct.pack("<L", 0x0FFFFFFF))],
    ),
    "RLE with segments in its header": (RLELossless, lambda: [spoiled(rle(ramp("u1")), 4, struct.pack("<L", 3))]),
    "RLE that decodes to more than the frame": (RLELossless, lambda: [rle(np.tile(ramp("u1"), (2, 2)))]),
    "RLE with too many segments": (RLELossless, lambda: [spoiled(rle(ramp("u1")), 0, struct.pack("<L", 0xFFFFFFFF))]),
    "two frames": (JPEGLSLossless, lambda: [jpeg_ls(ramp("u1")), jpeg_ls(ramp("u1"))]),
    "two frames of RLE": (RLELossless, lambda: [rle(ramp("u1")), rle(ramp("u1"))]),
    "more bits than there is room for": (JPEGLSLossless, lambda: [jpeg_ls(ramp("u2"))]),
    "more samples than the header says": (JPEGLSLossless, lambda: [jpeg_ls(picture())]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_pixels_are_refused(alone: Decoders, tmp_path: Path, name: str) -> None:
    syntax, fragments = BROKEN[name]
    refused = refusal(packed(image(ramp("u1")), syntax, fragments()), tmp_path, alone)
    assert refused.code == "undecodable-pixels"


@pytest.mark.parametrize("there", [2, 4])
@pytest.mark.parametrize(("syntax", "encode"), [(RLELossless, rle), (JPEGLSLossless, jpeg_ls)])
def test_another_number_of_frames_than_the_header_says_is_refused(
    alone: Decoders, tmp_path: Path, there: int, syntax: str, encode: Any
) -> None:
    ds = packed(image(cine()[:3], frames=3), syntax, [encode(frame) for frame in cine()[:there]])
    assert f"{there} frames in {there} fragments" in refusal(ds, tmp_path, alone).sentence


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("file ends", lambda data: data[:-100]),
        ("file ends", lambda data: data[:-8]),
        ("something else", lambda data: data.replace(item(b""), item(b"") + b"\x10\x00\x10\x00" + bytes(20))),
        ("file ends", lambda data: data.replace(b"\xfe\xff\x00\xe0\0\0\0\0", b"\xfe\xff\x00\xe0\xff\xff\xff\xff")),
    ],
)
def test_items_that_are_none_are_refused(alone: Decoders, tmp_path: Path, what: str, spoil: Any) -> None:
    file = written(packed(image(ramp("i2")), JPEGLSLossless, [jpeg_ls(ramp("i2"))]), tmp_path)
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(Refused, match=what) as refused:
        list(pixels.decoded([pixels.read(file)], alone))
    assert refused.value.code == "undecodable-pixels"


def forked(pool: Decoders) -> set[int]:
    """The pids of its children."""
    process = pool._nursery._process
    return {int(pid) for pid in children(process.pid)} if process is not None else set()


def twice(pool: Decoders, folder: Path, do: Callable[[int], object], seconds: float = 60) -> int:
    """Decode an image, and the same once more after something was done to the child that decoded it; how often."""
    file = written(packed(image(ramp("i2")), JPEGLSLossless, [jpeg_ls(ramp("i2"))]), folder)
    with contextlib.closing(SharedArray.make((ROWS, COLUMNS), np.int16)) as into:

        def pieces() -> Iterator[Piece]:
            yield Piece(file, into)
            wait_until("it is decoded", lambda: np.array_equal(into.array, ramp("i2")))
            (child,) = forked(pool)
            do(child)
            yield Piece(file, into)

        return sum(1 for _ in pool.run(pieces(), seconds=seconds))


def test_a_child_decodes_nothing_but_what_is_decoded_together(alone: Decoders, tmp_path: Path) -> None:
    """A bad image may have taken it over, and the next one is another patient's."""
    seen: list[int] = []
    for _ in range(2):
        assert twice(alone, tmp_path, seen.append) == 2
        assert forked(alone) == set()
    assert refusal(packed(image(ramp("i2")), JPEGLSLossless, [jpeg_ls(ramp("i2"))[:60]]), tmp_path, alone)
    assert forked(alone) == set()
    assert len(set(seen)) == 2


def test_a_child_that_dies_while_it_decodes_is_a_refusal_of_that_image(alone: Decoders, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"the decoder ended after .* \(SIGKILL\)"):
        twice(alone, tmp_path, lambda pid: os.kill(pid, signal.SIGKILL))


def test_a_child_that_stands_still_is_ended_after_its_time(alone: Decoders, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no end after 1 s"):
        twice(alone, tmp_path, lambda pid: os.kill(pid, signal.SIGSTOP), seconds=1)
    assert forked(alone) == set()


def test_a_codec_that_spins_is_ended_by_the_kernel_when_nobody_waits_for_it(alone: Decoders, tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 1 << 16, (400, 400)).astype(np.uint16)
    frames = 200
    ds = image(values, NumberOfFrames=frames)
    file = written(packed(ds, JPEG2000Lossless, [jpeg_2000(values)] * frames), tmp_path)
    into = SharedArray.make((frames, *values.shape), np.uint16)
    child = _Child.start(alone._nursery)
    with file.open("rb") as stream:
        send(child.connection, {"first_frame": 0, "seconds": 0}, (into,), (stream.fileno(),))
    child.connection.close()
    assert child.process.wait(60) == -signal.SIGXCPU
    into.close()


def test_the_limit_of_processor_time_is_of_each_piece_not_of_the_life_of_a_child(
    alone: Decoders, tmp_path: Path
) -> None:
    file = written(packed(image(ramp("i2")), JPEGLSLossless, [jpeg_ls(ramp("i2"))]), tmp_path)
    into = SharedArray.make((ROWS, COLUMNS), np.int16)
    child = _Child.start(alone._nursery)
    for seconds in (1000, 60):
        assert child.decode(Piece(file, into), seconds) == ""
        used = sum(int(ticks) for ticks in Path(f"/proc/{child.process.pid}/stat").read_text().split()[13:15])
        soft, _ = resource.prlimit(child.process.pid, resource.RLIMIT_CPU)
        assert seconds <= soft <= seconds + 1 + used / os.sysconf("SC_CLK_TCK")
    into.close()
    assert resource.prlimit(child.process.pid, resource.RLIMIT_CORE) == (0, 0)
    assert resource.prlimit(child.process.pid, resource.RLIMIT_AS)[0] == decode_child.MEMORY_BYTES
    child.stop()


def test_what_is_decoded_at_once_waits_for_its_turn_and_leaves_no_child(alone: Decoders, tmp_path: Path) -> None:
    file = written(packed(image(ramp("i2")), JPEGLSLossless, [jpeg_ls(ramp("i2"))]), tmp_path)

    def read() -> int:
        return sum(1 for _ in pixels.decoded([pixels.read(file)] * 20, alone))

    with ThreadPoolExecutor(4) as threads:
        assert [future.result() for future in [threads.submit(read) for _ in range(4)]] == [20] * 4
    assert forked(alone) == set()


def test_signals_that_stop_the_node_do_not_spoil_an_image(alone: Decoders, tmp_path: Path) -> None:
    def stop(pid: int) -> None:
        assert alone._nursery._process is not None
        for one in (pid, alone._nursery._process.pid):
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(one, number)

    assert twice(alone, tmp_path, stop) == 2
    assert alone._nursery._process is not None
    assert alone._nursery._process.poll() is None


def test_a_child_ends_when_its_line_is_closed(alone: Decoders) -> None:
    child = _Child.start(alone._nursery)
    child.connection.close()
    assert child.process.wait(60) == 0
    with pytest.raises(Disconnected):
        send(child.connection, {})


def test_images_that_are_not_asked_for_any_more_leave_nothing_behind(alone: Decoders, tmp_path: Path) -> None:
    ds = packed(image(ramp("i2")), JPEGLSLossless, [jpeg_ls(ramp("i2"))])
    images = [pixels.read(written(ds, tmp_path)) for _ in range(20)]
    before = descriptors()
    some = pixels.decoded(images, alone)
    assert np.array_equal(next(some), ramp("i2"))
    some.close()  # type: ignore[attr-defined]

    def left() -> tuple[int, int, bool]:
        """Sockets, who waits for something to come on them, and whether there is nothing else."""
        found = descriptors() - before
        sockets = {name for name in found if name.startswith("socket:")}
        waiting = sum(bool(sockets & waited_for) for waited_for in watched())
        return len(sockets), waiting, found.total() <= len(sockets) + waiting

    # what leads to the process that forks, what that says, and who waits for it to say something
    wait_until("nothing is left of the children", lambda: left() == (2, 1, True))


# numbers in headers


def add(keyword: str, vr: str, value: Any) -> Callable[[Dataset], None]:
    return lambda ds: ds.add_new(keyword, vr, value)


def values(**header: Any) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for keyword, value in header.items():
            setattr(ds, keyword, value)

    return change


NUMBERS: dict[str, Callable[[Dataset], None]] = {
    **{
        f"no {keyword}": (lambda ds, keyword=keyword: delattr(ds, keyword))
        for keyword in (
            *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
            *("SamplesPerPixel",),
        )
    },
    **{f"{keyword} 0": values(**{keyword: 0}) for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsStored")},
    **{f"{keyword} 65536": add(keyword, "UL", 65536) for keyword in ("Rows", "Columns")},
    **{f"{keyword} multi-valued": values(**{keyword: [8, 8]}) for keyword in ("Rows", "Columns", "BitsAllocated")},
    **{f"{keyword} as text": add(keyword, "LO", "many") for keyword in ("Rows", "Columns", "NumberOfFrames")},
    **{f"{keyword} as a sequence": add(keyword, "SQ", []) for keyword in ("Rows", "SamplesPerPixel")},
    "Rows as a fraction": add("Rows", "DS", "8.5"),
    "Rows of no whole length": add("Rows", "OB", b"\x08\x00\x00\x00"),
    "frames without end": values(NumberOfFrames=10**9),
    "a negative number of frames": values(NumberOfFrames=-1),
    **{f"BitsAllocated {bits}": values(BitsAllocated=bits) for bits in (0, 1, 7, 12, 24, 64)},
    "more BitsStored than allocated": values(BitsStored=17, HighBit=16),
    "HighBit elsewhere": values(HighBit=11),
    "HighBit beyond": values(HighBit=65535),
    "SamplesPerPixel 255": values(SamplesPerPixel=255),
    "SamplesPerPixel 2": values(SamplesPerPixel=2),
    "SamplesPerPixel 3 of a grey image": values(SamplesPerPixel=3),
    "grey, said to be RGB": values(PhotometricInterpretation="RGB"),
    "PixelRepresentation 2": values(PixelRepresentation=2),
    "more than can be held": values(Rows=65535, Columns=65535),
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless])
def test_numbers_that_describe_no_image_are_refused(tmp_path: Path, name: str, syntax: str) -> None:
    ds = image(ramp("i2"))
    if syntax == JPEGLSLossless:
        ds = packed(ds, syntax, [jpeg_ls(ramp("i2"))])
    NUMBERS[name](ds)
    file = written(ds, tmp_path)
    with pytest.raises(Refused) as refused:
        pixels.read(file)
    assert refused.value.code == "pixel-format"


@pytest.mark.parametrize("text", [b"1e9 ", b"nan ", b"1\\2 ", b"0x10", b"1.5 "])
def test_a_number_of_frames_that_is_none_is_refused(tmp_path: Path, text: bytes) -> None:
    file = written(image(ramp("i2"), NumberOfFrames=1111), tmp_path)
    assert file.read_bytes().count(b"IS\x04\x001111") == 1
    file.write_bytes(file.read_bytes().replace(b"IS\x04\x001111", b"IS\x04\x00" + text))
    with pytest.raises(Refused) as refused:
        pixels.read(file)
    assert refused.value.code == "pixel-format"


def test_a_number_in_a_sequence_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    file = written(image(ramp("i2")), tmp_path)
    stored = b"\x28\0\1\1"  # BitsStored
    assert file.read_bytes().count(stored + b"US\2\0\x10\0") == 1
    cut_short = stored + b"SQ\0\0\4\0\0\0\xfe\xff\0\xe0"
    file.write_bytes(file.read_bytes().replace(stored + b"US\2\0\x10\0", cut_short))
    with pytest.raises(Refused, match="BitsStored") as refused:
        pixels.read(file)
    assert refused.value.code == "pixel-format"


@pytest.mark.parametrize("frames", [0, 1])
def test_no_frames_and_one_frame_are_one(decode: Any, frames: int) -> None:
    assert np.array_equal(decode(image(ramp("i2"), NumberOfFrames=frames)), ramp("i2"))


COLOURS_REFUSED: dict[str, dict[str, Any]] = {
    "unknown": dict(PhotometricInterpretation="HSV"),
    "of JPEG 2000, uncompressed": dict(PhotometricInterpretation="YBR_RCT"),
    "no word": dict(PhotometricInterpretation=None),
    "planes 2": dict(PlanarConfiguration=2),
    "planes missing": dict(PlanarConfiguration=None),
    "subsampled planes": dict(PhotometricInterpretation="YBR_FULL_422", PlanarConfiguration=1),
    "subsampled, of odd columns": dict(PhotometricInterpretation="YBR_FULL_422", Columns=67),
    "subsampled, with all bytes": dict(PhotometricInterpretation="YBR_FULL_422"),
}


@pytest.mark.parametrize("name", COLOURS_REFUSED)
def test_colours_that_cannot_be_told_are_refused(tmp_path: Path, name: str) -> None:
    file = written(image(picture(), **COLOURS_REFUSED[name]), tmp_path)
    with pytest.raises(Refused) as refused:
        pixels.read(file)
    assert refused.value.code == "pixel-format"


def test_luminance_and_colour_difference_of_16_bits_are_refused(tmp_path: Path) -> None:
    ds = image(picture().astype(np.uint16), PhotometricInterpretation="YBR_FULL")
    with pytest.raises(Refused) as refused:
        pixels.read(written(ds, tmp_path))
    assert refused.value.code == "pixel-format"


def test_nothing_is_allocated_by_the_word_of_a_header(tmp_path: Path) -> None:
    large = dict(Rows=40000, Columns=40000)
    short = written(image(ramp("i2"), **large), tmp_path)
    data = written(image(ramp("i2"), **large), tmp_path).read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00OW") + 8
    said = written(image(ramp("i2")), tmp_path)
    said.write_bytes(data[:at] + struct.pack("<L", 40000 * 40000 * 2) + data[at + 4 :])
    tracemalloc.start()
    try:
        for file in (short, said):
            with pytest.raises(Refused) as refused:
                pixels.read(file)
            assert refused.value.code == "pixel-data-truncated"
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_pixel_data_that_is_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    file = written(image(ramp("i2")), tmp_path)
    data = file.read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00OW") + 8
    file.write_bytes(data[:at] + struct.pack("<L", ROWS * COLUMNS * 2 + 2) + data[at + 4 :])
    with pytest.raises(Refused) as refused:
        pixels.read(file)
    assert refused.value.code == "pixel-data-truncated"


def test_an_element_that_is_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    file = written(image(ramp("i2"), PatientComments="x" * 12), tmp_path)
    data = file.read_bytes()
    at = data.index(b"LT\x0c\x00xxxx")
    for length in (0xFF00, 0xFFFF):
        file.write_bytes(data[:at] + b"LT" + struct.pack("<H", length) + data[at + 4 :])
        with pytest.raises(Refused) as refused:
            pixels.read(file)
        assert refused.value.code in ("unreadable-header", "no-pixels")


def test_a_file_that_became_shorter_is_refused(tmp_path: Path, decoders: Decoders) -> None:
    stored = pixels.read(written(image(ramp("i2")), tmp_path))
    os.truncate(stored.file, stored.file.stat().st_size - 100)
    with pytest.raises(Refused) as refused:
        list(pixels.decoded([stored], decoders))
    assert refused.value.code == "pixel-data-truncated"


def test_uncompressed_pixels_in_fragments_are_refused(tmp_path: Path) -> None:
    file = written(packed(image(ramp("i2")), JPEGLSLossless, [jpeg_ls(ramp("i2"))]), tmp_path)
    data, named = file.read_bytes(), JPEGLSLossless.encode()
    at = data.index(b"\x02\x00\x10\x00UI") + 8
    assert data[at:].startswith(named)
    file.write_bytes(data[:at] + ExplicitVRLittleEndian.encode().ljust(len(named), b"\0") + data[at + len(named) :])
    with pytest.raises(Refused, match="come in fragments") as refused:
        pixels.read(file)
    assert refused.value.code == "pixel-format"


def test_a_deflated_file_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    ds = image(np.zeros((2000, 2000), np.int16))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file = written(ds, tmp_path)
    assert file.stat().st_size < 50_000
    tracemalloc.start()
    try:
        with pytest.raises(Refused, match="deflated") as refused:
            pixels.read(file)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert refused.value.code == "pixel-format"


def test_a_disk_that_fails_is_no_refusal(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pixels.read(tmp_path / "gone.dcm")


@pytest.mark.parametrize("cut", [0, 100, 131, 132, 140, 200, 330])
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, cut: int) -> None:
    file = written(image(ramp("i2")), tmp_path)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(Refused) as refused:
        pixels.read(file)
    assert refused.value.code in ("unreadable-header", "no-pixels")
