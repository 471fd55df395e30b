"""mkdocs hook: the README is the front page, and the files at the root of the repository are pages too."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md", "security.md": "SECURITY.md"}  # fmt: skip


def on_files(files, config):
    for page, name in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        text = re.sub(r"\]\(docs/", "](", text)  # links as GitHub shows them, from the root
        for other, source in PAGES.items():
            text = text.replace(f"]({source})", f"]({other})")
        files.append(File.generated(config, page, content=text))
    return files


def on_config(config):
    """A page that nobody has put into the menu stands at its end."""
    listed = set(re.findall(r"[\w-]+\.md", str(config["nav"])))
    others = sorted(path.name for path in Path(config["docs_dir"]).glob("*.md") if path.name not in listed)
    if others:
        config["nav"].append({"More": others})
    return config
