# SPDX-License-Identifier: Apache-2.0
"""Help, --version, the grammar of the command line, and output that cannot be written."""

import os
import pty
import re
import signal
import subprocess

import pytest

from test_life import eventually

# the screen that help fits on; where a verb has more options than that has lines, how many it may take
COLUMNS, LINES = 80, 24
ORDER = ("create clone run set get list login logout ip exec pull push import export prune "
         "rename stop delete suspend").split()


def verbs(linzer):
    """The subcommands that the help screen names, in its order."""
    text = linzer("--help").stdout
    return re.findall(r"^  (\w+)", text[text.index("Subcommands:"):text.index("Options:")], re.M)


# ------------------------------------------------------------ help, version

def test_without_arguments_it_helps(linzer):
    done = linzer()
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout == linzer("--help").stdout == linzer("-h").stdout == linzer("help").stdout
    assert done.stdout.startswith("Usage: linzer <subcommand>\n")
    assert not linzer.home.joinpath("tmp").exists()  # help touches nothing


def test_help_has_a_line_for_each_subcommand(linzer):
    lines = linzer().stdout.splitlines()
    assert len(lines) == len(verbs(linzer)) + len(["Usage", "", "Subcommands", "", "Options", "See"])
    assert max(map(len, lines)) <= COLUMNS


def test_subcommands_stand_in_the_contracts_order(linzer):
    named = verbs(linzer)
    assert [verb for verb in named if verb in ORDER] == [v for v in ORDER if v in named]
    assert set("create clone run set get list ip exec prune rename stop delete".split()) <= set(named)


def test_every_subcommand_helps_in_every_way(linzer):
    for verb in verbs(linzer):
        text = linzer(verb, "--help").stdout
        assert text == linzer("help", verb).stdout == linzer(verb, "-h").stdout
        assert f"Usage: linzer {verb}" in text
        assert max(map(len, text.splitlines())) <= COLUMNS
        assert len(text.splitlines()) <= LINES, verb
        assert linzer(verb, "--help").returncode == 0
        assert linzer(verb, "--version").stdout == linzer("--version").stdout


def test_help_names_the_program_it_was_called_by(linzer):
    assert "Usage: tart list" in linzer("list", "--help", program="tart").stdout
    assert "linzer" not in linzer("--help", program="tart").stdout


def test_what_does_not_fit_is_counted_and_in_help_hidden(linzer):
    """What --help leaves out, it says so; completion and the man page have all of it (test_cli_man.py)."""
    for verb in verbs(linzer):
        text, whole = linzer(verb, "--help").stdout, linzer(verb, "--help-hidden").stdout
        left_out = options_in(whole) - options_in(text)
        more = re.search(rf"^And (\d+) more: see 'linzer {verb} --help-hidden'.$", text, re.M)
        assert (int(more[1]) if more else 0) <= len(left_out), verb
        assert "And " not in whole.splitlines()[-1]
        if verb == "run":
            assert int(more[1]) == len(left_out - NO_MEANING)
            assert {"--net-softnet-allow", "--cloud-init", "--accel"} <= left_out


NO_MEANING = {"--recovery", "--rosetta", "--no-trackpad", "--provisioning-opts", "--suspendable", "--net-softnet-control-fd"}


def options_in(text):
    return set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.M))


def test_help_hidden_shows_more(linzer):
    assert "--deduplicate" not in linzer("clone", "--help").stdout
    assert "--deduplicate" in linzer("clone", "--help-hidden").stdout
    assert linzer("--help-hidden").returncode == 0


def test_help_wins_over_mistakes(linzer):
    done = linzer("clone", "a", "b", "c", "--nonsense", "--help")
    assert done.returncode == 0 and done.stdout.count("Usage:") == 1 and done.stderr == ""


def test_help_behind_a_guests_command_is_the_guests(linzer):
    done = linzer("exec", "missing", "ls", "--help", "-h", "--version", program="tart")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'the specified VM "missing" does not exist\n'
    assert linzer("exec", "--help", "missing", "ls").stdout.startswith("Run a command")
    assert linzer("help", "--help").stdout == linzer("--help").stdout


def test_version_is_one_word(linzer):
    done = linzer("--version")
    assert done.returncode == 0 and re.fullmatch(r"[\w.+-]+\n", done.stdout)


# ----------------------------------------------------------------- mistakes

def misused(done, message, sub=None):
    assert (done.returncode, done.stdout) == (64, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "Error: " + message
    assert lines[-2].startswith(f"Usage: tart {sub} " if sub else "Usage: tart <subcommand>")
    assert lines[-1] == f"  See 'tart {sub + ' ' if sub else ''}--help' for more information."
    return lines[1:-2]


def test_an_unknown_subcommand(linzer):
    assert misused(linzer("foo", program="tart"), "Unexpected argument 'foo'") == []
    assert misused(linzer("lst", program="tart"), "Unexpected argument 'lst'") == \
        ["Help:  Did you mean 'list'?"]
    misused(linzer("help", "foo", program="tart"), "Unexpected argument 'foo'")
    misused(linzer("", program="tart"), "Unexpected argument ''")
    misused(linzer("--nonsense", program="tart"), "Unknown option '--nonsense'")
    for absent in ("start", "ps", "restart", "images"):
        misused(linzer(absent, program="tart"), f"Unexpected argument '{absent}'")


@pytest.mark.parametrize("word, meant", [
    ("start", "run"), ("up", "run"), ("ls", "list"), ("ps", "list"), ("images", "list"), ("rm", "delete"),
    ("ssh", "exec"), ("shell", "exec"), ("version", "--version"), ("rnu", "run"), ("cretae", "create"), ("ranme", "rename"),
    ("foo", None), ("abc", None), ("put", None), ("nope", None), ("restart", None),
])
def test_what_another_program_calls_it(linzer, word, meant):
    assert misused(linzer(word, program="tart"), f"Unexpected argument '{word}'") == \
        ([f"Help:  Did you mean '{meant}'?"] if meant else [])


def test_a_short_name_is_not_guessed_from_half_of_it(linzer):
    for name in ("web", "copy"):
        linzer("create", "--linux", "--disk-size=1", name, check=True)
    for name in ("new", "nope", "wxy", "x"):
        assert linzer("stop", name).stderr == f'the specified VM "{name}" does not exist\n'
    for name, meant in (("wbe", "web"), ("we", "web"), ("cpoy", "copy"), ("copi", "copy")):
        assert linzer("stop", name).stderr.endswith(f"\nHelp:  Did you mean '{meant}'?\n")


@pytest.mark.parametrize("words, line, hint", [
    (["pull", "foo"], "failed to parse remote name: unexpected end (character 4)", "An image is called HOST/NAMESPACE[:TAG], such as ghcr.io/you/web:1"),
    (["push", "vm", "foo"], "failed to parse remote name: unexpected end (character 4)", "An image is called HOST/NAMESPACE[:TAG], such as ghcr.io/you/web:1"),
    (["inspect", "vm"], "failed to parse remote name: unexpected end (character 3)", "An image is called HOST/NAMESPACE[:TAG], such as ghcr.io/you/web:1"),
    (["clone", "http://ghcr.io/x", "y"], 'the specified VM "http://ghcr.io/x" does not exist',
     "An image's name begins with its registry's host, without http:// or https://"),
])
def test_a_name_that_is_no_images(linzer, words, line, hint):
    """The contract's line first, and nothing but it for who calls us by another's name."""
    linzer("create", "--linux", "--disk-size=1", "vm", check=True)
    assert linzer(*words).stderr == f"{line}\nHelp:  {hint}\n"
    assert linzer(*words, program="tart").stderr == line + "\n"


def test_a_name_that_was_taken_as_a_value(linzer):
    for words, option in ((["run", "--dir", "web"], "--dir"), (["run", "--net-bridged", "web"], "--net-bridged")):
        lines = linzer(*words).stderr.splitlines()
        assert lines[:3] == ["Error: Missing expected argument '<name>'", "Help:  <name>  VM name.",
                             f"Help:  'web' was taken as the value of {option}"]
        assert "taken" not in linzer(*words, program="tart").stderr
    assert "taken" not in linzer("run", "--dir=web").stderr + linzer("run", "--no-graphics").stderr


def test_an_export_of_nothing_is_not_begun(linzer, tmp_path):
    (tmp_path / "nope.tvm").touch()
    done = linzer("export", "nope", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", 'the specified VM "nope" does not exist\n')


def test_an_unknown_vm(linzer):
    """Who calls us by another's name gets that other's words, to the byte."""
    linzer("create", "--linux", "--disk-size=1", "debian", check=True)
    line = 'the specified VM "debain" does not exist\n'
    hint = "Help:  Did you mean 'debian'?\n"
    for verb in (["get"], ["ip"], ["stop"], ["delete"], ["clone"], ["set", "--cpu=1"], ["exec"], ["export"], ["push"]):
        more = {"clone": ["x"], "exec": ["true"], "push": ["localhost:1/x"]}.get(verb[0], [])
        for program, text in (("linzer", line + hint), ("tart", line), ("vetu", line)):
            done = linzer(*verb, "debain", *more, program=program)
            assert (done.returncode, done.stderr) == (2, text), verb
    done = linzer("run", "debain")
    assert (done.returncode, done.stderr) == (1, "Error: " + line + hint)
    assert linzer("delete", "debian", "debxan").stderr.count("Help") == 0  # nothing similar is left
    assert linzer("get", "nothing").stderr == 'the specified VM "nothing" does not exist\n'


def test_help_line_of_what_is_missing(linzer):
    assert misused(linzer("get", program="tart"), "Missing expected argument '<name>'", "get") == \
        ["Help:  <name>  VM name."]
    extra = misused(linzer("create", "--disk-size", program="tart"),
                    "Missing value for '--disk-size <disk-size>'", "create")
    assert len(extra) == 1 and extra[0].startswith("Help:  --disk-size <disk-size>  ")


@pytest.mark.parametrize("args, message, sub", [
    (["list", "--formt", "json"], "Unknown option '--formt'. Did you mean '--format'?", "list"),
    (["list", "x"], "Unexpected argument 'x'", "list"),
    (["list", "x", "y"], "2 unexpected arguments: 'x', 'y'", "list"),
    (["list", "--format", "xml"], "The value 'xml' is invalid for '--format <format>'. "
                                  "Please provide one of 'text' or 'json'.", "list"),
    (["list", "--quiet=yes"],
     "The option '--quiet' does not take any value, but 'yes' was specified.", "list"),
    (["list", "-x"], "Unknown option '-x'", "list"),
    (["list", "--x\nError: y"], "Unknown option '--x?Error: y'", "list"),
    (["stop", "vm", "--timeout", "-1"], "Missing value for '--timeout <timeout>'", "stop"),
    (["stop", "vm", "--timeout=-1"],
     "The value '-1' is invalid for '--timeout <timeout>'", "stop"),
    (["set", "vm", "--memory", "18446744073709551616"],
     "The value '18446744073709551616' is invalid for '--memory <memory>'", "set"),
    (["clone", "only"], "Missing expected argument '<new-name>'", "clone"),
])
def test_mistakes(linzer, args, message, sub):
    misused(linzer(*args, program="tart"), message, sub)


@pytest.mark.parametrize("args", [
    ["--cpu", "2", "--memory", "512", "vm"], ["vm", "--cpu", "2", "--memory", "512"],
    ["--cpu=2", "vm", "--memory=512"], ["--memory", "512", "--cpu=2", "--", "vm"],
])
def test_options_before_between_and_after_arguments(linzer, args):
    linzer("create", "--linux", "--disk-size", "1", "vm", check=True)
    linzer("set", *args, check=True)
    header, row = linzer("get", "vm", program="tart").stdout.splitlines()
    assert row.split()[1:3] == ["2", "512"]


def test_two_dashes_end_options(linzer):
    linzer("create", "--linux", "--disk-size=1", "--", "--linux", check=True)
    assert linzer("list", "-q").stdout == "--linux\n"
    linzer("delete", "--", "--linux", check=True)


def test_a_very_long_command_line_is_still_one_line(linzer):
    done = linzer("list", "--" + "x" * 100000)
    assert done.returncode == 64 and len(done.stderr) < 1000
    done = linzer("get", "y" * 100000)
    assert done.returncode == 2 and len(done.stderr) < 1000 and done.stderr.count("\n") == 1


# ------------------------------------------------------------------ output

@pytest.mark.parametrize("args", [["list"], ["list", "--format=json"], ["--version"], ["--help"],
                                  ["help", "list"], ["completion", "bash"]])
def test_output_that_does_not_fit_is_an_error(linzer, args):
    with open("/dev/full", "w") as full:
        done = subprocess.run([linzer.program("linzer"), *args], stdout=full,
                              stderr=subprocess.PIPE, text=True, env=linzer.environment(), timeout=60)
    assert done.returncode == 1
    assert done.stderr == "failed to write to the standard output: No space left on device\n"


@pytest.mark.parametrize("args", [["list"], ["--version"], ["completion", "zsh"]])
def test_a_closed_output_is_an_error_and_no_file_is_written_instead(linzer, args):
    linzer("create", "--linux", "--disk-size=1", "vm", check=True)
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", linzer.program("linzer"), *args],
                          stderr=subprocess.PIPE, text=True, env=linzer.environment(), timeout=60)
    assert done.returncode == 1
    assert done.stderr == "failed to write to the standard output: Bad file descriptor\n"
    assert os.listdir(linzer.home / "vms") == ["vm"]


def test_a_verb_that_says_nothing_needs_no_output(linzer):
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", linzer.program("linzer"),
                           "create", "--linux", "--disk-size=1", "vm"],
                          env=linzer.environment(), timeout=60)
    assert done.returncode == 0
    assert linzer("list", "-q").stdout == "vm\n"
    assert (linzer.vm("vm") / "disk.img").stat().st_size == 10**9


def test_a_reader_that_went_away(linzer):
    here, there = os.pipe()
    os.close(here)
    done = subprocess.run([linzer.program("linzer"), "list"], stdout=there, stderr=subprocess.PIPE,
                          text=True, env=linzer.environment(), timeout=60)
    os.close(there)
    assert done.returncode == 1 and done.stderr.endswith("Broken pipe\n")


def test_signals_meant_for_run_do_not_hurt_other_verbs(linzer):
    linzer("create", "--linux", "--disk-size=1", "vm", check=True)
    child = linzer.start("ip", "vm", "--wait", "600", stderr=subprocess.PIPE, text=True)

    def has(kind, number):
        with open(f"/proc/{child.pid}/status") as status:
            return int(next(l.split()[1] for l in status if l.startswith(kind)), 16) & 1 << (number - 1)
    eventually(lambda: has("SigIgn", signal.SIGUSR2) and has("SigCgt", signal.SIGINT), 60)
    child.send_signal(signal.SIGUSR2)
    child.send_signal(signal.SIGUSR1)
    child.send_signal(signal.SIGINT)
    assert (child.communicate(timeout=60)[1], child.returncode) == ("Error: CancellationError()\n", 1)


def test_the_same_on_a_terminal(linzer):
    linzer("create", "--linux", "--disk-size=1", "vm", check=True)
    here, there = pty.openpty()
    child = linzer.start("list", "--quiet", stdout=there, stderr=there)
    os.close(there)
    assert child.wait(60) == 0 and os.read(here, 100) == b"vm\r\n"
    os.close(here)
