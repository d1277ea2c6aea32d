"""What `api.info` and `api.doctor` tell."""

import json

import numpy as np
import pytest

from gpuseg import __version__, api
from gpuseg.errors import FileError, ModelError


def test_an_image_is_described(tmp_path, small_image):
    np.save(tmp_path / "a.npy", small_image((3, 40, 50)))
    facts = api.info(tmp_path / "a.npy")
    assert facts | {"path": ""} == {
        "kind": "image",
        "path": "",
        "format": "NPY",
        "shape": [3, 40, 50],
        "axes": "zyx",
        "axes from": "shape",
        "type": "uint8",
        "pixel size": {},
    }
    assert api.info(tmp_path / "a.npy", axes="tyx")["axes"] == "tyx"


def test_a_model_is_described(tmp_path, small_model):
    model = small_model("yxc")
    model.save(tmp_path / "m.gpuseg")
    facts = api.info(tmp_path / "m.gpuseg")
    assert (facts["kind"], facts["hash"], facts["trees"]) == ("model", model.hash, 5)
    assert facts["classes"] == {"1": "ground", "2": "cell"}
    assert facts["features"]["gaussian_smoothing"] == "0.7 in 2D, 1.6 in 2D"
    json.dumps(facts)


def test_a_project_is_described(shared):
    facts = api.info(shared / "data/ilp/ilastik-api/PixelClass.ilp")
    assert (facts["kind"], facts["workflow"], facts["trained"]) == ("project", "Pixel Classification", True)
    assert list(facts["images"]) == ["lane0000"]
    json.dumps(facts)


def test_a_project_without_features_has_none(shared):
    assert api.info(shared / "data/ilp/ilastik-api/PixelClassNoData.ilp")["features"] == {}


@pytest.mark.parametrize(
    ("name", "error"), [("a.tif", FileError), ("a.gpuseg", FileError), ("a.ilp", FileError)]
)
def test_what_is_not_there_cannot_be_described(tmp_path, name, error):
    with pytest.raises(error, match=rf"{name}.*(o such file)"):
        api.info(tmp_path / name)


def test_what_is_no_model_cannot_be_described(tmp_path):
    (tmp_path / "a.gpuseg").write_bytes(b"no")
    with pytest.raises(ModelError, match=r"a\.gpuseg: is no gpuseg model"):
        api.info(tmp_path / "a.gpuseg")


def test_the_doctor_lists_gpus_and_what_auto_takes(host_cuda, monkeypatch):
    monkeypatch.delenv("GPUSEG_BACKEND", raising=False)
    host_cuda.devices = 2
    facts = api.doctor()
    assert facts["backends"] == {
        "auto": "cuda, because a GPU answers",
        "cpu": "cpu, ready",
        "cuda": "cuda, ready",
    }
    assert list(facts["gpus"]) == ["cuda:0", "cuda:1"]
    card = facts["gpus"]["cuda:1"]
    assert card["compute capability"] == "9.0"
    assert card["memory"].endswith("GiB free of 80.0 GiB")
    assert set(card) == {"name", "compute capability", "multiprocessors", "memory", "driver", "CUDA"}
    json.dumps(facts)


def test_the_doctor_says_why_no_gpu_is_taken(host_cuda, monkeypatch):
    monkeypatch.delenv("GPUSEG_BACKEND", raising=False)
    host_cuda.devices = 0
    facts = api.doctor()
    assert facts["backends"]["auto"].startswith("cpu, because CuPy is installed but finds no usable GPU")
    assert facts["gpus"] == facts["backends"]["cuda"]
    monkeypatch.setenv("GPUSEG_BACKEND", "cpu")
    assert api.doctor()["backends"]["auto"] == "cpu, as GPUSEG_BACKEND says"


def test_the_doctor_tells_versions_and_backends(monkeypatch):
    monkeypatch.setenv("GPUSEG_BACKEND", "abacus")
    facts = api.doctor()
    assert facts["gpuseg"] == __version__
    assert facts["backends"]["cpu"] == "cpu, ready"
    assert facts["backends"]["auto"] == "unknown backend 'abacus'"
    assert facts["libraries"]["numpy"] == np.__version__
    assert "not installed" in facts["libraries"].values()
    json.dumps(facts)
