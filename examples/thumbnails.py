"""Functions that compute, in child processes: pictures are drawn and made smaller.

    inngest-connect gateway          # in another terminal
    python examples/thumbnails.py
    curl http://127.0.0.1:8288/invoke/pictures-thumbnail -d '{"data": {"path": "/tmp/small.png"}}'

A child imports this file as the module ``thumbnails``, so the start of the worker is below
``if __name__ == "__main__"``. docs/processes.md has the options.
"""

import logging
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import inngest

from inngest_connect import connect, process_executor

client = inngest.Inngest(app_id="pictures", is_production=False)
WIDTH, HEIGHT, SMALLER = 480, 360, 4


@client.create_function(fn_id="thumbnail", trigger=inngest.TriggerEvent(event="pictures/uploaded"))
def thumbnail(ctx: inngest.ContextSync) -> dict[str, Any]:
    """Returns where the picture is and not its bytes: an output is stored by Inngest."""
    path = Path(str(ctx.event.data["path"]))
    small = shrink(mandelbrot(WIDTH, HEIGHT), SMALLER)
    path.write_bytes(png(small))
    return {"path": str(path), "width": len(small[0]), "height": len(small), "pid": os.getpid()}


def mandelbrot(width: int, height: int) -> list[bytes]:
    """Rows of gray values: how soon each point leaves the circle of radius 2."""
    rows = []
    for y in range(height):
        row = bytearray()
        for x in range(width):
            point, z, steps = complex(3 * x / width - 2, 2.4 * y / height - 1.2), 0j, 0
            while steps < 51 and abs(z) <= 2:
                z, steps = z * z + point, steps + 1
            row.append(255 - 5 * steps)
        rows.append(bytes(row))
    return rows


def shrink(rows: list[bytes], factor: int) -> list[bytes]:
    """Every pixel is the mean of ``factor`` by ``factor`` pixels."""
    return [
        bytes(
            sum(sum(row[x : x + factor]) for row in rows[y : y + factor]) // factor**2
            for x in range(0, len(rows[0]), factor)
        )
        for y in range(0, len(rows), factor)
    ]


def png(rows: list[bytes]) -> bytes:
    """A grayscale PNG with 8 bits per pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


apps = [(client, [thumbnail])]

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    logging.info("this is process %d", os.getpid())
    connect(apps, executor=process_executor("thumbnails:apps", 2)).run()
