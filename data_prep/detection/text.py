"""Burnt-in text: bright letters of one height in lines that begin at the same column.

Highlights are as small and as bright as letters, but they do not stand in lines. So letters are recognised by their
neighbours: four or more with the same top and bottom are a line. Fewer are accepted below, above or beside such a line,
or if they begin on the border, where nothing else can be bright.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from data_prep.detection.letters import find_letters

ENOUGH = 4
"""Letters that make a line on their own."""

REFERENCE_SIDE = 640
"""Shorter side to which larger pictures are reduced. Tolerances were chosen at 450-560 pixels."""

WORD_GAP, COLUMN_GAP, ROW_GAP = 1.5, 5.0, 6.5
"""In heights of letters: between letters of a word, between words of a line, between lines of a block."""

MANY_THRESHOLDS = 10
"""A short line is certain if so many combinations of threshold and width find it."""

ROWS_BEYOND = 3
"""How many rows away the rhythm of two lines is trusted."""

MARGIN = 2
"""Pixels around a line, for the blurred edges of letters."""


class Line(NamedTuple):
    """Letters side by side, in half-open pixels."""

    top: int
    bottom: int
    left: int
    right: int
    letters: int
    """Of the full height of the line, the number."""

    @property
    def height(self) -> int:
        return self.bottom - self.top


def find_text(image: np.ndarray, field: np.ndarray | None = None) -> np.ndarray:
    """Finds lines of text, as rectangles.

    Args:
        image: uint8 RGB [height, width, 3].
        field: bool [height, width], the field of view. Outside it two letters are enough for a line.

    Returns:
        bool [height, width].
    """
    height, width = image.shape[:2]
    scale = REFERENCE_SIDE / min(height, width)
    if scale < 1:
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        # A pixel of the small field lies outside only if all the pixels that it stands for do.
        shares = None if field is None else cv2.resize(field.astype(np.float32), small, interpolation=cv2.INTER_AREA)
        reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        found = find_text(reduced, None if shares is None else shares > 0)
        return cv2.resize(found.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    found = np.zeros((height, width), bool)
    levels = find_letters(image)
    candidates = [line for letters in levels for line in _candidates(letters)]
    for line in _block_lines(candidates, np.unique(np.concatenate(levels), axis=0), field):
        rows = slice(max(line.top - MARGIN, 0), line.bottom + MARGIN)
        # A colon or full stop at the end is too small to be found.
        found[rows, max(line.left - MARGIN, 0) : line.right + MARGIN + line.height // 2] = True
    return found


def _candidates(letters: np.ndarray) -> Iterator[Line]:
    """Rows of two letters and more of one threshold whose tops and bottoms agree to a pixel."""
    for top, bottom in np.unique(letters[:, :2], axis=0):
        alike = (abs(letters[:, 0] - top) <= 1) & (abs(letters[:, 1] - bottom) <= 1)
        if np.count_nonzero(alike) < 2:
            continue
        for word in _words(letters[alike], WORD_GAP * (bottom - top)):
            count = _side_by_side(word)
            if count >= 2:
                yield Line(int(top), int(bottom), int(word[:, 2].min()), int(word[:, 3].max()), count)


def _words(letters: np.ndarray, gap: float) -> list[np.ndarray]:
    """The letters of one row, divided where the next begins more than `gap` pixels after the end of all before."""
    if not len(letters):
        return []
    ordered = letters[np.argsort(letters[:, 2], kind="stable")]
    ends = np.maximum.accumulate(ordered[:, 3])
    return np.split(ordered, 1 + np.flatnonzero(ordered[1:, 2] - ends[:-1] > gap))


def _side_by_side(letters: np.ndarray) -> int:
    """How many letters do not overlap. Several thresholds find the same letter several times."""
    count, end = 0, -1
    for _, _, left, right in letters[np.argsort(letters[:, 3], kind="stable")]:
        if left >= end:
            count, end = count + 1, right
    return count


def _block_lines(candidates: list[Line], letters: np.ndarray, field: np.ndarray | None) -> list[Line]:
    """The lines of text: the certain ones, and those in a block with them."""
    lines = [line for line in candidates if line.letters >= ENOUGH or _on_border(line, field)]
    lines += _persistent(candidates)
    lines += _regular_rows([line for line in candidates if line.letters == ENOUGH - 1])
    lines = _merged(lines)
    waiting = [line for line in candidates if line.letters < ENOUGH] + list(_mixed_words(letters, lines))
    waiting = sorted(set(waiting))
    grew = True
    while grew:
        joining = [line for line in waiting if _in_row_or_column(line, lines) or _next_in_rhythm(line, lines)]
        waiting = [line for line in waiting if line not in joining]
        lines = _merged(lines + joining)
        grew = bool(joining)
    lines = _merged(lines + _faint_rows(lines, letters))
    return [_to_the_margin(_with_words_beside(line, letters), lines) for line in lines]


def _merged(lines: list[Line]) -> list[Line]:
    """Merges lines that were found several times: the rows of the one with most letters, the columns of all."""
    merged: list[Line] = []
    for line in sorted(lines, key=lambda line: -line.letters):
        for place, other in enumerate(merged):
            if _same_rows(line, other) and _apart(line, other)[1] <= 0:
                merged[place] = other._replace(left=min(line.left, other.left), right=max(line.right, other.right))
                break
        else:
            merged.append(line)
    return merged


def _faint_rows(lines: list[Line], letters: np.ndarray) -> list[Line]:
    """Rows in the rhythm of a block, if a single letter of the right size is found at its margin."""
    found = []
    blocks = {
        (upper.bottom, lower.bottom - upper.bottom, upper.height, min(upper.left, lower.left))
        for upper in lines
        for lower in lines
        if 1.2 * upper.height <= lower.bottom - upper.bottom <= 2.2 * upper.height
        and _of_one_size(upper, lower)
        and abs(upper.left - lower.left) <= 3
    }
    for bottom, pitch, height, margin in sorted(blocks):
        steps = np.arange(-ROWS_BEYOND, ROWS_BEYOND + 1) * pitch + bottom
        fits = abs(letters[:, 1:2] - steps).min(axis=1) <= 2
        fits &= abs(letters[:, 1] - letters[:, 0] - height) <= 2
        fits &= (letters[:, 2] >= margin - 2) & (letters[:, 2] <= margin + 2 * height)
        found += [
            Line(int(top), int(foot), margin, max(int(right), margin + 2 * height), 1)
            for top, foot, _, right in letters[fits]
        ]
    return found


def _persistent(candidates: list[Line]) -> list[Line]:
    """Short lines that many thresholds find: their edges are sharper than anything in a scene."""
    lines = _merged(candidates)
    return [
        line
        for line in lines
        if sum(_same_rows(one, line) and one.left >= line.left and one.right <= line.right for one in candidates)
        >= MANY_THRESHOLDS
    ]


def _same_rows(line: Line, other: Line) -> bool:
    return abs(line.top - other.top) <= 2 and abs(line.bottom - other.bottom) <= 2


def _apart(line: Line, other: Line) -> tuple[int, int]:
    """Rows and columns between two lines; 0 or less if they overlap."""
    rows = max(line.top - other.bottom, other.top - line.bottom)
    return rows, max(line.left - other.right, other.left - line.right)


def _regular_rows(candidates: list[Line]) -> list[Line]:
    """Short lines of one height, one below the other, with at most one row missing."""
    return [
        line
        for line in candidates
        if any(
            abs(line.height - other.height) <= 1
            and 0.2 * line.height <= _apart(line, other)[0] <= 1.8 * line.height
            and _apart(line, other)[1] <= COLUMN_GAP * line.height
            for other in candidates
        )
    ]


def _on_border(line: Line, field: np.ndarray | None) -> bool:
    if field is None:
        return False
    first = field[line.top : line.bottom, line.left : line.left + line.height // 2]
    return not first.any()


def _mixed_words(letters: np.ndarray, lines: list[Line]) -> Iterator[Line]:
    """Words of one tall letter and several low ones ("Name:") that begin where certain lines begin."""
    for height in {line.height for line in lines}:
        lefts = np.unique([line.left for line in lines if abs(line.height - height) <= 2])
        tall = abs(letters[:, 1] - letters[:, 0] - height) <= 1
        aligned = (abs(letters[:, 2:3] - lefts).min(axis=1) <= 2) & tall
        for top, bottom, left, _ in letters[aligned]:
            same_base = (abs(letters[:, 1] - bottom) <= 1) & (letters[:, 0] >= top - 1) & (letters[:, 2] >= left)
            word = _words(letters[same_base], WORD_GAP * height)[0]
            if _side_by_side(word) >= 3:
                yield Line(int(top), int(bottom), int(left), int(word[:, 3].max()), 1)


def _in_row_or_column(line: Line, lines: list[Line]) -> bool:
    """Whether the line continues one of `lines`, or begins at the same column a few rows away."""
    for other in lines:
        rows_apart, columns_apart = _apart(line, other)
        same_row = abs(line.bottom - other.bottom) <= 2 and columns_apart <= COLUMN_GAP * other.height
        same_column = 0 < rows_apart <= ROW_GAP * other.height and abs(line.left - other.left) <= 2
        if _of_one_size(line, other) and (same_row or same_column):
            return True
    return False


def _next_in_rhythm(line: Line, lines: list[Line]) -> bool:
    """Whether the line is in the rhythm of two others: as far from one as that is from the other."""
    for other in lines:
        step = line.bottom - other.bottom
        near = line.left - other.left <= COLUMN_GAP * line.height and other.left - line.right <= 0
        if not (line.height <= abs(step) <= ROW_GAP * line.height and near and _of_one_size(line, other)):
            continue
        for third in lines:
            pitch = other.bottom - third.bottom
            steps = round(step / pitch) if pitch else 0
            if 1 <= steps <= ROWS_BEYOND and abs(step - steps * pitch) <= 2 and abs(other.left - third.left) <= 3:
                return True
    return False


def _of_one_size(line: Line, other: Line) -> bool:
    return abs(line.height - other.height) <= max(2, 0.2 * other.height)


def _with_words_beside(line: Line, letters: np.ndarray) -> Line:
    """The line, extended to the right over the words on it, of any height above half a letter."""
    low = letters[:, 1] - letters[:, 0] >= 0.5 * line.height
    within = (letters[:, 0] >= line.top - 2) & (abs(letters[:, 1] - line.bottom) <= 2) & low
    beside = letters[within & (letters[:, 2] >= line.right)]
    for word in _words(beside, WORD_GAP * line.height):
        gap = word[:, 2].min() - line.right
        if gap <= (COLUMN_GAP if _side_by_side(word) >= 3 else WORD_GAP) * line.height:
            line = line._replace(right=int(word[:, 3].max()))
    return line


def _to_the_margin(line: Line, lines: list[Line]) -> Line:
    """The line, begun where its neighbours begin: its first letters may be too faint to be found."""
    for other in lines:
        near = _apart(line, other)[0] <= ROW_GAP * other.height
        overlaps = line.left < other.right and _of_one_size(line, other)
        if near and overlaps and 0 < line.left - other.left <= COLUMN_GAP * line.height:
            line = line._replace(left=other.left)
    return line
