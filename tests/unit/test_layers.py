"""The architecture as a test: who may import whom, who owns which heavy package, what nobody may do."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "gpuseg"
LAYERS = [  # an import may only go to the right
    *(
        "napari_plugin",
        "cli",
        "api",
        "session",
        "run",
        "export",
        "report",
        "tables",
        "pixel",
        "object",
        "ilp",
    ),
    *("model", "objects", "features", "forests", "io", "backends", "plugins", "tiles", "classes", "axes"),
    "errors",
]
BESIDE = {"__init__", "__main__", "testing"}  # public names by lazy strings; exams for plug-ins
OWNERS: dict[str, tuple[str, ...]] = {
    "cupy": ("backends/",),
    "numba": ("backends/",),
    "llvmlite": ("backends/",),
    "cuml": ("forests/cuml_rf.py",),
    "joblib": ("forests/",),
    "sklearn": ("forests/", "pixel/", "object/"),
    "h5py": ("io/", "ilp/", "tables/"),
    "pandas": ("tables/", "report/", "object/", "run/", "api/", "objects/measure.py"),
    "jinja2": ("report/",),
    "matplotlib": ("report/",),
    "anndata": ("tables/",),
    "pyarrow": ("tables/",),
    "tifffile": ("io/",),
    "zarr": ("io/",),
    "PIL": ("io/", "cli/picture.py"),  # files; and drawing what the demo shows
    "imagecodecs": ("io/",),
    "safetensors": ("model/",),
    "dask": ("run/cluster.py",),
    "distributed": ("run/cluster.py",),
    "typer": ("cli/",),
    "click": ("cli/",),
    "rich": ("cli/",),
    "napari": ("napari_plugin/",),
    "qtpy": ("napari_plugin/",),
}
UNSAFE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve"}
UNPICKLERS = {("joblib", "load"), ("joblib", "dump"), ("torch", "load")}
UNSAFE_CALLS = {"eval", "exec", "compile"}


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every imported module with its line; `from gpuseg import api` counts as gpuseg.api."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            if module == "gpuseg":
                inside = [a.name for a in node.names if a.name in LAYERS]
                yield from ((f"gpuseg.{name}", node.lineno) for name in inside)
            yield module, node.lineno


def misplaced(here: str, tree: ast.AST) -> Iterator[str]:
    """Imports that go up, sideways by dots, or to a package that has another owner."""
    layer = here.removesuffix(".py").split("/")[0]
    if layer not in LAYERS and layer not in BESIDE:
        yield f"{here}: belongs to no layer of {Path(__file__).name}"
        return
    for module, line in imports(tree):
        top, *rest = module.split(".")
        if not here.startswith(OWNERS.get(top, ("",))):
            yield f"{here}:{line} imports {top}; only {' or '.join(OWNERS[top])} may"
        if not top:
            yield f"{here}:{line} imports {module}: write it in full"
        both = layer in LAYERS and rest[:1] and rest[0] in LAYERS
        if top == "gpuseg" and both and LAYERS.index(rest[0]) < LAYERS.index(layer):
            yield f"{here}:{line} imports {module}: only downwards"


def forbidden(here: str, tree: ast.AST) -> Iterator[str]:
    """Printing outside the command line; unpickling and evaluating anywhere."""
    for module, line in imports(tree):
        if module.split(".")[0] in UNSAFE:
            yield f"{here}:{line} imports {module}: data from outside is never unpickled"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            named = [f"{m}.{n}" for m, n in UNPICKLERS for a in node.names if (node.module, a.name) == (m, n)]
            yield from (f"{here}:{node.lineno} imports {n}: it unpickles" for n in named)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if tuple(called.split(".")) in UNPICKLERS:
            yield f"{here}:{node.lineno} calls {called}: it unpickles"
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "print" and not here.startswith("cli/"):
            yield f"{here}:{node.lineno} prints; only cli/ may"
        if name in UNSAFE_CALLS:
            yield f"{here}:{node.lineno} calls {name}: text from outside is never run"
        pickled = [k for k in node.keywords if k.arg == "allow_pickle"]
        if any(not (isinstance(k.value, ast.Constant) and k.value.value is False) for k in pickled):
            yield f"{here}:{node.lineno} allows pickle"


def broken_rules(package: Path) -> list[str]:
    found = []
    for path in sorted(package.rglob("*.py")):
        here = path.relative_to(package).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [*misplaced(here, tree), *forbidden(here, tree)]
    return found


def test_the_package_keeps_its_architecture():
    assert not broken_rules(PACKAGE), "\n" + "\n".join(broken_rules(PACKAGE))


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("features/stack.py", "import cupy", "features/stack.py:1 imports cupy; only backends/ may"),
        ("model.py", "from sklearn.tree import X", "only forests/ or pixel/ or object/ may"),
        ("run/batch.py", "import dask", "only run/cluster.py may"),
        ("errors.py", "def f():\n    import click", "errors.py:2 imports click"),
        ("backends/cpu.py", "from gpuseg.features import stack", "only downwards"),
        ("io/tiff.py", "from gpuseg import api", "imports gpuseg.api: only downwards"),
        ("ilp/read.py", "from gpuseg.pixel import PixelClassifier", "only downwards"),
        ("io/tiff.py", "from .base import Image", "write it in full"),
        ("helpers.py", "x = 1", "belongs to no layer"),
        ("api.py", "print(1)", "prints; only cli/ may"),
        ("ilp/read.py", "import pickle", "never unpickled"),
        ("forests/x.py", "from joblib import load", "imports joblib.load: it unpickles"),
        ("forests/x.py", "joblib.load(p)", "calls joblib.load: it unpickles"),
        ("ilp/read.py", "def f(s):\n    return eval(s)", "ilp/read.py:2 calls eval"),
        ("io/npy.py", "np.load(p, allow_pickle=True)", "allows pickle"),
        ("io/npy.py", "np.load(p, allow_pickle=flag)", "allows pickle"),
    ],
)
def test_a_broken_rule_is_named(tmp_path, file, text, complaint):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    assert any(complaint in line for line in broken_rules(tmp_path)), broken_rules(tmp_path)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("backends/_numba.py", "import numba\nfrom gpuseg.backends.base import Array"),
        ("cli/__init__.py", "import typer\nfrom gpuseg import __version__, api\nprint(1)"),
        ("io/npy.py", "np.load(p, allow_pickle=False)"),
        ("forests/x.py", "from joblib import effective_n_jobs\neffective_n_jobs(1)"),
        ("backends/base.py", "re.compile('x')"),
        ("__init__.py", "from gpuseg.api import train"),
    ],
)
def test_what_the_rules_allow_passes(tmp_path, file, text):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    assert broken_rules(tmp_path) == []
