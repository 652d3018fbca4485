# SPDX-License-Identifier: Apache-2.0
"""The completion scripts, asked as the shells ask them."""

import os
import subprocess
import time

import pytest

import cached_image
from terminal import Terminal

ASK = r'''
source <("$1" --generate-completion-script bash)
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
# what "complete -F" would do
eval "set -- $(complete -p linzer)"
while [ "$1" != -F ]; do shift; done
compopt() { echo "compopt $*"; }
"$2" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
'''


@pytest.fixture
def bash(linzer):
    def ask(*words):
        program = linzer.program("linzer")
        done = subprocess.run(["bash", "--norc", "-c", ASK, "bash", program, program, *words],
                              capture_output=True, text=True, env=linzer.environment(), timeout=60)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        return done.stdout.split("\n")[:-1]

    return ask


def test_bash_completes_subcommands(bash):
    assert bash("cl") == ["clone"]
    assert {"create", "clone", "list", "delete", "help"} <= set(bash(""))
    assert bash("--ver") == ["--version"]
    assert bash("help", "re") == ["rename"]
    assert bash("completion", "f") == ["fish"]


def test_bash_completes_options_and_their_values(bash):
    assert bash("list", "--f") == ["--format"]
    assert bash("list", "--format", "j") == ["json"]
    assert bash("ip", "x", "--resolver", "") == ["dhcp", "arp", "agent"]
    assert bash("set", "vm", "--no-d") == ["--no-display-refit"]
    assert "--deduplicate" not in bash("clone", "--")
    assert bash("create", "--disk-size", "") == [""]
    assert bash("create", "--from-image", "")[0] == "compopt -o default"


def test_bash_completes_vm_names_quoted_and_runs_none_of_them(linzer, bash, tmp_path):
    trap = tmp_path / "trap"
    for name in ("debian", "dev box", "d$(touch trap)"):
        linzer("create", "--linux", "--disk-size=1", "--", name, check=True)
    assert bash("get", "deb") == ["debian"]
    assert bash("get", "d") == [r"d\$\(touch\ trap\)", "debian", r"dev\ box"]
    assert bash("delete", "debian", "dev") == [r"dev\ box"]
    assert bash("delete", r"dev\ b") == [r"dev\ box"]
    assert bash("set", "--cpu", "2", "deb") == ["debian"]
    assert bash("clone", "deb") == ["debian"]
    assert bash("clone", "debian", "d") == [""]  # the new name is new
    assert bash("create", "d") == [""]
    assert not trap.exists()


def test_bash_completes_names_of_images_where_they_are_taken(linzer, bash):
    digest = cached_image.make(linzer.home, "ghcr.io/org/base", "v1", "v2")
    tags = ["ghcr.io/org/base:v1", "ghcr.io/org/base:v2"]
    for verb in ("clone", "delete"):
        assert bash(verb, "ghcr.io/org/b") == [*tags, f"ghcr.io/org/base@{digest}"]
    assert bash("get", "ghcr") == [""]
    # readline cuts words at ':' and '@' and replaces the last part only
    assert bash("clone", "ghcr.io/org/base", ":", "v") == ["v1", "v2"]
    assert bash("clone", "ghcr.io/org/base", ":") == ["v1", "v2"]
    assert bash("clone", "ghcr.io/org/base", "@", "sha256", ":", digest[7:9]) == [digest[7:]]
    assert bash("clone", "ghcr.io/org/base", ":", "v1", "n") == [""]  # the second argument


def test_the_script_can_be_had_in_three_ways(linzer):
    one = linzer("--generate-completion-script", "bash", check=True).stdout
    assert one == linzer("--generate-completion-script=bash", check=True).stdout
    assert one == linzer("completion", "bash", check=True).stdout
    for args in (["--generate-completion-script"], ["completion", "tcsh"]):
        done = linzer(*args, program="tart")
        assert done.returncode == 64 and done.stderr.startswith("Error: ")


def test_the_script_is_for_the_name_that_was_called(linzer):
    script = linzer("completion", "bash", program="tart", check=True).stdout
    assert "complete -F _tart tart" in script and "linzer" not in script


@pytest.mark.parametrize("shell, check", [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")])
def test_the_shell_can_read_its_script(linzer, tmp_path, shell, check):
    script = tmp_path / "script"
    script.write_text(linzer("completion", shell, check=True).stdout)
    assert len(script.read_text().splitlines()) > 50
    done = subprocess.run([shell, check, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""


@pytest.fixture
def fish(linzer, tmp_path):
    def ask(line):
        program = linzer.program("linzer")
        env = {**linzer.environment(), "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path),
               "PATH": os.path.dirname(program) + ":" + os.environ["PATH"]}
        done = subprocess.run(
            ["fish", "--no-config", "-c",
             "linzer completion fish | source; complete -C $argv[1]", line],
            capture_output=True, text=True, env=env, timeout=60)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        return [line.split("\t")[0] for line in done.stdout.splitlines()]

    return ask


def test_fish_completes_subcommands_options_values_and_names(linzer, fish):
    for name in ("debian", "dev box"):
        linzer("create", "--linux", "--disk-size=1", "--", name, check=True)
    assert fish("linzer cl") == ["clone"]
    assert fish("linzer list --form") == ["--format"]
    assert fish("linzer list --format j") == ["json"]
    assert fish("linzer ip x --resolver a") == ["agent", "arp"]
    assert fish("linzer get deb") == ["debian"]
    assert set(fish("linzer delete de")) >= {"debian", "dev box"}
    assert fish("linzer clone --dedup") == []


ZSH = r"""
autoload -Uz compinit && compinit -D -u
source <(linzer completion zsh)
print -r -- ${_comps[linzer]}
# stand-ins for the widgets' builtins, which work only within completion itself
compadd() { print -r -- compadd "$@"; [[ $1 == -a ]] && print -rl -- "${(@P)2}"; return 0 }
_arguments() { print -rl -- "$@" }
words=(linzer "") CURRENT=2; _linzer
words=(linzer ip "") CURRENT=3; _linzer
_linzer_names list --quiet
"""


def test_zsh_loads_its_script_and_offers_the_same(linzer, tmp_path):
    linzer("create", "--linux", "--disk-size=1", "--", "dev box", check=True)
    env = {**linzer.environment(), "HOME": str(tmp_path),
           "PATH": os.path.dirname(linzer.program("linzer")) + ":" + os.environ["PATH"]}
    done = subprocess.run(["zsh", "-f", "-c", ZSH], capture_output=True, text=True, env=env,
                          timeout=60)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "_linzer"
    assert lines[1].startswith("compadd -- create clone ")
    assert any(line.startswith("--resolver[") and line.endswith(":resolver:(dhcp arp agent)")
               for line in lines)
    assert ":name: _linzer_names list --quiet --source local" in lines
    assert lines[-1] == "dev box"


# ------------------------------------------- typed at the shells themselves

START = {"bash": ["/bin/bash", "--norc", "--noprofile", "-i"], "zsh": ["/usr/bin/zsh", "-f", "-i"],
         "fish": ["/usr/bin/fish", "--no-config", "-i"]}
LOAD = {"bash": "source <(linzer completion bash)", "zsh": "autoload -Uz compinit && compinit -D -u; source <(linzer completion zsh)",
        "fish": "linzer completion fish | source"}


@pytest.fixture(params=sorted(START))
def typed(request, linzer, tmp_path):
    """Type the start of a command's words and TAB at an interactive shell; gives the words that it then is run with."""
    program = tmp_path / "bin/linzer"
    program.parent.mkdir()
    told = tmp_path / "told"
    # the shell runs this one: it completes as ours, and a command line that was to be run it writes down
    program.write_text(f"""#!/bin/sh
case $1 in completion|list) exec {linzer.program("linzer")} "$@" ;; esac
printf '%s\\n' "$@" >{told}.new && mv {told}.new {told}
""")
    program.chmod(0o755)
    env = {**linzer.environment(), "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "TERM": "xterm",
           "XDG_DATA_HOME": str(tmp_path), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    with Terminal(START[request.param], env) as shell:
        shell.send(LOAD[request.param] + "; echo load''ed\r")
        shell.wait_for("loaded")

        def type_words(line):
            told.unlink(missing_ok=True)
            shell.send(line + "\t\r")
            until = time.monotonic() + 120
            while not told.exists():
                assert time.monotonic() < until, shell.output
                shell.read(0.1)
            return told.read_text().split("\n")[:-1]

        yield type_words


def test_names_are_completed_where_they_are_typed(linzer, typed):
    for name in ("debian", "d$(touch trap)"):
        linzer("create", "--linux", "--disk-size=1", "--", name, check=True)
    digest = cached_image.make(linzer.home, "ghcr.io/org/base", "v1")
    assert typed("linzer scr") == ["screenshot"]
    assert typed("linzer get deb") == ["get", "debian"]
    assert typed("linzer set --cp") == ["set", "--cpu"]
    assert typed("linzer get d\\$") == ["get", "d$(touch trap)"]
    assert typed("linzer clone ghcr.io/org/base:") == ["clone", "ghcr.io/org/base:v1"]
    assert typed(f"linzer clone ghcr.io/org/base@sha256:{digest[7:12]}") == ["clone", f"ghcr.io/org/base@{digest}"]
    assert not list(linzer.home.parent.rglob("trap"))
