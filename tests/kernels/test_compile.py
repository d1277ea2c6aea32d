"""Every kernel compiles for every GPU with what CuPy passes: no warning, no spill, no dead kernel."""

import re

import pytest
from hostcuda import nvrtc

from gpuseg.backends import _kernels

# CUDA's major version and the architecture: V100, T4, A100, RTX 30, RTX 40, H100, B200, RTX 50; and again
# with CUDA 13, which deals out registers differently.
TARGETS = [*((12, a) for a in (70, 75, 80, 86, 89, 90, 100, 120)), *((13, a) for a in (75, 90, 120))]
OPTIONS = _kernels.OPTIONS


def kernels_in(text: str) -> set[str]:
    """Names of the __global__ functions of a source."""
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    heads = (part.split("{")[0] for part in code.split("__global__")[1:])
    named = (re.findall(r"(\w+)\s*\(", head) for head in heads)
    return {next(n for n in names if n != "__launch_bounds__") for names in named}


def findings(source: str, names: tuple[str, ...], cuda: int, architecture: int) -> list[str]:
    """What is wrong with kernels, in words. More static shared memory than 48 KB does not compile."""
    try:
        compiled, said = nvrtc.compile_for(cuda, architecture, source, names, OPTIONS)
    except nvrtc.NvrtcError as e:
        return [str(e)]
    found = [said] if said else []
    for name, c in compiled.items():
        if c.spilled:
            found.append(f"{name}: {c.spilled} bytes spilled with {c.registers} registers")
    return found


@pytest.mark.parametrize(
    ("cuda", "architecture"), [pytest.param(*t, id="cuda{}-sm_{}".format(*t)) for t in TARGETS]
)
@pytest.mark.parametrize("file", _kernels.INSTANCES)
def test_a_kernel_compiles_without_warning_or_spill(file, cuda, architecture):
    assert not findings(_kernels.source(file), _kernels.INSTANCES[file], cuda, architecture)


def test_every_source_is_listed_and_every_listed_source_exists():
    assert {p.stem for p in _kernels.folder().glob("*.cu")} == set(_kernels.INSTANCES)


def test_every_header_stands_in_front_of_a_source():
    sources = [_kernels.source(file) for file in _kernels.INSTANCES]
    headers = [p.name for p in _kernels.folder().glob("*.cuh")]
    assert [h for h in headers if not any(f'#line 1 "{h}"' in s for s in sources)] == []


@pytest.mark.parametrize("file", _kernels.INSTANCES)
def test_every_kernel_of_a_source_can_be_launched_and_no_other(file):
    written = kernels_in((_kernels.folder() / f"{file}.cu").read_text(encoding="utf-8"))
    assert {name.split("<")[0] for name in _kernels.INSTANCES[file]} == written


def test_no_kernel_includes_a_file():
    sources = [p for p in _kernels.folder().iterdir() if p.suffix in (".cu", ".cuh")]
    assert [
        p.name for p in sources if re.search(r"^\s*#\s*include", p.read_text(encoding="utf-8"), re.M)
    ] == []


SHARING = """
__global__ void k(float* a, int i) {
    __shared__ float s[12289];
    s[threadIdx.x * 12] = a[1];
    __syncthreads();
    a[0] = s[i];
}"""
SPILLING = """
__global__ void __launch_bounds__(1024, 2) k(const float* a, float* b, int n) {
    float v[64], r = 0;
    for (int i = 0; i < 64; ++i) v[i] = a[i * n + threadIdx.x];
    for (int i = 0; i < 64; ++i)
        for (int j = 0; j < 64; ++j) r += v[i] * v[j];
    for (int i = 0; i < 64; ++i) b[i * n + threadIdx.x] = v[i] * r;
}"""


@pytest.mark.parametrize("cuda", [12, 13])
@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("__global__ void k(float* a) { a[0] = b; }", 'identifier "b" is undefined'),
        ("__global__ void k(float* a) { int unused; a[0] = 1; }", "declared but never referenced"),
        ("__global__ void other(float* a) { a[0] = 1; }", "k"),
        (SHARING, "49156 bytes smem"),
        (SPILLING, "bytes spilled with 32 registers"),
    ],
    ids=["error", "warning", "absent", "shared", "spill"],
)
def test_what_is_wrong_is_found(source, complaint, cuda):
    assert any(complaint in text for text in findings(source, ("k",), cuda, 90))


def test_kernels_are_found_behind_launch_bounds_and_templates_and_not_in_comments():
    text = """/* __global__ void no(int) */ // __global__ void no2(int)
    template <typename T>\n__global__ void __launch_bounds__(2 * (64)) a(T* x) { b(x); }
    __global__ void c(int n) {}"""
    assert kernels_in(text) == {"a", "c"}
