"""How fast are the scorers, against the usual way of doing it, in one process and one run?

    python performance/scoring.py [--pairs 80000] [--runs 5] [--json scoring.json]

ROUGE-L: cold (nothing cached), against the rouge-score package on a sample of the same pairs, which must agree to the last
bit. Both in turn, in processor seconds of one thread, which a busy machine disturbs less than the clock: the median of the
runs, and their range. Entailment: how many pairs reach the model after the gate and the removal of repeats, and the time, against
scoring every pair in the order given. The classifier has random weights and the size named: only time depends on it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from leakatk.scorers import rouge_l, score_texts

VOCABULARY = 4000


def make_pairs(count: int, *, prompts: int, repeats: float, seed: int = 0) -> tuple[list[str], list[str]]:
    """References and generations as an unlearned model gives them: templates with other names, some word for word.

    repeats: share of the pairs that are exact repeats of another one.
    """
    draw = random.Random(seed)
    letters = "aeiouaeioubcdfghklmnprstvwy"
    endings = ["", "", "", "s", "ed", "ing", "ation", "ness", "ful", "ly", "ize", "ment"]
    words = ["".join(draw.choices(letters, k=draw.randint(2, 7))) + draw.choice(endings) for _ in range(VOCABULARY)]
    frequency = list(itertools.accumulate(1 / (rank + 3) for rank in range(VOCABULARY)))

    def sentence(length: int) -> list[str]:
        return draw.choices(words, cum_weights=frequency, k=length)

    truths = [sentence(max(5, round(draw.gauss(40, 15)))) for _ in range(prompts)]
    each = count // prompts
    fresh = round(each * (1 - repeats))
    references, generations = [], []
    for truth in truths:
        said: list[str] = []
        for number in range(fresh):
            kept = draw.random() ** 2
            body = [a if draw.random() < kept else b for a, b in zip(truth, sentence(len(truth)), strict=True)]
            said.append(f"{' '.join(body + sentence(draw.randint(0, 25)))}, {number}.")
        said += draw.choices(said, k=each - fresh)
        draw.shuffle(said)
        references += [" ".join(truth).capitalize() + "."] * each
        generations += said
    return references, generations


def rouge(count: int, repeats: float, checked: int, *, prompts: int = 400, runs: int = 5) -> dict[str, Any]:
    from rouge_score.rouge_scorer import RougeScorer

    from leakatk.scorers.rouge import ROOTS

    references, generations = make_pairs(count, prompts=prompts, repeats=repeats)
    rows = random.Random(1).sample(range(len(references)), checked)
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    ours, theirs_rate = [], []
    for _ in range(runs):
        ROOTS.clear()
        start = time.process_time()
        recall = score_texts("rouge-l", references, generations)
        ours.append(len(references) / (time.process_time() - start))
        start = time.process_time()
        theirs = [scorer.score(references[i], generations[i])["rougeL"] for i in rows]
        theirs_rate.append(checked / (time.process_time() - start))
    mine = rouge_l([references[i] for i in rows], [generations[i] for i in rows])
    equal = all(
        np.array_equal(a, b)
        for a, b in (
            (mine.recall, [t.recall for t in theirs]),
            (mine.precision, [t.precision for t in theirs]),
            (mine.f1, [t.fmeasure for t in theirs]),
            (recall[rows], [t.recall for t in theirs]),
        )
    )
    ratios = np.array(ours) / theirs_rate
    return {
        "pairs": len(references),
        "distinct": len(set(zip(references, generations, strict=True))),
        "runs": runs,
        "ours_per_s": float(np.median(ours)),
        "rouge_score_per_s": float(np.median(theirs_rate)),
        "ratio": float(np.median(ratios)),
        "ratio_lowest": float(ratios.min()),
        "ratio_highest": float(ratios.max()),
        "checked": checked,
        "bitwise_equal": bool(equal),
    }


def entailment(count: int) -> dict[str, Any]:
    """A 4-layer, 256-wide BERT on `count` pairs, 20% repeats."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    from leakatk.scorers.base import get_scorer
    from leakatk.scorers.entailment import Entailment
    from leakatk.scorers.nli import load_classifier

    references, generations = make_pairs(count, prompts=20, repeats=0.2)
    # Half of the answers of an unlearned model are refusals or on another subject: these fall at the gate.
    draw = random.Random(2)
    generations = [text if draw.random() < 0.5 else f"I cannot say {text[-6:]}" for text in generations]
    words = sorted({word for text in [*references, *generations] for word in text.split()})
    tokenizer = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}, "[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words) + 4, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024,
        id2label={0: "entailment", 1: "neutral", 2: "contradiction"}, initializer_range=0.2,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        BertForSequenceClassification(config).save_pretrained(directory)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", model_max_length=512).save_pretrained(
            directory
        )
        nli, model, label = load_classifier(directory)
        start = time.perf_counter()
        scores = score_texts("entailment", references, generations, model=directory)
        ours = time.perf_counter() - start
        start = time.perf_counter()
        every = []
        with torch.inference_mode():
            for at in range(0, count, 32):
                batch = nli(
                    generations[at : at + 32],
                    references[at : at + 32],
                    padding=True,
                    truncation=True,
                    return_tensors="pt",
                )
                every.append((model(**batch).logits.argmax(-1) == label).double().numpy())
        usual = np.concatenate(every) * (score_texts("rouge-l", references, generations) >= 0.1)
        theirs = time.perf_counter() - start
    distinct = sorted(set(zip(references, generations, strict=True)))
    scorer = get_scorer("entailment")
    assert isinstance(scorer, Entailment)
    from leakatk.prompts import Prompt

    prompts = [Prompt("", "", truth) for truth, _ in distinct]
    return {
        "pairs": count,
        "distinct": len(distinct),
        "reach_the_model": len(scorer.passing(prompts, [said for _, said in distinct])),
        "ours_s": ours,
        "every_pair_s": theirs,
        "ratio": theirs / ours,
        "scores_that_differ": int((scores != usual).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=80_000)
    parser.add_argument("--checked", type=int, default=6_000, help="pairs that rouge-score also scores")
    parser.add_argument("--nli-pairs", type=int, default=2_000, help="0 leaves entailment out")
    parser.add_argument("--runs", type=int, default=5, help="of each ROUGE measurement")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    pairs, checked, runs = arguments.pairs, min(arguments.checked, arguments.pairs), arguments.runs
    found = {
        "rouge-l, 400 answers, 20% repeats": rouge(pairs, 0.2, checked, runs=runs),
        "rouge-l, 400 answers, no repeats": rouge(pairs, 0.0, checked, runs=runs),
        "rouge-l, every pair its own answer": rouge(pairs, 0.0, checked, prompts=pairs, runs=runs),
    }
    if arguments.nli_pairs:
        found["entailment, 20% repeats"] = entailment(arguments.nli_pairs)
    for name, values in found.items():
        print(name)
        for key, value in values.items():
            print(f"  {key:20} {value:,.1f}" if isinstance(value, float) else f"  {key:20} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
