"""Independent float64 forms of the algorithms: plain NumPy loops, written from the papers, sharing no code."""

import numpy as np
from scipy.special import digamma


def softmax(logits):
    exponentials = [np.exp(logit - max(logits)) for logit in logits]
    return np.array(exponentials) / sum(exponentials)


def squash(s):
    squared = sum(float(x) ** 2 for x in s)
    if squared == 0:
        return np.zeros(len(s))
    return squared / (1 + squared) * np.asarray(s, np.float64) / np.sqrt(squared)


def exponential_squash(s):
    norm = np.sqrt(sum(float(x) ** 2 for x in s))
    if norm == 0:
        return np.zeros(len(s))
    return -np.expm1(-norm) * np.asarray(s, np.float64) / norm


def dense_votes(weights, poses):
    weights, poses = np.asarray(weights, np.float64), np.asarray(poses, np.float64)
    in_capsules, out_capsules, dim_out, _ = weights.shape
    votes = np.zeros((in_capsules, out_capsules, dim_out))
    for i in range(in_capsules):
        for j in range(out_capsules):
            votes[i, j] = weights[i, j] @ poses[i]
    return votes


def matrix_votes(weights, poses):
    weights, poses = np.asarray(weights, np.float64), np.asarray(poses, np.float64)
    in_capsules, out_capsules, side, _ = weights.shape
    votes = np.zeros((in_capsules, out_capsules, side * side))
    for i in range(in_capsules):
        matrix = [poses[i, row * side : (row + 1) * side] for row in range(side)]
        for j in range(out_capsules):
            for row in range(side):
                for column in range(side):
                    votes[i, j, row * side + column] = sum(
                        matrix[row][k] * weights[i, j, k, column] for k in range(side)
                    )
    return votes


def extract_patches(x, kernel, stride=1, padding=0):
    x = np.asarray(x, np.float64)
    height, width = x.shape[:2]
    rows, columns = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
    patches = np.zeros((rows, columns, kernel, kernel, *x.shape[2:]))
    for row in range(rows):
        for column in range(columns):
            for i in range(kernel):
                for j in range(kernel):
                    y, z = row * stride + i - padding, column * stride + j - padding
                    if 0 <= y < height and 0 <= z < width:
                        patches[row, column, i, j] = x[y, z]
    return patches


def convolutional_votes(weights, poses, stride=1, padding=0, transform="vector"):
    """Weights [kernel, kernel, in, out, ...], or as many for each position, [rows, columns, kernel, ...]."""
    of_place = {"vector": dense_votes, "matrix": matrix_votes}[transform]
    kernel = weights.shape[-5]
    patches = extract_patches(poses, kernel, stride, padding)
    rows, columns = patches.shape[:2]
    votes = []
    for row in range(rows):
        for column in range(columns):
            of_position = weights[row, column] if weights.ndim == 8 else weights
            for i in range(kernel):
                for j in range(kernel):
                    votes.append(of_place(of_position[i, j], patches[row, column, i, j]))
    return np.reshape(votes, (rows, columns, kernel, kernel, *votes[0].shape))


def coordinate_addition(votes, places):
    votes = np.array(votes, np.float64)
    height, width = votes.shape[:2]
    for row in range(height):
        for column in range(width):
            for vote in votes[row, column].reshape(-1, votes.shape[-1]):
                vote[places[0]] += (row + 0.5) / height
                vote[places[1]] += (column + 0.5) / width
    return votes


def given_or_ones(in_activations, in_capsules):
    return np.ones(in_capsules) if in_activations is None else np.asarray(in_activations, np.float64)


def dynamic_routing(votes, iterations, in_activations=None, agreement_scale=1.0, leaky=False):
    """Sabour et al. 2017, procedure 1, with explicit logits; where leaky with one more, 0, for no capsule at all."""
    votes = np.asarray(votes, np.float64)
    in_capsules, out_capsules, dim = votes.shape
    scale = given_or_ones(in_activations, in_capsules)
    logits = np.zeros((in_capsules, out_capsules))
    for iteration in range(iterations):
        couplings = np.zeros_like(logits)
        for i in range(in_capsules):
            couplings[i] = softmax([*logits[i], 0.0])[:-1] if leaky else softmax(logits[i])
        poses = np.zeros((out_capsules, dim))
        for j in range(out_capsules):
            poses[j] = squash(sum(scale[i] * couplings[i, j] * votes[i, j] for i in range(in_capsules)))
        if iteration < iterations - 1:
            for i in range(in_capsules):
                for j in range(out_capsules):
                    logits[i, j] += agreement_scale * (votes[i, j] @ poses[j])
    return poses, np.array([np.linalg.norm(pose) for pose in poses]), couplings


def leaky_dynamic_routing(votes, iterations, in_activations=None, agreement_scale=1.0):
    return dynamic_routing(votes, iterations, in_activations, agreement_scale, leaky=True)


def uniform_routing(votes, in_activations=None):
    """Every in capsule gives every out capsule the same share of its vote."""
    votes = np.asarray(votes, np.float64)
    in_capsules, out_capsules, _ = votes.shape
    scale = given_or_ones(in_activations, in_capsules)
    poses = [
        squash(sum(scale[i] * votes[i, j] / out_capsules for i in range(in_capsules))) for j in range(out_capsules)
    ]
    norms = np.array([np.linalg.norm(pose) for pose in poses])
    return np.array(poses), norms, np.full((in_capsules, out_capsules), 1 / out_capsules)


def em_routing(
    votes,
    iterations,
    in_activations=None,
    *,
    beta_a,
    beta_u,
    inverse_temperature=0.01,
    variance_floor=1e-3,
    cost_scale=1.0,
    holds=None,
):
    """Hinton et al. 2018, procedure 1; where `holds` [in, out] is given, over the parents that hold the child alone."""
    votes = np.asarray(votes, np.float64)
    in_capsules, out_capsules, dim = votes.shape
    scale = given_or_ones(in_activations, in_capsules)
    holds = np.ones((in_capsules, out_capsules), bool) if holds is None else holds
    beta_a, beta_u = np.asarray(beta_a, np.float64), np.asarray(beta_u, np.float64)
    couplings = np.zeros((in_capsules, out_capsules))
    for i in range(in_capsules):
        for j in np.flatnonzero(holds[i]):
            couplings[i, j] = 1 / sum(holds[i])
    for iteration in range(iterations):
        temperature = inverse_temperature * (1 - 0.95 ** (iteration + 1))
        mean, variance = np.zeros((out_capsules, dim)), np.full((out_capsules, dim), float(variance_floor))
        logits = np.zeros(out_capsules)
        for j in range(out_capsules):
            shares = couplings[:, j] * scale
            mass = sum(shares)
            cost = 0.0
            for h in range(dim):
                if mass > 0:
                    mean[j, h] = sum(shares * votes[:, j, h]) / mass
                    variance[j, h] = max(sum(shares * (votes[:, j, h] - mean[j, h]) ** 2) / mass, variance_floor)
                cost += (beta_u[j] + np.log(np.sqrt(variance[j, h]))) * mass
            logits[j] = temperature * (beta_a[j] - cost_scale * cost)
        if iteration == iterations - 1:
            break
        for i in range(in_capsules):
            parents = np.flatnonzero(holds[i])
            scores = []
            for j in parents:
                density = 0.0
                for h in range(dim):
                    density -= 0.5 * np.log(2 * np.pi * variance[j, h])
                    density -= (votes[i, j, h] - mean[j, h]) ** 2 / (2 * variance[j, h])
                scores.append(density - np.log1p(np.exp(-logits[j])))
            if scores:
                couplings[i, parents] = softmax(scores)
    return mean, 1 / (1 + np.exp(-logits)), couplings


def em_patch_routing(votes, activation_map, stride, iterations, *, beta_a, beta_u, **settings):
    """EM routing of all places and types of a (padded) map to all positions and out types, most of them masked."""
    votes, activation_map = np.asarray(votes, np.float64), np.asarray(activation_map, np.float64)
    rows, columns, *_, out_types, dim = votes.shape
    children = np.arange(activation_map.size).reshape(activation_map.shape)
    parents = np.arange(rows * columns * out_types).reshape(rows, columns, out_types)
    dense = np.zeros((children.size, parents.size, dim))
    holds = np.zeros((children.size, parents.size), bool)
    pairs = {}
    for row, column, i, j, in_type, out_type in np.ndindex(votes.shape[:-1]):
        pair = children[row * stride + i, column * stride + j, in_type], parents[row, column, out_type]
        dense[pair] = votes[row, column, i, j, in_type, out_type]
        holds[pair] = True
        pairs[row, column, i, j, in_type, out_type] = pair
    betas = {"beta_a": np.tile(beta_a, rows * columns), "beta_u": np.tile(beta_u, rows * columns)}
    routed = em_routing(dense, iterations, activation_map.ravel(), holds=holds, **betas, **settings)
    couplings = np.zeros(votes.shape[:-1])
    for place, pair in pairs.items():
        couplings[place] = routed[2][pair]
    return routed[0].reshape(rows, columns, out_types, dim), routed[1].reshape(rows, columns, out_types), couplings


def softmax_over_parents(logits, stride):
    """The couplings of each place and type of a map, over all out types at all the positions whose patch holds it."""
    logits = np.asarray(logits, np.float64)
    of_child = {}
    for place in np.ndindex(logits.shape):
        row, column, i, j, in_type, _ = place
        of_child.setdefault((row * stride + i, column * stride + j, in_type), []).append(place)
    couplings = np.zeros(logits.shape)
    for places in of_child.values():
        for place, share in zip(places, softmax([logits[place] for place in places]), strict=True):
            couplings[place] = share
    return couplings


def variational_routing(
    votes, iterations, in_activations=None, *, beta_a, beta_u, mixing_prior=1.0, mean_prior=1.0, scale_prior=1.0
):
    """Ribeiro et al. 2020, algorithm 1. The scatter is taken around the posterior's mean instead of the votes'."""
    votes = np.asarray(votes, np.float64)
    in_capsules, out_capsules, dim = votes.shape
    scale = given_or_ones(in_activations, in_capsules)
    couplings = np.full((in_capsules, out_capsules), 1 / out_capsules)
    for iteration in range(iterations):
        shares = couplings * scale[:, None]
        mass = [sum(shares[:, j]) for j in range(out_capsules)]
        mean, precision = np.zeros((out_capsules, dim)), np.zeros((out_capsules, dim))
        log_mixing, log_determinant = np.zeros(out_capsules), np.zeros(out_capsules)
        for j in range(out_capsules):
            kappa, nu = mean_prior + mass[j], dim + 1 + mass[j]
            log_mixing[j] = digamma(mixing_prior + mass[j]) - digamma(sum(mixing_prior + each for each in mass))
            for h in range(dim):
                mean[j, h] = sum(shares[:, j] * votes[:, j, h]) / kappa
                scatter = sum(shares[:, j] * (votes[:, j, h] - mean[j, h]) ** 2)
                psi = 1 / (scale_prior + scatter + mean_prior * mean[j, h] ** 2)
                precision[j, h] = nu * psi
                log_determinant[j] += digamma((nu - h) / 2) + np.log(2) + np.log(psi)
        if iteration == iterations - 1:
            break
        for i in range(in_capsules):
            scores = np.zeros(out_capsules)
            for j in range(out_capsules):
                distance = dim / (mean_prior + mass[j]) + sum(precision[j] * (votes[i, j] - mean[j]) ** 2)
                scores[j] = log_mixing[j] + log_determinant[j] / 2 - dim / 2 * np.log(2 * np.pi) - distance / 2
            couplings[i] = softmax(scores)
    activations = np.zeros(out_capsules)
    for j in range(out_capsules):
        entropy = dim / 2 * np.log(2 * np.pi * np.e) - log_determinant[j] / 2
        activations[j] = 1 / (1 + np.exp(-float(beta_a[j]) + float(beta_u[j]) + np.exp(log_mixing[j]) * entropy))
    return mean, activations, couplings


def self_attention_routing(votes, in_activations=None, prior=None):
    """Mazzia et al. 2021, equations 4 to 7, with the agreement of every pair of votes."""
    votes = np.asarray(votes, np.float64)
    in_capsules, out_capsules, dim = votes.shape
    scale = given_or_ones(in_activations, in_capsules)
    couplings = np.zeros((in_capsules, out_capsules))
    for i in range(in_capsules):
        agreements = [
            sum(votes[i, j] @ votes[k, j] / np.sqrt(dim) for k in range(in_capsules)) for j in range(out_capsules)
        ]
        couplings[i] = softmax(agreements)
        if prior is not None:
            couplings[i] += prior[i]
    poses = np.zeros((out_capsules, dim))
    for j in range(out_capsules):
        poses[j] = exponential_squash(sum(scale[i] * couplings[i, j] * votes[i, j] for i in range(in_capsules)))
    return poses, np.array([np.linalg.norm(pose) for pose in poses]), couplings


def inverted_attention_routing(
    votes, iterations, in_activations=None, norm_scale=None, norm_bias=None, initial_poses=None
):
    """Tsai et al. 2020, algorithm 1: the poses of the out capsules are what the iterations carry."""
    votes = np.asarray(votes, np.float64)
    in_capsules, out_capsules, dim = votes.shape
    scale = given_or_ones(in_activations, in_capsules)
    poses = np.zeros((out_capsules, dim)) if initial_poses is None else np.array(initial_poses, np.float64)
    for _ in range(iterations):
        couplings = np.zeros((in_capsules, out_capsules))
        for i in range(in_capsules):
            couplings[i] = softmax([poses[j] @ votes[i, j] for j in range(out_capsules)])
        for j in range(out_capsules):
            total = sum(scale[i] * couplings[i, j] * votes[i, j] for i in range(in_capsules))
            mean = sum(total) / dim
            variance = sum((total - mean) ** 2) / dim
            poses[j] = (total - mean) / np.sqrt(variance + 1e-5)
            if norm_scale is not None:
                poses[j] = poses[j] * norm_scale
            if norm_bias is not None:
                poses[j] = poses[j] + norm_bias
    return poses, np.array([np.linalg.norm(pose) / np.sqrt(dim) for pose in poses]), couplings


def self_routing(votes, in_activations=None, *, in_poses, gate_weights, gate_bias=None):
    """Hahn et al. 2019, equations 4 to 6."""
    votes = np.asarray(votes, np.float64)
    in_poses, gate_weights = np.asarray(in_poses, np.float64), np.asarray(gate_weights, np.float64)
    in_capsules, out_capsules, dim = votes.shape
    scale = given_or_ones(in_activations, in_capsules)
    couplings = np.zeros((in_capsules, out_capsules))
    for i in range(in_capsules):
        logits = [float(gate_weights[i, j] @ in_poses[i]) for j in range(out_capsules)]
        couplings[i] = softmax(logits if gate_bias is None else logits + np.asarray(gate_bias[i], np.float64))
    poses, activations = np.zeros((out_capsules, dim)), np.zeros(out_capsules)
    for j in range(out_capsules):
        shares = [couplings[i, j] * scale[i] for i in range(in_capsules)]
        if sum(scale) > 0:
            activations[j] = sum(shares) / sum(scale)
            poses[j] = sum(shares[i] * votes[i, j] for i in range(in_capsules)) / sum(shares)
    return poses, activations, couplings


def heinsen_routing(votes, iterations, in_activations=None, *, beta_use, beta_ignore):
    """Heinsen 2019, algorithm 1."""
    votes = np.asarray(votes, np.float64)
    beta_use, beta_ignore = np.asarray(beta_use, np.float64), np.asarray(beta_ignore, np.float64)
    in_capsules, out_capsules, dim = votes.shape
    data = given_or_ones(in_activations, in_capsules)
    couplings = np.full((in_capsules, out_capsules), 1 / out_capsules)
    for iteration in range(iterations):
        scores = np.zeros(out_capsules)
        mean, variance = np.zeros((out_capsules, dim)), np.zeros((out_capsules, dim))
        for j in range(out_capsules):
            used = np.array([data[i] * couplings[i, j] for i in range(in_capsules)])
            ignored = data - used
            scores[j] = sum(beta_use[:, j] * used) - sum(beta_ignore[:, j] * ignored)
            for h in range(dim):
                if sum(used) > 0:
                    mean[j, h] = sum(used * votes[:, j, h]) / sum(used)
                    variance[j, h] = sum(used * (votes[:, j, h] - mean[j, h]) ** 2) / sum(used)
                variance[j, h] += 1e-5
        if iteration == iterations - 1:
            break
        for i in range(in_capsules):
            logits = np.zeros(out_capsules)
            for j in range(out_capsules):
                logits[j] = -np.log1p(np.exp(-scores[j]))
                for h in range(dim):
                    logits[j] -= np.log(np.sqrt(2 * np.pi * variance[j, h]))
                    logits[j] -= (votes[i, j, h] - mean[j, h]) ** 2 / (2 * variance[j, h])
            couplings[i] = softmax(logits)
    return mean, 1 / (1 + np.exp(-scores)), couplings


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
