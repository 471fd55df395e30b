"""Terms, the losses of methods over views: (View of each stream ..., the method's numbers) -> a scalar to minimise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from leakatk.errors import InputError
from leakatk.unlearning.chance import generator_of
from leakatk.unlearning.losses import distill, hidden, preference, retain, token
from leakatk.unlearning.losses.token import answer_mask
from leakatk.unlearning.view import View, Whole, each_answer

Params = Mapping[str, Any]


def positions(p: Params, *places: str) -> str:
    """Where the loss looks; InputError for what it has not."""
    if p["positions"] not in places:
        raise InputError(f"positions must be {' or '.join(places)}, got {p['positions']!r}.")
    return str(p["positions"])


# -- likelihood


@each_answer
def nll(view: View, p: Params) -> Tensor:
    """-<log p(y_t)>"""
    return view.mean(-view.token_logprob)


@each_answer
def ascent(view: View, p: Params) -> Tensor:
    """<log p(y_t)>, that is -nll. Unbounded below: give it a retain term and a utility floor."""
    return -nll(view, p)


@each_answer
def wga(view: View, p: Params) -> Tensor:
    """Weighted gradient ascent (arXiv 2502.19301): <w_t log p(y_t)>, w_t = p(y_t)^beta detached."""
    weights = view.token_logprob.exp() ** p["beta"]
    return view.mean(weights.detach() * view.token_logprob)


@each_answer
def satimp(view: View, p: Params) -> Tensor:
    """SatImp (arXiv 2505.11953): <w_t log p(y_t)>, w_t = p(y_t)^beta1 (1 - p(y_t))^beta2 detached."""
    prob = view.token_logprob.exp()
    weights = prob ** p["beta1"] * (1 - prob) ** p["beta2"]
    return view.mean(weights.detach() * view.token_logprob)


@each_answer
def bounded_ascent(view: View, p: Params) -> Tensor:
    """LLMU (arXiv 2310.10683): <log p(y_t)>, without a gradient once the batch's nll is above max_bad_loss."""
    return -nll(view, p).clamp_max(p["max_bad_loss"])


@each_answer
def against_others(view: View, p: Params) -> Tensor:
    """CATNIP (arXiv 2602.02824): -(2/beta) <log sigma(-beta [log p(y_t) - log(1 - p(y_t))])>

    reference_gradient "detached": none through 1 - p, as through NPO's reference; "live": through both.
    """
    if p["reference_gradient"] not in ("detached", "live"):
        raise InputError(f"reference_gradient must be detached or live, got {p['reference_gradient']!r}.")
    others = token.log_others(view.token_logprob)
    if p["reference_gradient"] == "detached":
        others = others.detach()
    values: Tensor = logsigmoid(-p["beta"] * (view.token_logprob - others))
    scale: float = 2.0 / p["beta"]
    return -scale * view.mean(values)


# Forms of a bounded forget loss of one token: log p -> what is minimised.
BOUNDED: Mapping[str, Callable[[Tensor, Params], Tensor]] = {
    "others": lambda logprob, p: -token.log_others(logprob),
    "hinge": lambda logprob, p: torch.relu(p["tau"] + logprob),
    "inverse": lambda logprob, p: 1 / (1 + -logprob),
}


@each_answer
def bounded(view: View, p: Params) -> Tensor:
    """<a bounded loss of log p(y_t)> by `form`: others -log(1 - p); hinge max(0, tau - nll); inverse 1 / (1 + nll)."""
    if p["form"] not in BOUNDED:
        raise InputError(f"form must be {' or '.join(BOUNDED)}, got {p['form']!r}.")
    values: Tensor = BOUNDED[p["form"]](view.token_logprob, p)
    return view.mean(values)


@each_answer
def entropy(view: View, p: Params) -> Tensor:
    """<H(p)> in nats"""
    return view.mean(view.of_tokens(token.entropies))


@each_answer
def inverted_hinge(view: View, p: Params) -> Tensor:
    """LoKU (ICLR 2025): <1 + p(y_t) - max_{v != y_t} p(v)>"""
    return view.mean(view.of_tokens(token.hinges))


@each_answer
def flat_logits(view: View, p: Params) -> Tensor:
    """PDU (arXiv 2506.05314): <(max_v z_v - mean_v z_v)^2>; positions "unshifted": after each answer token."""
    if positions(p, "answer", "unshifted") == "unshifted":
        whole = view.whole
        return view.mean(whole.of_tokens(token.spreads), answer_mask(whole.answers))
    return view.mean(view.of_tokens(token.spreads))


def held_below(view: View, p: Params) -> Tensor:
    """PDU's retain term: lambda * nll, lambda the dual weight of the constraint nll <= epsilon, raised after each use."""
    step, loss = view.step, nll(view, p)
    weight = step.state.get("lambda", float(p["lambda_0"]))
    if step.number >= p["warmup_steps"]:
        violation = float(step.average(loss)) - p["epsilon"]
        step.state["lambda"] = max(0.0, weight + p["eta"] * violation)
    return weight * loss


def _risen(view: View) -> Tensor:
    """(B, T) how far the energy of each prediction is above the reference's."""
    return view.of_tokens(token.energies) - view.reference.of_tokens(token.energies)


@each_answer
def energy_above(view: View, p: Params) -> Tensor:
    """<max(0, margin - [E - E_ref])^2>, E = -logsumexp(z): forget answers rise by `margin`."""
    return view.mean(torch.relu(p["margin"] - _risen(view)) ** 2)


@each_answer
def energy_below(view: View, p: Params) -> Tensor:
    """<max(0, [E - E_ref] - slack)^2>: retain answers rise by no more than `slack`."""
    return view.mean(torch.relu(_risen(view) - p["slack"]) ** 2)


# -- preference


@each_answer
def npo(view: View, p: Params) -> Tensor:
    """NPO (arXiv 2404.05868): -(2/beta) E log sigma(-beta [log p(y|x) - log p_ref(y|x)])"""
    return preference.npo(view.logprob, view.reference.logprob, p["beta"])


@each_answer
def simnpo(view: View, p: Params) -> Tensor:
    """SimNPO (arXiv 2410.07163): -(2/beta) E log sigma(-beta [<log p(y_t)> + delta])"""
    return preference.simnpo(view.mean_logprob, p["beta"], p["delta"])


@each_answer
def dpo(win: View, lose: View, p: Params) -> Tensor:
    """DPO: -(2/beta) E log sigma(beta [log p/p_ref (y_win|x) - log p/p_ref (y_lose|x)])"""
    return preference.dpo(win.logprob, win.reference.logprob, lose.logprob, lose.reference.logprob, p["beta"])


@each_answer
def orpo(win: View, lose: View, p: Params) -> Tensor:
    """ORPO (arXiv 2403.07691): -<log p(y_win,t)> - beta E log sigma(log odds(y_win) / odds(y_lose)), P = exp(mean log p)"""
    odds: Tensor = p["beta"] * preference.orpo_odds(win.mean_logprob, lose.mean_logprob)
    return nll(win, p) + odds


@each_answer
def answer_preservation(answer: View, refusal: View, p: Params) -> Tensor:
    """AP (arXiv 2410.08109): -(1/beta) E log sigma(beta [log p(y|x) - log p(y_idk|x)])"""
    return retain.answer_preservation(answer.logprob, refusal.logprob, p["beta"])


# -- distillation


@each_answer
def kl_from_reference(view: View, p: Params) -> Tensor:
    """<KL(p_ref || p)>; positions "all": after every token of question and answer, the last one included."""
    if p.get("positions", "answer") == "answer":
        return view.mean(view.of_tokens(distill.kls_from, view.reference))
    positions(p, "answer", "all")
    whole = view.whole
    return view.mean(whole.of_tokens(distill.kls_from, whole.reference), answer_mask(whole.tokens))


@each_answer
def kl_from_uniform(view: View, p: Params) -> Tensor:
    """ME (arXiv 2410.08109): <KL(uniform || p)>; positions "all": wherever a token of question or answer is predicted."""
    seen = view.whole if positions(p, "answer", "all") == "all" else view
    return view.mean(seen.of_tokens(distill.kls_from_uniform), seen.mask)


@each_answer
def undial(view: View, p: Params) -> Tensor:
    """UNDIAL (arXiv 2402.10052): cross entropy to softmax(z_ref - strength * onehot(y_t)).

    positions "all": also to softmax(z_ref) where the question's tokens are predicted.
    """
    everywhere = positions(p, "answer", "all") == "all"
    seen = view.whole if everywhere else view
    lowered = seen.answer_labels if isinstance(seen, Whole) else seen.labels

    def to_lowered(logits: Tensor, labels: Tensor, reference: Tensor) -> Tensor:
        return distill.cross_entropies_to(distill.undial_target(reference, labels, p["strength"]), logits)

    return view.mean(seen.of_tokens(to_lowered, seen.reference, labels=lowered), seen.mask)


@each_answer
def ce_u(view: View, p: Params) -> Tensor:
    """CE-U (arXiv 2503.01224): cross entropy to softmax(z with z[y_t] = -inf), the first skip_first tokens left out."""

    def to_others(logits: Tensor, labels: Tensor) -> Tensor:
        return distill.cross_entropies_to(distill.without_label(logits, labels), logits)

    return view.mean(view.of_tokens(to_others), answer_mask(distill.skip_first(view.labels, p["skip_first"])))


@each_answer
def js_to_pattern(view: View, pattern: View, p: Params) -> Tensor:
    """JensUn (arXiv 2509.02820): <JS(delta_{c_t}, p)>, c the tokens of a short refusal, again and again over the answer's places.

    pattern: the refusal as an answer; its tokens but the last, which ends an answer, are what is repeated.
    """
    wanted = pattern.labels[0][pattern.mask[0]][:-1]
    if not len(wanted):
        raise InputError("The refusal has no token; give another one.")
    columns = torch.arange(view.labels.shape[1], device=wanted.device)
    labels = torch.where(view.mask, wanted[columns % len(wanted)], view.labels)
    logprobs = view.of_tokens(token.label_logprobs, labels=labels)
    return view.mean(distill.js_to_token(logprobs))


@each_answer
def js_from_reference(view: View, p: Params) -> Tensor:
    """<JS(p_ref, p)>"""
    return view.mean(view.of_tokens(distill.js_divergences, view.reference))


@each_answer
def cross_entropy_from_reference(view: View, p: Params) -> Tensor:
    """<-sum_v p_ref(v) log p(v)>"""
    return view.mean(view.of_tokens(lambda z, labels, ref: distill.cross_entropies_to(ref, z), view.reference))


@each_answer
def kl_to_reference(view: View, p: Params) -> Tensor:
    """<KL(p || p_ref)>"""
    return view.mean(view.of_tokens(distill.kls_to, view.reference))


@each_answer
def away_from_reference(view: View, p: Params) -> Tensor:
    """EUL (EMNLP 2023): -alpha <min(KL(p_ref || p), most)> + ascent_weight <log p(y_t)>; a token farther away than `most` pulls no more."""
    apart = view.mean(view.of_tokens(distill.kls_from, view.reference).clamp_max(p["most"]))
    away: Tensor = p["ascent_weight"] * ascent(view, p) - p["alpha"] * apart
    return away


def kl_from(name: str) -> Callable[[View, Params], Tensor]:
    """<KL(q || p)>, q the model that a stage kept under this name."""

    @each_answer
    def loss(view: View, p: Params) -> Tensor:
        return view.mean(view.of_tokens(distill.kls_from, view.under(name)))

    return loss


@each_answer
def kl_from_noise(view: View, p: Params) -> Tensor:
    """SBU (arXiv 2602.17692): <KL(q || p)>, q = softmax(spread * standard normal logits), drawn anew in each step."""
    step = view.step

    def values(logits: Tensor, labels: Tensor) -> Tensor:
        drawn = torch.randn(logits.shape[-1], generator=generator_of(step.seed, step.number)).to(logits.device)
        return distill.kls_from(logits, labels, (p["spread"] * drawn).expand_as(logits))

    return view.mean(view.of_tokens(values))


@each_answer
def away_from(view: View, p: Params) -> Tensor:
    """WHP (arXiv 2310.02238): cross entropy to softmax(z_ref - alpha relu(z_reinforced - z_ref)), "reinforced" a kept model."""

    def to_generic(logits: Tensor, labels: Tensor, reference: Tensor, reinforced: Tensor) -> Tensor:
        return distill.cross_entropies_to(distill.whp_target(reference, reinforced, p["alpha"]), logits)

    return view.mean(view.of_tokens(to_generic, view.reference, view.under("reinforced")))


def shared_output(forget: View, retain: View, p: Params) -> Tensor:
    """Forgetting-MarI (arXiv 2511.11914): JS of the mean next-token distribution over both sets, and over the retain set alone.

    It is the information, per token, of what is said about whether the forget set was in the batch.
    """
    gone, kept = (view.logits[view.mask].float().softmax(-1).mean(0) for view in (forget, retain))
    both = (gone + kept) / 2
    return distill.js_of(both, kept)


# -- representation


@each_answer
def to_random_direction(view: View, p: Params) -> Tensor:
    """RMU (arXiv 2403.03218): E |h - coefficient * u|^2 / d, u a fixed random unit vector, h the states after `layer`."""
    states = view.hidden(p["layer"])
    direction = hidden.random_direction(states.shape[-1], view.step.seed).to(states.device)
    return hidden.masked_mse(states, p["coefficient"] * direction, view.positions(p["positions"]), view.mean)


@each_answer
def to_reference_states(view: View, p: Params) -> Tensor:
    """E |h - h_ref|^2 / d"""
    mask = view.positions(p["positions"])
    return hidden.masked_mse(view.hidden(p["layer"]), view.reference.hidden(p["layer"]), mask, view.mean)


# -- those that a method lets its numbers choose


def _named(p: Params, key: str, losses: Mapping[str, Callable[..., Tensor]]) -> Callable[..., Tensor]:
    if p[key] not in losses:
        raise InputError(f"{key} must be {' or '.join(losses)}, got {p[key]!r}.")
    return losses[p[key]]


@each_answer
def chosen_forget(view: View, p: Params) -> Tensor:
    """`base` "ga" or "npo"."""
    return _named(p, "base", {"npo": npo, "ga": ascent})(view, p)


@each_answer
def chosen_retain(view: View, p: Params) -> Tensor:
    """`keep` "nll" or "kl"."""
    return _named(p, "keep", {"nll": nll, "kl": kl_from_reference})(view, p)
