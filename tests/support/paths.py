"""Where the repository's parts are."""

from pathlib import Path


ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
DEMO_DATA = SCRIPTS / "demo_data"
