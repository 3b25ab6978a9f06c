"""REBASE: a tree of thoughts whose width goes where the rewards are.

Knows nodes, widths and seeds; knows nothing about how rewards come about, or about grading. Every node is a thinking so
far. All live nodes of a question take one step each time, as many children as their share of the width; a child whose
thinking ended answers and leaves the tree, and its share with it, until `width` answers are there.

  root ─┬─ step ─┬─ step ── answer        width 4: 4 children of the root, say 3 and 1 of the two best of them, …
        │        └─ step ── …             a node without children is pruned; its tokens count all the same
        └─ step

A step is one row of an engine whose prompt is the question and the thinking so far, so any engine runs it: the
transformers engine keeps what is cached from one step to the next (`keep_prefixes`), vLLM and its server have a prefix
cache of whole blocks. Rows have seeds of their question and path, never of an order.

Source: Wu et al. 2024 (arXiv 2408.00724) and its published code; s1 section 4.2 and figure 7: width 16, softmax
temperature 0.2, temperature 1, at most 256 tokens a step, answers merged by majority.
Deviations: widths follow the published code (each node's share of what is left, rounded up, best first), exactly, so
that they always sum to the width, which the paper's rounding doesn't; equal rewards go by path. The cap on tokens
counts a whole thinking (the code's compares the last step alone). Who reaches a cap is made to answer, not dropped.
Thinking ends as everywhere in this study, not at the words "The answer is". Invariants: tests/test_search.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from s1_utils import votes
from s1_utils.budget_forcing import Ids, Point, Setting, describe_end
from s1_utils.engines import Row
from s1_utils.errors import StudyError
from s1_utils.generation import Task, Writer, describe_points, find_room, make_tasks, run_groups
from s1_utils.rewards import Candidate, RewardModel, score_candidates
from s1_utils.search_steps import Rebase, Step, check_delimiters, encode_delimiter, share_width, take_step
from s1_utils.sources import derive_seed
from s1_utils.store import Journal

Path = tuple[int, ...]  # which child at every depth
COUNTED = ["group_forwarded_tokens", "group_reward_tokens"]


@dataclass(frozen=True)
class _Node:
    path: Path = ()
    thinking: Ids = ()
    steps: tuple[str, ...] = ()
    rewards: tuple[float, ...] = ()  # of every step of the path
    record: dict[str, Any] = field(default_factory=dict)  # of a leaf: its row of `generations`

    @property
    def name(self) -> str:
        return ".".join(map(str, self.path))


@dataclass
class _Tree:
    """A question's search: `live` nodes and the children each is to have, and the leaves so far."""

    task: Task
    question: str
    room: int
    live: list[tuple[_Node, int]]
    leaves: list[_Node] = field(default_factory=list)
    nodes: int = 0
    depth: int = 0
    thought: int = 0
    sampled: int = 0
    forced: int = 0

    def list_paths(self) -> Iterator[tuple[_Node, Path]]:
        for node, width in self.live:
            for child in range(width):
                yield node, (*node.path, child)

    def grow(self, children: Sequence[_Node], how: Rebase) -> None:
        """Take the children in, and share what is left of the width among those that go on."""
        self.nodes += len(children)
        self.depth += 1
        self.leaves += [node for node in children if node.record]
        live = [node for node in children if not node.record]
        left = how.width - len(self.leaves)
        widths = share_width([node.rewards[-1] for node in live], left, how.softmax_temperature)
        self.live = [(node, n) for node, n in zip(live, widths, strict=True) if n]

    def describe(self) -> dict[str, Any]:
        ordered = sorted(self.leaves, key=lambda leaf: leaf.path)
        leaves = [
            {
                **leaf.record,
                "sample": i,
                "path": leaf.name,
                "reward": leaf.rewards[-1],
                "step_rewards": json.dumps(leaf.rewards),
            }
            for i, leaf in enumerate(ordered)
        ]
        return {
            "question_id": self.task.question_id,
            "leaves": leaves,
            "nodes": self.nodes,
            "depth": self.depth,
            "prompt_tokens": len(self.task.prompt_ids),
            "thinking_tokens": self.thought,
            "generated_tokens": self.sampled,
            "forced_tokens": self.forced,
        }


@dataclass(frozen=True)
class _Searcher:
    writer: Writer
    reward: RewardModel
    how: Rebase
    delimiters: tuple[Ids, ...]
    questions: dict[str, str]

    def run_group(self, tasks: Sequence[Task]) -> list[dict[str, Any]]:
        """The trees of some questions, grown together: a step of all their live nodes is one run of the engine."""
        engine = self.writer.engine
        before = self._count_forwarded()
        trees = [self._plant(task) for task in tasks]
        with getattr(engine, "keep_prefixes", nullcontext)():
            for step in range(self.how.max_steps):
                growing = [tree for tree in trees if tree.live]
                if growing:
                    self._grow(growing, is_last=step + 1 == self.how.max_steps)
        spent = {
            f"group_{name}_tokens": None if count is None else count - before[name]
            for name, count in self._count_forwarded().items()
        }
        return [tree.describe() | spent for tree in trees]

    def _count_forwarded(self) -> dict[str, int | None]:
        """What the model and its reward model were run on so far, None for one that doesn't count."""
        counters = {"forwarded": self.writer.engine, "reward": self.reward}
        return {name: getattr(counter, "forward_tokens", None) for name, counter in counters.items()}

    def _plant(self, task: Task) -> _Tree:
        room = min(self.how.max_thinking, find_room(self.writer, task, self.how.max_answer_tokens))
        if room < 1:
            raise StudyError(
                f"Question {task.question_id}: its prompt ({len(task.prompt_ids)} tokens) and an answer of "
                f"{self.how.max_answer_tokens} leave no room for thinking in a window of {self.writer.window}."
            )
        return _Tree(task, self.questions[task.question_id], room, [(_Node(), self.how.width)])

    def _grow(self, trees: Sequence[_Tree], *, is_last: bool) -> None:
        places = [(tree, node, path) for tree in trees for node, path in tree.list_paths()]
        steps = self.writer.engine.run([self._make_row(*place, is_last=is_last) for place in places])
        children = [self._make_child(*place, step) for place, step in zip(places, steps, strict=True)]
        candidates = [
            Candidate(tree.task.question_id, child.name, tree.question, child.steps)
            for (tree, _, _), child in zip(places, children, strict=True)
        ]
        rewards = score_candidates(self.reward, candidates)
        scored = [replace(c, rewards=(*c.rewards, reward)) for c, reward in zip(children, rewards, strict=True)]
        for tree in trees:
            tree.grow([child for (own, _, _), child in zip(places, scored, strict=True) if own is tree], self.how)

    def _make_row(self, tree: _Tree, node: _Node, path: Path, *, is_last: bool) -> Row:
        left = tree.room - len(node.thinking)
        policy = take_step(self.writer.markers, self.delimiters, self.how, node.thinking, room=left, is_last=is_last)
        seed = derive_seed(tree.task.seed, "rebase", *path)
        return Row(tree.task.prompt_ids + node.thinking, policy, seed, self.how.temperature)

    def _make_child(self, tree: _Tree, node: _Node, path: Path, step: Step) -> _Node:
        tree.thought += len(step.ids)
        tree.sampled += step.sampled
        tree.forced += step.forced
        thinking = node.thinking + step.ids
        child = replace(
            node, path=path, thinking=thinking, steps=(*node.steps, self.writer.decode(step.ids)), record={}
        )
        if not step.finish:
            return child
        setting = Setting("rebase", self.how.max_thinking, 0)
        end = ((f"{step.finish}_end", len(thinking)),)
        point = Point(setting, thinking, step.finish, end, step.answer.ids, describe_end(step.answer))
        (record,) = describe_points(self.writer, tree.task, (point,))
        return replace(child, record=record, steps=(*child.steps, record["answer"]))


def search(
    writer: Writer,
    reward: RewardModel,
    questions: pd.DataFrame,
    journal: Journal,
    how: Rebase,
    *,
    label: str,
    seed: int,
    group_size: int = 1,
    instruction: str = "",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(leaves, trees) of REBASE on `questions` (question_id, question). Groups found in `journal` are not run again.

    leaves: the `generations` table, `width` rows a question, with path, reward (of all of it) and step_rewards.
    trees: one row a question: nodes, depth, and its tokens: prompt_tokens (read once), thinking_tokens (of all
    branches, pruned ones included, what they share once), generated_tokens (those, answers and end markers),
    forced_tokens (between thinking and answer). For a whole group of questions, which `group` numbers:
    group_forwarded_tokens, what the engine ran its model on, and group_reward_tokens, what the reward model was run on
    (null where one doesn't count). Raises StudyError for a delimiter that hides an end.
    """
    delimiters = encode_delimiter(writer.tokenizer, how.delimiter)
    check_delimiters(writer.markers, delimiters)
    texts = dict(zip(questions["question_id"], questions["question"], strict=True))
    searcher = _Searcher(writer, reward, how, delimiters, texts)
    tasks = make_tasks(writer, questions, seed=seed, instruction=instruction)
    found = list(run_groups(tasks, searcher.run_group, journal, label=label, group_size=group_size))
    leaves = pd.DataFrame([leaf for tree in found for leaf in tree["leaves"]]).assign(model=label, wait_text="")
    trees = pd.DataFrame([{name: value for name, value in tree.items() if name != "leaves"} for tree in found])
    trees = trees.assign(model=label, group=[i // group_size for i in range(len(trees))])
    return leaves, trees.astype(dict.fromkeys(trees.columns.intersection(COUNTED), "Int64"))


def merge_leaves(graded: pd.DataFrame) -> pd.DataFrame:
    """question_id, majority, weighted, best: how right each tree's answer is, merged in the three ways of `votes`.

    `graded`: the leaves of one search with vote and correct. Only whole trees count, as their leaves aren't
    independent samples: no k but all of them. Ties are split fairly. Raises StudyError as `votes.stack_samples` does.
    """
    stacked = votes.stack_samples(graded, reward="reward")
    answers, correct, rewards = stacked.answer_QS, stacked.correct_QS, stacked.reward_QS
    whole = votes.estimate_weighted(answers, correct, rewards, draws=2, seed=0)  # all draws are the one whole set
    return pd.DataFrame(
        {
            "question_id": stacked.question_ids,
            "majority": votes.expect_majorities(answers, correct)[:, -1],
            "weighted": whole.value_QK[:, -1],
            "best": votes.expect_best(answers, correct, rewards)[:, -1],
        }
    )
