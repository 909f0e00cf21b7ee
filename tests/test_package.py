"""The package as a whole: what its wheel holds, what it needs, and which way its imports point."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Top-level folders that ``i2e_triton`` contains as symbolic links.
LINKED = ("kernels", "training")
#: Files and folders of the package from the bottom up. Each imports from lower layers only.
LAYERS: tuple[set[str], ...] = (
    {"kernels", "checks", "images"},
    {"shifts", "io"},
    {"ops", "augmentation", "reference"},
    {"functional"},
    {"formats", "module", "transforms", "visualize"},
    {"i2e_triton", "sources", "datasets"},
    {"analysis", "pipeline"},
    {"cli"},
    {"training", "__main__"},
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from an sdist of a copy of the tree: earlier builds must not leak into it."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "out")
    shutil.copytree(ROOT, folder / "tree", ignore=ignored, symlinks=True)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(folder / "tree")]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def bare_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has PyTorch, what PyTorch cannot do without, and the wheel."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder / "environment", with_pip=False)
    python = folder / "environment" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*install, str(wheel)], check=True)
    borrowed = folder / "borrowed"
    borrowed.mkdir()
    for name in sorted(requirements_of("torch") - {"triton"}):
        borrow(name, borrowed)
    (site_packages,) = (folder / "environment" / "lib").glob("python*/site-packages")
    (site_packages / "borrowed.pth").write_text(f"{borrowed}\n")
    return python


def requirements_of(name: str) -> set[str]:
    """A package and what it requires, directly or not, as far as it is installed."""
    found: set[str] = set()
    wanted = [name]
    while wanted:
        name = wanted.pop()
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # required on another platform
        if name not in found:
            found.add(name)
            wanted += [re.split(r"[^\w.-]", line)[0].lower() for line in requirements if "extra ==" not in line]
    return found


def borrow(name: str, folder: Path) -> None:
    """Link the modules of an installed package into a folder."""
    distribution = importlib.metadata.distribution(name)
    for part in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
        if not (folder / part).exists():
            (folder / part).symlink_to(Path(str(distribution.locate_file(part))))


def run(python: Path | str, code: str, folder: Path) -> str:
    """Run code in another interpreter and another folder."""
    result = subprocess.run([str(python), "-I", "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if not name.endswith("/")}
    modules = {name for name in files if ".dist-info/" not in name}
    expected = {str(file.relative_to(ROOT)) for file in (ROOT / "i2e_triton").rglob("*.py")}
    for folder in LINKED:
        expected |= {f"i2e_triton/{file.relative_to(ROOT)}" for file in (ROOT / folder).rglob("*.py")}
    assert modules == expected | {"i2e_triton/py.typed"}
    assert "i2e_triton/kernels/convert.py" in modules
    assert {name.split("/")[0].split("-")[0] for name in files} == {"i2e_triton"}


def test_an_sdist_holds_files_in_place_of_the_links(wheel: Path) -> None:
    (sdist,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = {member.name.split("/", 1)[-1]: member for member in archive}
    for module in ("i2e_triton/kernels/launch.py", "i2e_triton/training/train.py"):
        assert members[module].isreg()


def test_a_clone_finds_all_modules_beside_an_installed_wheel(bare_python: Path) -> None:
    code = "from importlib.util import find_spec; print(find_spec('i2e_triton.training.train').origin)"
    found = subprocess.run([str(bare_python), "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) == ROOT / "i2e_triton" / "training" / "train.py"


def test_a_wheel_says_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        headers = Parser().parsestr(archive.read(metadata).decode())
        (entry_points,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        assert "i2e = i2e_triton.__main__:main" in archive.read(entry_points).decode()
    needed = [line for line in headers.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(re.split(r"\W", line)[0] for line in needed) == ["torch", "triton"]
    assert all("Linux" in line for line in needed if line.startswith("triton"))
    assert headers["Requires-Python"] == ">=3.10"
    assert headers["Version"] == importlib.metadata.version("i2e-triton")


BARE = """
import sys
import i2e_triton
import torch

for absent in ("numpy", "PIL", "torchvision", "triton", "spikingjelly", "typer", "rich"):
    assert absent not in sys.modules, absent
    assert __import__("importlib.util").util.find_spec(absent) is None, absent
assert i2e_triton.__file__.startswith(sys.prefix), i2e_triton.__file__
assert i2e_triton.__version__ == {version!r}

from i2e_triton import reference
images = torch.randint(0, 256, (3, 3, 40, 30), dtype=torch.uint8)
for same in (images, images.float(), images.bfloat16()):
    for shifts in (i2e_triton.canonical_shifts(), i2e_triton.random_shifts(3)):
        expected = reference.convert(same, 0.12, shifts)
        assert expected.any()
        assert torch.equal(i2e_triton.convert(same, shifts=shifts), expected.float())
        packed = i2e_triton.convert(same, shifts=shifts, packed=True)
        assert torch.equal(i2e_triton.unpack(packed, dtype=torch.bool), expected)
assert torch.equal(i2e_triton.I2E().eval()(images), i2e_triton.convert(images))
try:
    i2e_triton.convert([[1, 2], [3, 4]])
except TypeError as error:
    assert "must be a tensor, a NumPy array or a PIL image, got list" in str(error)

from torch._subclasses.fake_tensor import FakeTensorMode
with FakeTensorMode():
    try:
        i2e_triton.convert(torch.empty(1, 3, 4, 4, device="cuda"))
    except ValueError as error:
        assert "need Triton" in str(error) and "pip install triton" in str(error), error
    else:
        raise AssertionError("a CUDA tensor without Triton was taken")
print("converted")
"""


def test_a_wheel_converts_where_there_is_only_pytorch(bare_python: Path, tmp_path: Path) -> None:
    code = BARE.format(version=importlib.metadata.version("i2e-triton"))
    assert run(bare_python, code, tmp_path) == "converted\n"


def test_what_needs_more_than_pytorch_says_so(bare_python: Path, tmp_path: Path) -> None:
    code = "try:\n import i2e_triton.transforms\nexcept ModuleNotFoundError as error:\n print(error)"
    assert re.search(r"No module named '(PIL|torchvision)'", run(bare_python, code, tmp_path))


def test_importing_imports_nothing_beyond_pytorch(tmp_path: Path) -> None:
    listing = "import sys, torch{more}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    before = set(run(sys.executable, listing.format(more=""), tmp_path).split())
    after = set(run(sys.executable, listing.format(more=", i2e_triton"), tmp_path).split())
    # An editable install finds its packages through a module of its own.
    more = {name for name in after - before if not name.startswith("__editable__")}
    assert more - set(sys.stdlib_module_names) == {"i2e_triton"}


def test_importing_on_a_platform_without_triton(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["triton"] = None  # as if it were not installed
import i2e_triton, torch
from i2e_triton.ops import operator
from i2e_triton import reference
image = torch.rand(1, 3, 8, 8)
expected = reference.convert(image, 0.12, i2e_triton.canonical_shifts()).float()
assert not operator.HAS_TRITON
print(torch.equal(i2e_triton.convert(image), expected))
"""
    assert run(sys.executable, code, tmp_path) == "True\n"


def imports_of(file: Path) -> Iterator[str]:
    """Yield the names that a file imports when it runs: ``a.b`` for ``import a.b`` and ``from a import b``."""
    package = file.relative_to(ROOT).with_suffix("").parts[:-1]
    if package[0] in LINKED:
        package = ("i2e_triton", *package)
    tree = ast.parse(file.read_text())
    unused = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for part in node.body
        for child in ast.walk(part)
    }
    for node in set(ast.walk(tree)) - unused:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def files_in(*folders: str) -> list[Path]:
    return [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("file", files_in("kernels"), ids=lambda file: file.name)
def test_kernels_import_pytorch_and_triton_only(file: Path) -> None:
    others = {name for name in imports_of(file) if not name.startswith("i2e_triton.kernels.")}
    assert {name.split(".")[0] for name in others} - set(sys.stdlib_module_names) <= {"torch", "triton"}


def part_of(file: Path) -> str:
    """The file or folder directly below ``i2e_triton`` that a file belongs to, or the package itself."""
    parts = file.relative_to(ROOT).parts
    part = parts[1].removesuffix(".py") if parts[0] == "i2e_triton" else parts[0]
    return "i2e_triton" if part == "__init__" else part


def test_every_part_of_the_package_has_a_layer() -> None:
    parts = {part_of(file) for file in files_in("i2e_triton", *LINKED)}
    assert parts == set().union(*LAYERS)


@pytest.mark.parametrize("layer", range(len(LAYERS)))
def test_imports_point_to_lower_layers(layer: int) -> None:
    lower = set().union(*LAYERS[:layer])
    parts = set().union(*LAYERS)
    for file in files_in("i2e_triton", *LINKED):
        if (part := part_of(file)) in LAYERS[layer]:
            for name in imports_of(file):
                root, *path = name.split(".")
                assert root not in {"tests", "benchmarks", *LINKED}, (file, name)
                if root == "i2e_triton":
                    imported = path[0] if path and path[0] in parts else root
                    assert imported == part or imported in lower, (file, name)


def test_only_the_operator_imports_the_kernels() -> None:
    users = {file for file in files_in("i2e_triton") for name in imports_of(file) if ".kernels" in name}
    assert users == {ROOT / "i2e_triton" / "ops" / "operator.py"}


def test_only_tests_and_benchmarks_import_the_specification() -> None:
    files = files_in("i2e_triton", *LINKED, "docs")
    assert ROOT / "i2e_triton" / "functional.py" in files
    assert not [file for file in files if any(name.startswith("i2e_triton.reference") for name in imports_of(file))]
    assert any("i2e_triton.reference" in set(imports_of(file)) for file in files_in("tests"))


PLANTED = """
from i2e_triton.kernels import launch
from i2e_triton.training.recipes import Recipe

def planted(recipe: Recipe) -> float:
    launch.no_such_function()
    return recipe.lr_minimum
"""


def test_mypy_reports_errors_planted_in_uses_of_kernels_and_training(tmp_path: Path) -> None:
    file = tmp_path / "planted.py"
    file.write_text(PLANTED)
    check = subprocess.run([sys.executable, "-m", "mypy", str(file)], cwd=ROOT, capture_output=True, text=True)
    assert 'Module has no attribute "no_such_function"' in check.stdout
    assert '"Recipe" has no attribute "lr_minimum"' in check.stdout
    assert check.stdout.count("error:") == 2, check.stdout


def test_every_public_name_is_there_and_documented() -> None:
    import i2e_triton

    assert sorted(i2e_triton.__all__) == [
        "I2E",
        "ORDERS",
        "__version__",
        "canonical_shifts",
        "convert",
        "event_rate",
        "pack",
        "random_shifts",
        "row_shifts",
        "unpack",
    ]
    for name in i2e_triton.__all__:
        public = getattr(i2e_triton, name)
        if callable(public):
            assert public.__doc__
            assert public.__module__.startswith("i2e_triton.")
