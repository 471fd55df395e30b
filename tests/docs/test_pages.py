"""Pages of the documentation: commands and links on them exist, each command is run by a test, the site builds.

Every `leakatk` command on a page or in the README is parsed by the program's own parser: it names commands, options and
values that exist. The site builds without a warning.
"""

import re

import pytest

from tests.cli.test_help import parse
from tests.docs.desk import PAGES, ROOT, RUN, STAGED, WITH, commands, inline, kind_of

SHOWN = [(page.name, line) for page in PAGES for line in commands(page)]
NAMED = [(page.name, line) for page in PAGES for line in inline(page)]
PLACES = {"<retrained>": "models/retrained", "<model>": "models/full", "...": "", "NAME": "world", "DIR": "out"}
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documentation is not beside the tests")


def test_there_are_commands():
    assert {"README.md", "quickstart.md", *RUN} <= {name for name, _ in SHOWN}


def test_every_command_is_run_by_a_test():
    for page, line in SHOWN:
        kind = kind_of(line)
        assert page in RUN or page in (WITH[kind] if kind else STAGED), (page, line)


@pytest.mark.parametrize(("page", "line"), SHOWN, ids=lambda value: value[:60])
def test_every_command_parses(page, line):
    parse(filled(line))


@pytest.mark.parametrize(("page", "line"), NAMED, ids=lambda value: value[:60])
def test_every_option_named_in_the_text_exists(page, line):
    try:
        parse(filled(line))
    except Exception as error:
        if type(error).__name__ != "MissingParameter" and "config.toml" not in line:
            raise


def filled(line):
    for name, example in PLACES.items():
        line = re.sub(rf"(?<![\w/]){re.escape(name)}(?![\w/])", example, line)
    return line


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), (page.name, target)


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"))
    build(config)
    front = (tmp_path / "site" / "index.html").read_text()
    assert "leak@k" in front
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=\"https?://", front), "the site fetches nothing"
    for page in (ROOT / "docs").glob("*.md"):
        assert f'href="{page.stem}/"' in front, f"{page.name} is not in the menu"
