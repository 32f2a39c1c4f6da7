"""The safetensors format: an 8-byte length, a JSON header, packed little-endian tensors."""

import json
import struct

import numpy as np

_DTYPES = {"F32": np.dtype("<f4"), "I32": np.dtype("<i4"), "I64": np.dtype("<i8")}


def load(path):
    """All tensors of a file, by name, as numpy arrays."""
    with open(path, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        header, data = json.loads(f.read(size)), f.read()
    out = {}
    for name, t in header.items():
        if name == "__metadata__":
            continue
        begin, end = t["data_offsets"]
        if t["dtype"] == "BF16":
            halves = np.frombuffer(data[begin:end], "<u2").astype("<u4") << 16
            out[name] = halves.view("<f4").reshape(t["shape"])
        else:
            out[name] = np.frombuffer(data[begin:end], _DTYPES[t["dtype"]]).reshape(t["shape"])
    return out


def save(path, tensors, metadata=None):
    """Writes arrays as F32, in the order of their names."""
    header, blobs, at = {"__metadata__": {"format": "pt", **(metadata or {})}}, [], 0
    for name in sorted(tensors):
        x = np.ascontiguousarray(tensors[name], dtype="<f4")
        header[name] = {"dtype": "F32", "shape": list(x.shape), "data_offsets": [at, at + x.nbytes]}
        blobs.append(x.tobytes())
        at += x.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
