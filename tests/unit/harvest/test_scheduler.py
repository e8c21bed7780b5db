"""The pool's decisions, played through without Ray."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.contracts.errors import SpecError, StoreError
from thresher.harvest.plan import ShardPlan
from thresher.harvest.scheduler import CALLS_IN_FLIGHT, ActorStartError, Group, Loss, Scheduler
from thresher.harvest.spec import ActorsSpec

NOW_S = 1000.0


def plans(count):
    return [
        ShardPlan(artifact="a", index=i, first_sequence=8 * i, num_sequences=8, sequence_length=4)
        for i in range(count)
    ]


def scheduler(num_shards=6, group_size=1, **options):
    return Scheduler(ActorsSpec(**options), group_size, plans(num_shards))


def standing(made, *actors):
    for actor in actors:
        made.add_starting(actor)
        made.set_standing(actor)
    return [(actor, [plan.index for plan in group]) for actor, group in made.assignments()]


def deal(made):
    return list(made.assignments())


@dataclass
class Play:
    """A cluster of chance events, in which some shards always fail and some kill their process."""

    made: Scheduler
    raising: set[int]
    deadly: set[int]
    chance: random.Random
    starting: set[int] = field(default_factory=set)
    running: dict[int, list[Group]] = field(default_factory=dict)
    committed: set[int] = field(default_factory=set)
    num_actors: int = 0

    def run(self, count: int) -> None:
        while not self.made.is_done:
            self.deal(count)
            self.event()

    def deal(self, count: int) -> None:
        for actor in self.made.surplus_actors():
            assert not self.running.pop(actor, [])
            self.starting.discard(actor)
            self.made.remove(actor)
        for _ in range(self.made.missing_actors(NOW_S)):
            self.made.add_starting(self.num_actors)
            self.starting.add(self.num_actors)
            self.running[self.num_actors] = []
            self.num_actors += 1
        for actor, group in self.made.assignments():
            assert actor not in self.starting
            assert len(self.running[actor]) < CALLS_IN_FLIGHT
            here = {plan.index for plan in group}
            assert not here & self.committed, "made twice"
            assert not here & {item.plan.index for item in self.made.poison}, "tried after it was set aside"
            for groups in self.running.values():
                assert not here & {plan.index for other in groups for plan in other}, "given out twice"
            self.running[actor].append(group)

    def event(self) -> None:
        calls = [(actor, group) for actor, groups in self.running.items() for group in groups]
        kind = self.chance.random()
        if self.starting and (kind < 0.3 or not calls):
            actor = self.chance.choice(sorted(self.starting))
            self.starting.remove(actor)
            self.made.set_standing(actor)
        elif kind < 0.35 and self.running:
            self.lose(self.chance.choice(sorted(self.running)), Loss.PREEMPTED)
        elif kind < 0.4 and self.running:
            actor = self.chance.choice(sorted(self.running))
            self.starting.discard(actor)
            self.made.set_draining(actor)
        elif calls:
            self.end_call(*self.chance.choice(calls))

    def end_call(self, actor: int, group: Group) -> None:
        here = {plan.index for plan in group}
        if here & self.deadly:
            self.lose(actor, Loss.CRASHED)
        elif here & self.raising or self._is_beside_poison(actor):
            self.running[actor].remove(group)
            self.made.fail(actor, group, ValueError("poison"))
        else:
            self.running[actor].remove(group)
            self.made.finish(actor, group)
            self.committed |= here

    def _is_beside_poison(self, actor: int) -> bool:
        """Calls in flight share batches, so that the failure of one may well be raised by another."""
        beside = {plan.index for group in self.running[actor] for plan in group}
        return bool(beside & self.raising) and self.chance.random() < 0.5

    def lose(self, actor: int, loss: Loss) -> None:
        del self.running[actor]
        self.starting.discard(actor)
        self.made.lose(actor, loss, RuntimeError("gone"), NOW_S)


@settings(max_examples=300)
@given(
    seed=st.integers(0, 2**32),
    num_shards=st.integers(1, 12),
    count=st.integers(1, 4),
    group_size=st.integers(1, 3),
    bad=st.lists(st.integers(0, 11), max_size=4),
    max_attempts=st.integers(1, 3),
)
def test_whatever_happens_each_shard_is_made_once_and_only_poison_is_set_aside(
    seed, num_shards, count, group_size, bad, max_attempts
):
    made = scheduler(
        num_shards,
        group_size,
        count=count,
        max_attempts=max_attempts,
        max_failed_shards=12,
        max_failed_starts=1000,
    )
    bad = {index for index in bad if index < num_shards}
    chance = random.Random(seed)
    raising = {index for index in bad if chance.random() < 0.5}
    play = Play(made, raising, bad - raising, chance)
    play.run(count)
    assert {item.plan.index for item in made.poison} == bad
    assert all(item.num_failures == max_attempts for item in made.poison)
    assert play.committed == set(range(num_shards)) - bad


def test_every_actor_gets_a_shard_before_one_gets_two():
    assert standing(scheduler(count=3), 0, 1, 2) == [
        (0, [0]),
        (1, [1]),
        (2, [2]),
        (0, [3]),
        (1, [4]),
        (2, [5]),
    ]


def test_tensor_parallel_ranks_get_a_shard_each():
    assert standing(scheduler(5, group_size=2), 0) == [(0, [0, 1]), (0, [2, 3]), (0, [4])]


@pytest.mark.parametrize(("num_shards", "count", "asked"), [(10, 4, 4), (2, 4, 2), (0, 4, 0)])
def test_no_more_actors_than_there_is_work_for(num_shards, count, asked):
    assert scheduler(num_shards, count=count).missing_actors(NOW_S) == asked


def test_actors_that_ray_cannot_place_do_not_hold_up_the_others():
    made = scheduler(4, count=3)
    for actor in range(3):
        made.add_starting(actor)
    made.set_standing(1)
    assert {actor for actor, _ in deal(made)} == {1}


def test_the_pool_shrinks_as_work_runs_out():
    made = scheduler(2, count=2)
    standing(made, 0, 1)
    made.finish(0, (plans(2)[0],))
    assert made.surplus_actors() == [0]
    assert made.missing_actors(NOW_S) == 0


def test_a_lost_node_blames_nobody_and_is_replaced():
    made = scheduler(1, count=1, max_attempts=1)
    for actor in range(5):
        assert made.missing_actors(NOW_S) == 1
        assert standing(made, actor) == [(actor, [0])]
        made.lose(actor, Loss.PREEMPTED, RuntimeError("node"), NOW_S)
    assert not made.poison


def test_a_draining_actor_keeps_its_calls_gets_none_and_is_replaced():
    made = scheduler(5, count=1)
    made.add_starting(0)
    made.set_standing(0)
    (_, first), (_, second), *others = deal(made)
    made.set_draining(0)
    assert made.missing_actors(NOW_S) == 1
    made.finish(0, first)
    for _, other in others:
        made.finish(0, other)
    assert deal(made) == []
    assert made.surplus_actors() == []
    made.lose(0, Loss.CRASHED, RuntimeError("its time was up"), NOW_S)
    made.add_starting(1)
    made.set_standing(1)
    assert deal(made)[0] == (1, second)
    assert not made.poison


def test_where_one_of_two_failed_each_runs_alone_before_anyone_is_blamed():
    made = scheduler(3, count=1, max_attempts=1)
    standing(made, 0)
    made.lose(0, Loss.CRASHED, RuntimeError("killed"), NOW_S)
    assert not made.poison
    assert standing(made, 1) == [(1, [0])], "alone, though an actor may have several calls"
    made.finish(1, (plans(1)[0],))
    assert [plan.index for _, group in deal(made) for plan in group] == [1]
    made.lose(1, Loss.CRASHED, RuntimeError("killed"), NOW_S)
    assert [item.plan.index for item in made.poison] == [1]


def test_a_shard_that_failed_goes_to_another_actor():
    made = scheduler(1, count=1)
    standing(made, 0)
    made.fail(0, (plans(1)[0],), ValueError("no"))
    assert deal(made) == []
    assert made.surplus_actors() == [0]
    assert made.missing_actors(NOW_S) == 1


def test_more_poison_than_is_borne_stops_at_once():
    made = scheduler(9, count=1, max_attempts=1, max_failed_shards=1)
    standing(made, 0)
    made.lose(0, Loss.CRASHED, RuntimeError("x"), NOW_S)  # both shards are suspects now
    for actor in (1, 2):
        assert not made.is_done
        assert len(standing(made, actor)) == 1
        made.lose(actor, Loss.CRASHED, RuntimeError("x"), NOW_S)
    assert len(made.poison) == 2
    assert made.is_done


def test_engines_that_never_stand_end_the_harvest_in_their_own_words():
    made = scheduler(3, count=1, max_failed_starts=3)
    for actor in range(2):
        made.add_starting(actor)
        made.lose(actor, Loss.CRASHED, RuntimeError("out of memory"), NOW_S)
        assert made.missing_actors(NOW_S) == 1, "none stands: at once"
    made.add_starting(2)
    with pytest.raises(ActorStartError, match=r"3 actors in a row.*out of memory"):
        made.lose(2, Loss.CRASHED, RuntimeError("out of memory"), NOW_S)
    assert not made.poison


def test_while_others_work_a_bad_node_is_tried_again_later():
    made = scheduler(9, count=2, max_failed_starts=1)
    standing(made, 0)
    made.add_starting(1)
    made.lose(1, Loss.CRASHED, RuntimeError("out of memory"), NOW_S)
    assert made.missing_actors(NOW_S) == 0
    assert made.missing_actors(NOW_S + 11) == 1


def test_a_spec_that_the_engine_refuses_ends_the_harvest_at_once():
    made = scheduler(3, count=1)
    made.add_starting(0)
    with pytest.raises(SpecError):
        made.lose(0, Loss.CRASHED, SpecError("model", "m", mend="Mend it."), NOW_S)


def test_a_store_that_is_away_ends_the_harvest_and_no_shard_is_blamed():
    made = scheduler(9, count=1, max_attempts=1)
    for actor in range(2):
        made.add_starting(actor)
        made.set_standing(actor)
        (_, first), (_, second), *others = deal(made)
        if actor == 0:
            made.fail(0, first, StoreError("away"))
            for group in [second, *(other for _, other in others)]:
                made.finish(0, group)  # the store was there again
            made.surplus_actors()
        else:
            made.fail(1, first, StoreError("away"))
            with pytest.raises(StoreError):
                made.fail(1, second, StoreError("away"))
    assert not made.poison
