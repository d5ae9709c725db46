"""Accounts of the page: what a file may have, what opens the page, and what guessing costs."""

import base64
import concurrent.futures
import hashlib
import io
import os
import threading
import time
import unicodedata
import warnings

import pytest

from memgan.apps.web import accounts
from memgan.apps.web.accounts import Accounts, ask_and_print_hash, hash_password
from memgan.errors import ConfigError

PASSWORD = "Grüße an Zoë"
posix = pytest.mark.skipif(os.name != "posix", reason="files have no owner")


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def hashed():
    return hash_password(PASSWORD)


@pytest.fixture
def write(tmp_path):
    def write(text, mode=0o600):
        path = tmp_path / "accounts"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def computed(monkeypatch):
    """How often a key was computed; it is that of a cheap function, so that a test can ask often."""
    calls = []

    def cheap(password, *, salt, n, r, p, maxmem, dklen):
        calls.append((n, r, p))
        time.sleep(0.002)  # others get on meanwhile, as they do while scrypt computes
        return hashlib.blake2b(password + salt, digest_size=dklen).digest()

    monkeypatch.setattr(accounts.hashlib, "scrypt", cheap)
    return calls


@pytest.fixture
def guarded(computed, write):
    clock = Clock()
    text = f"alice:{hash_password('right')}\nbob:{hash_password('right')}"
    read = Accounts.read(write(text))
    computed.clear()
    return Accounts(read._hashes, clock=clock), clock


# -- hashes ----------------------------------------------------------------------------------------------------------


def test_a_hash_is_what_scrypt_makes_of_the_password(hashed):
    kind, n, r, p, salt, key = hashed.split("$")
    assert (kind, int(n), int(r), int(p)) == ("scrypt", 2**15, 8, 1) and "=" not in hashed and ":" not in hashed
    raw = base64.b64decode(salt + "==")
    expected = hashlib.scrypt(PASSWORD.encode(), salt=raw, n=2**15, r=8, p=1, maxmem=1 << 26, dklen=32)
    assert base64.b64decode(key + "=") == expected


def test_the_same_password_has_another_hash_each_time(computed):
    assert hash_password("a") != hash_password("a")


@pytest.mark.parametrize("password", ["", "x" * 1025])
def test_no_hash_of_nothing_or_of_a_book(password):
    with pytest.raises(ConfigError, match=f"{len(password)} characters; give one of 1 to 1024"):
        hash_password(password)


def test_only_the_right_password_of_the_right_user_opens(hashed, write):
    read = Accounts.read(write(f"zoë:{hashed}\n"))
    assert read.check("zoë", PASSWORD)
    assert not read.check("zoë", PASSWORD + " ")
    assert not read.check("zoe", PASSWORD)
    assert read.check(unicodedata.normalize("NFD", "zoë"), unicodedata.normalize("NFD", PASSWORD))


@pytest.mark.parametrize("user", ["alice\n", "", "a" * 10**6, "\ud800", "alice\0"])
@pytest.mark.parametrize("password", ["", "right", "\ud800", "x" * 10**6])
def test_odd_names_and_passwords_are_wrong_ones(guarded, user, password):
    assert not guarded[0].check(user, password)


@pytest.mark.slow
def test_a_hash_with_more_work_is_taken(write, monkeypatch):
    monkeypatch.setattr(accounts, "_LEAST", (2**16, 8, 2))
    read = Accounts.read(write(f"a:{hash_password('b')}"))  # with real scrypt: its memory limit has to fit
    assert read.check("a", "b") and not read.check("a", "c")


# -- files -----------------------------------------------------------------------------------------------------------


def test_comments_blank_lines_and_windows_line_ends(computed, write):
    one, other = hash_password("1"), hash_password("2")
    text = f"\ufeff# accounts\r\n\r\n  # more\r\nalice : {one}\r\nbob smith:{other}\r\n"
    read = Accounts.read(write(text))
    assert read.check("alice", "1") and read.check("bob smith", "2") and not read.check("alice", "2")


SALT, KEY = "c2FsdHNhbHRzYWx0c2FsdA", "a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U"
GOOD = f"scrypt$32768$8$1${SALT}${KEY}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no account"),
        ("# only this\n\n", "has no account"),
        (f"a:{GOOD}\n{GOOD}", "Line 2 .* no user"),
        (f":{GOOD}", "Line 1 .* no user"),
        ("a:secretword", "Line 1 .* no hash of the form"),
        ("a:secret:word", "Line 1 .* colon in the name"),
        (f"a:b:{GOOD}", "Line 1 .* colon in the name"),
        (f"a\tb:{GOOD}", "Line 1 .* control characters"),
        (f"a:{GOOD}\n\nb:{GOOD}\na:{GOOD}", r"Line 4 .* gives 'a' again \(first on line 1\)"),
        (f"zoe\u0308:{GOOD}\nzo\u00eb:{GOOD}", "Line 2 .* again"),
        (f"a:{GOOD}$", "Line 1 .* no hash"),
        ("a:" + GOOD.replace("scrypt", "argon"), "Line 1 .* no hash"),
        ("a:" + GOOD.replace("32768", "16384"), "Line 1 .* weaker"),
        ("a:" + GOOD.replace("32768", "40000"), "Line 1 .* no power of two"),
        ("a:" + GOOD.replace("$8$", "$4$"), "Line 1 .* weaker"),
        ("a:" + GOOD.replace("$1$", "$0$"), "Line 1 .* weaker"),
        ("a:" + GOOD.replace("$1$", "$99$"), "Line 1 .* p is above 16"),
        ("a:" + GOOD.replace("32768", "2097152"), "Line 1 .* more than 1 GiB"),
        ("a:" + GOOD.replace("32768", "-32768"), "Line 1 .* whole numbers"),
        ("a:" + GOOD.replace("32768", "9" * 5000), "Line 1 .* whole numbers"),
        ("a:" + GOOD.replace(SALT, "!" + SALT[1:]), "Line 1 .* not base64"),
        ("a:" + GOOD.replace(SALT, "c2FsdA"), "Line 1 .* less than 16 bytes"),
        ("a:" + GOOD[:-4], "Line 1 .* other than 32"),
        (f"a:{GOOD}\nb\xff:{GOOD}".encode("latin-1"), "Line 2 .* not UTF-8"),
    ],
)
def test_a_wrong_file_is_refused_without_showing_secrets(write, text, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        Accounts.read(write(text))
    shown = str(caught.value)
    assert not any(secret in shown for secret in ("secret", SALT[1:], KEY[:20], KEY[20:-4], "word,"))
    assert caught.value.__cause__ is None or SALT not in str(caught.value.__cause__)


def test_a_good_line_is_good(write):
    assert not Accounts.read(write(f"a:{GOOD}")).check("a", "anything")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        Accounts.read(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="cannot be read"):
        Accounts.read(tmp_path)


@posix
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(write, mode):
    with pytest.raises(ConfigError, match=f"written by other users .mode {mode:o}.*chmod 600"):
        Accounts.read(write(f"a:{GOOD}", mode))


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o444])
def test_a_file_that_others_may_read_is_warned_about(write, mode):
    with pytest.warns(UserWarning, match=f"read by other users .mode {mode:o}.*chmod 600") as caught:
        Accounts.read(write(f"a:{GOOD}", mode))
    assert caught[0].filename == __file__


def test_a_private_file_is_not_warned_about(write):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Accounts.read(write(f"a:{GOOD}"))


# -- guessing --------------------------------------------------------------------------------------------------------


def test_an_unknown_user_costs_what_a_known_one_costs(guarded, computed):
    for user in ("alice", "nobody"):
        assert not guarded[0].check(user, "wrong")
    assert computed == [(2**15, 8, 1)] * 2


def test_wrong_passwords_are_answered_later_and_later(guarded, computed):
    checked, clock = guarded
    for _ in range(5):
        assert checked.pause("alice", "a") == 0 and not checked.check("alice", "wrong", "a")
    pauses = []
    for _ in range(8):
        pauses.append(checked.pause("alice", "a"))
        computed.clear()
        assert not checked.check("alice", "right", "a") and not computed  # refused, and it costs nothing
        assert checked.pause("alice", "a") == pauses[-1]  # which does not make it longer
        clock.now += pauses[-1]
        assert not checked.check("alice", "wrong", "a")
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    clock.now += 30
    assert checked.check("alice", "right", "a")
    assert not checked.check("alice", "wrong", "a") and checked.check("alice", "right", "a")  # it counts anew


def test_nobody_locks_another_out(guarded):
    checked, _ = guarded
    for _ in range(50):
        checked.check("alice", "wrong", "203.0.113.1")
    assert not checked.check("alice", "right", "203.0.113.1")
    assert checked.check("alice", "right", "203.0.113.2")  # the same user elsewhere
    assert checked.check("bob", "right", "203.0.113.1")  # another user there


def test_addresses_that_one_visitor_can_change_count_as_one(guarded):
    checked, _ = guarded
    for number in range(6):
        checked.check("alice", "wrong", f"2001:db8:1:1::{number}")
        checked.check("alice", "wrong", f"::ffff:192.0.2.{number}")
    assert checked.pause("alice", "2001:db8:1:1:ffff::1") > 0
    assert checked.pause("alice", "2001:db8:1:2::1") == 0
    assert checked.pause("alice", "::ffff:192.0.2.1") == 0  # those are of six visitors


def test_what_is_remembered_is_bounded_and_forgotten(guarded, monkeypatch):
    checked, clock = guarded
    monkeypatch.setattr(accounts, "_MOST_REMEMBERED", 10)
    for number in range(50):
        checked.check("u" * 1000 + str(number), "wrong", "a")
    assert len(checked._tries) == 10 and all(len(place) == 16 for place in checked._tries)
    for _ in range(4):
        checked.check("alice", "wrong", "a")
    clock.now += 901
    checked.check("alice", "wrong", "a")
    assert checked.pause("alice", "a") == 0


def test_many_guesses_at_once_are_counted_one_by_one(guarded, computed):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: guarded[0].check("alice", "wrong", "a"), range(64)))
    assert not any(answers) and len(computed) == 5


def test_a_few_computations_at_once(guarded, monkeypatch):
    running, most, lock = 0, 0, threading.Lock()

    def slow(password, *, dklen, **_):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)  # the others come meanwhile, if they may
        with lock:
            running -= 1
        return bytes(dklen)

    monkeypatch.setattr(accounts.hashlib, "scrypt", slow)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: guarded[0].check("alice", "x", f"192.0.2.{number}"), range(8)))
    assert most == 2


# -- the command -----------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_password_from_a_pipe(write, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\nmore\n"))
    ask_and_print_hash()
    printed = capsys.readouterr()
    assert printed.out.endswith("\n") and not printed.err
    assert Accounts.read(write(f"user:{printed.out}")).check("user", PASSWORD)


def test_a_password_from_a_terminal(write, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", Terminal())
    answers = iter(["one", "one", "one", "two"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    ask_and_print_hash()
    assert Accounts.read(write(f"user:{capsys.readouterr().out}")).check("user", "one")
    with pytest.raises(ConfigError, match="differ"):
        ask_and_print_hash()
    assert not capsys.readouterr().out


def test_no_password(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(ConfigError, match="0 characters"):
        ask_and_print_hash()

    def ends(prompt):
        raise EOFError

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", ends)
    with pytest.raises(ConfigError, match="No password"):
        ask_and_print_hash()
