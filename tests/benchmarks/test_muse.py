import json
import shutil

import pyarrow
import pyarrow.parquet
import pytest

from leakatk.benchmarks.catalog import load_benchmark
from leakatk.benchmarks.muse import is_passages
from leakatk.errors import InputError


@pytest.fixture(scope="module")
def news(data_dir):
    return data_dir / "muse" / "news"


def test_published_files(news):
    bench = load_benchmark("muse/news", data=news)
    assert (len(bench.forget), len(bench.retain)) == (100, 100)
    assert {name: len(t) for name, t in bench.texts.items()} == dict.fromkeys(bench.texts, 20)
    assert bench.sets["verbmem"][0].answer
    template = bench.templates["forget"]
    assert template.count("Question: ") == 11
    assert template.endswith("Question: {question}\nAnswer: ")
    assert template != bench.templates["retain"]
    assert load_benchmark("muse/news", data=news.parent).fingerprint == bench.fingerprint


def write_parquet(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)


def test_hub_layout_in_parquet_gives_the_same_benchmark(news, tmp_path):
    for flat, place in {
        "forget_qa": "knowmem/forget_qa",
        "retain_qa": "knowmem/retain_qa",
        "forget_qa_icl": "knowmem/forget_qa_icl",
        "retain_qa_icl": "knowmem/retain2_qa_icl",
        "verbmem_forget": "verbmem/forget",
        "privleak_forget": "privleak/forget",
        "privleak_retain": "privleak/retain",
        "privleak_holdout": "privleak/holdout",
    }.items():
        records = json.loads((news / f"{flat}.json").read_text())
        records = [r if isinstance(r, dict) else {"text": r} for r in records]
        write_parquet(tmp_path / f"{place}-00000-of-00001.parquet", records)
    assert load_benchmark("muse/news", data=tmp_path).fingerprint == load_benchmark("muse/news", data=news).fingerprint


def test_passages(tmp_path):
    text = " ".join(f"w{i}" for i in range(600))
    for i in range(1, 5):
        write_parquet(tmp_path / "scal" / f"forget_{i}.parquet", [{"text": f"{text} {j}"} for j in range(i)])
    write_parquet(tmp_path / "raw" / "retain1.parquet", [{"text": "a b c d e f g h i j"}, {"text": "too short"}])
    for i in range(1, 5):
        bench = load_benchmark(f"muse/news:scal-{i}", data=tmp_path)
        assert len(bench.forget) == 3 * i
        assert [p.question + " " + p.answer for p in bench.retain] == ["a b c d e f g h i j"]
        # Nothing of a text is lost or said twice.
        assert " ".join(f"{p.question} {p.answer}" for p in bench.forget if p.source == "0") == f"{text} 0"
        assert len({p.id for p in bench.forget}) == 3 * i
        assert is_passages(bench.name)
    assert not is_passages("muse/news")
    with pytest.raises(InputError, match="sust/forget_1"):
        load_benchmark("muse/news:sust-1", data=tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (
            "forget_qa.json",
            '[{"question": "a", "answer": "b"}]',
            r"forget_qa\.json has 1 rows, the published file has 100",
        ),
        ("forget_qa.json", '[{"question": "a", ', r"forget_qa\.json: not valid JSON"),
        ("verbmem_forget.json", '[{"prefix": "a"}]', "verbmem_forget.json, row 1: no question"),
        ("privleak_holdout.json", '["a", 3]', "privleak_holdout.json"),
        ("privleak_holdout.json", '["a", "b"', "privleak_holdout.json: not valid JSON"),
    ],
)
def test_damaged_files_are_named(news, tmp_path, file, content, words):
    shutil.copytree(news, tmp_path / "m", copy_function=shutil.copyfile)
    (tmp_path / "m").chmod(0o755)
    (tmp_path / "m" / file).write_text(content)
    with pytest.raises(InputError, match=words):
        load_benchmark("muse/news", data=tmp_path / "m")


def test_damaged_parquet_is_named(news, tmp_path):
    shutil.copytree(news, tmp_path / "m", copy_function=shutil.copyfile)
    (tmp_path / "m").chmod(0o755)
    (tmp_path / "m" / "forget_qa.json").unlink()
    (tmp_path / "m" / "forget_qa.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(InputError, match=r"forget_qa\.parquet: not a readable Parquet file"):
        load_benchmark("muse/news", data=tmp_path / "m")


def test_no_paraphrases(news):
    with pytest.raises(InputError, match="no published paraphrases"):
        load_benchmark("muse/news", data=news, ask="paraphrased")
