"""Login of a process: threads share one question for a token, its answer and its error; a stale one is dropped once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from lookout.domain.errors import Unavailable
from lookout.ledger.etcd.address import Address
from lookout.ledger.etcd.login import Login, login_of

THREADS = 8


class Asked:
    """Answers one question after the other, as it is let, and counts them."""

    def __init__(self, *answers: str | BaseException) -> None:
        self._answers = list(answers)
        self.count = 0
        self.begun, self.let = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.count += 1
        self.begun.set()
        assert self.let.wait(10)
        answer = self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def together(call: Callable[[], str], asked: Asked) -> Sequence[Future[str]]:
    """Call it from all threads; the question is answered after the first has asked it and all others have begun."""
    started = threading.Barrier(THREADS + 1)

    def start() -> str:
        started.wait(10)
        return call()

    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(start) for _ in range(THREADS)]
        started.wait(10)
        assert asked.begun.wait(10)
        asked.let.set()
    return futures


def test_threads_that_need_a_token_ask_once() -> None:
    login, asked = Login(), Asked("a")
    assert {one.result() for one in together(lambda: login.token(asked), asked)} == {"a"}
    assert login.token(asked) == "a"
    assert asked.count == 1


def test_a_token_that_all_find_stale_is_renewed_once() -> None:
    login, asked = Login(), Asked("a", "b")
    asked.let.set()
    stale = login.token(asked)
    asked.begun.clear()
    asked.let.clear()

    def renew() -> str:
        login.drop(stale)
        return login.token(asked)

    assert {one.result() for one in together(renew, asked)} == {"b"}
    assert asked.count == 2
    login.drop(stale)
    assert login.token(asked) == "b", "it was another one that was stale"


def test_an_error_is_raised_and_not_kept() -> None:
    login, asked = Login(), Asked(Unavailable("etcd", "no answer"), "a")
    asked.let.set()
    with pytest.raises(Unavailable, match="no answer"):
        login.token(asked)
    login.drop("a")
    assert login.token(asked) == "a"


def test_an_error_ends_the_waiting_of_all() -> None:
    """Otherwise each would wait for a server that does not answer, one after the other."""
    login, asked = Login(), Asked(Unavailable("etcd", "no answer"))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(login.token, asked)
        assert asked.begun.wait(10)
        second = pool.submit(login.token, lambda: "of its own")
        with pytest.raises(TimeoutError):
            second.result(0.2)
        asked.let.set()
        for one in (first, second):
            with pytest.raises(Unavailable, match="no answer"):
                one.result(10)


def test_when_the_thread_that_asks_is_interrupted_another_asks() -> None:
    login, asked = Login(), Asked(KeyboardInterrupt())
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(login.token, asked)
        assert asked.begun.wait(10)
        second = pool.submit(login.token, lambda: "of its own")
        with pytest.raises(TimeoutError):
            second.result(0.2)
        asked.let.set()
        with pytest.raises(KeyboardInterrupt):
            first.result(10)
        assert second.result(10) == "of its own"


def test_each_user_and_each_etcd_has_a_login_of_its_own() -> None:
    def address(password: str = "p", user: str = "lookout", endpoint: str = "a:1") -> Address:
        return Address(endpoints=(endpoint,), user=user, password=password)

    different = [address(), address("other"), address(user="reader"), address(endpoint="b:1")]
    assert len({id(login_of(one)) for one in different}) == len(different)
    assert login_of(address()) is login_of(address())
