# SPDX-License-Identifier: Apache-2.0
"""Every flag of `run` has a test that shows its effect in a guest or on its card, or a line that says why it has none.

What stands here is looked up: a flag that is added, a test that is renamed, or that does not give its flag to a command,
itself or by a fixture or helper, fails. That the test would see the effect missing no program can tell.
"""

import ast
import functools
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# vetu's own (test_vetu.py)
VETU = {"--device", "--net-host-mtu"}

SHOWN = {
    "--no-graphics": "test_display.py::test_there_is_none_with",
    "--graphics": "test_display.py::test_graphics_opens_it_beside_vnc",
    "--serial": "test_life.py::test_disks_serial_nested_and_growth",
    "--serial-path": "test_run_options.py::test_serial_path",
    "--no-audio": "test_display.py::test_no_keyboard_no_audio_no_clipboard_and_the_guests_own_vnc",
    "--no-clipboard": "test_display.py::test_no_keyboard_no_audio_no_clipboard_and_the_guests_own_vnc",
    "--no-keyboard": "test_display.py::test_no_keyboard_no_audio_no_clipboard_and_the_guests_own_vnc",
    "--no-pointer": "test_display.py::test_no_pointer",
    "--vnc": "test_display.py::test_no_keyboard_no_audio_no_clipboard_and_the_guests_own_vnc",
    "--vnc-experimental": "test_display.py::test_a_client_sees_the_console_and_types",
    "--capture-system-keys": "test_display.py::test_system_keys_are_captured",
    "--disk": "test_disks.py::test_guest_reads_and_writes",
    "--root-disk-opts": "test_disks.py::test_root_disk_options",
    "--dir": "test_folders.py::test_each_side_sees_the_others_changes",
    "--cloud-init": "test_cloud_init.py::test_user_data_was_applied",
    "--cloud-init-network": "test_cloud_init.py::test_network_config_was_applied",
    "--ssh-key": "test_cloud_init.py::test_the_key_opens_the_default_users_account",
    "--nested": "test_life.py::test_disks_serial_nested_and_growth",
    "--vsock": "test_vsock.py::test_exec",
    "--net-bridged": "test_network_modes_guest.py::test_bridged_vm_by_arp_and_ssh",
    "--net-softnet": "test_isolation_guest.py::test_row",
    "--net-softnet-allow": "test_life_as_user.py::test_the_world_and_its_names",
    "--net-softnet-block": "test_isolation_guest.py::test_blocked_from_the_start",
    "--net-softnet-expose": "test_life_as_user.py::test_ssh_and_every_way_to_the_address",
    "--net-softnet-control-fd": "test_net_control.py::test_control_of_a_guest_that_runs",
    "--net-host": "test_display.py::test_on_a_network_with_the_host_alone",
    "--net-none": "test_folders.py::test_its_guest_has_no_card",
    "--suspendable": "test_display.py::test_a_suspendable_vm_outlives_the_button",
    "--accel": "test_run_options.py::test_accel_tcg",
    "--detach": "test_life.py::test_sigkill_leaves_nothing",
    "--wait-ready": "test_folders.py::test_folders_are_mounted_when_the_agent_answers",
}
NOT_HERE = {
    "--recovery": "the recovery system is macOS's",
    "--rosetta": "Rosetta is macOS's; it translates amd64 for arm64",
    "--provisioning-opts": "they provision macOS guests; refused",
    "--no-trackpad": "a trackpad is what macOS guests have; refused",
}


def flags():
    """Those of run's own table, private and hidden ones, too."""
    source = (ROOT / "src/cmd/run.c").read_text()
    table = source[source.index("static const struct option options[]"):]
    return {"--" + name for name in re.findall(r'^\t\{ (?:\.name = )?"([a-z-]+)"', table[:table.index("\n};")], re.M)}


def test_every_flag_is_told():
    told = {*SHOWN, *NOT_HERE} | VETU
    assert flags() == told


class Module:
    """A test file: what it defines, on the top or in a class, and what it takes from its neighbours."""

    def __init__(self, file):
        tree = ast.parse((ROOT / "tests" / file).read_text())
        self.defined, self.taken = {}, {}
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                self.defined[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.defined.setdefault(node.targets[0].id, node)
            elif isinstance(node, ast.ImportFrom) and (ROOT / f"tests/{node.module}.py").exists():
                self.taken.update((name.asname or name.name, f"{node.module}.py") for name in node.names)


@functools.cache
def module(file):
    return Module(file)


@functools.cache
def mentioned(node):
    """What a definition leans on: names, its fixtures (which are arguments), and what it asks of itself."""
    return {*names_in(node)}


def names_in(node):
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.arg):
            yield part.arg
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "self":
            yield part.attr


@functools.cache
def words(node):
    """The texts in it that are no docstrings."""
    said = {id(part.value) for part in ast.walk(node) if isinstance(part, ast.Expr)}
    return [part.value for part in ast.walk(node)
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and id(part) not in said]


def uses(file, name, flag, seen):
    """Does what is so called there, or something that it leans on, give the flag to a command?"""
    if (file, name) in seen:
        return False
    seen.add((file, name))
    here = module(file)
    if name in here.defined:
        node = here.defined[name]
        return any(re.search(rf"(?<![\w-]){flag}(?![\w-])", word) for word in words(node)) or \
            any(uses(file, other, flag, seen) for other in mentioned(node))
    if name in here.taken:
        return uses(here.taken[name], name, flag, seen)
    return file != "conftest.py" and name in module("conftest.py").defined and uses("conftest.py", name, flag, seen)


@pytest.mark.parametrize("flag", SHOWN)
def test_its_test_is_there_and_uses_it(flag):
    file, name = SHOWN[flag].split("::")
    assert isinstance(module(file).defined.get(name), ast.FunctionDef), SHOWN[flag]
    assert uses(file, name, flag, set()), f"{SHOWN[flag]} does not use {flag}"


@pytest.mark.parametrize("flag, where", [
    ("--detach", "test_life.py::test_disks_serial_nested_and_growth"),  # it stays with its run
    ("--net-bridged", "test_run_network.py::test_none_has_no_card"),
    ("--disk", "test_run_options.py::test_serial_path"),
])
def test_one_that_does_not_is_found_out(flag, where):
    assert not uses(*where.split("::"), flag, set())
