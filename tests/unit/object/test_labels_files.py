"""Files of labels: what is written reads back; what others write is read, or refused by line and column."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpuseg
from gpuseg.classes import LabelClass, class_color
from gpuseg.errors import FileError, GpusegError, LabelError, ResourceError
from gpuseg.object.label_files import read_all_labels, read_labels, write_labels
from gpuseg.object.label_json import parse_json
from gpuseg.object.labels import ObjectLabels

CELLS = np.array([[7, 7, 7, 0, 0], [0, 0, 0, 0, 9], [3, 0, 0, 9, 9]])
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
BIG = st.integers(1, 2**63 - 1)


def rows(labels):
    columns = (labels.t, labels.id, labels.position, labels.value)
    return list(zip(labels.image, *(c.tolist() for c in columns), strict=True))


@pytest.fixture
def read(tmp_path):
    """Reads a text as a file of labels."""

    def of(text, suffix=".csv", **more):
        (tmp_path / f"a{suffix}").write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_labels(tmp_path / f"a{suffix}", **more)

    return of


@st.composite
def labels_of_all_kinds(draw):
    """Labels with odd names, huge ids, and positions or ids unknown."""
    names = draw(st.lists(TEXT.filter(bool), min_size=1, max_size=4, unique=True))
    classes = tuple(
        LabelClass(i, name, draw(st.tuples(*[st.integers(0, 255)] * 3))) for i, name in enumerate(names, 1)
    )
    place = st.tuples(*[st.integers(0, 2**40)] * 3)
    what = st.one_of(
        st.tuples(BIG, place), st.tuples(BIG, st.just((-1, -1, -1))), st.tuples(st.just(0), place)
    )
    key = st.tuples(TEXT, st.integers(0, 9), what)
    found = draw(st.dictionaries(key, st.integers(1, len(names)), max_size=6))
    seen = {(i, t, p if p[0] >= 0 else id): (i, t, id, p, v) for (i, t, (id, p)), v in found.items()}
    image, t, id, position, value = list(zip(*seen.values(), strict=True)) or [()] * 5
    position = np.array(position, np.int64).reshape(-1, 3)
    return ObjectLabels(
        tuple(image), np.array(t, int), np.array(id, int), position, np.array(value, int), classes
    )


@given(labels_of_all_kinds())
def test_json_keeps_everything(tmp_path_factory, labels):
    path = tmp_path_factory.getbasetemp() / "round.json"
    write_labels(labels, path)
    found = read_labels(path)
    assert rows(found) == rows(labels)
    assert found.classes == labels.classes


@given(labels_of_all_kinds())
def test_csv_keeps_all_but_colours_and_empty_classes(tmp_path_factory, labels):
    path = tmp_path_factory.getbasetemp() / "round.csv"
    write_labels(labels, path)
    found = read_labels(path)
    assert rows(found) == rows(labels)
    assert all(found.names[v] == labels.names[v] for v in set(labels.value.tolist()))
    again = read_labels(path, names=labels.names)
    assert rows(again) == rows(labels)
    assert again.names == labels.names


def test_a_table_is_what_people_expect(tmp_path):
    labels = ObjectLabels.of(CELLS, {7: 2, 9: 1}, names=["long", 'round, or "so"'], image="a.tif")
    write_labels(labels, tmp_path / "new" / "cells.CSV")
    assert (tmp_path / "new" / "cells.CSV").read_bytes().decode() == (
        '"image","timestep","id","x","y","z","class","class_name"\n'
        '"a.tif",0,7,1,0,0,2,"round, or ""so"""\n'
        '"a.tif",0,9,4,2,0,1,"long"\n'
    )


def test_names_are_numbered_by_the_alphabet_whatever_the_order(read):
    a, b = read("id,class\n1,WBC\n2,RBC\n"), read("id,class\n2,RBC\n1,WBC\n")
    assert a.names == b.names == {1: "RBC", 2: "WBC"}
    assert (a.value.tolist(), b.value.tolist()) == ([2, 1], [1, 2])
    assert read("id,class\n1,WBC\n2,RBC\n", names=["WBC", "RBC"]).value.tolist() == [1, 2]


def test_names_of_ilastik_keep_their_numbers(read):
    labels = read("id,class\n1,Label 10\n2,Label 2\n")
    assert labels.value.tolist() == [10, 2]
    assert labels.names[10] == "Label 10"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ufeffID,Class\n7,1\n", [("", 0, 7, [-1, -1, -1], 1)]),
        ("id;x;y;class\n7;1;2;1\n", [("", 0, 7, [0, 2, 1], 1)]),
        ("x\ty\tclass\n1\t2\t1\n", [("", 0, 0, [0, 2, 1], 1)]),
        ('"x","y","z","class"\r\n"1","2","3","1"\r\n', [("", 0, 0, [3, 2, 1], 1)]),
        ("label,class\n7,0\n8,\n9,2\n\n,,\n"[:-3], [("", 0, 9, [-1, -1, -1], 2)]),
        ("label,class,image,timestep\n 7 , 1 ,b.tif,4\n", [("b.tif", 4, 7, [-1, -1, -1], 1)]),
        ("labelimage_oid,original_oid,class\n1,30,1\n2,40,1\n", [("", 0, i, [-1] * 3, 1) for i in (30, 40)]),
        ("labelimage_oid,original_oid,class\n1,3,1\n2,3,1\n", [("", 0, i, [-1] * 3, 1) for i in (1, 2)]),
        ("labelimage_oid,User Label\n1.0,0\n2.0,Label 1\n", [("", 0, 2, [-1, -1, -1], 1)]),
        (f"id,class\n{2**63 - 1},1\n", [("", 0, 2**63 - 1, [-1, -1, -1], 1)]),
        ("id,x,y,class\n7,,,1\n,3,4,1\n", [("", 0, 7, [-1] * 3, 1), ("", 0, 0, [0, 4, 3], 1)]),
        ("id,class\n7.0,2.0\n8,\n9,0.0\n", [("", 0, 7, [-1, -1, -1], 2)]),
        ("id,class\n7,0\n", []),
        ("id,class\n", []),
    ],
)
def test_tables_of_others_are_read(read, text, expected):
    assert rows(read(text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.csv: is empty"),
        ("id,name\n1,x\n", "columns are id, name; those of the class and of the object are needed"),
        ("class,x\n1,2\n", "columns are class, x; those"),
        ("id,class\n1,1\nseven,1\n", r"a.csv: line 3, column id: 'seven'; whole numbers from 1 to"),
        ("id,class\n1,1\n2.5,1\n", "line 3, column id: '2.5'"),
        ("id,class\n0,1\n", "line 2, column id: '0'; whole numbers from 1"),
        (f"id,class\n{2**63},1\n", f"line 2, column id: '{2**63}'"),
        ("id,class\n1e3,1\n", "line 2, column id: '1e3'"),
        ("id,class\n1,-1\n", "line 2, column class: '-1'"),
        ("id,class\n1,65536\n", "line 2, column class: '65536'; whole numbers from 1 to 65535"),
        ("id,timestep,class\n1,-1,1\n", "line 2, column timestep: '-1'"),
        ("x,y,class\n1,-2,1\n", "line 2, column y: '-2'"),
        ("x,y,class\n1,,1\n", "line 2: has x alone"),
        ("x,y,class\n,1,1\n", "line 2: has y alone"),
        ("id,x,y,class\n,,,1\n", "line 2: has neither the id of an object nor a position"),
        ("id,class\n1,1\n2\n", "line 3: has 1 columns, line 1 has 2"),
        ('id,class\n1,"a\nb"\n2,c,d\n', "line 4: has 3 columns, line 1 has 2"),
        ('id,class\n1,"a\n', "line 2: is no CSV"),
        ("id,class,ID\n1,1,1\n", "line 1: column 'ID' is there twice"),
        ("id,class\n1,2\n1,3\n", "line 3: object 1 has class 3, and 2 at line 2"),
        ("id,class\n1,a\n1,b\n", "line 3: object 1 has class 2, and 1 at line 2"),
        ("id,class,class_name\n1,1,a\n2,1,b\n", "line 3: class 1 has the name 'b', and 'a'"),
        ("id,class,class_name\n1,1,a\n2,2,a\n", r"class 2 \(a\): its value or name"),
    ],
)
def test_a_bad_table_is_named_by_line_and_column(read, text, message):
    with pytest.raises(GpusegError, match=message) as caught:
        read(text)
    assert "a.csv: " in str(caught.value)


def test_names_must_be_those_that_are_given(read):
    with pytest.raises(
        FileError, match=r"a.csv: line 3, column class: class 'c' is not among the names\n.*a, b"
    ):
        read("id,class\n1,a\n2,c\n", names=["a", "b"])
    with pytest.raises(FileError, match="line 2, column class: class 3 is not among the names"):
        read("id,class\n1,3\n", names=["a", "b"])
    with pytest.raises(LabelError, match="names 'ab'"):
        read("id,class\n1,3\n", names="ab")


def test_numbers_of_a_file_give_way_to_names_that_are_given(read):
    labels = read("id,class,class_name\n1,1,WBC\n2,2,RBC\n", names=["RBC", "WBC"])
    assert labels.value.tolist() == [2, 1]


def test_other_encodings_are_refused(read):
    with pytest.raises(FileError, match=r"is not UTF-8: byte 11 is 233\n.*save it as UTF-8"):
        read("id,class\n1,é\n".encode("latin-1"))


@pytest.mark.parametrize(
    ("column", "meant"), [("timestp", "timestep"), ("times", "timestep"), ("Image_", "image"), ("x_", None)]
)
def test_a_column_that_may_be_misspelt_is_told(read, caplog, column, meant):
    assert len(read(f"id,class,{column}\n4,1,2\n", ".csv")) == 1
    said = f"column {column.lower()!r} is not used; did you mean {meant!r}?"
    assert [r.getMessage() for r in caplog.records] == [said] * (meant is not None)
    caplog.clear()
    assert len(read(f"id,class,t,image,{column}\n4,1,0,a,2\n", ".csv")) == 1
    assert not caplog.records


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_missing_file_is_named(tmp_path, suffix):
    with pytest.raises(FileError, match=rf"none{suffix}: no such file$"):
        read_labels(tmp_path / f"none{suffix}")


@pytest.mark.parametrize("name", ["a" * 300 + ".csv", "file/a.csv", "file/a.json"])
def test_a_file_that_cannot_be_is_named(tmp_path, name):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match=rf"{name[-20:]}: "):
        read_labels(tmp_path / name)


def test_labels_cannot_be_written_below_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match=r"file/a\.csv: cannot be written"):
        write_labels(ObjectLabels.of(CELLS, {7: 1}), tmp_path / "file" / "a.csv")


@pytest.mark.parametrize("number", ["9" * 23 + ".5", "9" * 400 + ".5"])
def test_places_beyond_all_images_are_refused(read, number):
    with pytest.raises(FileError, match=r"line 2, column x: '9+"):
        read(f"x,y,class\n{number},3,1\n", ".csv")


def test_a_place_between_pixels_is_the_nearest_in_json_too(read):
    labels = read(json_of([{"class": 1, "position": [1.6, 2.2]}]), ".json")
    assert labels.position.tolist() == [[0, 2, 2]]


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(
        FileError, match=r"a.xml: no file of labels has the suffix '.xml'\n.*use .csv or .json"
    ):
        read_labels("a.xml")
    with pytest.raises(FileError, match="no file of labels has the suffix ''"):
        write_labels(ObjectLabels.of(CELLS, {}), tmp_path / "labels")


def json_of(labels, **more):
    return json.dumps({"format": "gpuseg object labels", "version": 1, "labels": labels} | more)


def test_a_label_may_have_a_box_in_place_of_a_position(read):
    boxes = [
        {"class": 1, "bounding_box": {"min": [0, 0], "max": [3, 1]}},
        {"class": 2, "bounding_box": {"min": [3, 1, 0], "max": [5, 3, 1]}, "timestep": 0},
        {"class": 2, "bounding_box": {"min": [0, 2], "max": [0, 2]}, "image": ""},
    ]
    labels = read(json_of(boxes), ".json")
    assert labels.position.tolist() == [[0, 0, 1], [0, 1, 3], [0, 2, 0]]
    labels = read(json_of([{"class": 2, "bounding_box": {"min": [3, 1], "max": [6, 4]}}]), ".json")
    assert labels.located(CELLS).id.tolist() == [9]


def test_a_list_may_do_without_classes_or_with_names(read):
    assert read(json_of([{"class": "b", "id": 3}, {"class": "a", "id": 4}]), ".json").value.tolist() == [2, 1]
    classes = [{"value": 3, "name": "a", "color": [1, 2, 3]}]
    labels = read(
        json_of([{"class": "a", "id": 4.0}, {"class": 0}, {"class": None}, {"class": ""}], classes=classes),
        ".json",
    )
    assert labels.value.tolist() == [3]
    assert labels.classes[2] == LabelClass(3, "a", (1, 2, 3))
    labels = read(json_of([{"class": 3, "id": 4}], classes=classes), ".json", names=["x", "a"])
    assert labels.value.tolist() == [2]
    assert [c.color for c in labels.classes] == [class_color(1), (1, 2, 3)]
    assert len(read('{"format": "gpuseg object labels", "version": 1, "labels": []}', ".json")) == 0


CLASS = [{"value": 1, "name": "a"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("[1, 2]", "is no file of labels: it has no format 'gpuseg object labels'"),
        ('{"format": "x"}', "is no file of labels"),
        (json_of([], version=2), r"version 2, 1 can be read\n.*update"),
        (json_of([], version=None), "version None"),
        (json_of({"a": 1}), r"labels: {'a': 1}; a list is needed"),
        (json_of([7]), r"labels\[0\]: 7; an object with names"),
        (json_of([{"class": 1, "id": 2}, {"class": 1}]), r"labels\[1\]: has neither the id"),
        (json_of([{"class": 1, "id": True}]), r"labels\[0\].id: 'True'; whole numbers"),
        (json_of([{"class": 1, "id": "7"}]), r"labels\[0\].id: "),
        (json_of([{"class": 1, "id": 0}]), r"labels\[0\].id: '0'"),
        (json_of([{"class": 1.5, "id": 1}]), r"labels\[0\].class: '1.5'"),
        (json_of([{"class": -1, "id": 1}]), r"labels\[0\].class: '-1'"),
        (
            json_of([{"class": "a", "id": 1}, {"class": 2, "id": 2}]),
            r"labels\[0\], column class: class 'a' has no",
        ),
        (json_of([{"class": 2, "id": 1}], classes=CLASS), r"labels\[0\].class: 2 is not among the classes"),
        (json_of([{"class": "b", "id": 1}], classes=CLASS), r"'b' is not among the classes\n.*1 \(a\)"),
        (json_of([], classes=CLASS * 2), "classes: a value is there twice"),
        (json_of([], classes=[{"name": "a"}]), r"classes\[0\]: has no value"),
        (json_of([], classes=[{"value": 1, "name": 3}]), r"classes\[0\].name: 3; a text"),
        (json_of([], classes=[{"value": 1, "color": [1, 2]}]), r"classes\[0\].color: \[1, 2\]; three"),
        (json_of([], classes=[{"value": 1, "color": [1, 2, 256]}]), r"classes\[0\].color: '256'"),
        (json_of([{"class": 1, "position": [1]}]), r"labels\[0\].position: \[1\]; a list x, y"),
        (json_of([{"class": 1, "position": [1, -2]}]), r"labels\[0\].position: '-2'"),
        (json_of([{"class": 1, "position": [1, float("nan")]}]), r"labels\[0\].position: 'nan'"),
        (json_of([{"class": 1, "bounding_box": [1]}]), r"labels\[0\].bounding_box: \[1\]; an object"),
        (json_of([{"class": 1, "bounding_box": {"min": [1, 1]}}]), r"bounding_box.max: None; a list"),
        (
            json_of([{"class": 1, "bounding_box": {"min": [5, 1], "max": [2, 2]}}]),
            r"bounding_box: begins at \[5, 1\] and ends at \[2, 2\]",
        ),
        ("[" * 100000, "cannot be read"),
        ('{"format": "gpuseg object labels", "version": 1, "lables": []}', "has no labels: there are format"),
        (json_of([])[:-1] + ', "labels": []}', "'labels' is there twice"),
        (json_of([{"class": 1, "id": 1}]).replace('"id"', '"class": 2, "id"'), "'class' is there twice"),
        (json_of([{"id": 1}]), r"labels\[0\]: has no class"),
        (json_of([{"clas": 1, "id": 1}]), r"labels\[0\]: has an unknown 'clas'\n.*timestep"),
        (json_of([{"class": 1, "id": 1, "timestp": 1}]), r"labels\[0\]: has an unknown 'timestp'"),
        (json_of([{"class": False, "id": 1}]), r"labels\[0\].class: 'False'"),
        (json_of([{"class": 1, "id": 10**4000}]), r"labels\[0\].id: '1(0){39}\.\.\.'; whole numbers"),
    ],
)
def test_a_bad_list_is_named_by_item(read, text, message):
    with pytest.raises(FileError, match=message) as caught:
        read(text, ".json")
    assert "a.json: " in str(caught.value)


def test_lines_of_json_are_one_label_each(tmp_path):
    write_labels(ObjectLabels.of(CELLS, {7: 1, 9: 2}, names=["ä", "b"]), tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert ' {"value": 1, "name": "ä", "color": [255, 225, 25]},\n' in text
    assert ' {"image": "", "timestep": 0, "class": 2, "id": 9, "position": [4, 2, 0]}\n' in text
    assert len(parse_json(text)[0]) == 2


def test_a_measured_table_with_labels_reads(tmp_path):
    table = gpuseg.measure(CELLS, features="all")
    table["User Label"] = ["long", "0", "round"]
    table.to_csv(tmp_path / "a.csv", index=False)
    labels = read_labels(tmp_path / "a.csv")
    assert labels.id.tolist() == [3, 9]
    assert labels.located(CELLS).resolve(CELLS).classes.tolist() == [0, 1, 0, 2]


def test_the_table_that_ilastik_exports_reads(shared):
    folder = shared / "data/ilp/ilastik-tests/reference/objectClassificationGui"
    labels = read_labels(folder / "table-test_data_table.csv")
    text = (folder / "table-test_data_table.csv").read_text().splitlines()[1:]
    expected = {int(r.split(",")[2]): r.split(",")[3] for r in text if r.split(",")[3] != "0"}
    found = zip(labels.id.tolist(), labels.value.tolist(), strict=True)
    assert {i: labels.names[v] for i, v in found} == expected
    assert len(expected) >= 2


def test_classes_are_numbered_over_all_files(tmp_path):
    (tmp_path / "a.csv").write_text("id,class\n1,long\n2,round\n")
    (tmp_path / "b.csv").write_text("id,class\n1,round\n")
    labels = read_all_labels({"a.tif": tmp_path / "a.csv", "b.tif": tmp_path / "b.csv"})
    assert labels.image == ("a.tif", "a.tif", "b.tif")
    assert labels.value.tolist() == [1, 2, 2]
    (tmp_path / "b.csv").write_text("id,class\n1,7\n")
    with pytest.raises(
        FileError, match=rf"{re.escape(str(tmp_path))}/a.csv: line 2, column class: class 'long' has no"
    ):
        read_all_labels({"a.tif": tmp_path / "a.csv", "b.tif": tmp_path / "b.csv"})
    (tmp_path / "b.csv").write_text("id,class,image\n1,7,x\n1,7,y\n")
    with pytest.raises(FileError, match=r"b.csv: has labels of 2 images, x, y"):
        read_all_labels({"b.tif": tmp_path / "b.csv"})


def test_colours_of_several_files_are_kept(tmp_path):
    classes = tuple(LabelClass(v, n, (v, 2, 3)) for v, n in ((1, "a"), (2, "b")))
    for name, value in (("x", 1), ("y", 2)):
        labels = ObjectLabels((name,), [0], [4], [[0, 0, 0]], [value], classes)
        write_labels(labels, tmp_path / f"{name}.json")
    found = read_all_labels({name: tmp_path / f"{name}.json" for name in "xy"})
    assert found.classes == classes
    assert found.value.tolist() == [1, 2]


@pytest.mark.parametrize("name", ["a.csv", "a.json"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, name):
    (tmp_path / name).write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(
            ResourceError, match=rf"{name}: cannot be written: No space left on device; it takes"
        ):
            write_labels(ObjectLabels.of(CELLS, {7: 1}), tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"


def test_what_does_not_read_back_is_no_result(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda self: b"")
    with pytest.raises(ResourceError, match="does not read back"):
        write_labels(ObjectLabels.of(CELLS, {7: 1}), tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_no_text_of_files_is_refused(tmp_path):
    labels = ObjectLabels.of(CELLS, {7: 1}, image="cells\udcff.tif")
    for suffix in (".csv", ".json"):
        with pytest.raises(LabelError, match="cannot be written as UTF-8"):
            write_labels(labels, tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())
