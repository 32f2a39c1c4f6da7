"""Byte-pair encoding of a tokenizer.json whose texts need no pre-splitting: merges by rank, over whole texts."""

import json


class Tokenizer:
    def __init__(self, path):
        with open(path) as f:
            t = json.load(f)
        self.vocab = t["model"]["vocab"]
        pairs = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in t["model"]["merges"]]
        self.ranks = {p: i for i, p in enumerate(pairs)}
        self.normalizers = (t.get("normalizer") or {}).get("normalizers", [])
        self.names = {i: s for s, i in self.vocab.items()}

    def encode(self, text):
        """Ids of a text, the beginning of sequence before them."""
        for n in self.normalizers:
            text = n["prepend"] + text if n["type"] == "Prepend" else text.replace(n["pattern"]["String"], n["content"])
        if not self.normalizers:
            text = text.replace(" ", "Ġ")
        parts = list(text)
        while True:
            best = min(range(len(parts) - 1), key=lambda i: self.ranks.get((parts[i], parts[i + 1]), 1 << 30), default=None)
            if best is None or (parts[best], parts[best + 1]) not in self.ranks:
                break
            parts[best:best + 2] = [parts[best] + parts[best + 1]]
        ids = [self.vocab["<s>"]]
        for p in parts:
            ids += [self.vocab[p]] if p in self.vocab else [self.vocab[f"<0x{b:02X}>"] for b in p.encode()]
        return ids

    def decode(self, ids):
        """The text of ids that stand for no special tokens."""
        return "".join(self.names[i] for i in ids).replace("▁", " ").strip()
