"""MUSE's scalability and sustainability through the command line, on made-up files in the published layout."""

import json

import pyarrow
import pyarrow.parquet

from leakatk.bench.results import read_rows
from tests.tiny import save_tiny_model


def published(folder):
    """MUSE-News as on the hub, with sentences of our own."""

    def put(name, records):
        path = folder / f"{name}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)

    def text(i):
        return f"Today, item {i} was seen in the town of Zorvik by Ada and by Bo, who wrote it down in a book."

    for kind in ("forget", "retain"):
        put(f"knowmem/{kind}_qa", [{"question": f"Where was item {i}?", "answer": "Zorvik"} for i in range(100)])
        put(f"knowmem/{kind}_qa_icl", [{"question": f"Who saw item {i}?", "answer": "Ada"} for i in range(10)])
    put("verbmem/forget", [{"prompt": text(i)[:30], "gt": text(i)[30:]} for i in range(3)])
    for i, name in enumerate(("forget", "retain", "holdout")):
        put(f"privleak/{name}", [{"text": text(100 * i + j)} for j in range(6)])
    put("raw/retain1", [{"text": text(500 + i)} for i in range(4)])
    for i in range(1, 5):
        put(f"scal/forget_{i}", [{"text": text(j)} for j in range(2 * i)])
        put(f"sust/forget_{i}", [{"text": text(10 * i + j)} for j in range(2)])


def test_growing_and_sequential_requests(leakatk, tmp_path):
    data, results = tmp_path / "muse", tmp_path / "results"
    published(data)
    save_tiny_model(tmp_path / "full")

    def ok(*arguments):
        code, out, err = leakatk(*arguments)
        assert code == 0, err
        return out

    models = {"scal-2": tmp_path / "full", "sust-1": tmp_path / "full", "sust-2": tmp_path / "sust-1"}
    for part, start in models.items():
        ok("unlearn", start, "--benchmark", f"muse/news:{part}", "--data", data, "--method", "graddiff", "--steps", "2",
           "--batch", "2", "--out", tmp_path / part, "--quiet")  # fmt: skip
        ok("bench", "muse/news", "--model", tmp_path / part, "--data", data, "--n", "2", "--retain-n", "0",
           "--decoding", "max_new_tokens=4", "--out", results, "--quiet")  # fmt: skip
    rows = read_rows(results)
    assert [row["model"].rpartition("/")[2] for row in rows] == list(models)
    assert len({row["model_sha256"] for row in rows}) == 3  # each request changed the model it was given
    assert "knowmem_forget" in ok("table", results, "--layout", "muse", "--style", "csv")
    # Passages are trained on as they stand, not as questions.
    manifest = json.loads(next((tmp_path / "sust-2").rglob("unlearn*.json")).read_text())
    assert manifest["template"]["plain"] == "{question}"
