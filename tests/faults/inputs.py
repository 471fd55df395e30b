"""Odd inputs: what a file of each format may hold that nobody meant, drawn from a seed."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Rng = random.Random

HUGE = "9" * 5000
TEXTS = (
    "", " ", "\0", "a\0b", "\ud800", "\udcff", "\x1b[2J", "\u202eoverride", "é" * 300, "a" * 100_000, "\u2028", "\ufeff", "\r\n",
    "NaN", "-1", "1e999", "null", "true", "[", "{}", "../../etc/passwd", "/dev/zero", "%s%n", "$(id)", "=1+1", "0" * 400, "٣", "²",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 10**39, 0.0, -0.0, 1e308, 5e-324, float("nan"), float("inf"), -1.5,
    [], {}, [[]], [None], [{}], {"a": None}, {"": ""}, [1, "a", None], [[1, 2], [3]], {"k": [1]}, [0.5] * 3,
)  # fmt: skip


def deep(rng: Rng, of: str = "[{") -> str:
    """Lists and objects within one another, closed or not."""
    depth = rng.choice((30, 63, 65, 200, 900, 1100, 50_000))
    sign = rng.choice(of)
    opened, closed = ("[", "]") if sign == "[" else ('{"a":', "}")
    return opened * depth + "1" + closed * (depth if rng.random() < 0.7 else depth // 2)


def value(rng: Rng) -> Any:
    return rng.choice(TEXTS) if rng.random() < 0.4 else rng.choice(VALUES)


def changed(rng: Rng, item: Any) -> Any:
    """The value with one part of it replaced, removed, doubled, or put where another was."""
    if isinstance(item, dict) and item and rng.random() < 0.85:
        key, made = rng.choice(list(item)), dict(item)
        what = rng.random()
        if what < 0.65:
            made[key] = changed(rng, item[key])
        elif what < 0.8:
            del made[key]
        elif what < 0.9:
            made[rng.choice(TEXTS)] = made.pop(key)
        else:
            made[key] = item[rng.choice(list(item))]
        return made
    if isinstance(item, list) and item and rng.random() < 0.85:
        at, items = rng.randrange(len(item)), list(item)
        what = rng.random()
        if what < 0.65:
            items[at] = changed(rng, items[at])
        elif what < 0.8:
            del items[at]
        elif what < 0.9:
            items.append(items[at])
        else:
            items = items * 3
        return items
    return value(rng)


def damaged(rng: Rng, content: bytes) -> bytes:
    """The bytes with bits flipped, a part cut out, doubled, zeroed or replaced by what no format expects."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(content) + 1)
        end = min(len(content), at + rng.choice((1, 3, 40, 4000)))
        odd = rng.choice(
            (b"\0", b"\xff", b"\xed\xa0\x80", b"\x1b[2J", b"\n", b"\r", b'"', b"[", b"{", b"]", b",", b"\\ud800", b"\\u0000",
             b"9" * 5000, b"-", b"1e999", b"NaN", b"Infinity", b"\xef\xbb\xbf", b"\xff\xfe", deep(rng).encode())
        )  # fmt: skip
        content = rng.choice(
            (
                content[:at] + bytes(byte ^ (1 << rng.randrange(8)) for byte in content[at : at + 1]) + content[at + 1 :],
                content[:at],
                content[at:],
                content[:at] + content[end:],
                content[:at] + bytes(end - at) + content[end:],
                content[:at] + content[at:end] * 2 + content[end:],
                content[:at] + odd + content[at:],
                content[:at] + odd + content[end:],
            )
        )  # fmt: skip
    return content


def as_json(rng: Rng, item: Any) -> str:
    """JSON with what a writer may do to it: huge numbers and depth in the place of a value, ASCII or not."""
    text = json.dumps(item, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, None, 1)))
    if rng.random() < 0.1:
        text = text.replace(rng.choice(('"', "1", ":")), rng.choice((deep(rng), HUGE, "-" + HUGE, "1e400")), 1)
    return text


def encoded(rng: Rng, text: str) -> bytes:
    """As UTF-8, lone surrogates too; now and then as something else."""
    kind = rng.random()
    if kind < 0.05:
        return text.encode(rng.choice(("utf-16", "utf-32", "utf-8-sig")), "surrogatepass")
    return text.encode("utf-8", "surrogatepass")


def maybe_damaged(rng: Rng, content: bytes) -> bytes:
    return damaged(rng, content) if rng.random() < 0.4 else content


def jsonl(rng: Rng, rows: list[Any]) -> bytes:
    rows = [changed(rng, row) if rng.random() < 0.3 else row for row in rows]
    as_one = rng.random() < 0.25
    text = as_json(rng, rows) if as_one else "\n".join(json.dumps(row, ensure_ascii=rng.random() < 0.5) for row in rows)
    return maybe_damaged(rng, encoded(rng, text))


def table(rng: Rng, rows: list[Any]) -> bytes:
    """CSV, of whatever separator and quotes."""
    sign, quote = rng.choice(",;\t|"), rng.choice(('"', "'", ""))
    names = list(rows[0])
    if rng.random() < 0.3:
        names[rng.randrange(len(names))] = rng.choice((*names, *TEXTS))
    lines = [sign.join(names)]
    for row in rows:
        cells = [str(cell if rng.random() < 0.9 else value(rng)) for cell in row.values()]
        lines.append(sign.join(f"{quote}{cell}{quote}" for cell in cells[: rng.choice((len(cells), len(cells), 1))]))
    return maybe_damaged(rng, encoded(rng, rng.choice(("\n", "\r\n", "\r")).join(lines)))


def parquet(rng: Rng, rows: list[Any]) -> bytes:
    """A table of any types, or a damaged one."""
    columns: dict[str, Any] = {name: [row.get(name) for row in rows] for name in rows[0]}
    if rng.random() < 0.6:
        name = rng.choice(list(columns))
        size = len(rows)
        columns[name] = rng.choice(
            (
                [None] * size, list(range(size)), [0.5] * size, [b"\xff\xfe"] * size, [["a"]] * size, [{"a": 1}] * size,
                [True] * size, pa.array([1 << 62] * size, pa.timestamp("us")), pa.array([2**31 - 1] * size, pa.date32()),
                pa.array(["x"] * size).dictionary_encode(), pa.array([[("k", 1)]] * size, pa.map_(pa.string(), pa.int64())),
                [""] * size,
            )
        )  # fmt: skip
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, compression=rng.choice(("none", "zstd", "snappy", "gzip")))
    return maybe_damaged(rng, out.getvalue())


def toml(rng: Rng, names: list[str]) -> bytes:
    """Options of a command with odd values, nesting, keys and numbers."""

    def written(depth: int = 0) -> str:
        kind = rng.randrange(12)
        if kind == 0 and depth < 3:
            return "[" + ", ".join(written(depth + 1) for _ in range(rng.randrange(4))) + "]"
        if kind == 1 and depth < 3:
            return "{" + f"a = {written(depth + 1)}" + "}"
        return rng.choice(
            (
                "1", "-1", "0", HUGE, "-" + HUGE, "9" * 39, "0x" + "f" * 9000, "0b" + "1" * 9000, "1_000", "1e999", "nan", "-inf", "1.5",
                "true", "false", "1979-05-27", "1979-05-27T07:32:00Z", "07:32:00", '""', "'''a\nb'''", '"\\u0000"', '"\\ud800"',
                '"\\u202e\\u001b[2J"', '"/dev/zero"', '"a,b"', "[]", "{}", '"' + "a" * 70_000 + '"', deep(rng, "["),
            )
        )  # fmt: skip

    lines = []
    for _ in range(rng.randrange(1, 6)):
        key = rng.choice(names) if rng.random() < 0.8 else rng.choice(
            ('""', '"a\\u0000"', '"\\u001b[2J"', "a.b.c", ".".join("a" * 300), '"é"', "help", "config", "[x]", "[[x]]", "a" * 5000)
        )  # fmt: skip
        lines.append(key if key.startswith("[") else f"{key} = {written()}")
    return maybe_damaged(rng, encoded(rng, "\n".join(lines) + "\n"))


Make = Callable[[Rng], bytes]
