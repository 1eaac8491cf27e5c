"""Lets tests import the Space's modules, which lie beside its app.py."""

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts/app"))
