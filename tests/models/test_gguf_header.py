"""Header of a .gguf file: read as the `gguf` package reads it; cut, foreign and hostile files are one sentence, at once."""

import struct

import pytest
from gguf import GGUFReader

from leakatk.errors import ModelError
from leakatk.models.gguf_header import read_header
from leakatk.models.load import ModelSource
from tests.ggufs import write_gguf
from tests.tiny import save_tiny_model


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    place = tmp_path_factory.mktemp("header")
    return write_gguf(save_tiny_model(place / "tiny"), place / "tiny.gguf", kind="Q8_0")


def test_it_says_what_the_package_reads(file):
    header, theirs = read_header(file), GGUFReader(file)
    assert header.architecture == "llama"
    assert header.elements == sum(int(one.n_elements) for one in theirs.tensors)
    assert header.tensors == {
        one.name: (int(one.tensor_type), tuple(int(n) for n in reversed(one.shape))) for one in theirs.tensors
    }
    assert header.data == theirs.data_offset
    assert {name: header.data + at for name, at in header.offsets.items()} == {
        one.name: one.data_offset for one in theirs.tensors
    }
    assert header.fields["llama.block_count"] == 2
    assert header.fields["tokenizer.ggml.tokens"] == len(theirs.fields["tokenizer.ggml.tokens"].data)


def test_a_file_cut_anywhere_is_refused(file, tmp_path):
    content = file.read_bytes()
    header = read_header(file)
    sizes = [*range(0, header.data, 97), header.data, (header.data + len(content)) // 2, len(content) - 33]
    for size in sizes:
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(content[:size])
        with pytest.raises(ModelError, match=r"cut short|not a GGUF file"):
            read_header(cut)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04 a zip", "not a GGUF file"),
        (b"", "not a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        (b"GGUF" + struct.pack("<IQQ", 1, 1, 1), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1), "damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 1 << 60), "damaged"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 62), "damaged"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 0, 1 << 60), "damaged"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 8, 1 << 60), "damaged"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 9, 1), "damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "holds no model"),
    ],
    ids=["zip", "empty", "lfs", "old", "tensors", "entries", "key", "bytes", "texts", "nested", "nothing"],
)
def test_another_kind_of_file_is_one_sentence(content, says, tmp_path):
    file = tmp_path / "x.gguf"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=says) as told:
        ModelSource(str(file)).check()
    assert len(str(told.value).splitlines()) == 1


def test_a_pipe_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "x.gguf")
    with pytest.raises(ModelError, match="no regular file"):
        ModelSource(str(tmp_path / "x.gguf")).check()


def test_a_type_that_nobody_knows_is_said(file, tmp_path):
    content = file.read_bytes()
    name = b"blk.0.attn_q.weight"
    at = content.index(name) + len(name) + 4 + 16
    (tmp_path / "x.gguf").write_bytes(content[:at] + struct.pack("<I", 9999) + content[at + 4 :])
    with pytest.raises(ModelError, match=r"attn_q\.weight is of type 9999"):
        read_header(tmp_path / "x.gguf")
