import cv2
import numpy as np
import pytest
import simplejpeg

from stages.validate import jpeg
from tests.validate.jpeg_maker import (
    END,
    coded_range,
    encoded,
    inserted_before,
    photo,
    reason_of,
    resized_header,
    rewritten,
    scene,
    validate,
    with_restarts,
    without_tables,
)

STRAY = "decoder-warning: stray-bytes"


def flags_of(data, **more):
    result = validate(data, **more)
    assert reason_of(result) is None, result.facts["sentence"]
    assert result.outputs[0].data == data
    return result.facts["flags"]


def decodes_elsewhere(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None


# --- not a JPEG, or not one for us -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (cv2.imencode(".png", scene())[1].tobytes(), "a PNG picture"),
        (cv2.imencode(".webp", scene())[1].tobytes(), "a WebP picture"),
        (cv2.imencode(".bmp", scene())[1].tobytes(), "a BMP picture"),
        (cv2.imencode(".tiff", scene())[1].tobytes(), "a TIFF picture"),
        (b"GIF89a" + bytes(20), "a GIF picture"),
        (b"\x00\x00\x00\x18ftypheic", "a HEIC picture"),
        (b"\x00\x00\x00\x18ftypavif", "an AVIF picture"),
        (b"\x00\x00\x00\x18ftypisom", "an MP4 or QuickTime video"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\n <!DOCTYPE html><p>404", "an HTML page"),
        (b"<svg xmlns=''/>", "XML or SVG text"),
        (b"not found", "text"),
        ("\u00e9".encode() * 600, "text"),
        (bytes(5000), "zeros only"),
        (b"\xff", "data of an unknown kind"),
        (b"\xff\xd8\x00", "data of an unknown kind"),
        (b"\x8a\xff\x01\x00", "data of an unknown kind"),
    ],
)
def test_the_sentence_says_what_another_file_looks_like(data, what):
    result = validate(data)
    assert reason_of(result) == "not-jpeg"
    assert f"it looks like {what}." in result.facts["sentence"]
    assert result.outputs[0].content_type == "application/octet-stream"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"marker": 0xC9}, "arithmetic"),
        ({"marker": 0xC3}, "lossless"),
        ({"marker": 0xC5}, "hierarchical"),
        ({"marker": 0xC1, "precision": 12}, "12 bits"),
    ],
)
def test_a_coding_that_few_decode_is_refused(change, said):
    result = validate(resized_header(photo(), 512, 512, **change))
    assert reason_of(result) == "unsupported-coding"
    assert said in result.facts["sentence"]


def test_a_sampling_that_the_decoder_does_not_know_is_refused():
    data = bytearray(photo())
    data[jpeg.read_frame(photo()).segment.start + 11] = 0x31
    result = validate(bytes(data))
    assert reason_of(result) == "unsupported-coding"
    assert "3x1, 1x1, 1x1" in result.facts["sentence"]


@pytest.mark.parametrize("sampling", ["411", "420", "422", "440", "444"])
def test_samplings_of_cameras_are_accepted(sampling):
    assert flags_of(encoded(SAMPLING_FACTOR=getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}"))) == []


@pytest.mark.parametrize("options", [{}, {"RST_INTERVAL": 3}, {"OPTIMIZE": 1}])
def test_one_channel_and_three_equal_ones_are_flagged(options):
    gray = np.ascontiguousarray(scene()[:, :, :1])
    data = encoded(gray, **options)
    assert flags_of(data) == ["grey-looking"]
    assert reason_of(validate(data, params={"accept_gray": False})) == "gray"
    start, end = coded_range(data)
    assert reason_of(validate(data[: (start + end) // 2])) == "truncated"
    assert reason_of(validate(data[: (start + end) // 2] + END)) == "damaged"
    assert flags_of(encoded(gray.repeat(3, axis=2))) == ["grey-looking"]


def test_four_channels_are_refused():
    cmyk = np.concatenate([scene(), scene()[:, :, :1]], axis=2)
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(cmyk), colorspace="CMYK", colorsubsampling="444")
    assert reason_of(validate(data)) == "colour-space"


def test_rgb_is_accepted():
    data = rewritten(encoded(), lambda marker, whole: b"" if marker == jpeg.APP0 else whole)
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
    assert simplejpeg.decode_jpeg_header(data[:2] + adobe + b"\x00" + data[2:])[2] == "RGB"
    assert flags_of(data[:2] + adobe + b"\x00" + data[2:]) == []


# --- headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xd8" + photo()[2:],
        b"\xff\xd8\xff\x02\x00\x04ab" + photo()[2:],
        b"\xff\xd8\xff\xe1\x00\x01" + photo()[2:],
        b"\xff\xd8\xff\xe1\xff\xff" + END,
        b"\xff\xd8" + b"\xff\xfe\x00\x02" * 20_000 + photo()[2:],
        resized_header(photo(), 512, 0),
        resized_header(photo(), 0, 512),
        rewritten(photo(), lambda marker, whole: b"" if marker == 0xC0 else whole),
        rewritten(photo(), lambda marker, whole: whole * 2 if marker == 0xC0 else whole),
        rewritten(photo(), lambda marker, whole: whole[:12] if marker == 0xC0 else whole),
        rewritten(photo(), lambda marker, whole: whole[:11] + b"\x00" + whole[12:] if marker == 0xC0 else whole),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(data):
    assert reason_of(validate(data)) == "header-unreadable"


def test_a_missing_quantization_table_is_damage():
    data = rewritten(photo(), lambda marker, whole: b"" if marker == jpeg.DQT else whole)
    assert reason_of(validate(data)) == "damaged"


def test_thumbnails_and_second_pictures_do_not_confuse():
    thumbnail = encoded(scene(64, 64))
    exif = b"\xff\xe1" + (len(thumbnail) + 8).to_bytes(2, "big") + b"Exif\x00\x00" + thumbnail
    data = photo()[:2] + exif + photo()[2:] + thumbnail
    result = validate(data)
    assert (result.facts["width"], result.facts["height"]) == (512, 512)
    assert result.facts["flags"] == ["trailing-data"]
    assert reason_of(validate(data[: len(exif) + 5_000])) == "truncated"


# --- lost data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("picture", [photo(), encoded(), with_restarts(), encoded(PROGRESSIVE=1), without_tables()])
def test_a_cut_picture_is_truncated_wherever_it_is_cut(picture):
    frame_end = jpeg.read_frame(picture).segment.end
    cuts = [2, 3, 5, 30, frame_end - 1, frame_end, coded_range(picture)[0], len(picture) - 3]
    for cut in [*cuts, *range(frame_end, len(picture) - 2, 997)]:
        assert reason_of(validate(picture[:cut])) == "truncated", cut
    assert reason_of(validate(picture[: len(picture) // 2] + bytes(5000))) == "truncated"


@pytest.mark.parametrize("picture", [photo(), encoded(), with_restarts(), without_tables()])
def test_a_cut_picture_that_was_given_an_end_is_damaged(picture):
    start, end = coded_range(picture)
    for cut in [start, start + 1, end - 1, end - 2, *range(start, end - 1, 997)]:
        assert reason_of(validate(picture[:cut].rstrip(b"\xff") + END)) == "damaged", cut


def test_a_zeroed_middle_and_a_zeroed_end_are_damaged():
    start, end = coded_range(photo())
    middle = (start + end) // 2
    assert reason_of(validate(photo()[:middle] + bytes(4096) + photo()[middle + 4096 :])) == "damaged"
    assert reason_of(validate(photo()[: end - 6000] + bytes(6000) + END)) == "damaged"


@pytest.mark.parametrize("picture", [photo(), encoded(), with_restarts(), without_tables()])
@pytest.mark.parametrize("size", [17, 512, 2000])
def test_zeros_in_coded_data_are_damage_wherever_they_are(picture, size):
    start, end = coded_range(picture)
    for at in range(start + 10, end - size - 10, 1499):
        result = validate(picture[:at] + bytes(size) + picture[at + size :])
        assert reason_of(result) == "damaged", at


def test_zeros_are_data_where_the_tables_make_them_so():
    black = encoded(np.zeros((480, 640, 3), np.uint8), OPTIMIZE=1)
    start, end = coded_range(black)
    assert black.find(bytes(100), start, end) != -1
    assert flags_of(black) == ["grey-looking"]


def test_zeros_before_a_restart_are_padding():
    data = with_restarts()
    second = restart_positions(data)[1]
    assert flags_of(data[:second] + bytes(64) + data[second:]) == [STRAY]


def test_a_long_rest_and_a_doubled_block_are_damaged():
    start, end = coded_range(photo())
    middle = (start + end) // 2
    assert reason_of(validate(photo()[:end] + photo()[middle : middle + 60] + END)) == "damaged"
    assert reason_of(validate(photo()[:middle] + photo()[middle - 4000 :])) == "damaged"


def restart_positions(data):
    start, end = coded_range(data)
    return [at for at in range(start, end - 1) if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7]


def test_restart_markers_that_are_missing_or_not_in_order_are_damaged():
    data = with_restarts()
    first, second, *_ = restart_positions(data)
    assert reason_of(validate(data[:first] + data[second:])) == "damaged"
    assert reason_of(validate(data[: first + 1] + b"\xd5" + data[first + 2 :])) == "damaged"
    assert reason_of(validate(data[:first] + data[first + 2 :])) == "damaged"


def test_too_many_scans_are_refused_before_decoding():
    data = encoded(PROGRESSIVE=1)
    last = jpeg.read_structure(data).scans[-1]
    again = data[last.start : last.scan_end]
    assert reason_of(validate(data[:-2] + again * jpeg.MAX_SCANS + END)) == "too-many-scans"


# --- harmless warnings -----------------------------------------------------------------------------------------------


def jfif_9(marker, whole):
    return whole[:9] + b"\x09" + whole[10:] if marker == jpeg.APP0 else whole


def adobe_7(marker, whole):
    return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x07" if marker == jpeg.APP0 else whole


def odd_scan(marker, whole):
    return whole[:-2] + b"\x3e\x00" if marker == jpeg.SOS else whole


def bad_profile(marker, whole):
    return whole + b"\xff\xe2\x00\x14ICC_PROFILE\x00\x05\x02abcd" if marker == jpeg.APP0 else whole


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        (jfif_9, "jfif-version"),
        (adobe_7, "adobe-transform"),
        (odd_scan, "scan-parameters"),
        (bad_profile, "icc-profile"),
    ],
)
def test_a_harmless_warning_is_a_flag_and_hides_no_damage(change, flag):
    data = rewritten(photo(), change)
    with pytest.raises(ValueError):
        simplejpeg.decode_jpeg(data, strict=True)
    assert flags_of(data) == [f"decoder-warning: {flag}"]
    assert decodes_elsewhere(data)
    assert reason_of(validate(data[:30_000] + END)) == "damaged"
    assert reason_of(validate(data[:30_000])) == "truncated"


@pytest.mark.parametrize("marker", [jpeg.DQT, jpeg.DHT, 0xC0, jpeg.SOS])
@pytest.mark.parametrize("extra", [b"\x01", b"abcdefg", bytes(500)])
def test_stray_bytes_between_segments_are_a_flag(marker, extra):
    segment = photo().index(bytes([0xFF, marker]), 2)
    data = photo()[:segment] + extra + photo()[segment:]
    assert flags_of(data) == [STRAY]
    assert decodes_elsewhere(data)
    assert reason_of(validate(data[:30_000] + END)) == "damaged"


@pytest.mark.parametrize("picture", [photo(), encoded(), without_tables()])
@pytest.mark.parametrize("extra", [b"\x12\x34\x56\x78" * 2, bytes(9), bytes(4000)])
def test_stray_bytes_before_the_end_are_a_flag(picture, extra):
    flags = flags_of(picture[:-2] + extra + END)
    assert set(flags) <= {STRAY, "huffman-tables-missing"}
    assert len(extra) == 8 or STRAY in flags
    assert decodes_elsewhere(picture[:-2] + extra + END)


def test_the_number_of_stray_bytes_allowed_is_a_parameter():
    data = photo()[:-2] + b"\x12\x34" * 20 + END
    assert reason_of(validate(data)) == "damaged"
    assert flags_of(data, params={"max_stray_bytes": 40}) == [STRAY]


@pytest.mark.parametrize("sampling", ["1x1", "2x2"])
def test_stray_bytes_before_restarts_of_one_channel_are_a_flag(sampling):
    gray = bytearray(encoded(np.ascontiguousarray(scene()[:, :, :1]), RST_INTERVAL=3))
    gray[jpeg.read_frame(bytes(gray)).segment.start + 11] = 0x11 if sampling == "1x1" else 0x22
    for at in reversed(restart_positions(bytes(gray))[::2]):
        gray[at:at] = b"\x12\x34\x56"
    assert set(flags_of(bytes(gray))) == {STRAY, "grey-looking"}


def test_stray_bytes_before_restarts_are_a_flag_and_hide_no_damage():
    data = with_restarts()
    positions = restart_positions(data)
    spoiled = bytearray(data)
    for at in reversed(positions[::2]):
        spoiled[at:at] = b"\x12\x34\x56"
    assert flags_of(bytes(spoiled)) == [STRAY]
    assert decodes_elsewhere(bytes(spoiled))
    lost = bytes(spoiled).replace(data[positions[-2] - 40 : positions[-2]], b"")
    assert len(lost) == len(spoiled) - 40
    assert reason_of(validate(lost)) == "damaged"
    assert reason_of(validate(bytes(spoiled).replace(b"\xff\xd1", b"\xff\xd2", 1))) == "damaged"


def test_several_kinds_of_harmless_warnings_are_all_flagged():
    data = rewritten(rewritten(photo(), odd_scan), jfif_9)
    data = inserted_before(data, jpeg.DQT, b"ab")[:-2] + bytes(20) + END
    assert set(flags_of(data)) == {
        "decoder-warning: jfif-version",
        STRAY,
        "decoder-warning: scan-parameters",
    }


def test_what_a_decoder_does_not_even_warn_of():
    assert flags_of(photo() + b"PK\x03\x04") == ["trailing-data"]
    assert flags_of(photo()[:-2] + b"\xff" * 40 + END) == []
    assert flags_of(inserted_before(photo(), jpeg.SOS, b"\xff\xff\xff")) == []
    assert flags_of(encoded(PROGRESSIVE=1)) == ["progressive"]
    assert flags_of(with_restarts()) == []
    assert flags_of(without_tables()) == ["huffman-tables-missing"]
    assert decodes_elsewhere(without_tables())


def complaint(data, **options):
    try:
        simplejpeg.decode_jpeg(data, strict=True, **options)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("picture", [photo("yard_1763798460.jpg"), encoded(PROGRESSIVE=1), with_restarts()])
def test_a_decode_at_an_eighth_complains_as_a_full_one_does(picture):
    start, end = coded_range(picture)
    rng = np.random.default_rng(7)
    heard = set()
    for at in rng.integers(start, end - 16, 80):
        foreign = picture[:at] + rng.bytes(16) + picture[at + 16 :]
        for spoiled in (foreign, picture[:at] + END, picture[:at] + picture[at + 16 :]):
            full = complaint(spoiled)
            assert complaint(spoiled, min_height=1, min_width=1, min_factor=8) == full
            heard.add(full)
    assert len(heard) > 2
