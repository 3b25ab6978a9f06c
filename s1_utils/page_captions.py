"""What stands below each figure of a report: a title and a sentence or two for a reader who hasn't seen its notebook.

Knows the names of figures; a test sees that each has its words. Numbers aren't in them: those are in the tables.
"""

from __future__ import annotations

_PAPER = (
    "Hollow and grey: the paper's published values, with Wilson's 95 % bands where the number of questions is known; "
    "filled: this study's runs of the same model, where there are any. The tinted panel is the laptop's own "
    "experiment, with another model and other questions: its form is the same, its axes aren't to be compared."
)
CAPTIONS = {  # figure → (title, caption)
    "paper_figure1": ("Figure 1 of the paper: more thinking, better answers", _PAPER),
    "paper_figure2": ("Figure 2, right, of the paper: accuracy by number of training examples", _PAPER),
    "paper_figure4a": ("Figure 4a of the paper: thinking forced past its natural end", _PAPER),
    "paper_figure4b": ("Figure 4b of the paper: majority voting against budget forcing", _PAPER),
    "paper_figure6": ("Figure 6 of the paper: rejection sampling", _PAPER),
    "paper_figure7": ("Figure 7 of the paper: voting and tree search against budget forcing", _PAPER),
    "sequential": (
        "Sequential scaling",
        "Accuracy against the mean number of thinking tokens, with 95 % bands over questions: thinking forced to an "
        "exact length, thinking that ends by itself and is continued with “Wait”, the base model forced in the same "
        "way, and guessing.",
    ),
    "methods": (
        "Every way to control thinking",
        "The same axes, a small panel a method, with all others pale behind it.",
    ),
    "parallel": (
        "Sequential against parallel",
        "One long thought against the majority of several, at equal thinking tokens and on the same questions. “Any of "
        "k” is what a perfect judge of the samples would reach.",
    ),
    "frontier": (
        "The best accuracy within a limit of cost",
        "A panel for each way to count cost: thinking tokens, tokens one after another, FLOPs, seconds. The best "
        "setting is chosen anew in every resample, so that the bands hold the luck of choosing.",
    ),
    "rejection": (
        "Keeping only what is short enough",
        "Accuracy of the samples that stay below a length: of all questions, and of those that every length reaches.",
    ),
    "combination": (
        "Longer and more often",
        "Accuracy in % of the majority of k samples that all think up to one budget; small: half its interval. Framed "
        "are cells that beat everything cheaper.",
    ),
    "training": (
        "Fine-tuning",
        "Loss and gradient norm of every step with their running means, and the learning rate.",
    ),
    "spread": (
        "How much selections differ between seeds",
        "A box a subset: quartiles over many seeds, whiskers around 95 % of them.",
    ),
    "ablations": (
        "What the training subset is worth",
        "Accuracy of a model fine-tuned on each subset, with its 95 % interval.",
    ),
    "subset_differences": (
        "Each subset less s1K",
        "Differences in accuracy, paired on the same questions. Pale: what this many questions could not have "
        "detected. The paper's differences stand on axes of their own: another model, other questions.",
    ),
    "ablations_large": (
        "Each subset less s1K, on more data",
        "As above, from the larger ablations, which have a run of their own.",
    ),
    "train_length": (
        "Trained on cut or on whole traces",
        "Thinking tokens up to the natural end, and accuracy, by the length that training examples were cut to.",
    ),
    "conditional": (
        "A length asked for in words",
        "Above: what models used of the length they were asked for. Below: what it bought. Filled marks end by "
        "themselves, hollow ones are stopped.",
    ),
    "funnel": (
        "From collected questions to training data",
        "How many questions are left after each step, here and in the paper.",
    ),
    "domains": (
        "The domains of the chosen questions",
        "A bubble a domain, as large as it has questions.",
    ),
    "lengths": (
        "How long the chosen traces are",
        "A histogram of thinking tokens for each subset, all of equal area, with its median.",
    ),
    "inclusion": (
        "How stable the selection is",
        "The share of seeds in which a question is chosen, the most often chosen first.",
    ),
    "votes": (
        "Votes and passes",
        "The expectations of maj@k and pass@k over all subsets of k samples, with their bands.",
    ),
    "champ_votes": (
        "Votes of other people's samples",
        "maj@k and pass@k of published samples of GPT-3.5, GPT-4 and PaLM 2 on CHAMP's questions, by our code.",
    ),
    "comparison": ("Runs beside each other", "One way to spend tokens in several runs, a curve a run."),
}
