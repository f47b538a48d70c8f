"""Capsule layers from published code, written out in JAX and in PyTorch, to compare with.

Votes by einsum ("einsum"), votes by broadcasting the weights over the batch ("broadcast"), and for EM the unfolded
convolution, with votes of all examples at once and couplings normalised within a position.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcaps.functional import squash


def jax_einsum_form(weights, poses):
    votes = jnp.einsum("ijdk,bik->bijd", weights, poses)
    logits = jnp.zeros(votes.shape[:3])
    for iteration in range(3):
        couplings = jax.nn.softmax(logits, axis=2)
        out = squash(jnp.einsum("bij,bijd->bjd", couplings, votes))
        if iteration < 2:
            logits = logits + jnp.einsum("bijd,bjd->bij", votes, out)
    return out


def jax_broadcast_form(weights, poses):
    votes = jnp.matmul(weights[None], poses[:, :, None, :, None])[..., 0]
    logits = jnp.zeros((*votes.shape[:3], 1))
    for iteration in range(3):
        couplings = jax.nn.softmax(logits, axis=2)
        out = squash(jnp.sum(couplings * votes, axis=1, keepdims=True))
        if iteration < 2:
            logits = logits + jnp.sum(votes * out, axis=-1, keepdims=True)
    return out[:, 0]


def jax_em_form(weights, poses, activations, beta_a, beta_u, stride):
    """Votes of all examples at once, couplings normalised within a position."""
    kernel, _, in_types, out_types, side, _ = weights.shape
    batch, height, width = poses.shape[:3]
    rows, columns = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    patches = jnp.stack(
        [
            poses[:, i : i + stride * rows : stride, j : j + stride * columns : stride]
            for i in range(kernel)
            for j in range(kernel)
        ],
        axis=3,
    ).reshape(batch, rows, columns, kernel * kernel * in_types, side, side)
    active = jnp.stack(
        [
            activations[:, i : i + stride * rows : stride, j : j + stride * columns : stride]
            for i in range(kernel)
            for j in range(kernel)
        ],
        axis=3,
    ).reshape(batch, rows, columns, -1, 1, 1)
    flat = weights.reshape(-1, out_types, side, side)
    votes = jnp.matmul(patches[:, :, :, :, None], flat[None, None, None])
    votes = votes.reshape(batch, rows, columns, -1, out_types, side * side)
    couplings = jnp.full((*votes.shape[:-1], 1), 1 / out_types)
    for iteration in range(3):
        shares = couplings * active
        mass = jnp.sum(shares, axis=3, keepdims=True)
        mean = jnp.sum(shares * votes, axis=3, keepdims=True) / mass
        variance = jnp.sum(shares * (votes - mean) ** 2, axis=3, keepdims=True) / mass + 1e-4
        cost = (beta_u[:, None] + 0.5 * jnp.log(variance)) * mass
        out = jax.nn.sigmoid(0.01 * (1 - 0.95 ** (iteration + 1)) * (beta_a - jnp.sum(cost, axis=-1)))
        if iteration < 2:
            density = -0.5 * jnp.sum((votes - mean) ** 2 / variance + jnp.log(2 * np.pi * variance), axis=-1)
            couplings = jax.nn.softmax(jnp.log(out) + density, axis=4)[..., None]
    return mean[:, :, :, 0], out[:, :, :, 0]


# The same in PyTorch.


def torch_squash(s):
    squared = (s * s).sum(-1, keepdim=True)
    return s * squared.sqrt() / (1 + squared)


def torch_einsum_form(weights, poses):
    import torch

    votes = torch.einsum("ijdk,bik->bijd", weights, poses)
    logits = votes.new_zeros(votes.shape[:3])
    for iteration in range(3):
        couplings = logits.softmax(2)
        out = torch_squash(torch.einsum("bij,bijd->bjd", couplings, votes))
        if iteration < 2:
            logits = logits + torch.einsum("bijd,bjd->bij", votes, out)
    return out


def torch_broadcast_form(weights, poses):
    import torch

    votes = torch.matmul(weights[None], poses[:, :, None, :, None]).squeeze(-1)
    logits = votes.new_zeros((*votes.shape[:3], 1))
    for iteration in range(3):
        couplings = logits.softmax(2)
        out = torch_squash((couplings * votes).sum(1, keepdim=True))
        if iteration < 2:
            logits = logits + (votes * out).sum(-1, keepdim=True)
    return out[:, 0]


def torch_em_form(weights, poses, activations, beta_a, beta_u, stride):
    import torch

    kernel, _, _, out_types, side, _ = weights.shape
    batch = poses.shape[0]
    patches = poses.unfold(1, kernel, stride).unfold(2, kernel, stride)  # [b, r, c, in, dim, k, k]
    rows, columns = patches.shape[1:3]
    patches = patches.permute(0, 1, 2, 5, 6, 3, 4).reshape(batch, rows, columns, -1, 1, side, side)
    active = activations.unfold(1, kernel, stride).unfold(2, kernel, stride)
    active = active.permute(0, 1, 2, 4, 5, 3).reshape(batch, rows, columns, -1, 1, 1)
    votes = torch.matmul(patches, weights.reshape(-1, out_types, side, side))
    votes = votes.reshape(batch, rows, columns, -1, out_types, side * side)
    couplings = votes.new_full((*votes.shape[:-1], 1), 1 / out_types)
    for iteration in range(3):
        shares = couplings * active
        mass = shares.sum(3, keepdim=True)
        mean = (shares * votes).sum(3, keepdim=True) / mass
        variance = (shares * (votes - mean) ** 2).sum(3, keepdim=True) / mass + 1e-4
        cost = (beta_u[:, None] + 0.5 * variance.log()) * mass
        out = torch.sigmoid(0.01 * (1 - 0.95 ** (iteration + 1)) * (beta_a - cost.sum(-1)))
        if iteration < 2:
            density = -0.5 * ((votes - mean) ** 2 / variance + (2 * np.pi * variance).log()).sum(-1)
            couplings = (out.log() + density).softmax(4)[..., None]
    return mean[:, :, :, 0], out[:, :, :, 0]
