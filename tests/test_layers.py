"""Files import only from lower layers, and nothing in the package imports the reference."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Top-level folders that ``i2e_triton`` contains as symbolic links.
LINKED = ("kernels", "training")
#: Modules and subpackages of ``i2e_triton``, lowest layer first. A module imports only from lower layers.
LAYERS: tuple[set[str], ...] = (
    {"kernels", "checks", "images", "install_hints", "layout", "surrogate"},
    {"shifts", "io"},
    {"ops", "reference"},
    {"functional", "draws"},
    {"augmentation", "formats", "module", "transforms", "visualize"},
    {"i2e_triton", "sources"},
    {"datasets"},
    {"analysis", "pipeline", "integrations"},
    {"recordings", "video"},
    {"cli"},
    {"training", "__main__"},
)


def imports_of(file: Path) -> Iterator[str]:
    """Yield the absolute name of every import in a file: ``a.b`` for ``import a.b`` and for ``from a import b``.

    Imports inside functions are included. Imports under ``if TYPE_CHECKING`` are not, because they do not run.
    """
    package = file.relative_to(ROOT).with_suffix("").parts[:-1]
    if package[0] in LINKED:
        package = ("i2e_triton", *package)
    tree = ast.parse(file.read_text())
    for_type_checkers = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for child in ast.walk(statement)
    }
    for node in set(ast.walk(tree)) - for_type_checkers:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent_package = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*parent_package, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def files_in(*folders: str) -> list[Path]:
    return [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("file", files_in("kernels"), ids=lambda file: file.name)
def test_kernels_import_only_pytorch_and_triton(file: Path) -> None:
    others = {name for name in imports_of(file) if not name.startswith("i2e_triton.kernels.")}
    assert {name.split(".")[0] for name in others} - set(sys.stdlib_module_names) <= {"torch", "triton"}


def module_of(file: Path) -> str:
    """Return the module or subpackage directly below ``i2e_triton`` that contains ``file``.

    This is ``"i2e_triton"`` for the ``__init__.py`` of the package itself.
    """
    folder, *names = file.relative_to(ROOT).parts
    module = names[0].removesuffix(".py") if folder == "i2e_triton" else folder
    return "i2e_triton" if module == "__init__" else module


def test_every_module_has_a_layer() -> None:
    modules = {module_of(file) for file in files_in("i2e_triton", *LINKED)}
    assert modules == set().union(*LAYERS)


@pytest.mark.parametrize("layer", range(len(LAYERS)))
def test_modules_import_only_from_lower_layers(layer: int) -> None:
    lower = set().union(*LAYERS[:layer])
    modules = set().union(*LAYERS)
    for file in files_in("i2e_triton", *LINKED):
        if (module := module_of(file)) in LAYERS[layer]:
            for name in imports_of(file):
                root, *path = name.split(".")
                assert root not in {"tests", "benchmarks", *LINKED}, (file, name)
                if root == "i2e_triton":
                    imported = path[0] if path and path[0] in modules else root
                    assert imported == module or imported in lower, (file, name)


def test_only_the_operators_import_the_kernels() -> None:
    importing = {file for file in files_in("i2e_triton") for name in imports_of(file) if ".kernels" in name}
    assert importing == {ROOT / "i2e_triton" / "ops" / name for name in ("operator.py", "draw.py", "gradient.py")}


def test_package_does_not_import_the_reference() -> None:
    files = files_in("i2e_triton", *LINKED, "docs")
    assert ROOT / "i2e_triton" / "functional.py" in files
    assert not [file for file in files if any(name.startswith("i2e_triton.reference") for name in imports_of(file))]
    assert any("i2e_triton.reference" in set(imports_of(file)) for file in files_in("tests"))
