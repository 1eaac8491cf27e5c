"""Why the forms of a relation behave differently: closed formulas of their gradients and entropies.

Of one row, under Jeffrey's divergence J: the student's similarities s_j to n columns, its relation Q at the
temperature tau, and the teacher's relation P. For unit embeddings, the distance of a pair is `d_j = sqrt(2 - 2 s_j)`.

- Normalised similarity: `dJ/ds_j = (Q_j - P_j + Q_j (log Q_j/P_j - KL(Q||P))) / tau`. Each part has the factor Q_j or
  P_j, so only columns to which one of the two gives some probability are moved: the near ones.
- Euclidean: the same in the brackets, divided by `tau d_j`. So around the distance d it is normalised similarity at
  the temperature tau d: sharper among pairs nearer than 1, which is a cosine above 1/2, and softer among others. On
  the sphere, a pair pulls the embedding by `dJ/ds_j sqrt(1 - s_j^2)`, and `sqrt(1 - s^2) = d sqrt(1 - d^2/4)`. So the
  pull of a near pair falls with d for normalised similarity; here the factor 1/d makes up for that.
- Partial order: of each comparison of two columns, with margins m of the student and a of the teacher,
  `dJ/dm = q - p + q (1 - q) (m - a)`. Every column takes part in equally many comparisons, so the gradient is spread
  over near and far ones, and none gets more than 2/n of the largest. A comparison that both have decided alike has no
  gradient.

Sources: the gradients are those of a softmax and a sigmoid, derived here; the expansion of the entropy is by
cumulants. Each is checked against autograd or the exact value by `tests/evaluation/relations/test_relation_forms.py`.
"""

import math

import torch

from ...models.relation_distillation import (
    SQUARED_DISTANCE_FLOOR,
    RelationForm,
    comparison_strides,
    euclidean,
    normalized_similarity,
)


def distances(similarities: torch.Tensor) -> torch.Tensor:
    """`d = sqrt(2 - 2 s)` of unit embeddings, with the objective's floor, so that it is never 0."""
    return ((2 - 2 * similarities).clamp(min=0) + SQUARED_DISTANCE_FLOOR).sqrt()


def logit_gradient(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """`dJ/du_j = Q_j - P_j + Q_j (log Q_j/P_j - KL(Q||P))`, with respect to the logits u of Q = softmax(u).

    By `dKL(P||Q)/du_j = Q_j - P_j` and `dQ_i/du_j = Q_i (1[i = j] - Q_j)`. It sums to 0 over the columns.

    Args:
        teacher (`torch.Tensor` of shape `(..., n)`): log P.
        student (`torch.Tensor` of shape `(..., n)`): log Q.
    """
    ratio, probabilities = student - teacher, student.exp()
    divergence = (probabilities * ratio).sum(dim=-1, keepdim=True)
    return probabilities - teacher.exp() + probabilities * (ratio - divergence)


def order_gradient(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """`dJ/dm = q - p + q (1 - q) (m - a)` of a comparison, with q = sigmoid(m) and p = sigmoid(a).

    By `J = (q - p) (m - a)`, which Jeffrey's divergence of two outcomes is. Both parts vanish where the two have
    decided alike; where only the student has, q - p is left, at most 1.

    Args:
        teacher (`torch.Tensor`): Margins a.
        student (`torch.Tensor` of the same shape): Margins m.
    """
    q = student.sigmoid()
    return q - teacher.sigmoid() + q * (1 - q) * (student - teacher)


def similarity_gradient(
    form: RelationForm,
    teacher: torch.Tensor,
    student: torch.Tensor,
    teacher_temperature: float,
    student_temperature: float,
) -> torch.Tensor:
    """`dJ/ds_j` of each row's loss with respect to the student's similarities, by the formulas above.

    Args:
        form (`str`): The relation's.
        teacher (`torch.Tensor` of shape `(num_rows, n)`): Similarities of the teacher.
        student (`torch.Tensor` of shape `(num_rows, n)`): Similarities of the student.
        teacher_temperature (`float`)
        student_temperature (`float`)
    """
    if form == "normalized_similarity":
        target, found = (
            normalized_similarity(rows, temperature)
            for rows, temperature in ((teacher, teacher_temperature), (student, student_temperature))
        )
        return logit_gradient(target, found) / student_temperature
    if form == "euclidean":
        target, found = euclidean(teacher, teacher_temperature), euclidean(student, student_temperature)
        return logit_gradient(target, found) / effective_temperature(student, student_temperature)
    gradient = torch.zeros_like(student)
    strides = comparison_strides(student.shape[1])
    for stride in strides:
        margins = ((rows - rows.roll(-stride, dims=1)) for rows in (teacher, student))
        a, m = (m / t for m, t in zip(margins, (teacher_temperature, student_temperature), strict=True))
        of_first = order_gradient(a, m) / student_temperature
        gradient += of_first - of_first.roll(stride, dims=1)
    return gradient / (len(strides) * student.shape[1])


def effective_temperature(similarities: torch.Tensor, temperature: float) -> torch.Tensor:
    """`tau d`: the temperature at which normalised similarity has the slope of the Euclidean form.

    By `d(-d/tau)/ds = 1 / (tau d)`, beside `d(s/tau)/ds = 1 / tau`.

    Args:
        similarities (`torch.Tensor`): Of pairs.
        temperature (`float`): Of the Euclidean form.
    """
    return temperature * distances(similarities)


def pull_on_embedding(gradient: torch.Tensor, similarities: torch.Tensor) -> torch.Tensor:
    """`|dJ/ds_j| sqrt(1 - s_j^2)`: how strongly a pair pulls its row's unit embedding along the sphere.

    By the gradient of `s = <p, b>` with respect to p, less its part along p: `b - s p`, of that length.

    Args:
        gradient (`torch.Tensor`): From [`similarity_gradient`].
        similarities (`torch.Tensor` of the same shape): The student's.
    """
    return gradient.abs() * (1 - similarities.square()).clamp(min=0).sqrt()


def order_gradient_limit(num_columns: int, temperature: float, largest: torch.Tensor) -> torch.Tensor:
    """`2 / (n tau) max |dJ/dm|`: no column of a partial order has a larger gradient.

    By counting: of the n comparisons of a stride a column takes part in 2, and the loss is a mean over all.

    Args:
        num_columns (`int`)
        temperature (`float`): Of the student.
        largest (`torch.Tensor`): Size of the largest [`order_gradient`] of a row.
    """
    return 2 * largest / (num_columns * temperature)


def entropy_of_close_logits(logits: torch.Tensor) -> torch.Tensor:
    """`log n - var(u) / 2`: entropy of softmax(u) to second order, for logits that differ little.

    By `H = log n - sum_r k_r (r - 1) / r!` with the cumulants k_r of the n logits, of which k_2 is their variance. So
    at a high temperature it falls with 1 / tau^2, and the forms differ in the spread of similarities or distances.

    Args:
        logits (`torch.Tensor` of shape `(..., n)`)
    """
    return math.log(logits.shape[-1]) - logits.var(dim=-1, correction=0) / 2


def entropy_of_close_comparison(margins: torch.Tensor) -> torch.Tensor:
    """`log 2 - m^2 / 8`: entropy of a comparison to second order, for a small margin.

    It is that of two logits m/2 and -m/2, whose variance is m^2 / 4.

    Args:
        margins (`torch.Tensor`)
    """
    return math.log(2) - margins.square() / 8


def divergence_of_close_logits(student: torch.Tensor, difference: torch.Tensor) -> torch.Tensor:
    """`Var_Q(delta)`: Jeffrey's divergence to second order, where the logits differ by a small delta.

    By `KL = Var_Q(delta) / 2` in either direction. Q is the weight: differences count at the columns that are
    probable, so the near ones; at a high temperature all count alike.

    Args:
        student (`torch.Tensor` of shape `(..., n)`): log Q.
        difference (`torch.Tensor` of shape `(..., n)`): The student's logits less the teacher's.
    """
    mean = (student.exp() * difference).sum(dim=-1, keepdim=True)
    return (student.exp() * (difference - mean).square()).sum(dim=-1)


def num_effective_columns(gradient: torch.Tensor) -> torch.Tensor:
    """`(sum |g_j|)^2 / sum g_j^2`: over how many columns a row's gradient is spread; 0 where there is none.

    Between 1 and the number of columns.

    Args:
        gradient (`torch.Tensor` of shape `(..., n)`)
    """
    squares = gradient.square().sum(dim=-1)
    return gradient.abs().sum(dim=-1).square() / squares.where(squares > 0, 1)
