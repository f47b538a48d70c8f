"""Independent float64 forms of the algorithms: plain NumPy loops, written from the papers, sharing no code."""

import numpy as np


def squash(s):
    squared = sum(float(x) ** 2 for x in s)
    if squared == 0:
        return np.zeros(len(s))
    return squared / (1 + squared) * np.asarray(s, np.float64) / np.sqrt(squared)


def dense_votes(weights, poses):
    weights, poses = np.asarray(weights, np.float64), np.asarray(poses, np.float64)
    in_capsules, out_capsules, dim_out, _ = weights.shape
    votes = np.zeros((in_capsules, out_capsules, dim_out))
    for i in range(in_capsules):
        for j in range(out_capsules):
            votes[i, j] = weights[i, j] @ poses[i]
    return votes


def dynamic_routing(votes, iterations, in_activations=None):
    """Sabour et al. 2017, procedure 1, with explicit logits."""
    votes = np.asarray(votes, np.float64)
    in_capsules, out_capsules, dim = votes.shape
    scale = np.ones(in_capsules) if in_activations is None else np.asarray(in_activations, np.float64)
    logits = np.zeros((in_capsules, out_capsules))
    for iteration in range(iterations):
        couplings = np.zeros_like(logits)
        for i in range(in_capsules):
            exponentials = np.exp(logits[i] - logits[i].max())
            couplings[i] = exponentials / exponentials.sum()
        poses = np.zeros((out_capsules, dim))
        for j in range(out_capsules):
            poses[j] = squash(sum(scale[i] * couplings[i, j] * votes[i, j] for i in range(in_capsules)))
        if iteration < iterations - 1:
            for i in range(in_capsules):
                for j in range(out_capsules):
                    logits[i, j] += votes[i, j] @ poses[j]
    return poses, np.array([np.linalg.norm(pose) for pose in poses]), couplings


def coupling_entropy(couplings):
    rows = []
    for row in np.asarray(couplings, np.float64):
        rows.append(-sum(c * np.log(c) for c in row if c > 0) / np.log(len(row)))
    return float(np.mean(rows))


def margin_loss(activations, label):
    total = 0.0
    for k, a in enumerate(activations):
        total += max(0.0, 0.9 - a) ** 2 if k == label else 0.5 * max(0.0, a - 0.1) ** 2
    return total


def spread_loss(activations, label, margin):
    return sum(max(0.0, margin - (activations[label] - a)) ** 2 for k, a in enumerate(activations) if k != label)


def nt_xent_per_anchor(z_a, z_b, temperature, groups=None, sources=None, valid=None):
    n = len(z_a)
    z = [np.asarray(x, np.float64) for x in (*z_a, *z_b)]
    z = [x / np.linalg.norm(x) if np.any(x) else x for x in z]
    losses = np.zeros(2 * n)
    for anchor in range(2 * n):
        example, positive = anchor % n, (anchor + n) % (2 * n)
        if valid is not None and not valid[example]:
            continue
        terms = []
        for candidate in range(2 * n):
            other = candidate % n
            if candidate == anchor:
                continue
            if candidate != positive:
                if valid is not None and not valid[other]:
                    continue
                if groups is not None and groups[example] >= 0 and groups[example] == groups[other]:
                    continue
                if sources is not None and sources[example] == sources[other]:
                    continue
            terms.append(np.exp(z[anchor] @ z[candidate] / temperature))
        losses[anchor] = np.log(sum(terms)) - z[anchor] @ z[positive] / temperature
    return losses


def masked_loss(prediction, target, hidden, visible_share, power):
    prediction, target = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    hidden = np.asarray(hidden)
    sums, counts = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    height, width, channels = prediction.shape
    for y in range(height):
        for x in range(width):
            place = bool(hidden[y, x])
            sums[place] += sum(abs(d) ** power for d in prediction[y, x] - target[y, x]) / channels
            counts[place] += 1
    means = {place: sums[place] / counts[place] if counts[place] else 0.0 for place in sums}
    return (1 - visible_share) * means[True] + visible_share * means[False]
