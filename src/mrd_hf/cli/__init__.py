"""The sub-commands of `mrd-hf`, one file each. What they are given is parsed by `mrd_hf_cli.parser`."""
