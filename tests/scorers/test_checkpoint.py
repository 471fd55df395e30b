"""A scorer with a model is named after its weights."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from leakatk.scorers import get_scorer
from leakatk.scorers.checkpoint import directory_hash


@pytest.mark.parametrize("name", ["entailment", "similarity"])
def test_the_same_weights_elsewhere_are_the_same_scorer(name: str, nli_dir: str, tmp_path: Path) -> None:
    here = get_scorer(name, model=nli_dir).label
    assert here.startswith(f"{name}:model=sha256-")
    copy = tmp_path / "a, copy=1"
    shutil.copytree(nli_dir, copy)
    assert get_scorer(name, model=str(copy)).label == here
    directory_hash.cache_clear()
    (copy / "modules.json").write_text("[]")
    (copy / "1_Pooling").mkdir()
    (copy / "1_Pooling" / "config.json").write_text("{}")
    pooled = get_scorer(name, model=str(copy)).label
    assert pooled != here
    directory_hash.cache_clear()
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\1")
    assert get_scorer(name, model=str(copy)).label not in (here, pooled)


def test_a_hub_id_is_shown_as_it_is() -> None:
    assert get_scorer("entailment").label == "entailment"
    assert get_scorer("entailment", model="org/nli").label == "entailment:model=org/nli"
    assert get_scorer("entailment", model="org/nli").describe()["options"]["model"] == "org/nli"


def test_no_model_library_is_loaded_for_a_label(nli_dir: str) -> None:
    code = (
        "import sys; from leakatk.scorers import get_scorer; "
        f"print(get_scorer('entailment', model={nli_dir!r}).label, *{{'torch', 'transformers'}} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert len(found) == 1
    assert found[0].startswith("entailment:model=sha256-")
