"""Whatever a user gets wrong ends as one sentence on stderr that says what to do, and exit code 2."""

import json


def refused(result, *words):
    code, _, err = result
    assert code == 2, err
    assert "Traceback" not in err
    for word in words:
        assert word in err, err


def test_prompt_files(leakatk, model, tmp_path):
    def audit(path):
        return leakatk("audit", model, "--forget", path, "--out", tmp_path / "run", "--n", "2")

    refused(audit(tmp_path / "none.jsonl"), "no such file")
    for content, message in [
        (b"", "is empty"),
        (b'{"query": "q", "reply": "a"}\n', "found query, reply"),
        (b'{"id": 1, "question": "q", "answer": "a"}\n' * 2, "already stands on line 1"),
        (b'{"question": "\xff", "answer": "a"}\n', "not UTF-8"),
        (b"[]", "no prompts"),
        (b'{"question": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"question": "q", "answer": "a", "id": ' + b"9" * 6000 + b"}", "digits"),
        (b'{"question": "q \\ud800", "answer": "a"}', "half of a character"),
        (b'{"question": "q", "answer": "a", "id": ["x"]}', "the id must be a string or a number"),
        (b"question,answer\nq,a\n", "line 1: not valid JSON"),
        (b"3\n", "expected a JSON object such as"),
    ]:
        (tmp_path / "bad.jsonl").write_bytes(content)
        refused(audit(tmp_path / "bad.jsonl"), message)
    assert not (tmp_path / "run").exists()


def test_numbers(leakatk, model, forget, tmp_path):
    common = ("audit", model, "--forget", forget, "--out", tmp_path / "run")
    refused(leakatk(*common, "--n", "0"), "--n must be at least 1")
    refused(leakatk(*common, "--n", "9" * 20), "at most 1,000,000")
    refused(
        leakatk(*common, "--n", "1", "--max-new-tokens", "9" * 15, "--quiet"), "Not enough memory", "--max-new-tokens"
    )
    refused(leakatk(*common, "--seed", "-1"), "--seed")
    refused(leakatk(*common, "--expand", "-1"), "0 is off", "-1")
    refused(leakatk(*common, "--expand", "9" * 15), "1 to 1,000,000 prefixes")
    refused(leakatk(*common, "--n", "4", "--k", "8"), "--k 8", "raise --n or lower --k")
    refused(leakatk(*common, "--n", "4", "--k", "two"), "whole numbers")
    refused(leakatk(*common, "--n", "4", "--fail-above", "64:0.05"), "k = 64")
    refused(leakatk(*common, "--n", "4", "--fail-above", "4"), "K:BOUND")
    refused(leakatk(*common, "--temperature", "-1"), "temperature")
    refused(leakatk(*common, "--level", "95"), "--level")


def test_names(leakatk, model, forget, tmp_path):
    common = ("audit", model, "--out", tmp_path / "run")
    refused(leakatk(*common, "--forget", forget, "--scorer", "rogue-l"), "Unknown scorer 'rogue-l'", "rouge-l")
    refused(leakatk(*common, "--benchmark", "wrold"), "world")
    refused(leakatk(*common), "--benchmark NAME or --forget")
    refused(leakatk(*common, "--forget", forget, "--engine", "nativ"), "native")
    refused(leakatk(*common, "--benchmark", "tofu"), "did you mean tofu/forget01")
    refused(leakatk(*common, "--forget", forget, "--template", "chatt"), "auto, chat, plain, text")
    refused(leakatk(*common, "--forget", forget, "--dtype", "fp64", "--n", "1"), "leakatk: Unknown dtype 'fp64'")
    refused(leakatk(*common, "--forget", forget, "--url", "localhost:8000"), "whole address")
    refused(
        leakatk("unlearn", model, "--forget", forget, "--retain", forget, "--method", "nop", "--out", tmp_path / "m"),
        "Unknown method 'nop'", "npo",
    )  # fmt: skip
    refused(leakatk("methods", "simnop"), "simnpo")


def test_bench(leakatk, forget, tmp_path):
    common = ("bench", forget, "--model", tmp_path / "none", "--out", tmp_path / "out", "--quiet")
    refused(leakatk(*common), "no such model directory")
    refused(leakatk(*common, "--protocol", "papr"), "Unknown protocol 'papr'", "paper")
    refused(leakatk(*common, "--grid", "--decoding", "top_p=0.5"), "--grid or --decoding")
    refused(leakatk(*common, "--decoding", "heat=1"), "--decoding has no option 'heat'; its options: temperature")
    refused(
        leakatk(*common, "--decoding", "temperature=hot"), "--decoding temperature must be a number like 1.0, got 'hot'"
    )
    refused(leakatk(*common, "--decoding", "top_p=2"), "Decoding.top_p")
    refused(leakatk(*common, "--retain-n", "-1"), "retain_n must be at least 0")
    refused(leakatk(*common, "--ask", "loudly"), "question or paraphrased")
    refused(leakatk(*common, "--ask", "paraphrased"), "no published paraphrases")
    refused(leakatk("bench", "tofu/forget10", *common[2:], "--data", tmp_path), "has no forget10.jsonl", "hf download")
    refused(leakatk("table", tmp_path), "leakatk bench")
    assert not (tmp_path / "out").exists()


def test_models(leakatk, forget, tmp_path):
    def audit(model):
        return leakatk("audit", model, "--forget", forget, "--out", tmp_path / "run", "--n", "2")

    refused(audit(tmp_path / "nowhere"), "no such model directory")
    (tmp_path / "empty").mkdir()
    refused(audit(tmp_path / "empty"), "config.json")
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_text("{}")
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"\x80")
    refused(audit(tmp_path / "pickled"), "pickle", "safetensors")
    (tmp_path / "pickled" / "config.json").write_text("{")
    refused(audit(tmp_path / "pickled"), "not valid JSON")
    refused(audit(forget), "is a file")


def test_a_reference_that_is_not_there_is_refused_before_anything_is_sampled(leakatk, model, forget, tmp_path):
    reference = ("--reference", tmp_path / "nowhere", "--out", tmp_path / "out", "--n", "2", "--quiet")
    refused(leakatk("audit", model, "--forget", forget, *reference), "nowhere: no such model directory")
    refused(leakatk("bench", forget, "--model", model, *reference), "nowhere: no such model directory")
    swapped = ("--model", tmp_path / "nowhere", "--reference", model, *reference[2:])
    refused(leakatk("bench", forget, *swapped), "nowhere: no such model directory")
    assert not (tmp_path / "out").exists()


def test_foreign_and_other_runs(leakatk, model, forget, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("mine")
    common = ("audit", model, "--forget", forget, "--max-new-tokens", "4", "--quiet")
    refused(leakatk(*common, "--n", "2", "--out", tmp_path / "notes"), "notes")
    assert (tmp_path / "notes" / "diary.txt").read_text() == "mine"
    code, _, err = leakatk(*common, "--n", "2", "--out", tmp_path / "run")
    assert code == 0, err
    before = (tmp_path / "run" / "results.json").read_text()
    refused(leakatk(*common, "--n", "2", "--seed", "1", "--out", tmp_path / "run"), "seed")
    assert (tmp_path / "run" / "results.json").read_text() == before


def test_score_and_report(leakatk, tmp_path):
    refused(leakatk("score", tmp_path / "none.json"), "no such file")
    refused(leakatk("report", tmp_path / "none"), "no such run directory")
    refused(leakatk("report", tmp_path / "none", "--csv", "--md"), "one of --json, --md and --csv")
    (tmp_path / "g.json").write_text(json.dumps({"prompt": "q", "ground_truth": "a", "responses": []}))
    refused(leakatk("score", tmp_path / "g.json"), "responses")
    row = {"prompt": "q", "ground_truth": "a", "responses": [{"response": "a"}]}
    (tmp_path / "g.json").write_text(json.dumps(row))
    refused(leakatk("score", tmp_path / "g.json", "--k", "2"), "--k 2", "there are 1 a prompt: lower --k")
    code, out, _ = leakatk("score", tmp_path / "g.json", "--json")
    assert code == 0
    assert json.loads(out)["value"] == [1.0]


def test_full_disk(leakatk, model, forget, tmp_path):
    """A file-size limit stands in for a full disk: the sentence names it, and with room again the run goes on."""
    import resource
    import signal

    common = (
        "audit",
        model,
        "--forget",
        forget,
        "--n",
        "64",
        "--max-new-tokens",
        "24",
        "--out",
        tmp_path / "run",
        "--quiet",
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, hard))
        code, _, err = leakatk(*common)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert code == 2
    assert "space" in err
    assert "Traceback" not in err
    code, _, err = leakatk(*common)
    assert code == 0, err


def test_no_permission_is_one_sentence(leakatk, model, forget, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    refused(leakatk("audit", model, "--forget", forget, "--n", "2", "--out", tmp_path / "file" / "run"), "file")


def test_options_that_need_one_another(leakatk, model, forget, tmp_path):
    def unlearn(*options):
        return leakatk("unlearn", model, "--forget", forget, "--retain", forget, "--out", tmp_path / "m", *options)

    refused(unlearn("--method", "npo", "--reference", model), "--reference", "--method rule")
    refused(unlearn("--method", "rule", "--base", "npo", "--judge", "fact"), "--judge", "--reference")
    refused(
        unlearn("--method", "rule", "--base", "npo", "--reference", model, "--original", model),
        "--original",
        "--unseen",
    )
    refused(unlearn("--method", "rule", "--base", "npo", "--original", model, "--unseen", forget), "--reference")
    assert not (tmp_path / "m").exists()
    refused(
        leakatk("audit", model, "--forget", forget, "--data", tmp_path, "--out", tmp_path / "run"),
        "--data only goes with",
    )


def test_a_scorer_without_anything_to_score_is_refused_before_sampling(leakatk, model, tmp_path):
    (tmp_path / "one.jsonl").write_text('{"question": "Did it?", "answer": "it did not"}\n')
    common = ("audit", model, "--forget", tmp_path / "one.jsonl", "--n", "2", "--max-new-tokens", "3", "--quiet")
    refused(leakatk(*common, "--scorer", "keys", "--out", tmp_path / "run"), "keys is undefined on every prompt")
    assert not (tmp_path / "run").exists()


def test_one_prompt_has_no_interval_over_prompts(leakatk, model, tmp_path):
    """It can be audited all the same, by default with a scorer that its answer allows."""
    (tmp_path / "one.jsonl").write_text('{"question": "Did it?", "answer": "it did not"}\n')
    common = ("audit", model, "--forget", tmp_path / "one.jsonl", "--n", "2", "--max-new-tokens", "3", "--quiet")
    refused(leakatk(*common, "--out", tmp_path / "run", "--over", "prompts"), "at least 2 prompts", "--over samples")
    code, out, err = leakatk(*common, "--out", tmp_path / "run", "--reference", model, "--probe", "role", "--json")
    assert code == 0, err
    [rouge, verbatim] = json.loads(out)["scorers"].values()
    assert set(rouge["curves"]) == set(verbatim["excess"]) == {"samples"}
    refused(leakatk("report", tmp_path / "run", "--over", "both"), "one prompt", "--over samples")


def test_plan(leakatk):
    refused(leakatk("plan", "--k", "8"), "--half-width or --certify")
    refused(leakatk("plan", "--k", "8", "--certify", "0.1", "--prompts", "0"), "--prompts must be at least 1")
    refused(leakatk("plan", "--k", "8", "--certify", "1e-300"), "More than 1,000,000 samples", "certify a higher bound")
    refused(leakatk("plan", "--k", "9" * 20, "--certify", "0.1"), "at most 9,007,199,254,740,992")


def test_damaged_files_of_a_run(leakatk, model, forget, tmp_path):
    """The file is named; what can be made again is made by the same command."""
    run = tmp_path / "run"
    audit = ("audit", model, "--forget", forget, "--n", "2", "--max-new-tokens", "3", "--out", run, "--quiet")
    assert leakatk(*audit)[0] == 0
    whole = (run / "results.json").read_text()
    for content in ("{}", "[]", whole[: len(whole) // 2]):
        (run / "results.json").write_text(content)
        refused(leakatk("report", run), "results.json", "run the same audit again")
    assert leakatk(*audit)[0] == 0
    (run / "generations.parquet").unlink()
    refused(leakatk("report", run), "holds no samples")
    refused(leakatk("score", run, "--scorer", "rouge-1"), "holds no samples yet")
    assert leakatk(*audit)[0] == 0
    assert leakatk("report", run)[0] == 0


def test_a_directory_where_a_file_is_needed_and_the_reverse(leakatk, model, forget, tmp_path):
    common = ("audit", model, "--forget", forget, "--n", "2", "--max-new-tokens", "3", "--quiet")
    refused(leakatk(*common, "--out", forget), "a file stands where a directory is needed")
    assert leakatk(*common, "--out", tmp_path / "run")[0] == 0
    refused(leakatk("report", tmp_path / "run", "--out", tmp_path), "or the other way round")


def test_no_room_for_weights(leakatk, model, forget, tmp_path):
    """Weights are written by another library, whose errors are no OSError."""
    import resource
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    common = ("unlearn", model, "--forget", forget, "--retain", forget, "--method", "npo", "--steps", "2", "--quiet")
    commands = [(*common, "--checkpoint-every", every, "--out", tmp_path / f"every-{every}") for every in (1, 50)]
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        answers = [leakatk(*command) for command in commands]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    for answer in answers:
        refused(answer, "Cannot write", "free some space", "run the same command again")
    for command in commands:
        code, _, err = leakatk(*command)
        assert code == 0, err


def test_a_reference_of_other_prompts_is_refused_before_sampling(leakatk, model, forget, tmp_path):
    common = ("audit", model, "--n", "2", "--max-new-tokens", "3", "--quiet")
    assert leakatk(*common, "--forget", forget, "--out", tmp_path / "reference")[0] == 0
    (tmp_path / "other.jsonl").write_text('{"id": "new", "question": "Where?", "answer": "In Zorvik."}\n')
    refused(
        leakatk(*common, "--forget", tmp_path / "other.jsonl", "--reference", tmp_path / "reference", "--out", tmp_path / "run"),
        "lacks 1 of 1 prompts", "'new'",
    )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_bench_leaves_other_directories_and_files_alone(leakatk, model, forget, tmp_path):
    common = ("bench", forget, "--model", model, "--n", "2", "--decoding", "max_new_tokens=3", "--quiet")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    refused(leakatk(*common, "--out", tmp_path / "mine"), "holds no benchmark results", "Nothing was changed")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    code, _, err = leakatk(*common, "--out", tmp_path / "results")
    assert code == 0, err
    (tmp_path / "results" / "config.toml").write_text("# my own\n")
    code, _, err = leakatk(*common, "--out", tmp_path / "results")
    assert code == 0, err
    assert "stays as it is" in err
    assert (tmp_path / "results" / "config.toml").read_text() == "# my own\n"
