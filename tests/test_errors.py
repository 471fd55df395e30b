from leakatk.errors import first_line


def test_what_another_library_said_fits_into_a_sentence():
    assert first_line(OSError("no such host.\nTraceback ...")) == "no such host"
    assert first_line(RuntimeError(" \n")) == "RuntimeError"
    assert len(first_line(ValueError("x" * 1000))) == 300
