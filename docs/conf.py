"""How Sphinx builds these pages: ``make docs``."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

from sphinx.application import Sphinx

import lstmcore

os.environ.setdefault("OMP_NUM_THREADS", "2")
sys.path.insert(0, str(Path(__file__).parent))
import gallery

project = "lstmcore"
author = "lstmcore developers"
project_copyright = author
version = release = lstmcore.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["auto_examples/*.ipynb", "auto_examples/*.py", "auto_examples/cpp"]  # a CMake project is no page

# ---- docstrings ----

default_role = "py:obj"
autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's Parameters say it
autodoc_default_options = {"members": True, "inherited-members": True}
numpydoc_show_class_members = False  # the class template lists them
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

# ---- gallery ----

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "copyfile_regex": r"index\.rst",
    "filename_pattern": rf"/({'|'.join(gallery.SHORT)})\.py$",  # what is run; of the others stored results are shown
    "ignore_pattern": rf"/({'|'.join(gallery.SERVICES)})\.py$",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "min_reported_time": 5,
}
suppress_warnings = ["sphinx_gallery.config"]  # the index names files, no references back are needed
warnings.filterwarnings("ignore", message=".*FigureCanvasAgg is non-interactive.*")

# ---- HTML ----

html_theme = "pydata_sphinx_theme"
html_title = "lstmcore"
html_show_sourcelink = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "footer_end": [],
}
html_sidebars = {"performance": [], "changelog": []}


def skip_member(app: object, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave out what others define and document: scikit-learn's, tuples' and exceptions' methods, fields of tuples."""
    obj = getattr(obj, "fget", None) or getattr(obj, "__func__", obj)
    home = getattr(obj, "__module__", None) or getattr(getattr(obj, "__objclass__", None), "__module__", None)
    foreign = home is not None and not home.startswith("lstmcore")
    return True if foreign or type(obj).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> None:
    app.connect("autodoc-skip-member", skip_member)
