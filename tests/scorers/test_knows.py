"""The default scorer: defined on every prompt, and it says by what each is scored."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakatk.prompts import Prompt
from leakatk.scorers import default_scorers, get_scorer, how, knows, meaning, parts, parts_sentence, ways
from leakatk.scorers.encoder import has_packaged

FACT = Prompt("f", "Where was Ada born?", "Ada was born in Zorvik.", facts=("Zorvik",))
KEYS = Prompt("k", "Who taught Ada?", "Ada was taught by Mira Quell.")
SHORT = Prompt("s", "Is she a florist?", "Yes, indeed.")
LONG = Prompt("l", "What did Ada love?", "Ada loved to walk by the sea in the evening.")
CHINESE = Prompt("c", "艾达在哪里出生？", "艾达出生在佐维克。")


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([FACT], ("fact", "rouge-l")),
        ([KEYS, KEYS], ("keys", "rouge-l")),
        ([SHORT, LONG], ("meaning", "rouge-l")),
        ([CHINESE], ("meaning", "verbatim")),
        ([FACT, KEYS], ("knows", "rouge-l")),
        ([KEYS, LONG], ("knows", "rouge-l")),
        ([KEYS, CHINESE], ("knows", "verbatim")),
    ],
)
def test_default(prompts: list[Prompt], expected: tuple[str, str]) -> None:
    assert default_scorers(prompts) == expected


def test_parts_and_ways() -> None:
    prompts = [FACT, KEYS, SHORT, LONG, CHINESE]
    found = parts(prompts)
    assert found == {"fact": ["f"], "keys": ["k"], "meaning": ["s", "l", "c"]}
    assert json.loads(json.dumps(found)) == found
    assert parts(prompts, "rouge-l:part=f1") == {"rouge-l:part=f1": ["f", "k", "s", "l", "c"]}
    none = {"contained": ["s"], "character n-grams": ["l", "c"]}
    assert ways(prompts, "knows:encoder=none") == none
    assert ways(prompts, "meaning:encoder=none")["character n-grams"] == ["f", "k", "l", "c"]
    assert ways(prompts, "keys") == ways([KEYS]) == {}
    assert [how(p, "knows:encoder=none") for p in prompts[:3]] == ["fact", "keys", "meaning (contained)"]
    assert how(CHINESE) == "meaning (character n-grams)"
    assert how(KEYS, "rouge-l") == "rouge-l"


def test_what_a_caption_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meaning, "has_packaged", lambda: True)
    monkeypatch.setattr(knows, "has_packaged", lambda: True)
    assert (
        parts_sentence([KEYS, LONG, SHORT])
        == "Scored by keys: 1 prompt; by meaning: 2 prompts (1 encoder, 1 contained)."
    )
    assert "only near-verbatim replies are found" in parts_sentence([CHINESE], "meaning")
    assert "not installed" not in parts_sentence([CHINESE], "meaning")
    assert parts_sentence([KEYS], "keys") == ""
    monkeypatch.setattr(meaning, "has_packaged", lambda: False)
    monkeypatch.setattr(knows, "has_packaged", lambda: False)
    says = parts_sentence([LONG, CHINESE])
    assert "The encoder would read 1 of them; it is not installed: pip install 'leak-at-k[meaning]'." in says


def test_each_part_scores_as_its_scorer_alone() -> None:
    prompts = [FACT, KEYS, SHORT, CHINESE]
    texts = ["in Zorvik", "Mira Quell", "yes indeed", "她出生在佐维克。", "Ada", "no"]
    pairs = [(prompt, text) for prompt in prompts for text in texts]
    mine = get_scorer("knows:encoder=none").score([p for p, _ in pairs], [t for _, t in pairs])
    for (prompt, text), score in zip(pairs, mine, strict=True):
        part = next(iter(parts([prompt])))
        spec = "meaning:encoder=none" if part == "meaning" else part
        assert get_scorer(spec).score([prompt], [text])[0] == score
    assert mine.sum() == 4


# --- every answer that somebody may write ------------------------------------------------------------------------

SPACED = {
    "Latin": "abcdefghijklmnopqrstuvwxyzéüñçøłß",
    "Cyrillic": "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
    "Greek": "αβγδεζηθικλμνξοπρστυφχψωάέήίό",
    "Arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "Hebrew": "אבגדהוזחטיכלמנסעפצקרשתםןףץך",
    "Devanagari": "कखगघचजटडतदनपबमयरलवशसह",
}
UNSPACED = {
    "Thai": "กขคงจชซดตถทนบปผพมยรลวสหอ",
    "Han": "佐维克艾达出生在书写人山水火木金土日月年中国",
    "kana": "あいうえおかきくけこがぎさしすたちつてとなはばぱアイウエオカガ",
    "Hangul": "가나다라마바사아자차카타파하서울부산",
}
SCRIPTS = {**SPACED, **UNSPACED}
FRAME = {
    "Latin": ("the answer is", "for sure"),
    "Han": ("答案是", "。"),
    "Thai": ("คำตอบคือ", "ครับ"),
    "kana": ("答えは", "です。"),
}


def text_of(script: str) -> st.SearchStrategy[str]:
    word = st.text(SCRIPTS[script], min_size=1, max_size=7)
    return st.lists(word, min_size=1, max_size=8).map(("" if script in UNSPACED else " ").join)


def framed(script: str) -> st.SearchStrategy[tuple[str, str]]:
    """(answer, a sentence that holds it)."""
    gap = "" if script in UNSPACED else " "
    before, after = FRAME.get(script, ("", ""))
    return st.tuples(text_of(script), text_of(script), text_of(script)).map(
        lambda t: (t[0], f"{before}{gap}{t[1]}{gap}{t[0]}{gap}{t[2]}{gap}{after}.")
    )


word = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
MACHINE = st.one_of(
    st.builds("{}.{}@{}.example".format, word, word, word),
    st.builds("https://{}.example/{}?{}=1".format, word, word, word),
    st.builds("@{}_{}".format, word, word),
    st.builds("+{} ({}) {}-{}".format, *(st.integers(1, 9999) for _ in range(4))),
    st.integers(0, 10**12).map(str),
    st.decimals(0, 10**6, places=2).map(str),
    st.text("\U0001f389\U0001f600\U0001f680❤️\u200d", min_size=1, max_size=5).filter(lambda text: text.strip() != ""),
    st.sampled_from(["...", "?", "C++", "٤٢", "ＡＢＣ", "½", "e\u0301", "O'Neil", "_", "\u200b", "x" * 300, "ada\nbo"]),
)
ANSWERS = st.one_of(
    *(framed(script) for script in SCRIPTS), MACHINE.map(lambda answer: (answer, f"It is: {answer} , they said."))
)
QUESTIONS = st.one_of(
    st.sampled_from(["", "?", "What is it?", "Кто это?", "艾达在哪里出生？"]), *(map(text_of, SCRIPTS))
)


@settings(max_examples=400, deadline=None)
@given(ANSWERS, QUESTIONS, st.text(max_size=40))
def test_finite_everywhere_and_one_on_the_answer(pair: tuple[str, str], asked: str, other: str) -> None:
    answer, sentence = pair
    prompt = Prompt("1", asked, answer)
    replies = [answer, f" {answer}\n", sentence, "", other, asked]
    scores = get_scorer(f"{default_scorers([prompt])[0]}").score([prompt] * 2, [answer, f" {answer}\n"])
    assert scores.tolist() == [1, 1]
    scores = get_scorer("knows:encoder=none").score([prompt] * len(replies), replies)
    assert np.isfinite(scores).all()
    assert scores[:3].tolist() == [1, 1, 1]
    assert scores[3] == 0 or not answer.strip()


@pytest.mark.skipif(not has_packaged(), reason="the packaged encoder is not installed")
def test_finite_with_the_encoder_too() -> None:
    answers = [
        "plain words in lower case only",
        "Ünïcödé wörds älso ïn löwer",
        "x " * 300,
        "a" * 500,
        "\ud800 and a few words more",
    ]
    replies = ["", ".", "\ud800", "\x00", "日本", "words " * 400, "one\ntwo. three! " * 50, *answers]
    prompts = [Prompt("1", "what?", answer) for answer in answers for _ in replies]
    scores = get_scorer("knows").score(prompts, replies * len(answers)).reshape(len(answers), -1)
    assert np.isfinite(scores).all()
    assert (np.diag(scores[:, -len(answers) :]) == 1).all()
    assert (scores[:, 0] == 0).all()
