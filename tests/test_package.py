"""The wheel and the sdist, the dependencies of the package, its types and its public names."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Top-level folders that ``i2e_triton`` contains as symbolic links.
LINKED = ("kernels", "training")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build an sdist from a copy of the source tree without build outputs, and a wheel from it; return the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "out")
    shutil.copytree(ROOT, folder / "tree", ignore=ignored, symlinks=True)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(folder / "tree")]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def bare_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of a virtual environment with the wheel, PyTorch, and PyTorch's dependencies except Triton."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder / "environment", with_pip=False)
    python = folder / "environment" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*install, str(wheel)], check=True)
    linked = folder / "linked"
    linked.mkdir()
    for name in sorted(with_dependencies("torch") - {"triton"}):
        link_distribution(name, linked)
    (site_packages,) = (folder / "environment" / "lib").glob("python*/site-packages")
    (site_packages / "linked.pth").write_text(f"{linked}\n")
    return python


def with_dependencies(name: str) -> set[str]:
    """Return the names of a distribution and of its direct and indirect dependencies that are installed."""
    found: set[str] = set()
    wanted = [name]
    while wanted:
        name = wanted.pop()
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # a dependency on another platform
        if name not in found:
            found.add(name)
            wanted += [re.split(r"[^\w.-]", line)[0].lower() for line in requirements if "extra ==" not in line]
    return found


def link_distribution(name: str, folder: Path) -> None:
    """Create symbolic links in ``folder`` to the modules of an installed distribution."""
    distribution = importlib.metadata.distribution(name)
    for entry in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
        if not (folder / entry).exists():
            (folder / entry).symlink_to(Path(str(distribution.locate_file(entry))))


def run(python: Path | str, code: str, folder: Path) -> str:
    """Run ``code`` with ``python`` in ``folder`` and return its standard output; fail if its exit status is not 0."""
    result = subprocess.run([str(python), "-I", "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_wheel_contains_only_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if not name.endswith("/")}
    modules = {name for name in files if ".dist-info/" not in name}
    expected = {str(file.relative_to(ROOT)) for file in (ROOT / "i2e_triton").rglob("*.py")}
    for folder in LINKED:
        expected |= {f"i2e_triton/{file.relative_to(ROOT)}" for file in (ROOT / folder).rglob("*.py")}
    page = {str(file.relative_to(ROOT)) for file in (ROOT / "i2e_triton" / "web").rglob("*") if file.is_file()}
    assert "i2e_triton/web/index.html" in page
    assert modules == expected | page | {"i2e_triton/py.typed"}
    assert "i2e_triton/kernels/convert.py" in modules
    assert {name.split("/")[0].split("-")[0] for name in files} == {"i2e_triton"}


@pytest.fixture(scope="module")
def sdist(wheel: Path) -> Path:
    (sdist,) = wheel.parent.glob("*.tar.gz")
    return sdist


def test_sdist_contains_the_clone_and_files_instead_of_symbolic_links(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        members = list(archive)
    assert not [member.name for member in members if not (member.isreg() or member.isdir())]
    found = {member.name.split("/", 1)[-1] for member in members if member.isreg()}
    folders = ("benchmarks", "docs", "examples", "i2e_triton", "tests", *LINKED)
    tree = sdist.parent / "tree"
    files = {file.relative_to(tree) for folder in folders for file in (tree / folder).rglob("*") if file.is_file()}
    made = {Path("docs/examples"), Path("examples/out")}  # outputs of make docs and of the examples
    files = {file for file in files if not made & set(file.parents)}
    modules = [file for file in files if file.parts[0] in LINKED and file.suffix == ".py"]
    expected = {str(file) for file in files} | {f"i2e_triton/{file}" for file in modules}
    documents = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md"}
    assert {*expected, *documents, "Makefile", "pyproject.toml", "setup.py"} <= found
    assert {"tests/conftest.py", "i2e_triton/kernels/launch.py", "i2e_triton/training/train.py"} <= found


@pytest.mark.slow
def test_twine_accepts_the_metadata(wheel: Path, sdist: Path) -> None:
    check = [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)]
    result = subprocess.run(check, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("PASSED") == 2


@pytest.mark.slow
def test_tests_run_from_an_unpacked_sdist(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (root,) = tmp_path.iterdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/i2e_triton/test_layout.py"]
    result = subprocess.run(tests, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    code = "import i2e_triton.kernels; print(i2e_triton.kernels.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert Path(found.stdout.strip()) == root / "i2e_triton" / "kernels" / "__init__.py"


def test_modules_of_a_clone_take_precedence_over_an_installed_wheel(bare_python: Path) -> None:
    code = "from importlib.util import find_spec; print(find_spec('i2e_triton.training.train').origin)"
    found = subprocess.run([str(bare_python), "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) == ROOT / "i2e_triton" / "training" / "train.py"


def test_wheel_metadata_lists_dependencies(wheel: Path) -> None:
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
    assert headers["License-Expression"] == "MIT"
    assert headers["Author"] == "The i2e-triton authors"


#: Code for :func:`bare_python`, where only the wheel, PyTorch and PyTorch's dependencies except Triton are installed.
CONVERT_WITH_ONLY_PYTORCH = """
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
for batch in (images, images.float(), images.bfloat16()):
    for shifts in (i2e_triton.canonical_shifts(), i2e_triton.random_shifts(3)):
        expected = reference.convert(batch, 0.12, shifts)
        assert expected.any()
        assert torch.equal(i2e_triton.convert(batch, shifts=shifts), expected.float())
        packed = i2e_triton.convert(batch, shifts=shifts, packed=True)
        assert torch.equal(i2e_triton.unpack(packed, dtype=torch.bool), expected)
assert torch.equal(i2e_triton.I2E().eval()(images), i2e_triton.convert(images))
try:
    i2e_triton.convert([[1, 2], [3, 4]])
except TypeError as error:
    assert "must be a tensor, a NumPy array or a PIL image, got list" in str(error), error
else:
    raise AssertionError("convert accepted a list")

from torch._subclasses.fake_tensor import FakeTensorMode
with FakeTensorMode():
    try:
        i2e_triton.convert(torch.empty(1, 3, 4, 4, device="cuda"))
    except ValueError as error:
        assert "need Triton" in str(error) and "pip install triton" in str(error), error
    else:
        raise AssertionError("convert accepted a CUDA tensor, but Triton is not installed")
print("converted")
"""


def test_convert_needs_only_pytorch(bare_python: Path, tmp_path: Path) -> None:
    code = CONVERT_WITH_ONLY_PYTORCH.format(version=importlib.metadata.version("i2e-triton"))
    assert run(bare_python, code, tmp_path) == "converted\n"


def test_transforms_name_the_missing_dependency(bare_python: Path, tmp_path: Path) -> None:
    code = "try:\n import i2e_triton.transforms\nexcept ModuleNotFoundError as error:\n print(error)"
    assert re.search(r"No module named '(numpy|PIL|torchvision)'", run(bare_python, code, tmp_path))


def test_import_loads_no_module_beyond_pytorch(tmp_path: Path) -> None:
    code = "import sys, {names}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    with_torch = set(run(sys.executable, code.format(names="torch"), tmp_path).split())
    with_package = set(run(sys.executable, code.format(names="torch, i2e_triton"), tmp_path).split())
    # An editable install adds a finder module whose name starts with __editable__.
    added = {name for name in with_package - with_torch if not name.startswith("__editable__")}
    assert added - set(sys.stdlib_module_names) == {"i2e_triton"}


def test_convert_on_the_cpu_works_without_triton(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["triton"] = None  # this makes `import triton` fail
import i2e_triton, torch
from i2e_triton.ops import operator
from i2e_triton import reference
image = torch.rand(1, 3, 8, 8)
expected = reference.convert(image, 0.12, i2e_triton.canonical_shifts()).float()
assert not operator.HAS_TRITON
print(torch.equal(i2e_triton.convert(image), expected))
"""
    assert run(sys.executable, code, tmp_path) == "True\n"


#: A file with two type errors.
WRONG_TYPES = """
from i2e_triton.kernels import launch
from i2e_triton.training.recipes import Recipe

def wrong(recipe: Recipe) -> float:
    launch.no_such_function()
    return recipe.lr_minimum
"""


def test_mypy_checks_code_that_uses_kernels_and_training(tmp_path: Path) -> None:
    file = tmp_path / "wrong_types.py"
    file.write_text(WRONG_TYPES)
    check = subprocess.run([sys.executable, "-m", "mypy", str(file)], cwd=ROOT, capture_output=True, text=True)
    assert 'Module has no attribute "no_such_function"' in check.stdout
    assert '"Recipe" has no attribute "lr_minimum"' in check.stdout
    assert check.stdout.count("error:") == 2, check.stdout


def test_public_names_are_listed_and_documented() -> None:
    import i2e_triton

    assert sorted(i2e_triton.__all__) == [
        "I2E",
        "ORDERS",
        "Surrogate",
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
