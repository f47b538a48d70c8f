"""How many examples a CPU computes at a time."""

CACHED_BYTES = 2**20


def cpu_tile(vote_bytes: int) -> int:
    """How many examples to compute at a time on a CPU: 4, or more while their votes stay within 1 MiB.

    The rule is ours, measured with `dense_votes` and `dynamic_routing` (3 iterations), forward and backward, float32,
    batch 64, on 2 cores of an AMD EPYC (AVX-512, 1 MiB of L2 cache each), in milliseconds (least of 3 to 8 runs on a
    machine shared with others, so differences below a fifth say little):

    | in x dim -> out x dim | votes of one | tile 1 | 2    | 3   | 4   | 6   | 8    | 16  | 32  | 64  |
    |-----------------------|--------------|--------|------|-----|-----|-----|------|-----|-----|-----|
    | 18432x8 -> 3x16       | 3.38 MiB     | 1044   | 1073 |     | 776 |     | 1138 |     |     |     |
    | 1152x8 -> 10x16       | 0.70 MiB     | 124    | 137  | 196 | 108 | 169 | 156  | 186 | 202 | 259 |
    | 576x8 -> 16x16        | 0.56 MiB     | 76     | 82   | 113 | 91  | 93  | 79   | 95  | 114 | 141 |
    | 1024x8 -> 3x16        | 0.19 MiB     | 28     | 41   | 49  | 30  | 55  | 51   | 49  | 52  | 65  |
    | 256x8 -> 4x16         | 64 KiB       | 9.0    | 10.7 | 13.5| 11.2| 11.6| 9.6  | 8.4 | 8.3 | 7.9 |
    | 64x8 -> 3x16          | 12 KiB       | 2.0    | 2.6  | 3.7 | 3.1 | 3.8 | 2.7  | 2.0 | 1.8 | 1.4 |

    Large votes are fastest, or near it, four examples at a time whatever their bytes (a shape that the matrix products
    like: 3 and 6 are slower than 4); small votes gain from larger tiles, which loop less.

    Args:
        vote_bytes: bytes of the votes of one example.

    Returns:
        A multiple of 4.
    """
    return 4 * max(1, CACHED_BYTES // (4 * vote_bytes))
