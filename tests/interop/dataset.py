"""Documents of token ids in Megatron's indexed format, uint16."""
import struct

import numpy


def write(prefix, documents):
    lengths = [len(document) for document in documents]
    with open(prefix + ".bin", "wb") as data:
        for document in documents:
            data.write(numpy.asarray(document, dtype=numpy.uint16).tobytes())
    offsets = [2 * sum(lengths[:i]) for i in range(len(lengths))]
    with open(prefix + ".idx", "wb") as index:
        index.write(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, len(lengths), len(lengths) + 1))
        index.write(numpy.asarray(lengths, dtype=numpy.int32).tobytes())
        index.write(numpy.asarray(offsets, dtype=numpy.int64).tobytes())
        index.write(numpy.arange(len(lengths) + 1, dtype=numpy.int64).tobytes())
