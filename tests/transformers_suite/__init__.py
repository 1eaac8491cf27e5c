"""transformers' own tests of models, as one package with the stubs in this folder.

The tests are not part of this repository: `fetch.py` takes them from transformers' source archive into the
environment. The folders here stand in for three of their imports that a model without text and generation has no use
for.
"""

from .fetch import FOLDER


if not (FOLDER / "test_modeling_common.py").is_file():
    raise FileNotFoundError(
        f"transformers' model tests are not in {FOLDER}. Run `make test`, which fetches them, or, in the environment "
        "that you run the tests with, `python tests/transformers_suite/fetch.py`."
    )
__path__.append(str(FOLDER))
