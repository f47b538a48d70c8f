import pytest

from jaxcaps.data.decoding import BadImage
from jaxcaps.data.items import Item
from tests.data.sources.sample import Sample, open_spec, paint, refused


def write(folder, pictures):
    lines = ["path,label,group,split"]
    for number, picture in enumerate(pictures):
        (folder / f"{number}.png").write_bytes(picture.encoded())
        lines.append(",".join((f"{number}.png", picture.label or "", picture.group or "", picture.split or "")))
    (folder / "labels.csv").write_text("\n".join(lines))
    return f"csv:{folder}/labels.csv"


SAMPLE = Sample(write, frozenset({"grey", "16-bit", "alpha", "palette", "damaged", "unlabelled", "groups", "splits"}))


def table(tmp_path, text, encoding="utf-8"):
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    return f"csv:{tmp_path}/labels.csv"


def test_a_table_may_order_its_columns_freely_and_have_others(tmp_path):
    spec = table(
        tmp_path,
        "\ufeffsplit, age,label ,path,group\r\n"
        'training,70,adenoma,"a, b.png",p1\r\n'
        "Val,,,c.png,\r\n"
        "testing,1,polyp,sub/d.png,p2\r\n",
    )
    assert open_spec(spec).items == (
        Item("a, b.png", "adenoma", "p1", "train"),
        Item("c.png", None, None, "validation"),
        Item("sub/d.png", "polyp", "p2", "test"),
    )


def test_paths_are_relative_to_the_table(tmp_path, monkeypatch):
    paint(tmp_path / "images" / "0.png", 7)
    spec = table(tmp_path, f"path\nimages/0.png\n{tmp_path}/images/1.png\n")
    monkeypatch.chdir("/")
    source = open_spec(spec)
    assert source.read(0)[0, 0, 0] == 7
    # An absolute path gets a name as if it were relative.
    assert source.items[1] == Item("images/1.png", None, None, None)
    with pytest.raises(BadImage, match="no such file"):
        source.read(1)


def test_a_folder_in_place_of_an_image_is_a_bad_image(tmp_path):
    source = open_spec(table(tmp_path, "path\n.\n"))
    with pytest.raises(BadImage, match="Is a directory"):
        source.read(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no image"),
        ("path,label\n", "lists no image"),
        ("file,label\nx.png,a\n", "no column 'path' in the first line; found 'file', 'label'"),
        ("path|label\nx.png|a\n", "no column 'path' in the first line; found 'path|label'"),
        ("path,label,label\nx.png,a,b\n", "column 'label' occurs twice"),
        ("path,label\n,a\n", "line 2: the path is empty"),
        ("path,label\nx.png,a\n./x.png,b\n", "line 3: ./x.png is already listed in line 2"),
        ("path,label\nx, y.png,a\n", "line 2: more fields than the 2 columns in line 1"),
        ("path,split\nx.png,trian\n", "line 2: unknown split 'trian'; expected train, validation or test"),
    ],
)
def test_a_faulty_table_is_refused_by_line(tmp_path, text, message):
    refused(table(tmp_path, text), message)


def test_a_table_that_is_not_text_is_refused(tmp_path):
    refused(table(tmp_path, "path\nk\u00e4se.png\n", "latin-1"), "not UTF-8 text")


@pytest.mark.parametrize(("column", "meant"), [("Splits", "split"), ("labels", "label"), ("groups", "group")])
def test_a_misspelt_column_is_named(tmp_path, column, meant):
    (tmp_path / "labels.csv").write_text(f"path,{column}\na.png,x\n")
    refused(f"csv:{tmp_path}/labels.csv", f"unknown column '{column}'; did you mean '{meant}'")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_semicolons_tabs_and_capitals_are_read(tmp_path, separator):
    rows = ("Path", "LABEL", "Group"), ("a, b.png", "x", "p1")
    spec = table(tmp_path, "\n".join(map(separator.join, rows)))
    assert open_spec(spec).items == (Item("a, b.png", "x", "p1", None),)


@pytest.mark.parametrize("column", ["patient_id", "Case", "Subject No.", "lesions"])
def test_a_column_that_names_patients_is_pointed_out(tmp_path, column):
    (note,) = open_spec(table(tmp_path, f"path,{column}\na.png,7\nb.png,7\n")).notes
    assert f"the column {column!r} is ignored" in note
    assert "Did you mean 'group'?" in note


@pytest.mark.parametrize(
    "text",
    ["path,patient,group\na.png,7,g\nb.png,7,g\n", "path,patient\na.png,1\nb.png,2\n", "path,age\na.png,7\nb.png,7\n"],
)
def test_other_columns_are_ignored_in_silence(tmp_path, text):
    assert open_spec(table(tmp_path, text)).notes == ()
