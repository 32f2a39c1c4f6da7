#!/usr/bin/python3
"""Makes bitsandbytes.json of this folder: matrices and what bitsandbytes' published algorithms make of them.

The algorithms are those of bitsandbytes' functional.py (create_dynamic_map, quantize_4bit, quantize_blockwise) and
backends/default/ops.py (int8_vectorwise_quant, int8_vectorwise_dequant), in numpy with every step in float32. Needs numpy.
"""

import json
import os

import numpy as np

F = np.float32
LEVELS = np.array([-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
                   -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
                   0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1], F)
BOUNDS = np.array([-0.8480964004993439, -0.6106329262256622, -0.4599952697753906, -0.33967943489551544, -0.23460740596055984,
                   -0.13791173323988914, -0.045525018125772476, 0.03979014977812767, 0.1202552504837513, 0.2035212516784668,
                   0.2920137718319893, 0.3893125355243683, 0.5016634166240692, 0.6427869200706482, 0.8614784181118011], F)


def linspace(parts):
    """torch.linspace(0.1, 1, parts + 1), by its scalar code."""
    low, high = F(0.1), F(1)
    step = F((high - low) / F(parts))
    n = parts + 1
    return np.array([F(low + F(step * F(k))) if k < n // 2 else F(high - F(step * F(n - 1 - k))) for k in range(n)], F)


def dynamic_map():
    values = [F(0), F(1)]
    for i in range(7):
        cuts = linspace(2 ** i)
        middles = ((cuts[:-1] + cuts[1:]) / F(2)).astype(F)
        scaled = (F(10.0 ** (i - 6)) * middles).astype(F)
        values += list(scaled) + list(-scaled)
    return np.array(sorted(values), F)


def nf4(x):
    """Codes in the order of the values, one in a byte, and a scale for each block of 64."""
    blocks = x.reshape(-1, 64)
    absmax = np.abs(blocks).max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = (blocks * (F(1) / absmax)[:, None]).astype(F)
    return (scaled[:, :, None] > BOUNDS).sum(axis=2).reshape(-1), absmax


def double(absmax):
    """The scales as they are after double quantisation: the mean, codes of 8 bits, and a scale for each block of 256."""
    table = dynamic_map()
    mean = F(absmax.astype(np.float64).mean())
    rest = (absmax - mean).astype(F)
    codes, seconds = [], []
    for at in range(0, len(rest), 256):
        block = rest[at:at + 256]
        largest = np.abs(block).max()
        seconds.append(largest)
        scaled = (block * F(F(1) / largest)).astype(F)
        codes += list(np.abs(scaled[:, None] - table).astype(F).argmin(axis=1))
    seconds = np.array(seconds, F)
    back = (table[codes] * np.repeat(seconds, 256)[:len(rest)]).astype(F)
    return np.array(codes), seconds, mean, (back + mean).astype(F)


def int8(x):
    absmax = np.abs(x).max(axis=1)
    codes = np.rint((x * (F(127) / absmax)[:, None]).astype(F)).astype(np.int8)
    back = ((codes.astype(F) * absmax[:, None]).astype(F) * F(0.007874015718698502)).astype(F)
    return codes, absmax, back


def bits(x):
    """float32 numbers as the integers with the same bits."""
    return [int(b) for b in np.asarray(x, F).reshape(-1).view(np.uint32)]


def main():
    r = np.random.RandomState(7)
    x = (r.standard_normal((36, 64)) * np.exp(r.standard_normal((36, 1)))).astype(F)
    x[3] = 0
    x[4, :16] = LEVELS * F(2)  # exactly on the levels
    codes, absmax = nf4(x)
    scales = np.abs(r.standard_normal(700)).astype(F) + F(0.5)
    scale_codes, seconds, mean, scales_back = double(scales)
    y = x.copy()
    y[3, 0] = 1
    rows, row_scales, rows_back = int8(y)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "bitsandbytes.json"), "w") as f:
        json.dump({
            "map": bits(dynamic_map()), "x": bits(x),
            "nf4": {"codes": codes.tolist(), "scales": bits(absmax), "values": bits(LEVELS[codes] * np.repeat(absmax, 64))},
            "double": {"scales": bits(scales), "codes": scale_codes.tolist(), "seconds": bits(seconds), "mean": bits([mean]), "values": bits(scales_back)},
            "int8": {"x": bits(y), "codes": rows.reshape(-1).tolist(), "scales": bits(row_scales), "values": bits(rows_back)},
        }, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
