"""What torch's and accelerate's launchers start, without the launcher, which imports torch in a process of its own."""

from collections.abc import Mapping, Sequence

from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from support.forked_processes import ForkedCommand
from support.paths import SCRIPTS
from support.processes_together import environments_of_ranks, wait_for_all


def run_as_launched(recipe: str, words: Sequence[object], env: Mapping[str, str]) -> list[str]:
    """Run a script with its arguments in as many processes, with the environment that the launcher gives them.

    Args:
        recipe (`str`): Arguments of `accelerate launch`: the file's name in `scripts/recipes/accelerate`, and others.
        words: The script and its arguments.
        env: Of all processes, besides.

    Returns:
        What each has written to standard output.
    """
    file, *others = recipe.split()
    arguments = ["--config_file", str(SCRIPTS / "recipes" / "accelerate" / file), "--main_process_port", "0", *others]
    parsed = launch_command_parser().parse_args([*arguments, *map(str, words)])
    environment = prepare_multi_gpu_env(_validate_launch_command(parsed)[0])
    return run_ranks(int(parsed.num_processes), words, {**environment, **env})


def run_ranks(num_processes: int, words: Sequence[object], env: Mapping[str, str]) -> list[str]:
    """Run a script with its arguments as `torchrun` does; what each has written to standard output."""
    ranks = [ForkedCommand(words, env={**env, **rank}) for rank in environments_of_ranks(num_processes)]
    problem = wait_for_all(ranks, timeout=300)
    assert problem is None, problem + "".join(rank.stderr.read_text() for rank in ranks)
    return [rank.stdout.read_text() for rank in ranks]
