"""Identity of a model: the hash of its weights is what `sha256sum` prints, and older manifests stay comparable."""

import dataclasses
import hashlib
import shutil
import subprocess

import pytest

from leakatk.models.fingerprint import fingerprint, identity_of, model_identity
from leakatk.models.load import load_model
from leakatk.prompts import Prompt
from leakatk.runs.manifest import Manifest, differences
from tests.tiny import save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("identity") / "tiny")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_weights_are_known_by_the_hash_of_their_file(model):
    found = identity_of(str(model))
    assert found.weights_sha256 == sha256(model / "model.safetensors")
    assert found.fingerprint == fingerprint(model) == model_identity(str(model))
    whole = hashlib.sha256()  # as every version has made it: names and contents, in the order of their names
    for file in sorted(model.iterdir()):
        whole.update(file.name.encode() + b"\0" + file.read_bytes())
    assert found.fingerprint == whole.hexdigest()
    assert load_model(model, device="cpu").describe()["weights_sha256"] == found.weights_sha256


def test_of_several_files_it_is_the_hash_of_what_sha256sum_prints(model, tmp_path):
    place = tmp_path / "parts"
    shutil.copytree(model, place)
    (place / "model.safetensors").rename(place / "model-00001-of-00002.safetensors")
    shutil.copy(place / "model-00001-of-00002.safetensors", place / "model-00002-of-00002.safetensors")
    found = identity_of(str(place)).weights_sha256
    lines = "".join(f"{sha256(file)}  {file.name}\n" for file in sorted(place.glob("*.safetensors")))
    assert found == hashlib.sha256(lines.encode()).hexdigest()
    if shutil.which("sha256sum"):
        printed = subprocess.run(
            "sha256sum *.safetensors", shell=True, cwd=place, capture_output=True, check=True
        ).stdout
        assert found == hashlib.sha256(printed).hexdigest()


def test_other_configs_are_another_model_with_the_same_weights(model, tmp_path):
    shutil.copytree(model, tmp_path / "copy")
    (tmp_path / "copy" / "generation_config.json").write_text("{}")
    one, other = identity_of(str(model)), identity_of(str(tmp_path / "copy"))
    assert one.weights_sha256 == other.weights_sha256
    assert one.fingerprint != other.fingerprint


def test_a_hub_id_that_nothing_is_known_of():
    assert identity_of("org/none").weights_sha256 == "unknown"
    assert model_identity("org/none") == "org/none@None"


def manifest(**model):
    prompts = [Prompt("p0", "Who?", "Ada.")]
    return Manifest.create(
        prompts=prompts, model={"fingerprint": "f", **model}, decoding={}, seed=0, n=1, engine="native"
    )


def test_a_manifest_of_before_is_not_different_and_other_weights_are():
    now = manifest(weights_sha256="a", base_weights_sha256="b", weights_file="x.gguf", quantisation="Q4_1 (Q4_1 x 2)")
    assert differences(manifest(), now) == differences(now, manifest()) == []
    assert differences(manifest(weights_sha256="a"), now) == []
    other = dataclasses.replace(now, model={**now.model, "base_weights_sha256": "c"})
    assert [line.partition(":")[0] for line in differences(now, other)] == ["model.base_weights_sha256"]
    assert len(differences(now, manifest(weights_sha256="z"))) == 1
    moved = dataclasses.replace(now, model={**now.model, "weights_file": "y.gguf"})
    assert differences(now, moved) == []
