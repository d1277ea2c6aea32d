"""The changelog's newest entry is the version that is built, and its entries are sentences."""

import re
from datetime import date
from pathlib import Path

import pytest

import gpuseg

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
VERSIONS = re.findall(r"^## \[([^\]]+)\] - (.+)$", TEXT, re.MULTILINE)
ENTRIES = re.findall(r"^- (.+(?:\n  .+)*)", TEXT, re.MULTILINE)
SECTIONS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_newest_version_is_this_one():
    assert VERSIONS[0][0] == gpuseg.__version__


def test_versions_are_dated_and_descend():
    dates = [date.fromisoformat(day) for _, day in VERSIONS]
    assert dates == sorted(dates, reverse=True)


def test_sections_are_those_of_keep_a_changelog():
    assert set(re.findall(r"^### (.+)$", TEXT, re.MULTILINE)) <= SECTIONS


@pytest.mark.parametrize("entry", ENTRIES, ids=[e[:40] for e in ENTRIES])
def test_an_entry_is_a_sentence(entry):
    assert entry[0].isupper() or entry[0] == "`"
    assert entry.rstrip().endswith(".")


def test_the_citation_names_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {gpuseg.__version__}" in citation
    assert f'date-released: "{VERSIONS[0][1]}"' in citation
