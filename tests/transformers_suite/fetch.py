"""Put transformers' own model tests into this environment: they are in its source archive, not in the wheel.

    python tests/transformers_suite/fetch.py

Those of the version that is installed, in `transformers_tests/<version>` under the environment's folder.
"""

import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path


VERSION = version("transformers")
FOLDER = Path(sys.prefix) / "transformers_tests" / VERSION
MODULES = ("test_modeling_common.py", "test_configuration_common.py")


def fetch() -> None:
    """Download the archive and keep `MODULES` of it; nothing to do where they are already.

    Raises:
        subprocess.CalledProcessError: when pip cannot download it; pip has said why.
        KeyError: when the archive lacks one of the modules.
    """
    if all((FOLDER / name).is_file() for name in MODULES):
        return
    with tempfile.TemporaryDirectory() as download:
        arguments = ["--quiet", "--no-deps", "--no-binary", "transformers", "--dest", download]
        subprocess.run([sys.executable, "-m", "pip", "download", *arguments, f"transformers=={VERSION}"], check=True)
        with tarfile.open(Path(download) / f"transformers-{VERSION}.tar.gz") as archive:
            texts = {name: archive.extractfile(f"transformers-{VERSION}/tests/{name}").read() for name in MODULES}
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "__init__.py").touch()  # test_configuration_common.py loads it
    for name, text in texts.items():
        (FOLDER / name).write_bytes(text)
    print(f"transformers' model tests are in {FOLDER}")


if __name__ == "__main__":
    fetch()
