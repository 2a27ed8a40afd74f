"""Makes a picture sampled 4x1, 2x1, 2x1 of one sampled 2x1, 1x1, 1x1: the same blocks, in units twice as wide. Or one
sampled 1x4, 1x2, 1x2 of one sampled 1x2, 1x1, 1x1, in units twice as high.

Both show the same pixels, so a decoder that reads one reads the other. No encoder at hand writes the former.
"""

from __future__ import annotations

from stages.validate import jpeg

EOB = 0x00
BLOCKS_BEFORE, BLOCKS_AFTER = (2, 1, 1), (4, 2, 2)


def in_wider_units(data: bytes) -> bytes:
    """The picture of 4:2:2 with the factors 4x1, 2x1, 2x1. Its width is a multiple of 32, and it has no restarts."""
    frame = jpeg.read_frame(data)
    assert (frame.sampling, frame.width % 32, frame.height % 8) == ("2x1, 1x1, 1x1", 0, 0)
    return _rejoined(data, (0x41, 0x21, 0x21), lambda units: zip(units[::2], units[1::2], strict=True))


def in_higher_units(data: bytes) -> bytes:
    """The picture of 4:4:0 with the factors 1x4, 1x2, 1x2. Its height is a multiple of 32, and it has no restarts."""
    frame = jpeg.read_frame(data)
    assert (frame.sampling, frame.width % 8, frame.height % 32) == ("1x2, 1x1, 1x1", 0, 0)
    row = frame.width // 8

    def pairs(units):
        for at in range(0, len(units), 2 * row):
            yield from zip(units[at : at + row], units[at + row : at + 2 * row], strict=True)

    return _rejoined(data, (0x14, 0x12, 0x12), pairs)


def _rejoined(data, factors, pairs):
    structure = jpeg.read_structure(data)
    frame, (scan,) = structure.frame, structure.scans
    tables = _tables(data, structure)
    units = _read(data[scan.end : scan.scan_end], tables, frame.width * frame.height // 128)
    bits = _written([_joined(*pair) for pair in pairs(units)], tables)
    coded = int(bits + "1" * (-len(bits) % 8), 2).to_bytes(-(-len(bits) // 8), "big").replace(b"\xff", b"\xff\x00")
    header = bytearray(data[: scan.end])
    for number, factor in enumerate(factors):
        header[frame.segment.body + 7 + 3 * number] = factor
    return bytes(header) + coded + b"\xff\xd9"


def _tables(data, structure):
    """Code to symbol, by class and number."""
    found = {}
    for segment in structure.segments:
        body, at = data[segment.body : segment.end], 0
        while segment.marker == jpeg.DHT and at < len(body):
            symbols, code, first = at + 17, 0, at
            table = found[body[first] >> 4, body[first] & 15] = {}
            for length in range(1, 17):
                for _ in range(body[first + length]):
                    table[f"{code:0{length}b}"] = body[symbols]
                    code, symbols = code + 1, symbols + 1
                code <<= 1
            at = symbols
    return found


def _read(coded, tables, count):
    """Units, each a list of blocks for each channel; a block is its DC value and the bits of the rest."""
    bits = "".join(f"{byte:08b}" for byte in coded.replace(b"\xff\x00", b"\xff"))
    at, last, units = 0, [0, 0, 0], []

    def symbol(table):
        nonlocal at
        end = at + 1
        while bits[at:end] not in table:
            end += 1
        at, code = end, bits[at:end]
        return table[code]

    for _ in range(count):
        unit = [[], [], []]
        for channel, blocks in enumerate(BLOCKS_BEFORE):
            for _ in range(blocks):
                size = symbol(tables[0, min(channel, 1)])
                extra = bits[at : at + size]
                at += size
                last[channel] += (int(extra, 2) if extra[0] == "1" else int(extra, 2) - 2**size + 1) if size else 0
                start, number = at, 1
                while number < 64 and (coefficient := symbol(tables[1, min(channel, 1)])) != EOB:
                    at += coefficient & 15
                    number += (coefficient >> 4) + 1
                unit[channel].append((last[channel], bits[start:at]))
        units.append(unit)
    return units


def _joined(left, right):
    return [a + b for a, b in zip(left, right, strict=True)]


def _written(units, tables):
    codes = {number: {symbol: code for code, symbol in tables[0, number].items()} for number in (0, 1)}
    parts, last = [], [0, 0, 0]
    for unit in units:
        for channel, blocks in enumerate(unit):
            assert len(blocks) == BLOCKS_AFTER[channel]
            for value, rest in blocks:
                step, last[channel] = value - last[channel], value
                size = abs(step).bit_length()
                extra = f"{step if step > 0 else step + 2**size - 1:0{size}b}" if size else ""
                parts.append(codes[min(channel, 1)][size] + extra + rest)
    return "".join(parts)
