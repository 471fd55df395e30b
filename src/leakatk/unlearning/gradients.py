"""Gradient combiners: how the forget gradient and the retain gradient become one update.

A combiner takes both as lists of tensors, aligned with the trained parameters, already multiplied by the method's
weights. A method without one adds the losses and runs a single backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Gradients = list[Tensor]
Params = Mapping[str, Any]
Combiner = Callable[[Gradients, Gradients, Params, int], Gradients]


def inner(first: Gradients, second: Gradients) -> Tensor:
    """Inner product over all parameters, in float32."""
    products = [(a.float() * b.float()).sum() for a, b in zip(first, second, strict=True)]
    # A sharded gradient's sum is a distributed tensor; its full value is a plain scalar on every process.
    total = torch.stack([p.full_tensor() if hasattr(p, "full_tensor") else p for p in products])
    return total.sum()


def blur(forget: Gradients, retain: Gradients, params: Params, step: int) -> Gradients:
    """BLUR (arXiv 2506.08164): gamma g_f + [g_r - (<g_r, g_f> / |g_f|^2) g_f]: forgetting first, no conflict from retain."""
    scale = inner(retain, forget) / inner(forget, forget).clamp_min(1e-20)
    return [params["gamma"] * f + (r - scale.to(r.dtype) * f) for f, r in zip(forget, retain, strict=True)]


def alternate(forget: Gradients, retain: Gradients, params: Params, step: int) -> Gradients:
    """Forget on even steps, retain on odd ones."""
    return forget if step % 2 == 0 else retain


def one_in(forget: Gradients, retain: Gradients, params: Params, step: int) -> Gradients:
    """SUGD: one step of forgetting, then `retain_steps` of keeping, again and again."""
    return forget if step % (1 + params["retain_steps"]) == 0 else retain


def normalised_difference(forget: Gradients, retain: Gradients, params: Params, step: int) -> Gradients:
    """NGDiff (arXiv 2410.22086): g_f / |g_f| + g_r / |g_r|, g_f being the gradient of the loss to minimise."""
    norms = [inner(g, g).sqrt().clamp_min(1e-20) for g in (forget, retain)]
    return [f / norms[0].to(f.dtype) + r / norms[1].to(r.dtype) for f, r in zip(forget, retain, strict=True)]


def weighed_by_conflict(forget: Gradients, retain: Gradients, params: Params, step: int) -> Gradients:
    """FALCON (arXiv 2502.01472), of each parameter by itself: conflict_f [g_f - (<g_f, g_r> / |g_r|^2) g_r] + conflict_r g_r where
    <g_f, g_r> < 0, else agree_f g_f + agree_r g_r.
    """
    found = []
    for f, r in zip(forget, retain, strict=True):
        along = inner([f], [r])
        if float(along) < 0:
            turned = f - (along / inner([r], [r]).clamp_min(1e-20)).to(f.dtype) * r
            found.append(params["conflict_forget"] * turned + params["conflict_retain"] * r)
        else:
            found.append(params["agree_forget"] * f + params["agree_retain"] * r)
    return found
