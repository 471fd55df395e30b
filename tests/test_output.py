"""Everything printed goes through one place."""

import io
import os
import subprocess
import sys

import pytest
from rich.console import Console
from rich.text import Text

from leakatk.output import Printed, printed, styled


def test_what_acts_is_shown_and_our_own_styling_passes(capsys):
    with printed():
        print("a\x1b[31mb\u202ec\x9bd\re")
        sys.stderr.writelines(["x\x07\n"])
        Console(file=styled(sys.stdout), force_terminal=True).print(Text("red", style="red"))
    out, err = capsys.readouterr()
    assert out.startswith("a␛[31mb⟨U+202E⟩c⟨U+009B⟩d␍e\n")
    assert "\x1b[31mred\x1b[0m" in out
    assert err == "x␇\n"


def test_the_streams_are_put_back():
    before = sys.stdout, sys.stderr
    with printed():
        assert isinstance(sys.stdout, Printed)
        assert isinstance(sys.stderr, Printed)
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_stream_that_cannot_hold_a_character_is_written_all_the_same(encoding):
    raw = io.BytesIO()
    stream = Printed(io.TextIOWrapper(raw, encoding=encoding))
    stream.write("é 漢 \ud800 ⟨")
    stream.flush()
    assert raw.getvalue().decode(encoding)
    assert stream.encoding == "utf-8"
    assert Printed(stream.stream, trusted=True).encoding == encoding


PROGRAM = """
import sys
from leakatk.output import printed
with printed():
    print("begun", flush=True)
    sys.stdin.readline()
    for i in range(int(sys.argv[1])):
        print("a line", i)
    sys.stdout.flush()
sys.exit(1)
"""


@pytest.mark.parametrize("lines", [1, 20_000], ids=["when it is flushed", "while it is written"])
def test_a_reader_that_went_away_does_not_change_how_a_command_ends(lines):
    """A gate that failed must not become anything else because somebody looked at its first lines only."""
    reader, writer = os.pipe()
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(lines)], stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.PIPE, env=buffered,
    )  # fmt: skip
    os.close(writer)
    os.read(reader, 10)
    os.close(reader)
    _, err = process.communicate(b"go\n", timeout=120)
    assert (process.returncode, err) == (1, b"")
