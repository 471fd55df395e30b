"""The site: pictures of the front page in both schemes, a link to the repository that gives nothing away, lines one can read."""

import importlib.util
import re
import struct

import pytest

from tests.docs.desk import ROOT

GALLERY = ROOT / "docs" / "gallery"
pytestmark = pytest.mark.skipif(not GALLERY.is_dir(), reason="the documentation is not beside the tests")


def module(path):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_each_picture_is_small_and_has_a_dark_one(monkeypatch):
    gallery = ROOT / "scripts" / "gallery.py"
    spec = importlib.util.spec_from_file_location("gallery", gallery)
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "gallery", made)
    spec.loader.exec_module(made)
    wanted = {f"{picture.name}{dark}.png": picture for picture in made.PICTURES for dark in ("", "-dark")}
    assert {path.name for path in GALLERY.iterdir()} == set(wanted)
    for name, picture in wanted.items():
        data = (GALLERY / name).read_bytes()
        assert len(data) < made.LARGEST
        assert struct.unpack(">II", data[16:24]) == (picture.width, picture.height)
    shown = re.findall(
        r"!\[[^]]+\]\(docs/gallery/([\w-]+\.png)#gh-(light|dark)-mode-only\)", (ROOT / "README.md").read_text()
    )
    assert {name for name, _ in shown} == set(wanted)
    assert all(("-dark" in name) == (scheme == "dark") for name, scheme in shown)


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("https://github.com/some/where.git", "https://github.com/some/where"),
        ("https://user:key@host.org/a/b/", "https://host.org/a/b"),
        ("git@github.com:some/where.git", "https://github.com/some/where"),
        ("ssh://git@host.org:2222/some/where.git", "https://host.org/some/where"),
        ("/srv/git/where.git", ""),
        ("../where", ""),
        ("", ""),
    ],
)
def test_the_address_of_the_repository(remote, url):
    assert module(ROOT / "docs" / "hooks.py").browsable(remote) == url


def test_the_menu_leads_to_the_repository(monkeypatch):
    hooks = module(ROOT / "docs" / "hooks.py")
    monkeypatch.setenv("GITHUB_REPOSITORY", "some/where")
    monkeypatch.delenv("GITHUB_SERVER_URL", raising=False)
    assert hooks.repository() == "https://github.com/some/where"
    config = {"nav": [{"Use": ["a.md"]}, {"Project": [{"Security": "security.md"}]}], "docs_dir": str(ROOT / "nowhere")}
    assert hooks.on_config(config)["nav"][1]["Project"][-1] == {"Repository": "https://github.com/some/where"}


def test_tutorials_stand_before_results_and_lines_are_short():
    menu = (ROOT / "mkdocs.yml").read_text()
    assert menu.index("Tutorials:") < menu.index("Use:") < menu.index("Results:")
    assert re.search(r":is\(p, li[^)]*\) \{ max-width: 65ch; \}", (ROOT / "docs" / "extra.css").read_text())
