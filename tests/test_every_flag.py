# SPDX-License-Identifier: Apache-2.0
"""Every flag of `run` has a test that shows its effect in a guest or on its card, or a line that says why it has none.

What stands here is looked up: a test that is renamed or a flag that is added fails until it is told here.
"""

import pathlib
import re

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
    "--net-softnet-block": "test_run_network.py::test_softnet_block_outranks_an_equal_allow",
    "--net-softnet-expose": "test_life_as_user.py::test_ssh_and_every_way_to_the_address",
    "--net-softnet-control-fd": "test_net_control.py::test_control_of_a_guest_that_runs",
    "--net-host": "test_run_network.py::test_host_only",
    "--net-none": "test_run_network.py::test_none_has_no_card",
    "--suspendable": "test_suspend.py::test_everything_in_a_guest_goes_on",
    "--accel": "test_run_options.py::test_accel_tcg",
    "--detach": "test_life.py::test_disks_serial_nested_and_growth",
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


def test_every_test_is_there():
    for where in SHOWN.values():
        file, name = where.split("::")
        assert re.search(rf"def {name}\(", (ROOT / "tests" / file).read_text()), where
