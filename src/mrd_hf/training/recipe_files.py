"""The recipes that come with the package: those of pretraining, by their names, and accelerate's, by their paths."""

from pathlib import Path


RECIPES = Path(__file__).parent / "recipes"
ACCELERATE_RECIPES = RECIPES / "accelerate"


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe that is given by its path or, one of the package, by its name."""
    packaged = RECIPES / f"{name}.yaml"
    return packaged if str(name) in recipe_names() and not Path(name).is_file() else Path(name)


def recipe_names() -> list[str]:
    """Names of the recipes of pretraining that the package has."""
    return sorted(file.stem for file in RECIPES.glob("*.yaml"))
