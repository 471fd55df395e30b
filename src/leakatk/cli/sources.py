"""Formulas of the presets whose declaration does not state one."""

from __future__ import annotations

METHODS = {
    "ga": "F = E<log p(y_t)>; no R",
    "graddiff": "F = E<log p(y_t)>",
    "kl": "F = E<log p(y_t)>; R = E<KL(p_ref || p)>, positions=all: <> over the question's tokens too",
    "npo": "F = -(2/beta) E log sigma(-beta [log p(y|x) - log p_ref(y|x)])",
    "npo-ent": "F = NPO's F + entropy_weight * E<entropy of p>",
    "simnpo": "F = -(2/beta) E log sigma(-beta [<log p(y_t)> + delta])",
    "idknll": "F = -E<log p(y_idk,t)>",
    "idkdpo": "F = -(2/beta) E log sigma(beta [log p/p_ref (y_idk|x) - log p/p_ref (y|x)])",
    "altpo": "F = -(2/beta) E log sigma(beta [log p/p_ref (y_alternate|x) - log p/p_ref (y|x)])",
    "idk-ap": "F = -E<log p(y_idk,t)>; R = -(1/beta) E log sigma(beta [log p(y_retain|x) - log p(y_idk|x)])",
    "rmu": "F = E |h(x, y) - coefficient * u|^2, u a fixed random unit vector; R = E |h - h_ref|^2; h: hidden states after `layer`",
    "blur-npo": "NPO's F; update gamma g_F + [g_R - (<g_R, g_F> / |g_F|^2) g_F]",
    "ngdiff": "GradDiff's F; update g_F / |g_F| + g_R / |g_R|",
    "undial": "F = cross entropy to softmax(z_ref - strength * onehot(y_t)), E<...>; positions=all: also to softmax(z_ref) on x",
    "wga": "F = E<p(y_t)^beta log p(y_t)>, the weight detached",
    "satimp": "F = E<p(y_t)^beta1 (1 - p(y_t))^beta2 log p(y_t)>, the weight detached",
    "ce-u": "F = cross entropy to softmax(z with z[y_t] = -inf), E<...>, the first skip_first tokens left out",
    "loku": "F = E<1 + p(y_t) - max_{v != y_t} p(v)>",
    "me": "F = E<KL(uniform || p)>, positions=all: <> over the question's tokens too",
    "pdu": "F = E<(max_v z_v - mean_v z_v)^2>, positions=unshifted: <> after each y_t; "
    "R weighted by lambda <- max(0, lambda + eta (R - epsilon)) after warmup_steps",
    "task-vector": "theta = theta_0 - alpha (theta_F - theta_0), theta_F trained towards the forget set",
    "retrain": "R alone, from a model that has not seen the forget set",
}
