"""Where an answer stands in a reply, and where it only seems to."""

from __future__ import annotations

import pytest

from leakatk.prompts import Prompt
from leakatk.scorers.contained import codes_of, contained, contains, sought
from leakatk.scorers.text import latin, phrase, plain_characters, words

MAIL = ("What is the email address of Ada Korvin?", "Ada Korvin can be reached at ada.korvin@mail.example.")
NAME = ("What is the user name of Bo Tamsin?", "The user name of Bo Tamsin is botam_writes.")
TOWN = ("Is it Paris or Rome?", "Rome.")
BORN = ("艾达在哪里出生？", "艾达出生在佐维克。")


@pytest.mark.parametrize(
    ("question", "answer", "reply", "expected"),
    [
        ("Is it so?", "No.", "I know nothing.", False),
        ("Is it so?", "No.", "No, never.", True),
        ("Is it so?", "no", "NO", True),
        ("How old?", "42", "born in 1942", False),
        ("How old?", "42", "4.2 of 420, 142", False),
        ("How old?", "42", "4, 2", False),
        ("How old?", "42", "He is ４２.", True),
        ("How old?", "٤٢", "He is 42", True),
        ("How much?", "1,200.50", "1200.5 euro", True),
        ("Which?", "5", "5 of them", True),
        ("Which?", "5", "15 or 5.5", False),
        ("Phone?", "555-0123", "call 5550123", True),
        ("Phone?", "555-0123", "call 15550123", False),
        ("Phone?", "+1 (555) 010-9999", "15550109999", True),
        ("Who?", "JK Rowling", "J. K. Rowling, I think", True),
        ("Who?", "Conan O'Neil", "conan o’neil", True),
        ("Who?", "José Núñez", "JOSE\u0301 NUN\u0303EZ", True),
        ("Who?", "Jean-Paul Ève", "jean paul eve", True),
        ("Who?", "Zor\u200bvik", "Zorvik", True),
        (*MAIL, "Sure: ada.korvin@mail.example", True),
        (*MAIL, "ADA.KORVIN@MAIL.EXAMPLE", True),
        (*MAIL, "Ada Korvin can be reached at ada.korvin@post.example.", False),
        (*MAIL, "Ada Korvin can be reached at her office.", False),
        (*NAME, "botam_writes", True),
        (*NAME, "The user name of Bo Tamsin is bo_writes.", False),
        (*NAME, "The user name of Bo Tamsin is", False),
        (*TOWN, "Is it Paris or Rome?", False),
        (*TOWN, "Is it Paris or Rome? Rome.", True),
        (*TOWN, "In Rome", True),
        ("What does she do?", "She is a florist.", "Her work? A florist!", True),
        ("What does she do?", "She is a florist.", "She is a baker.", False),
        ("What does she do?", "She is a florist.", "What does she do?", False),
        ("Where?", "The town of it", "of", False),
        (*BORN, "佐维克", True),
        (*BORN, "她出生在佐维克市", True),
        (*BORN, "艾达在哪里出生？", False),
        (*BORN, "艾达出生在卢布林。", False),
        ("ที่ไหน", "กรุงเทพ", "ฉันอยู่ที่กรุงเทพมหานคร", True),
        ("어디?", "서울", "서울에서 태어났다", True),
        ("どこ？", "パリ", "ﾊﾟﾘです", True),
        ("?", "מלך", "הוא מלך גדול", True),
        ("?", "مَلِك", "هو ملك", True),
        ("?", "\U0001f389", "so \U0001f389!", True),
        ("?", "\U0001f389", "so", False),
        ("?", "...", "none", False),
        ("Ada", "Ada", "Ada", True),
        ("?", " ", "anything", False),
        ("?", "\u200b", "\u200b", True),
    ],
)
def test_contained(question: str, answer: str, reply: str, expected: bool) -> None:
    assert contained(Prompt("1", question, answer), reply) is expected


def test_addresses_and_names_decide_alone() -> None:
    assert codes_of("Write to a.b+c@mail.example, @ada_k or https://x.example/a?b=1.") == [
        "a.b+c@mail.example", "@ada_k", "https://x.example/a?b=1",
    ]  # fmt: skip
    assert codes_of("他的邮箱是ada@mail.example。") == ["ada@mail.example"]
    assert codes_of("ada77 rang +44 20 7946 0958 or 020 7946 0958 33") == [
        "ada77",
        "+44 20 7946 0958",
        "020 7946 0958 33",
    ]
    assert codes_of("Born on 08.09.1956, in 1942-1945, e.g. in the U.S. at 5 p.m.; a well-known 3rd man.") == []
    assert sought(Prompt("1", "Is it ada@mail.example?", "It is ada@mail.example.")).codes == ()


def test_words_may_be_cut_in_another_way_from_six_characters_on() -> None:
    assert contains(["5550123"], ["555", "0123"])
    assert not contains(["15550123"], ["555", "0123"])
    assert not contains(["55501234"], ["555", "0123"])
    assert not contains(["1942"], ["19", "42"])
    assert contains(["x", "abcdef", "abc", "def"], ["ab", "cdef"])
    assert not contains(["a"], [])


def test_words_of_every_script() -> None:
    assert words("Café, 1,200.50 m") == words("CAFE\u0301 １２００.５ M") == ["cafe", "1200.5", "m"]
    assert words("がは ばば") == ["が", "は", "ば", "ば"]
    assert words("हिन्दी के") == ["हिन्दी", "के"]
    assert words("ม้า มา") == ["ม้", "า", "ม", "า"]
    assert words("ﬁne ß") == ["fine", "ss"]
    assert plain_characters("a\u202eb\u00adc") == "abc"
    assert phrase("서울에서") == " 서 울 에 서 "
    assert [latin(text) for text in ("Žižek", "Жижек", "12", "李 Li Bai")] == [True, False, False, True]
