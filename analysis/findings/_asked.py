"""What the findings ask of the verdicts: which studies, the source's statements, the literature, advice.

Words alone: every number on the page, and which of the words are chosen, comes from what was logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.claims import Outcome

SATURATING = ("sigmoid", "tanh")
RECTIFIED = ("relu",)


@dataclass(frozen=True)
class Scale:
    """A study of the claims on one data set.

    Attributes:
        study: its name, and its folder's.
        data: the data set in words.
    """

    study: str
    data: str


SCALES = (
    Scale("quick", "8x8 digits"),
    Scale("fashion-mnist-small", "Fashion-MNIST"),
    Scale("cifar100-small", "CIFAR-100"),
)
"""From the smallest to the largest; the last one that was run leads."""

NOTEBOOK = Scale("notebook-small", "CIFAR-100")
"""The source's own four networks, at its rate."""


@dataclass(frozen=True)
class Part:
    """Verdicts that a statement rests on.

    Attributes:
        claim: its id.
        activations: of which nets; None for all.
    """

    claim: str
    activations: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Statement:
    """One statement of the source work (protocol, 1).

    Attributes:
        words: what it says.
        parts: the verdicts that answer it.
    """

    words: str
    parts: tuple[Part, ...]


STATEMENTS = (
    Statement(
        "Batch normalization prevents vanishing gradients where activations saturate, and so speeds up "
        "training.",
        (
            Part("no-vanishing-gradient", SATURATING),
            Part("faster-at-best-rate", SATURATING),
            Part("fewer-failures", ("sigmoid",)),
        ),
    ),
    Statement("It regularizes (the author doubts it).", (Part("regularizes"),)),
    Statement(
        "It allows higher learning rates, because gradients no longer vanish.",
        (Part("higher-learning-rate"), Part("wider-stable-band")),
    ),
    Statement(
        "It makes training depend less on the scale of the parameters.",
        (Part("parameter-scale"),),
    ),
    Statement(
        "It cuts training time and boosts stability, for relu nets too.",
        (
            Part("worth-its-cost", RECTIFIED),
            Part("faster-at-best-rate", RECTIFIED),
            Part("fewer-failures", RECTIFIED),
        ),
    ),
)


@dataclass(frozen=True)
class Paper:
    """A result of the literature that one of our claims can agree with or not.

    Attributes:
        cited: authors, year, arXiv number.
        says: what they found.
        claim: ours that asks it, of relu nets.
        agrees: the outcome that agrees with them.
        reasons: by outcome, the likeliest reason for a difference, or what the agreement means.
        best_rates: it speaks of best rates too, so ours stand beside it.
    """

    cited: str
    says: str
    claim: str
    agrees: Outcome
    reasons: Mapping[Outcome, str]
    best_rates: bool = False


PAPERS = (
    Paper(
        "Bjorck et al. 2018 (1806.02375)",
        "batch normalization mainly allows larger rates, and these are why it converges faster and "
        "generalizes better; so at one rate for both nets it should gain little",
        "faster-at-same-rate",
        "REFUTED",
        {
            "SUPPORTED": "They train residual nets to the end, where here the first steps of plain ones "
            "count; "
            "and a plain net at its best rate is near its limit, where the normalized one is not.",
            "REFUTED": "At one rate for both there is no gain worth naming here either.",
            "INCONCLUSIVE": "The seeds cannot tell.",
        },
    ),
    Paper(
        "Santurkar et al. 2018 (1805.11604)",
        "batch normalization makes the loss smoother along the gradient",
        "smoother-landscape",
        "SUPPORTED",
        {
            "SUPPORTED": "It does here too, at equal training loss.",
            "REFUTED": "They compare at equal steps, when the nets are at different losses; here both are "
            "read at the same "
            "training loss, and there the difference goes.",
            "INCONCLUSIVE": "The seeds cannot tell.",
        },
    ),
    Paper(
        "De & Smith 2020 (2002.10444)",
        "batch normalization does allow larger rates, but at small batch sizes the best rates with and "
        "without "
        "it are alike, and far below the largest stable ones: the larger rates help at large batches alone",
        "higher-learning-rate",
        "SUPPORTED",
        {
            "SUPPORTED": "What they say of the best rates is beside it: a higher limit is room to err, not "
            "yet a "
            "better rate.",
            "REFUTED": "Theirs are residual nets, deeper and trained to the end; on these nets even the "
            "limits are "
            "alike.",
            "INCONCLUSIVE": "The seeds cannot tell.",
        },
        best_rates=True,
    ),
)


@dataclass(frozen=True)
class Advice:
    """What a practitioner does about a claim.

    Attributes:
        claim: its id.
        activation: of which net.
        by_outcome: what to do, by the largest data set's outcome.
    """

    claim: str
    activation: str
    by_outcome: Mapping[Outcome, str]


ADVICE = (
    Advice(
        "higher-learning-rate",
        "relu",
        {
            "SUPPORTED": "With batch normalization, search learning rates further up: {effect} the "
            "plain net's highest is still stable.",
            "REFUTED": "Do not count on higher learning rates.",
            "INCONCLUSIVE": "Search the learning rate anew when you add or remove it; how far up is open.",
            "NOT EVALUABLE": "Nothing to go by: the rates could not be compared.",
        },
    ),
    Advice(
        "faster-at-best-rate",
        "relu",
        {
            "SUPPORTED": "Expect the accuracy that you had in fewer steps: {effect} as fast, each net at "
            "its own best rate.",
            "REFUTED": "Do not add it for speed: with the rate tuned for each net it is no faster.",
            "INCONCLUSIVE": "Whether it is faster once the rate of each net is tuned, this cannot tell.",
            "NOT EVALUABLE": "Speed could not be compared.",
        },
    ),
    Advice(
        "worth-its-cost",
        "relu",
        {
            "SUPPORTED": "Its slower steps pay: {effect} as fast in seconds.",
            "REFUTED": "Measure seconds: its slower steps eat up what it saves.",
            "INCONCLUSIVE": "Measure seconds on your own machine: whether it pays there is open.",
            "NOT EVALUABLE": "Seconds could not be compared.",
        },
    ),
    Advice(
        "parameter-scale",
        "relu",
        {
            "SUPPORTED": "Worry less about the scale of the initial weights: it is stable on more "
            "of them ({effect}).",
            "REFUTED": "Keep initializing with care: it does not forgive another scale.",
            "INCONCLUSIVE": "Keep initializing with care: whether it forgives another scale is open.",
            "NOT EVALUABLE": "Keep initializing with care: scales were not compared at this size.",
        },
    ),
    Advice(
        "regularizes",
        "relu",
        {
            "SUPPORTED": "You may need less of other regularization: the gap narrows by {effect}.",
            "REFUTED": "Keep your other regularization: at equal training loss it narrows the gap by less "
            "than counts.",
            "INCONCLUSIVE": "Keep your other regularization: whether it adds any is open.",
            "NOT EVALUABLE": "Keep your other regularization: whether it adds any could not be asked.",
        },
    ),
    Advice(
        "fewer-failures",
        "sigmoid",
        {
            "SUPPORTED": "If the activation must be a sigmoid, normalize: the net then trains at more "
            "of the rates ({effect}).",
            "REFUTED": "It does not rescue sigmoid nets.",
            "INCONCLUSIVE": "Whether it rescues sigmoid nets is open.",
            "NOT EVALUABLE": "Whether it rescues sigmoid nets could not be asked.",
        },
    ),
)

AVERAGES_CHANGE = (
    "Early in training, judge a batch-normalized net by statistics taken anew, not by its moving averages: "
    "with a momentum of 0.99 these still remember the start, and can hide what the net has learned."
)
AVERAGES_SAME = (
    "Judge a batch-normalized net by its moving averages or by statistics taken anew: it is the same."
)

READINGS: Mapping[str, str] = {
    "higher-learning-rate": "A rate is stable for a net if it trains there to nine tenths of its own best "
    "accuracy. "
    "The effect is how many times further up batch normalization is still stable.",
    "faster-at-best-rate": "Both nets at the rate that is best for each: how many times as many steps the "
    "plain net "
    "takes to the same accuracy. This is the fair comparison for who tunes the rate.",
    "faster-at-same-rate": "Both nets at the plain net's best rate: what one gains by adding the layers and "
    "changing nothing else.",
    "wider-stable-band": "How many more powers of ten of learning rates work: how far wrong a guess may be.",
    "fewer-failures": "Of the range of rates tried, the share at which the net with batch normalization "
    "learns anything, "
    "less the plain net's. It is what can be said of nets that never train without it.",
    "no-vanishing-gradient": "How fast the gradient fades from the last hidden layer to the first, at "
    "initialization, "
    "in powers of ten per layer; the effect is how much less it fades. Asked of saturating activations "
    "alone.",
    "regularizes": "How much more of what is learned holds on images not seen: the gap between validation "
    "and training "
    "loss, read where both nets have the same training loss.",
    "parameter-scale": "Initial weights a tenth to ten times as large: on how much more of that range the "
    "net with batch "
    "normalization is still stable.",
    "smoother-landscape": "How much the gradient changes along its own direction, read where both nets have "
    "the same "
    "training loss; above 1, the net with batch normalization is the smoother one.",
    "worth-its-cost": "The same race as at the best rate, in seconds: a step with batch normalization takes "
    "longer.",
}
