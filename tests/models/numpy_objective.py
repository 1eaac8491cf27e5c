"""The MRD objective once more, in numpy, float64 and plain loops, as its formulas say."""

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import expit, log_softmax, logsumexp, rel_entr

from mrd_hf import MRDConfig


# (teacher's row, teacher's column), (student's row, student's column)
TERMS = {
    "intra_image": ("vv", "pp"),
    "intra_text": ("tt", "pp"),
    "cross_image_text": ("vt", "pt"),
    "cross_text_image": ("tv", "pv"),
    "cross_image_text_transposed": ("vt", "vp"),
    "cross_text_image_transposed": ("tv", "tp"),
}


def unit_rows(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float(rel_entr(p, q).sum())


def diverge(kind: str, p: np.ndarray, q: np.ndarray) -> float:
    if kind == "jeffrey":
        return kl(p, q) + kl(q, p)
    if kind == "js":
        return (kl(p, (p + q) / 2) + kl(q, (p + q) / 2)) / 2
    return kl(p, q) if kind == "kl" else kl(q, p)


def softmax_relation(form: str, row: np.ndarray, columns: np.ndarray, temperature: float) -> np.ndarray:
    if form == "euclidean":
        logits = -np.sqrt(cdist(row[None], columns)[0] ** 2 + 1e-6) / temperature
    else:
        logits = columns @ row / temperature
    return np.exp(log_softmax(logits))


def relation_loss(
    config: MRDConfig,
    teachers: list[tuple[np.ndarray, np.ndarray]],
    student: tuple[np.ndarray, np.ndarray],
    shares: np.ndarray,
    masked: np.ndarray,
    temperatures: tuple[float, float],
) -> float:
    """Mean over rows of the divergence from the teachers' mixture; each relation is (rows, columns)."""
    count, rows = len(student[0]), []
    for i in range(count):
        if config.relation_form == "partial_order":
            parts, stride = [], 1
            while stride < count:
                for j in range(count):
                    k = (j + stride) % count
                    if masked[i, j] or masked[i, k]:
                        continue

                    def order(relation, temperature, i=i, j=j, k=k):
                        margin = relation[0][i] @ relation[1][j] - relation[0][i] @ relation[1][k]
                        return expit(np.array([margin, -margin]) / temperature)

                    p = sum(s * order(t, temperatures[0]) for s, t in zip(shares, teachers, strict=True))
                    parts.append(diverge(config.relation_divergence, p, order(student, temperatures[1])))
                stride *= 2
            rows.append(np.mean(parts) if parts else 0.0)
            continue
        kept = ~masked[i]
        if not kept.any():
            rows.append(0.0)
            continue
        p = sum(
            s * softmax_relation(config.relation_form, t[0][i], t[1][kept], temperatures[0])
            for s, t in zip(shares, teachers, strict=True)
        )
        q = softmax_relation(config.relation_form, student[0][i], student[1][kept], temperatures[1])
        rows.append(diverge(config.relation_divergence, p, q))
    return float(np.mean(rows))


def numpy_objective(
    config: MRDConfig, embeds: tuple[np.ndarray, np.ndarray, np.ndarray], learned: dict[str, np.ndarray]
) -> dict[str, object]:
    """All of the objective's losses.

    Args:
        config (`MRDConfig`)
        embeds (three arrays): Of shapes, images and texts, not normalised.
        learned (dict): The objective's state dict.
    """
    e = dict(zip("pvt", (unit_rows(x) for x in embeds), strict=True))
    count = len(embeds[0])
    scale = min(100.0, float(np.exp(learned["log_logit_scale"])))
    duplicates = {m: (e[m] @ e[m].T > 1 - 1e-5) & ~np.eye(count, dtype=bool) for m in "vt"}

    alignment, hits = [], []
    for row, column in ("pv", "vp", "pt", "tp"):
        logits = scale * e[row] @ e[column].T
        if config.mask_duplicates:
            logits[duplicates[column if row == "p" else row]] = -np.inf
        alignment.append(-np.mean([logits[i, i] - logsumexp(logits[i]) for i in range(count)]))
        hits.append(np.mean(logits.argmax(axis=1) == np.arange(count)))
    result: dict[str, object] = {"alignment_losses": alignment, "retrieval_accuracies": hits}
    result["alignment_loss"] = result["loss"] = np.mean(alignment)
    if config.loss == "contrastive":
        return result

    temperature = config.student_temperature
    if config.learn_student_temperature:
        temperature = max(0.01, float(np.exp(learned["log_student_temperature"])))
    temperatures = (config.teacher_temperature or 1 / config.teacher_logit_scale, temperature)
    logits = learned.get("relation_weights.logits")
    terms = list(config.relation_terms)
    groups = [[k] for k in range(len(terms))]
    if config.relation_weighting == "target":
        students = list(dict.fromkeys(TERMS[term][1] for term in terms))
        groups = [[k for k, term in enumerate(terms) if TERMS[term][1] == student] for student in students]
    losses, weighted, cost = [], 0.0, 0.0
    for group in groups:
        student = TERMS[terms[group[0]]][1]
        masked = np.zeros((count, count), dtype=bool)
        if config.mask_self_pairs and student[0] == student[1]:
            masked |= np.eye(count, dtype=bool)
        if config.mask_duplicate_relations:
            masked |= duplicates["v"] | duplicates["t"]
        shares = np.exp(log_softmax(logits[group])) if len(group) > 1 else np.ones(1)
        teachers = [tuple(e[m] for m in TERMS[terms[k]][0]) for k in group]
        pair = (e[student[0]], e[student[1]])
        losses.append(relation_loss(config, teachers, pair, shares, masked, temperatures))
        if config.relation_weighting == "target":
            weighted += len(group) / len(terms) * losses[-1]
            concentration = kl(shares, np.full(len(group), 1 / len(group)))
            cost += len(group) / len(terms) * config.weight_entropy * losses[-1] * concentration
    if config.relation_weighting == "softmax":
        shares = np.exp(log_softmax(logits))
        weighted = float(shares @ losses)
        cost = config.weight_entropy * np.mean(losses) * kl(shares, np.full(len(terms), 1 / len(terms)))
    elif config.relation_weighting == "intra_cross":
        intra = np.array([TERMS[term][0][0] == TERMS[term][0][1] for term in terms])
        means = np.array([np.mean(np.array(losses)[of]) for of in (intra, ~intra)])
        shares = np.exp(log_softmax(logits))
        weighted = float(shares @ means)
        cost = config.weight_entropy * means.mean() * kl(shares, np.full(2, 0.5))
    elif config.relation_weighting == "uncertainty":
        weighted = float(np.mean(np.exp(-logits) * losses))
        cost = float(logits.mean())
    elif config.relation_weighting == "fixed":
        weighted = float(np.mean(np.array(config.fixed_relation_weights or [1.0] * len(terms)) * losses))
    result |= {"relation_losses": losses, "relation_loss": weighted, "weighting_loss": cost}
    result["loss"] = result["alignment_loss"] + config.relation_weight * (weighted + cost)
    return result
