"""The front door of `mrd-hf`: its parser and its exit codes; the sub-commands are in `mrd_hf.cli`.

Outside `mrd_hf`, since importing that takes seconds, for torch, and `--help` and mistyped options need none of it. It
needs the standard library alone, and knows the modules that it calls by their names only.
"""
