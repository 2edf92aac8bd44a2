"""Processes by their command lines; one that ends while it is looked at is no error."""

from __future__ import annotations

import psutil


def words_of(process: psutil.Process) -> str:
    """Return the command line as one text; empty for a process that has ended, also if nobody has waited for it yet."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def children_with(words: str) -> list[psutil.Process]:
    """Return the running descendants of this process whose command line contains ``words``."""
    return [child for child in psutil.Process().children(recursive=True) if words in words_of(child)]
