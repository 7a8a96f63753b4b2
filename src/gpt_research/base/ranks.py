"""The processes of a run as one: they begin together, and if one fails, all end and one speaks.

Ranks that compute wait for each other in exchanges that cannot be interrupted. So the ranks have a
second way to speak: the store through which torch's processes find each other. A rank that fails
leaves its last words there. A thread of every rank looks for such words, and ends a process whose
main thread waits for one that has gone.

The lowest rank that still lives tells the user, once, what happened and on which host.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from gpt_research.base.errors import SharedError, UserError
from gpt_research.base.held_warnings import HELD

START_S = 1800.0
"""The longest that a rank waits for another one until the first step is done; ranks load, compile
and measure in that time."""
LOOKS_EVERY_S = 0.5
LAST_WORDS_S = 5.0
"""The time in which a rank learns that others end, and says why it does itself."""
STARTS_WITHIN_S = 30.0
"""The same before the ranks have met: processes do not start at the same moment."""
LEAVES_WITHIN_S = 20.0
"""The time in which the main thread of a rank that ends has cleared up."""
ENDS_WITHIN_S = 10.0
"""The time in which the thread of a rank has noticed that its work is done."""
FINISHES_WITHIN_S = 60.0
"""The time in which a checkpoint that is being written reaches the disk."""
WARNING_IS_OLD_S = 3.0
"""Seconds after which rank 0 would have had a warning that another rank had."""
GO_ON = "Start the same command again: it goes on from the newest checkpoint, if there is one."

MISTAKE, FAILURE, LOST, ENDED = "mistake", "failure", "lost", "ended"
"""Why a rank ends: the user can mend it; an exception of another kind; it lost another rank; its
main thread did not say."""
Words = dict[str, Any]
"""What a rank says when it ends: kind, text and host."""


class RanksEndedError(UserError):
    """All ranks of the run end, and one of them tells the user why."""

    def __init__(self, text: str, code: int, *, told_by_another: bool) -> None:
        super().__init__(text)
        self.code = code
        """The exit code of all ranks."""
        self.told_by_another = told_by_another
        """True on the ranks that are to be silent."""


class Ranks:
    """This process among those of its run."""

    def __init__(self, rank: int, world_size: int, number: int, timeout_s: float = START_S) -> None:
        """Reach the others' store.

        Args:
            number: how often this process has joined others before; the same on all ranks.

        Raises:
            RuntimeError: there is no store at the address, or not all came in time.
        """
        self.rank, self.world_size, self.host = rank, world_size, socket.gethostname()
        # torch does not take the timeout of a store from `init_process_group` if it is given one.
        store, _, _ = next(rendezvous("env://", rank, world_size, timeout=timedelta(seconds=timeout_s)))
        self.store = dist.PrefixStore(f"gpt-research-{number}", store)
        # A connection answers one question at a time, and torch waits on its own for minutes.
        self._line = dist.PrefixStore(f"gpt-research-{number}", store.clone())
        self.hosts = ["another host"] * world_size
        self.patience_s = timeout_s
        """How long a rank waits for another one."""
        self.has_met = False
        """All ranks were there, and `hosts` are their hosts."""
        self.done = False
        """The main thread has left torch's group."""
        self._parted = False
        self._left = threading.Event()
        self._lock = threading.Lock()
        self._code = 0
        self._watcher = threading.Thread(target=self._watch, name="ranks", daemon=True)
        self._watcher.start()

    def part(self, error: Exception) -> Exception:
        """Tell the others why this rank ends; return the exception that it is to raise.

        That is `error` itself if its traceback is of use, and else a `RanksEndedError`.
        """
        kind, text = _kind(error), str(error)
        words = {"kind": kind, "text": f"{type(error).__name__}: {text}" if kind == FAILURE else text}
        with self._lock:  # the thread may be ending this process already
            self._parted = True
            heard = self._exchange(words)
            if len(heard) > 1:
                self._compare_warnings(0.0)
            self._say_left()
        if kind == FAILURE and all(words != theirs for rank, theirs in heard.items() if rank < self.rank):
            return error
        told, self._code = _verdict(heard, self.hosts, self.patience_s)
        return RanksEndedError(told, self._code, told_by_another=not self._speaks(heard))

    def leave(self) -> None:
        """Tell the others that this rank ends in order."""
        if self._left.is_set():
            return
        youngest = max((held.at for held in HELD), default=0.0)
        if self.rank and HELD:
            time.sleep(max(0.0, youngest + WARNING_IS_OLD_S - time.monotonic()))
        with self._lock, contextlib.suppress(RuntimeError):
            self._compare_warnings(0.0)
        self._say_left()

    def end_watching(self) -> None:
        """Wait until the thread has ended; the main thread has left torch's group.

        Python ends a daemon's thread wherever it is. If it is inside torch's store, C++ takes that
        for an error and aborts the process.
        """
        self.done = True
        self._watcher.join(ENDS_WITHIN_S)

    def _say_left(self) -> None:
        """Say that this rank needs the store no more; on rank 0, wait until all have said so."""
        self._left.set()
        if not _store_answers():
            return
        with contextlib.suppress(RuntimeError):
            self._line.add("left", 1)
            if self.rank == 0:  # the store may lie in this process
                _until(lambda: self._line.add("left", 0) >= self.world_size, LAST_WORDS_S)

    def _watch(self) -> None:
        """End this process if another one has ended and the main thread does not notice; runs on a
        thread.
        """
        try:
            while not self._line.check(["ending"]):
                if self._left.is_set():
                    return
                with self._lock:
                    self._compare_warnings(WARNING_IS_OLD_S)
                self._left.wait(LOOKS_EVERY_S)
        except RuntimeError:  # the store has gone, and so has the process that held it
            if self._left.wait(LOOKS_EVERY_S):
                return
        if not _until(lambda: self._parted or self._left.is_set(), LAST_WORDS_S / 2):
            with self._lock:
                if not (self._parted or self._left.is_set()):
                    self._end()
        if not _until(lambda: self.done, LEAVES_WITHIN_S):
            os._exit(self._code or 1)

    def _end(self) -> None:
        """End this process, whose main thread is waiting for another rank."""
        heard = self._exchange({"kind": ENDED, "text": ""})
        text, code = _verdict(heard, self.hosts, self.patience_s)
        if self._speaks(heard):
            with contextlib.suppress(OSError):
                os.write(2, f"error: {text}\n".encode())
        deadline = time.monotonic() + FINISHES_WITHIN_S
        for thread in threading.enumerate():  # as Python itself would wait at its end
            if thread is not threading.main_thread() and not thread.daemon:
                thread.join(max(0.0, deadline - time.monotonic()))
        self._say_left()
        os._exit(code)

    def _exchange(self, words: Words) -> dict[int, Words]:
        """Leave this rank's last words; return those of all ranks that spoke in time."""
        words["host"] = self.host
        heard = {self.rank: words}
        if not _store_answers():
            return heard
        with contextlib.suppress(RuntimeError):
            self._line.set(f"words-{self.rank}", json.dumps(words))
            self._line.set("ending", "1")
            ranks = range(self.world_size)
            # Before the ranks have met, some may not have begun yet.
            patience = LAST_WORDS_S if self.has_met else STARTS_WITHIN_S
            _until(lambda: self._line.check([f"words-{rank}" for rank in ranks]), patience)
            for rank in ranks:
                if self._line.check([f"words-{rank}"]):
                    heard[rank] = json.loads(self._line.get(f"words-{rank}"))
        return dict(sorted(heard.items()))

    def _speaks(self, heard: Mapping[int, Words]) -> bool:
        """Return whether this rank tells the user."""
        if len(heard) > 1 or self.world_size == 1:
            return self.rank == min(heard)
        # Nobody answered: the store has gone with rank 0. A rank with a fault of its own says it;
        # else the first on the next host speaks.
        others = [rank for rank, host in enumerate(self.hosts) if rank and host != self.hosts[0]]
        first = self.rank in (0, others[0] if others else 1)
        return first or heard[self.rank]["kind"] in (MISTAKE, FAILURE)

    def _compare_warnings(self, age_s: float) -> None:
        """Show the warnings of at least this age that rank 0 did not have."""
        for held in list(HELD):
            if self.rank == 0:
                self._line.set(f"warned-{held.key}", "1")
            elif not self._line.check([f"warned-{held.key}"]):
                if time.monotonic() - held.at < age_s:
                    continue
                if self._line.add(f"heard-{held.key}", 1) == 1:
                    print(f"warning (rank {self.rank} on host {self.host}): {held.text}", file=sys.stderr, flush=True)
            HELD.remove(held)


_joined: Ranks | None = None
_has_parted = False
"""The other ranks know already that this one ends."""
_times = 0
"""How often this process has joined others."""


def join(rank: int, world_size: int, device: torch.device) -> None:
    """Join the other processes in torch's default group.

    Small messages between hosts go over gloo, so that no host has to wait for its GPU.

    Raises:
        UserError: the processes do not find each other.
    """
    global _joined, _times
    on_card = device.type == "cuda"
    try:
        _joined, _times = Ranks(rank, world_size, _times), _times + 1
        # With the device known, NCCL connects now and not in the first step.
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_card else "gloo",
            store=_joined.store,
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=START_S),
            device_id=device if on_card else None,
        )
    except (dist.DistError, ValueError) as error:
        raise UserError(
            f"Rank {rank} on host {socket.gethostname()} did not find the other processes ({world_size} in all) at "
            f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')} ({str(error).splitlines()[0][:200]}). "
            "Start all of them, and name an address of rank 0's host that all reach in MASTER_ADDR."
        ) from None
    _joined.hosts = gather_texts(_joined.host, world_size)
    _joined.has_met = True


def gather_texts(text: str, world_size: int) -> list[str]:
    """Return, on all ranks, the texts that they passed, in the order of the ranks."""
    written = text.encode()
    longest = torch.tensor(len(written))
    dist.all_reduce(longest, dist.ReduceOp.MAX)
    mine = torch.zeros(int(longest.item()) + 1, dtype=torch.uint8)
    mine[: len(written)] = torch.frombuffer(bytearray(written), dtype=torch.uint8) if written else 0
    all_of_them = [torch.empty_like(mine) for _ in range(world_size)]
    dist.all_gather(all_of_them, mine)
    return [theirs.numpy().tobytes().rstrip(b"\0").decode() for theirs in all_of_them]


def shorten_timeout(seconds: float) -> None:
    """From now on wait for another rank no longer than this.

    Exchanges of a GPU get a minute more, because the hosts notice in a better way.
    """
    if _joined is not None:
        _joined.patience_s = seconds
    for group in dist.distributed_c10d._world.pg_map:
        for kind in group._device_types:
            backend = group._get_backend(kind)
            if hasattr(backend, "_set_default_timeout"):
                backend._set_default_timeout(timedelta(seconds=seconds + 60 * (kind.type == "cuda")))


def leave() -> None:
    """Leave the group of processes."""
    global _joined
    if _joined is not None:
        _joined.leave()
    if dist.is_initialized():
        dist.destroy_process_group()
    if _joined is not None:
        _joined.end_watching()
        _joined = None


def parted(error: Exception) -> Exception:
    """Tell the other ranks that this one ends with `error`; return what it is to raise.

    What all ranks raise alike is no news to the others.
    """
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    global _joined, _times, _has_parted
    if world_size == 1 or isinstance(error, SharedError | RanksEndedError) or _has_parted:
        return error
    _has_parted = True
    try:
        if _joined is None:  # it failed before it joined the others
            _joined, _times = Ranks(rank, world_size, _times, timeout_s=60.0), _times + 1
        return _joined.part(error)
    except (RuntimeError, ValueError):  # nobody can be reached
        if isinstance(error, UserError) and rank:
            return UserError(f"On host {socket.gethostname()} (rank {rank}): {error}")
        return error


def _kind(error: Exception) -> str:
    if isinstance(error, UserError):
        return MISTAKE
    text = str(error).lower()
    of_an_exchange = isinstance(error, RuntimeError) and any(word in text for word in ("gloo", "nccl", "process group"))
    return LOST if of_an_exchange or isinstance(error, dist.DistError) else FAILURE


def _verdict(heard: Mapping[int, Words], hosts: list[str], patience_s: float) -> tuple[str, int]:
    """Return the sentence for the user, and the exit code of all ranks."""
    world_size = len(hosts)
    for kind, code in ((MISTAKE, 2), (FAILURE, 1)):
        found = {rank: words for rank, words in heard.items() if words["kind"] == kind}
        if not found:
            continue
        rank, words = next(iter(found.items()))
        alike = all(other["text"] == words["text"] for other in found.values())
        others = f" and {len(found) - 1} other processes" if len(found) > 1 else ""
        where = f"host {words['host']} (rank {rank}{others})"
        if kind == FAILURE:
            return f"On {where} the program failed ({words['text'][:300]}), so all processes end.", code
        # What rank 0 says, it says for all.
        if rank == 0 or (alike and len(found) == world_size):
            return words["text"], code
        return f"On {where}: {words['text']}", code
    lost = [words for words in heard.values() if words["kind"] == LOST]
    silent = [rank for rank in range(world_size) if rank not in heard]
    late = silent or [rank for rank, words in heard.items() if words["kind"] == ENDED]
    reason = " ".join(lost[0]["text"].split())[:200] if lost else "no reason is known"
    names = ", ".join(f"rank {rank} on host {hosts[rank]}" for rank in late[:5])
    if not names:
        return f"The processes lost each other ({reason}), so all of them end. {GO_ON}", 2
    timed_out = any("timed out" in words["text"].lower() or "timeout" in words["text"].lower() for words in lost)
    if len(late) > 5:
        names += f" and {len(late) - 5} more"
    what = f"did not answer for {patience_s:g} s" if timed_out else "ended without a word (killed, or the host is down)"
    return f"{names[0].upper()}{names[1:]} {what}, so all processes end. {GO_ON}", 2


def _store_answers() -> bool:
    """Return whether the process that holds the store lives; torch would complain at length."""
    try:
        socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), timeout=5).close()
    except OSError:
        return False
    return True


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until `condition` holds, at most for some seconds; return whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
