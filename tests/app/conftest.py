"""Lets tests import the Space's modules, which lie beside its app.py."""

import sys

from support.paths import SCRIPTS


sys.path.insert(0, str(SCRIPTS / "app"))
