"""A miniature of the PICCOLO release as it lies on disk, with everything odd that copies of it have.

lesion  videos     diagnosis                 frames
001     VP1        Adenoma                   train 2 (WL, NBI)
002     VP2        Hyperplasia               train 2; shares VP2 with 003
003     VP2, VP3   Adenoma                   train 2
004     VP4        Adenocarcinoma            train 2
004     VP5        Adenocarcinoma            validation 1: the official split overlaps in lesion 004
005     VP6        adenoma tubular           validation 2
006     VP7        (blank)                   train 1
007     VP8        Adenoma and Hyperplasia   train 1: a label conflict
008     VP9        Hyperplasia               test 2
009     VP11       Adenoma                   none
010     VP10       Adenocarcinoma            test 2; VP1 is a prefix of VP10
011     -          not in the table          test 1
012     VP12       Hyperplasia               validation 1
013     VP13       Adenocarcinoma            validation 1
014     VP14       Adenoma                   test 1; the table says train
"""

from pathlib import Path

import cv2
import numpy as np

from data_prep import synthetic

FRAMES = {
    "train": [
        *("001_VP1_frame0001", "001_VP1_frame0002", "002_VP2_frame0003", "002_VP2_frame0004", "003_VP2_frame0005"),
        *("003_VP3_frame0006", "004_VP4_frame0007", "004_VP4_frame0008", "006_VP7_frame0009", "007_VP8_frame0010"),
    ],
    "validation": [
        *("004_VP5_frame0011", "005_VP6_frame0012", "005_VP6_frame0013", "012_VP12_frame0014", "013_VP13_frame0015"),
    ],
    "test": [
        *("008_VP9_frame0016", "008_VP9_frame0017", "010_VP10_frame0018", "010_VP10_frame0019", "011_VP15_frame0020"),
        "014_VP14_frame0021",
    ],
}
# The field of view in each frame: top, left, bottom, right.
BOX = (8, 30, 88, 126)
HEIGHT, WIDTH = 96, 140
TABLE = "clinical metadata_release0.1.csv"
# The dash and the letter are single bytes of Windows-1252; a header goes on over a line's end.
ROWS = (
    'CODE - LESION;CODE - VIDEO;"LITERAL DIAGNOSIS\n(Pathologist)";NICE;PARIS CLASSIFICATION;POLYP SIZE (mm);Set;Notes',
    "001;VP1;Adenoma;2;0-Is;5;Train;",
    "2;VP2;Hyperplasia;1;0-IIa;3;Train;",
    "003;VP2, VP3;Adenoma;2;0-Is;8;Train;caf\u00e9 \u2013 size unsure",
    "004;VP4;Adenocarcinoma;3;0-Ip;30;Train;",
    "004;VP5;Adenocarcinoma;3;0-Ip;30;Train;second examination",
    "005;VP6;adenoma tubular;2;0-Is;6;Validation;",
    "006;VP7;;;;4;Train;no biopsy",
    "007;VP8;Adenoma;2;0-Is;5;Train;",
    "007;VP8;Hyperplasia;1;0-Is;5;Train;",
    "008;VP9;Hyperplasia;1;0-IIa;2;Test;",
    "009;VP11;Adenoma;2;0-Is;9;Test;",
    "010;VP10;\u00a0Adenocarcinoma ;3;0-Is;22;Test;",
    "012;VP12;Hyperplasia;1;0-IIa;2;Validation;",
    "013;VP13;Adenocarcinoma;3;0-Is;25;Validation;",
    "014;VP14;Adenoma;2;0-Is;7;Train;",
    ";;;;;;;",
)


def write_release(folder: Path) -> Path:
    """Writes the release into `folder`, nested twice, beside a copy that was cut short; returns `folder`."""
    release = folder / "piccolo dataset-release0.1" / "piccolo dataset-release0.1"
    number = 0
    for split, names in FRAMES.items():
        for kind in ("polyps", "masks", "void"):
            (release / split / kind).mkdir(parents=True)
        for name in names:
            cv2.imwrite(str(release / split / "polyps" / f"{name}.png"), frame(number))
            void = np.full((HEIGHT, WIDTH), 255, np.uint8)
            void[BOX[0] : BOX[2], BOX[1] : BOX[3]] = 0
            cv2.imwrite(str(release / split / "void" / f"{name}_Void.tif"), void)
            cv2.imwrite(str(release / split / "masks" / f"{name}_Corrected.tif"), 255 - void)
            number += 1
    (release / TABLE).write_bytes("\r\n".join(ROWS).encode("cp1252") + b"\r\n")
    _make_odd(folder, release)
    return folder


def frame(number: int) -> np.ndarray:
    """BGR: a drawn scene in a black border; white light for even numbers, narrow band for odd ones."""
    light = ("white-light", "narrow-band")[number % 2]
    lights = [index for index, row in enumerate(synthetic.describe(90, 0)) if row.modality == light]
    scene = synthetic.draw(lights[number], count=90, seed=0, size=96).image
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[BOX[0] : BOX[2], BOX[1] : BOX[3]] = scene[: BOX[2] - BOX[0], : BOX[3] - BOX[1], ::-1]
    return picture


def _make_odd(folder: Path, release: Path) -> None:
    # A second copy of a frame, cut short as by an unfinished download.
    copy = folder / "again" / "train" / "polyps"
    copy.mkdir(parents=True)
    whole = (release / "train" / "polyps" / "001_VP1_frame0001.png").read_bytes()
    (copy / "001_VP1_frame0001.png").write_bytes(whole[:2000])
    # Files that are missing, or belong to nothing.
    (release / "train" / "void" / "002_VP2_frame0003_Void.tif").unlink()
    (release / "train" / "masks" / "003_VP2_frame0005_Corrected.tif").unlink()
    (release / "test" / "polyps" / "008_VP9_frame0017.png").unlink()
    # A void mask of another size, and one of 16 bits whose border is 1.
    cv2.imwrite(str(release / "train" / "void" / "002_VP2_frame0004_Void.tif"), np.zeros((10, 10), np.uint8))
    deep = np.ones((HEIGHT, WIDTH), np.uint16)
    deep[BOX[0] : BOX[2], BOX[1] : BOX[3]] = 0
    cv2.imwrite(str(release / "train" / "void" / "003_VP3_frame0006_Void.tif"), deep)
    # What systems leave behind.
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._001_VP1_frame0001.png").write_bytes(b"\0")
    (release / "train" / "polyps" / "._001_VP1_frame0001.png").write_bytes(b"\0")
    (release / "train" / "polyps" / "Thumbs.db").write_bytes(b"\0")
    (release / "train" / "polyps" / "preview.png").write_bytes(whole)
