"""A backend has the methods of the contract with the same parameters: no more, no fewer."""

from inspect import signature

import pytest

from gpuseg.backends import NAMES, get_backend
from gpuseg.backends.base import Backend
from gpuseg.backends.cpu import CpuBackend, ReferenceBackend
from gpuseg.backends.cuda import CudaBackend
from gpuseg.errors import InputError

METHODS = {name for name in vars(Backend) if not name.startswith("_")}


def parameters(owner: type, method: str) -> list[tuple[str, object]]:
    """Names and kinds: what a caller may write. Defaults may be spelled differently."""
    return [(p.name, p.kind) for p in signature(getattr(owner, method)).parameters.values()]


def differences(backend: type) -> list[str]:
    own = {name for name in dir(backend) if not name.startswith("_")}
    return [
        *(f"lacks {m}" for m in METHODS - own),
        *(f"adds {m}" for m in own - METHODS - {"name"}),
        *(f"changes {m}" for m in METHODS & own if parameters(backend, m) != parameters(Backend, m)),
    ]


@pytest.mark.parametrize("backend", [ReferenceBackend, CpuBackend, CudaBackend])
def test_a_backend_speaks_no_private_dialect(backend):
    assert differences(backend) == []


def test_a_private_dialect_is_noticed():
    class Wrong(CpuBackend):
        def magnitude(self, parts, scale=1.0): ...

        def extra(self): ...

    assert sorted(differences(Wrong)) == ["adds extra", "changes magnitude"]


def test_the_contract_is_small():
    assert len(METHODS) < 20
    assert all(getattr(Backend, m).__doc__ for m in METHODS)


def test_a_backend_knows_its_name_and_is_opened_once():
    assert get_backend("cpu").name == "cpu"
    assert get_backend("cpu") is get_backend("cpu")


def test_auto_takes_what_there_is():
    assert get_backend() is get_backend("auto")
    assert get_backend("auto").name in NAMES


def test_the_environment_may_choose(monkeypatch):
    monkeypatch.setenv("GPUSEG_BACKEND", "cpu")
    assert get_backend("auto").name == "cpu"
    monkeypatch.setenv("GPUSEG_BACKEND", "abacus")
    with pytest.raises(InputError, match="unknown backend 'abacus'"):
        get_backend("auto")


def test_an_unknown_backend_is_refused_with_the_names():
    with pytest.raises(InputError, match="unknown backend 'tpu'\n  hint: one of auto, cpu, cuda"):
        get_backend("tpu")
