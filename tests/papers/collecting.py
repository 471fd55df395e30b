"""A plugin of pytest: write every collected test with what it is parametrised by, as JSON, to the file in COLLECTED."""

import json
import os
from pathlib import Path


def pytest_collection_finish(session):
    found = {}
    for item in session.items:
        values = item.callspec.params.values() if hasattr(item, "callspec") else ()
        texts = [getattr(value, "spec", None) or getattr(value, "name", None) or value for value in values]
        found[item.nodeid] = [text for text in texts if isinstance(text, str)]
    Path(os.environ["COLLECTED"]).write_text(json.dumps(found), encoding="utf-8")
