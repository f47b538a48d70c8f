import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_prep.images.duplicates import clusters, difference_hash


def brute_force(hashes, distance):
    """Flood fill over a table of all distances, bit by bit."""
    count = len(hashes)
    near = [[sum(a != b for a, b in zip(hashes[i], hashes[j], strict=True)) <= distance for j in range(count)]
            for i in range(count)]  # fmt: skip
    cluster = [-1] * count
    for start in range(count):
        if cluster[start] >= 0:
            continue
        cluster[start], stack = start, [start]
        while stack:
            here = stack.pop()
            for other in range(count):
                if near[here][other] and cluster[other] < 0:
                    cluster[other] = start
                    stack.append(other)
    return np.array(cluster)


def same_partition(first, second):
    np.testing.assert_array_equal(first[:, None] == first, second[:, None] == second)


@given(st.integers(0, 2**32 - 1), st.integers(1, 24), st.integers(0, 6))
def test_clusters_equal_a_brute_force_search(seed, count, distance):
    rng = np.random.default_rng(seed)
    # Few bits and copies with some flipped, so that chains of near-duplicates come up.
    hashes = rng.random((3, 20)) < 0.5
    hashes = hashes[rng.integers(0, 3, count)] ^ (rng.random((count, 20)) < 0.15)
    same_partition(clusters(hashes, distance), brute_force(hashes.tolist(), distance))


def test_clusters_reach_across_the_chunks_of_a_large_set(monkeypatch):
    monkeypatch.setattr("data_prep.images.duplicates.CHUNK", 4)
    rng = np.random.default_rng(0)
    hashes = rng.random((5, 30)) < 0.5
    hashes = hashes[rng.integers(0, 5, 23)] ^ (rng.random((23, 30)) < 0.08)
    same_partition(clusters(hashes, 4), brute_force(hashes.tolist(), 4))


def test_many_near_duplicates_need_no_table_of_all_pairs(monkeypatch):
    monkeypatch.setattr("data_prep.images.duplicates.DISTANCES", 1000)
    assert clusters(np.zeros((300, 256), bool)).max() == 0
    apart = np.repeat(np.eye(3, 256, dtype=bool) ^ np.tri(256, 256, dtype=bool)[[40, 120, 200]], 100, axis=0)
    np.testing.assert_array_equal(clusters(apart), np.repeat([0, 1, 2], 100))


def test_exactly_the_largest_distance_still_joins():
    hashes = np.zeros((3, 256), bool)
    hashes[1, :12] = True
    hashes[2, 100:113] = True
    found = clusters(hashes)
    assert found[0] == found[1] != found[2]


def test_near_duplicates_chain():
    hashes = np.zeros((3, 256), bool)
    hashes[1, :12] = True
    hashes[2, :24] = True
    assert len(set(clusters(hashes).tolist())) == 1


def test_the_hash_says_where_brightness_rises_to_the_right():
    ramp = np.broadcast_to(np.arange(17, dtype=np.uint8)[None, :, None] * 10, (16, 17, 3))
    assert difference_hash(np.ascontiguousarray(ramp)).all()
    assert not difference_hash(np.ascontiguousarray(ramp[:, ::-1])).any()
    assert difference_hash(np.ascontiguousarray(ramp)).shape == (256,)


def test_the_hash_hardly_changes_with_size_and_brightness():
    import cv2

    rng = np.random.default_rng(1)
    picture = cv2.resize(rng.integers(0, 200, (12, 12, 3), np.uint8), (120, 120), interpolation=cv2.INTER_CUBIC)
    brighter = cv2.resize(picture, (90, 90), interpolation=cv2.INTER_AREA) + np.uint8(20)
    assert np.sum(difference_hash(picture) != difference_hash(brighter)) <= 12
    other = cv2.resize(rng.integers(0, 200, (12, 12, 3), np.uint8), (120, 120), interpolation=cv2.INTER_CUBIC)
    assert np.sum(difference_hash(picture) != difference_hash(other)) > 60
