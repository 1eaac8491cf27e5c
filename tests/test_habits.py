"""CI and the hooks before a commit do what `make` does, with the same versions."""

import re
import tomllib

import yaml
from pre_commit.clientlib import load_config
from support.paths import ROOT


WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()
PINS = [line.split(";")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]


def run_lines(job: str) -> list[str]:
    return [step["run"] for step in WORKFLOW["jobs"][job]["steps"] if "run" in step]


def test_ci_runs_the_make_targets_that_there_are():
    targets = set(re.findall(r"^([\w-]+):", MAKEFILE, flags=re.MULTILINE))
    run = {line.split()[1] for job in WORKFLOW["jobs"] for line in run_lines(job) if line.startswith("make ")}
    assert run == {"test", "docs", "dist", "test-browser"} and run <= targets
    assert run <= set(re.search(r"^\.PHONY: (.*)", MAKEFILE, flags=re.MULTILINE)[1].split())


def test_ci_tests_on_the_pythons_that_the_package_names():
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    named = [line.rpartition(" ")[2] for line in classifiers if re.search(r"Python :: 3\.\d+$", line)]
    assert WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"] == named


def test_macos_and_windows_run_the_smoke_test():
    smoke = WORKFLOW["jobs"]["smoke"]
    assert smoke["strategy"]["matrix"]["os"] == ["macos-latest", "windows-latest"]
    install, script = run_lines("smoke")
    assert install == "python -m pip install --constraint constraints.txt ."
    assert script.startswith("python ") and (ROOT / script.split()[1]).is_file()


def test_no_address_of_a_registry_stands_in_the_workflow():
    assert "://" not in (ROOT / ".github" / "workflows" / "ci.yml").read_text()


def test_the_hooks_are_valid_and_have_the_versions_of_development():
    (repo,) = load_config(str(ROOT / ".pre-commit-config.yaml"))["repos"]
    hooks = {hook["id"]: hook for hook in repo["hooks"]}
    assert set(hooks) == {"ruff-check", "ruff-format", "codespell", "large-files"}
    for hook in hooks.values():
        (requirement,) = hook["additional_dependencies"]
        assert requirement in PINS


def test_the_hooks_run_what_lint_runs():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    entries = {hook["id"]: hook["entry"] for hook in config["repos"][0]["hooks"]}
    lint = MAKEFILE.split("\nlint:")[1].split("\n\n")[0]
    for hook, command in (("ruff-check", "ruff check"), ("ruff-format", "ruff format"), ("codespell", "codespell")):
        assert entries[hook].startswith(command) and f"$(BIN)/{command}" in lint
