"""How Sphinx builds the documentation: `make docs`."""

from csproxy import __version__

project = "csproxy"
author = "the csproxy authors"
copyright = "the csproxy authors, Apache-2.0"
release = version = __version__

extensions = ["myst_parser", "sphinxcontrib.mermaid"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["_build"]
nitpicky = True

myst_enable_extensions = ["deflist", "fieldlist"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 4

# `make linkcheck`: links to the world outside; it needs a network
linkcheck_timeout = 15
linkcheck_retries = 2

html_theme = "furo"
html_title = f"csproxy {release}"
