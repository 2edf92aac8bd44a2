"""Pages that broke a law once, each as simple as it did: what the grammar found, by name."""

from __future__ import annotations

from page_grammar import Spec

CASES = {
    "the plainest page": Spec(),
}
