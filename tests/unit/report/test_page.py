"""The report as a reader finds it: taken apart, and compared with what went in."""

import base64
import os
import re
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gpuseg.classes import label_classes
from gpuseg.errors import BackendUnavailableError, FileError, InputError, ResourceError
from gpuseg.report import Album, Facts, check_report, page, write_report
from gpuseg.report.figures import photo

CLASSES = label_classes([1, 2], {1: "round", 2: "long"})
NASTY = '<script>alert("&\' $x^2$ {{ 1 }} µ 細胞")</script>'
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Elements in order, texts by the id of their section, pictures."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.images, self.section = [], [], [], [], ""
        self.texts, self.cells = {}, {}
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        attributes = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.section = attributes.get("id", self.section)
        if tag == "tr":
            self.cells.setdefault(self.section, []).append([])
        if tag in ("td", "th"):
            self.cells[self.section][-1].append("")
        if tag == "img":
            self.images.append((self.section, attributes))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.open)

    def handle_data(self, data):
        self.texts[self.section] = self.texts.get(self.section, "") + data
        if {"td", "th"} & {*self.open[-3:]} and self.cells.get(self.section):
            self.cells[self.section][-1][-1] += data

    def pictures(self, section):
        """Decoded pictures of a section."""
        found = []
        for where, attributes in self.images:
            if where == section:
                kind, data = re.fullmatch(r"data:image/(png|jpeg);base64,(.*)", attributes["src"]).groups()
                picture = Image.open(BytesIO(base64.b64decode(data, validate=True)))
                assert picture.format.lower() == kind
                assert picture.size == (int(attributes["width"]), int(attributes["height"]))
                found.append(np.asarray(picture.convert("RGB")).astype(int))
        return found


def table_of(labels, classes=CLASSES, seed=0):
    """As measured and classified: labels are (t, z, y, x)."""
    rng = np.random.default_rng(seed)
    rows = []
    for t, frame in enumerate(labels):
        for oid in np.unique(frame[frame > 0]):
            places = np.argwhere(frame == oid)[:, ::-1]
            low, high = places.min(0), places.max(0) + 1
            box = {f"Bounding Box Minimum_{k}": low[k] for k in range(3)}
            box |= {f"Bounding Box Maximum_{k}": high[k] for k in range(3)}
            rows.append({"timestep": t, "labelimage_oid": oid, "Size in pixels": float(len(places)), **box})
    table = pd.DataFrame(rows, columns=None if rows else ["timestep", "labelimage_oid", "Size in pixels"])
    table.insert(0, "object_id", np.arange(len(table)))
    if classes:
        proba = rng.dirichlet(np.ones(len(classes)), len(table))
        for k, c in enumerate(classes):
            table[f"Probability of {c.name}"] = proba[:, k]
        table["Predicted Class"] = [classes[k].name for k in proba.argmax(1)]
        top = np.sort(np.pad(proba, ((0, 0), (1, 0))), 1)
        table["Uncertainty"] = 1 - top[:, -1] + top[:, -2]
    return table


def reader(image):
    """raw(t, region) of (t, c, z, y, x), or labels(t, region) of (t, z, y, x)."""
    return lambda t, region: image[t][(..., *region)]


def squares(shape=(1, 1, 60, 90), side=8, step=15):
    """Labels (t, z, y, x): a grid of squares in every slice."""
    labels = np.zeros(shape, np.uint32)
    oid = 0
    for y in range(4, shape[2] - side, step):
        for x in range(4, shape[3] - side, step):
            labels[:, :, y : y + side, x : x + side] = (oid := oid + 1)
    return labels


def add(album, name, labels, raw=None, table=None):
    table = table_of(labels, album.classes) if table is None else table
    album.add(name, labels.shape[1:], None if raw is None else reader(raw), reader(labels), table)
    return table


def written(path, facts, album, table):
    write_report(path, facts, album, table)
    text = path.read_text(encoding="utf-8")
    found = Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {*found.tags}
    assert all(v.startswith("data:image/") for k, v in found.attributes if k in ("src", "href", "srcset"))
    assert not [v for k, v in found.attributes if k in ("style", "content") and re.search("//|url", v)]
    assert "url(" not in text
    assert "@import" not in text
    assert [k for k, _ in found.attributes if k.startswith("on")] == []
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "report.html"


FACTS = Facts(
    title="Cells of plate 7",
    when="26 November 2026",
    settings={"sigma": [1.0, 2.5], "fill holes": True, "channel": None, "window": {"x": 3}},
    provenance={"gpuseg": "0.2.0", "model": "cells.gpuseg", "hash": "ab" * 32},
    importances={"Size in pixels": 0.25, "absent": 3},
    confusion=np.array([[8, 2], [0, 10]]),
    files=["out/a.h5", "out/table.csv"],
    notices=["b.tif: cannot be read: not a TIFF file"],
)


def test_the_page_says_what_is_in_the_table(path):
    album, labels = Album(CLASSES), squares()
    table = add(album, "a.tif", labels, np.random.default_rng(1).normal(size=(1, 1, 1, 60, 90)))
    found = written(path, FACTS, album, table)
    counts = table["Predicted Class"].value_counts()
    assert [(r[0], int(r[1])) for r in found.cells["classes"]] == [(c.name, counts[c.name]) for c in CLASSES]
    assert f"{len(table)} objects in 90 × 60 pixels" in found.texts["images"]
    assert "8020" not in found.texts["confusion"]
    assert found.cells["confusion"][1:] == [["round", "8", "2", "80.0 %"], ["long", "0", "10", "100.0 %"]]
    assert "18 of 20 labelled objects" in found.texts["confusion"]
    assert "accuracy of 90.0 %" in found.texts["confusion"]
    assert found.cells["run"][-4:] == [
        ["sigma", "1, 2.5"],
        ["fill holes", "yes"],
        ["channel", "–"],
        ["window", "x: 3"],
    ]
    assert "out/table.csv" in found.texts["run"]
    assert "not a TIFF file" in found.texts[""]
    assert "Size in pixels" in found.texts["features"]
    (overview,) = found.pictures("images")
    (histogram,) = found.pictures("features")
    assert (overview.shape, histogram.shape) == ((427, 640, 3), (300, 480, 3))
    assert min(overview.std(), histogram.std()) > 5


def test_numbers_of_many_objects_and_classes_of_none_are_counted(path):
    table = pd.DataFrame({"Predicted Class": ["long"] * 1234 + ["odd"], "Size in pixels": np.arange(1235)})
    found = written(path, FACTS, Album(CLASSES), table)
    assert [row[:2] for row in found.cells["classes"]] == [
        ["round", "0"],
        ["long", "1,234"],
        ["no class", "1"],
    ]


def test_the_least_certain_object_comes_first_and_its_picture_shows_it(path):
    album, tables = Album(CLASSES), []
    for n in range(3):
        labels, raw = squares(), np.zeros((1, 1, 1, 60, 90), np.uint16)
        table = table_of(labels, seed=n)
        if n == 1:
            table.loc[7, "Uncertainty"] = 0.9999
            raw[0, 0][labels[0] == 8] = 1000
        tables.append(add(album, f"image {n}", labels, raw, table))
    table = pd.concat(tables, ignore_index=True)
    found = written(path, FACTS, album, table)
    thumbnails = found.pictures("doubtful")
    shown = [float(v) for v in re.findall(r"uncertainty (\S+)", found.texts["doubtful"])]
    highest = table["Uncertainty"].sort_values(ascending=False).head(24)
    np.testing.assert_allclose(shown, highest, atol=0.005)
    first = found.texts["doubtful"].split("uncertainty 1.00")[1]
    assert re.match(r"\s*object 8\s*image 1", first)
    assert thumbnails[0].shape == (160, 160, 3)
    assert thumbnails[0][75:85, 75:85].min() > 230
    assert thumbnails[0][15:42, 30:130].max() < 60
    assert all(t[75:85, 75:85].min() < 60 for t in thumbnails[1:])


def test_objects_have_the_colors_of_their_classes(path):
    album, labels = Album(CLASSES), squares((1, 1, 40, 40), 20, 50)
    table = table_of(labels).assign(**{"Predicted Class": "long"})
    add(album, "a", labels, np.zeros((1, 1, 1, 40, 40)), table)
    (overview,) = written(path, FACTS, album, table).pictures("images")
    border, inside, outside = overview[65, 200], overview[200, 200], overview[500, 500]
    np.testing.assert_allclose(border, CLASSES[1].color, atol=40)
    np.testing.assert_allclose(inside, np.array(CLASSES[1].color) * 0.22, atol=12)
    assert outside.max() < 12


@pytest.mark.parametrize("key", ["settings", "provenance", "files", "notices", "title", "when"])
def test_text_from_outside_is_text(path, key):
    value = {NASTY: NASTY} if key in ("settings", "provenance") else [NASTY] if key[-1] == "s" else NASTY
    found = written(path, Facts(**{"title": "t", "when": "w", key: value}), Album(()), pd.DataFrame())
    assert NASTY in "".join(found.texts.values())


def test_names_from_outside_are_text(path):
    classes = label_classes([1, 2], {1: NASTY, 2: '"><img src="https://x.org/y">'})
    album, labels = Album(classes), squares()
    table = add(album, f"{NASTY}\udcff.tif", labels).rename(columns={"Size in pixels": NASTY})
    found = written(path, FACTS, album, table)
    for section in ("classes", "images", "doubtful", "confusion"):
        assert NASTY in found.texts[section]
    assert len(found.images) == len(found.pictures("images") + found.pictures("doubtful"))


def test_no_object_is_no_trouble(path):
    album, labels = Album(CLASSES), np.zeros((1, 1, 20, 30), np.uint8)
    table = add(album, "empty", labels, np.zeros((1, 1, 1, 20, 30), np.uint8))
    found = written(path, FACTS, album, table)
    assert [row[1] for row in found.cells["classes"]] == ["0", "0"]
    assert "0 objects in 30 × 20 pixels" in found.texts["images"]
    assert found.pictures("doubtful") + found.pictures("features") == []


def test_nothing_at_all_is_a_page_too(path):
    found = written(path, Facts("Nothing", "never"), Album(()), pd.DataFrame())
    assert "Nothing" in found.texts[""]
    assert found.images == []


def test_without_classes_objects_are_shown_and_their_sizes(path):
    album, labels = Album(()), squares()
    table = add(album, "segmented", labels)
    found = written(path, Facts("Segmentation", "today"), album, table)
    assert "classes" not in found.texts
    assert "objects" in found.texts["images"]
    assert [p.shape[1] for p in found.pictures("images") + found.pictures("features")] == [640, 480]


def test_one_class_leaves_no_doubt(path):
    album = Album(CLASSES[:1])
    table = add(album, "one", squares())
    found = written(path, Facts("One", "today"), album, table)
    assert "doubtful" not in found.texts
    assert found.cells["classes"][0][1] == str(len(table))


def test_of_a_volume_the_slice_with_most_objects_is_shown(path):
    labels = np.zeros((1, 9, 40, 40), np.int64)
    labels[0, 2:4, 3:6, 3:6] = 1
    labels[0, 5:8, 10:30, 10:30] = 2
    raw = np.zeros((1, 1, 9, 40, 40), np.float32)
    raw[0, 0][labels[0] == 2] = 1
    album = Album(CLASSES)
    table = add(album, "stack", labels, raw, table_of(labels).assign(Uncertainty=[0.2, 0.9]))
    found = written(path, FACTS, album, table)
    assert "2 objects in 40 × 40 × 9 pixels; shown: slice 5 of 0 to 8" in found.texts["images"]
    assert found.pictures("images")[0][320, 320].min() > 150
    assert re.search("object 2, slice 6stack", found.texts["doubtful"])
    assert found.pictures("doubtful")[0][80, 80].min() > 230


def test_of_a_time_series_the_first_time_point_is_shown_and_all_are_counted(path):
    labels = np.zeros((3, 1, 40, 40), np.uint16)
    labels[0, 0, 5:15, 5:15] = 1
    labels[2, 0, 25:35, 25:35] = 1
    raw = np.where(labels[:, None] > 0, 300, 5)
    album = Album(CLASSES)
    table = add(album, "series", labels, raw, table_of(labels).assign(Uncertainty=[0.2, 0.9]))
    found = written(path, FACTS, album, table)
    assert "2 objects in 40 × 40 pixels; shown: first time point" in found.texts["images"]
    (overview,) = found.pictures("images")
    assert overview[160, 160].min() > 150
    assert overview[480, 480].max() < 20
    assert re.search("object 1, time point 2series", found.texts["doubtful"])
    assert found.pictures("doubtful")[0][80, 80].min() > 230


def test_colour_images_are_in_colour(path):
    labels = squares()
    raw = np.zeros((1, 3, 1, 60, 90), np.uint8) + np.array([200, 100, 50], np.uint8)[:, None, None, None]
    album = Album(CLASSES)
    (overview,) = written(path, FACTS, album, add(album, "photo", labels, raw)).pictures("images")
    np.testing.assert_allclose(overview[-3, -3], [255, 128, 64], atol=6)


def test_of_many_images_the_first_are_shown_and_all_are_counted(path):
    album, labels = Album(CLASSES), squares((1, 1, 30, 30))
    table = table_of(labels)
    for n in range(300):
        add(album, f"image {n}", labels, None, table)
    found = written(path, FACTS, album, pd.concat([table] * 300))
    assert "The first 12 of 300 images are shown" in found.texts["images"]
    assert (len(found.pictures("images")), len(found.pictures("doubtful"))) == (12, 24)
    assert len(found.cells["counts"]) == 301
    counts = [str((table["Predicted Class"] == c.name).sum()) for c in CLASSES]
    assert found.cells["counts"][-1] == ["image 299", "30 × 30", str(len(table)), *counts]
    assert path.stat().st_size < 3e6


def test_large_planes_are_read_in_parts_for_overviews_and_thumbnails(path):
    asked = []

    def labels(t, region):
        asked.append(np.prod([s.stop - s.start for s in region]))
        return np.ones([s.stop - s.start for s in region], np.uint32)

    def raw(t, region):
        return labels(t, region)[None]

    box = {f"Bounding Box {end}_{k}": [v] for k in range(3) for end, v in (("Minimum", 0), ("Maximum", 6000))}
    table = pd.DataFrame({"timestep": [0], "labelimage_oid": [1], **box, "Uncertainty": [0.5]})
    album = Album(())
    album.add("large", (6000, 6000, 6000), raw, labels, table)
    assert max(asked) <= 2**22
    assert "1 pixel for 12 × 12" in album.images[0].note
    assert album.doubtful[0].place == "slice 3000"


@pytest.mark.parametrize("side", [16, 256, 640])
def test_noise_is_a_photo_too(side):
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    found = np.asarray(Image.open(BytesIO(photo(pixels).data)))
    assert found.shape == pixels.shape
    assert abs(found.astype(float) - pixels).mean() < 30


def test_equal_runs_give_equal_bytes(tmp_path):
    for name in ("a.html", "b.HTM"):
        album = Album(CLASSES)
        raw = np.random.default_rng(3).normal(size=(1, 1, 1, 60, 90))
        write_report(tmp_path / name, FACTS, album, add(album, "a", squares(), raw))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.HTM").read_bytes()


def test_unknown_values_of_features_are_left_out(path):
    album, labels = Album(CLASSES), squares()
    table = add(album, "a", labels)
    table["nothing"], table["constant"] = np.nan, 2.5
    table["odd"] = np.resize([1.0, np.inf, np.nan, -np.inf], len(table))
    found = written(path, Facts("t", "w"), album, table)
    titles = re.findall(r"Size in pixels|nothing|constant|odd", found.texts["features"])
    assert titles == ["Size in pixels", "constant", "odd"]
    assert len(found.pictures("features")) == 3


def test_features_come_by_importance_and_are_few(path):
    album, labels = Album(CLASSES), squares()
    table = add(album, "a", labels)
    table = table.assign(**{f"f{k}": np.arange(len(table)) * k for k in range(20)})
    facts = Facts("t", "w", importances={f"f{k}": (k * 7) % 20 for k in range(20)})
    text = written(path, facts, album, table).texts["features"]
    best = sorted(range(20), key=lambda k: -((k * 7) % 20))[:8]
    assert re.findall(r"\bf(\d+)\b", text) == [str(k) for k in best]


def test_long_lists_are_cut_and_counted(path):
    facts = Facts("t", "w", settings={"features": ["name"] * 500}, notices=[f"n{k}" for k in range(1000)])
    found = written(path, facts, Album(()), pd.DataFrame())
    assert "1,000 notices" in found.texts[""]
    assert "and 800 more" in found.texts[""]
    assert "details" in found.tags


@pytest.mark.parametrize("name", ["r.pdf", "r", "r.html.gz"])
def test_an_unknown_suffix_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"no report has the suffix(.|\n)*\.html \.htm"):
        check_report(tmp_path / name)


def test_folders_that_cannot_be_written_to_are_refused(tmp_path, monkeypatch):
    (tmp_path / "r.html").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"r.html: is a folder"):
        check_report(tmp_path / "r.html")
    with pytest.raises(FileError, match="file is no folder"):
        check_report(tmp_path / "file/new/r.html")
    access = os.access
    monkeypatch.setattr("os.access", lambda p, mode: access(p, mode) and (p != tmp_path or mode == os.F_OK))
    with pytest.raises(FileError, match="is not writable"):
        check_report(tmp_path / "new/r.html")


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_missing_package_names_the_extra(path, monkeypatch, missing):
    monkeypatch.setattr(page, "find_spec", lambda name: None if name == missing else name)
    with pytest.raises(BackendUnavailableError, match=rf"{missing}(.|\n)*pip install 'gpuseg\[report\]'"):
        check_report(path)


def test_a_failed_write_leaves_the_old_report_and_nothing_else(path, monkeypatch):
    path.write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceError, match=r"report.html: cannot be written: No space left on device"):
        write_report(path, FACTS, Album(()), pd.DataFrame())
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    assert path.read_text() == "old"
