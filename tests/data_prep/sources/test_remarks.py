import pytest

from data_prep.sources.remarks import remarks


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a/1.png", "a/1_mask.png", "a/1_mask_1.png"], "2 of 3 pictures are named like masks of others, such as "
         "a/1_mask.png of a/1.png. If they are masks, leave them out: python -m data_prep has --exclude='*_mask*'"),
        (["images/x.jpg", "other/X-Seg.png"], "such as other/X-Seg.png of images/x.jpg"),
        (["a/1.jpg", "a/1.png", "b/1.jpg"], "have the same name but for the suffix (1 such names), such as "
         "a/1.jpg and a/1.png"),
    ],
)  # fmt: skip
def test_masks_and_copies_beside_pictures_are_named(names, words):
    (remark,) = remarks(names, [None] * len(names))
    assert remark.startswith("Warning: ")
    assert words in remark


def test_names_alone_do_not_make_a_mask_or_a_copy():
    # A set of masks only, pictures without a suffix, and the numbers of DICOM files.
    assert remarks(["1_mask.png", "2_mask.png", "unmasked.png", "1.2.840.1", "1.2.840.2", "x/.."], [None] * 6) == ()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["cell", "nan", "nan", None], "there is a class 'nan' (pictures: 2)"),
        (["red cell", "Red cell", "redcell"],
         "the classes 'Red cell' (1) and 'red cell' (1) and 'redcell' (1) differ only in"),
        (["images", "Masks"], "the folder 'Masks' is read as a class (pictures: 1)"),
    ],
)  # fmt: skip
def test_classes_that_look_mistaken_are_named(labels, words):
    (remark,) = remarks([f"{number}.png" for number in range(len(labels))], labels)
    assert words in remark


def test_ordinary_classes_are_not_remarked_on():
    assert remarks(["a.png", "b.png", "c.png"], ["none", "normal", "abnormal"]) == ()
