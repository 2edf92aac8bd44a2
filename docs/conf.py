"""How Sphinx builds the pages in this folder: `scripts/docs`."""

from gwctl.version import VERSION

project = "gwctl"
author = "The gwctl authors"
copyright = "The gwctl authors"  # noqa: A001 - Sphinx's own name
version = release = VERSION

extensions = ["myst_parser", "sphinx_copybutton", "sphinxcontrib.mermaid"]
# What a program prints is a block without a language: nobody copies it. ```text is for lines to copy.
copybutton_selector = "div.highlight:not(div[class*=highlight-default] *, div[class*=highlight-none] *) pre"
exclude_patterns = ["man"]
html_theme = "furo"
html_title = "gwctl"
html_show_copyright = False
# Every link to a heading is checked, so every heading has an address.
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
myst_enable_extensions = ["colon_fence", "deflist"]
nitpicky = True
# The pictures are drawings of their own; a page that is copied elsewhere keeps them.
html_static_path: list[str] = []
linkcheck_ignore = [r"http://127\.0\.0\.1.*", r"https://localhost.*"]
