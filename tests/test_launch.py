"""How the processes of a training meet."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from surgrad.errors import BadValue, LostRank
from surgrad.train import launch
from surgrad.train.launch import all_say, group_name, process_group


def names(store, order, count):
    """What ranks find that begin in this order."""
    with ThreadPoolExecutor(count) as pool:
        found = {rank: pool.submit(group_name, store, rank, count) for rank in order}
        return [found[rank].result(20) for rank in range(count)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_ranks_find_one_name(order):
    assert len(set(names(dist.HashStore(), order, 3))) == 1


def test_a_later_start_has_another_name():
    """Whatever an earlier one has left: of one that ended, or whose rank 0 ended before it answered all."""
    store = dist.HashStore()
    before = set(names(store, (0, 1, 2), 3))
    store.set("call/1", "of one that has ended")
    after = set(names(store, (2, 0, 1), 3))
    assert len(after) == 1
    assert after.isdisjoint(before)
    assert len(set(names(store, (1, 0), 2))) == 1  # another number of processes


@pytest.mark.parametrize("answers", [(True, True, True), (True, False, True)])
def test_one_machine_without_a_gpu_decides_for_all(answers):
    store = dist.HashStore()
    with ThreadPoolExecutor(3) as pool:
        found = [pool.submit(all_say, store, rank, 3, yes) for rank, yes in enumerate(answers)]
        assert [one.result(20) for one in found] == [all(answers)] * 3


@pytest.fixture
def second_of_two(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(launch, "MEETING", timedelta(seconds=2))


def test_a_rank_that_waits_in_vain_says_where(second_of_two, monkeypatch):
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    with (
        pytest.raises(LostRank, match=rf"rank 1 of 2 did not meet the others at 127\.0\.0\.1:{store.port} \("),
        process_group("cpu"),
    ):
        pass


def test_the_first_rank_says_who_did_not_come(second_of_two, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_PORT", "0")
    with pytest.raises(LostRank, match=r"rank 1 did not come within 0:00:02"), process_group("cpu"):
        pass


def test_incomplete_variables_name_torchrun(second_of_two):
    with pytest.raises(BadValue, match="MASTER_PORT is not set; start them by torchrun"), process_group("cpu"):
        pass
