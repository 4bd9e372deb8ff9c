"""The plan for the way over the vendor's kernel driver. Reads the machine's files; changes nothing, runs nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from openhailo.errors import VersionUnsupported

from .conditions import Dkms, HasHeaders, HasLine, PackageVersion
from .firmware import CHIPS, TARGET, FirmwareFile
from .machine import Machine, require_supported
from .parameters import MODULE, PARAMETERS, Version
from .source import DriverPackage, DriverTree, require_release
from .steps import (
    Action,
    Command,
    Condition,
    CopyTree,
    HasFile,
    HasMember,
    HasModule,
    Installed,
    Loaded,
    Plan,
    PutFile,
    State,
    Step,
    make_step,
)
from .tree import Tree

UDEV_RULES = "/etc/udev/rules.d/60-openhailo.rules"
MODPROBE_OPTIONS = "/etc/modprobe.d/openhailo-hailo_pci.conf"
VFIO_OPTIONS = "/etc/modprobe.d/openhailo-vfio.conf"
PI_CONFIGS = ("/boot/firmware/config.txt", "/boot/config.txt")
_GEN3 = "dtparam=pciex1_gen=3"
#: The largest descriptor page that the hardware takes, in bytes (driver.md 6.4, 8.1 row 12).
HARDWARE_PAGE_BYTES = 4096
_BUILD_S = 1800.0
_DEBIAN_FLAVOUR = re.compile(r"-((?:cloud-|rt-)?(?:amd64|arm64)(?:-16k)?)$")
_RASPBERRY_FLAVOUR = re.compile(r"\+rpt-(rpi-[a-z0-9]+)$")


@dataclass(frozen=True)
class Request:
    """What the user wants. ``live`` is false when another root than the running system's is prepared.

    ``max_read_request_bytes`` is what the card's PCI Express capability says, 0 when it is not known.
    """

    user: str = ""
    group: str = "hailo"
    driver: DriverTree | DriverPackage | None = None
    firmware: FirmwareFile | None = None
    present_firmware: FirmwareFile | None = None
    module_options: Mapping[str, str] = field(default_factory=dict)
    pcie_gen3: bool = False
    allow_unknown_driver: bool = False
    max_read_request_bytes: int = 0
    live: bool = True

    def version(self, machine: Machine) -> Version | None:
        """The release of the driver that will be there."""
        return self.driver.version if self.driver else machine.module_version


def plan_kernel(machine: Machine, request: Request, tree: Tree) -> Plan:
    """Return the steps to a working ``/dev/hailo0``. Raises `InputError` on systems that setup does not know."""
    require_supported(machine)
    before = [
        _packages(machine, request, tree),
        _driver(machine, request, tree),
        firmware_step(request, tree),
        group_step(request, tree),
        _udev(request, tree),
        _options(machine, request, tree),
        _gen3(machine, request, tree),
    ]
    reload = any(step.state is State.TO_DO and step.name in ("driver", "firmware", "options") for step in before)
    steps = (*before, _load(machine, request, tree, reload))
    warnings = list(request.firmware.warnings if request.firmware else ())
    if tree.exists(VFIO_OPTIONS):
        warnings.append(f"{VFIO_OPTIONS} gives the card to vfio-pci at boot; `openhailo setup --undo` takes it back")
    return Plan("kernel", steps, tuple(_advice(machine, request)), tuple(warnings))


# --- packages and driver ---------------------------------------------------------------------------------------------


def header_packages(machine: Machine, *, exact: bool) -> tuple[str, ...]:
    """Return the packages with headers: the one that follows the kernel, and (``exact``) that of this release.

    Empty for kernels that the distribution did not make.
    """
    found = _RASPBERRY_FLAVOUR.search(machine.kernel) or _DEBIAN_FLAVOUR.search(machine.kernel)
    if not found:
        return ()
    follows = f"linux-headers-{found[1]}"
    return (follows, f"linux-headers-{machine.kernel}") if exact else (follows,)


def _packages(machine: Machine, request: Request, tree: Tree) -> Step:
    what = "DKMS, and the headers of the kernel"
    why = "the driver's module is compiled for the kernel that runs, and again for each new one"
    if request.driver is None and machine.module_file:
        return Step("packages", what, why, State.SKIPPED, note="the module is there already, nothing is compiled")
    headers = HasHeaders(machine.kernel)
    absent = headers.missing(tree)
    names = ("dkms", *header_packages(machine, exact=bool(absent)))
    if absent and len(names) == 1:
        note = f"{absent}, and this kernel is none of the distribution's: install its headers by hand"
        return Step("packages", what, why, State.BLOCKED, note=note)
    wanted = tuple(name for name in names if Installed((name,)).missing(tree))
    actions = (
        Command(("apt-get", "update"), timeout_s=600),
        Command(
            ("apt-get", "install", "--yes", "--no-install-recommends", *names),
            undo=("apt-mark", "auto", *wanted) if wanted else (),
            timeout_s=_BUILD_S,
        ),
    )
    return make_step(
        tree,
        "packages",
        what,
        why,
        actions,
        (Installed(("dkms", *header_packages(machine, exact=False))), headers),
        undo="they are marked as no longer wanted; `apt-get autoremove` removes them if nothing else needs them",
    )


def _driver(machine: Machine, request: Request, tree: Tree) -> Step:
    what = f"the module {MODULE} for kernel {machine.kernel}"
    why = "it makes /dev/hailo0"
    if isinstance(request.driver, DriverTree):
        return _driver_tree(machine, request.driver, tree, what, why)
    if isinstance(request.driver, DriverPackage):
        return _driver_package(machine, request.driver, tree, what, why)
    has = HasModule(machine.kernel, MODULE)
    missing = has.missing(tree)
    if not missing:
        missing = _unsupported(machine, request)
    if not missing:
        version = ".".join(map(str, machine.module_version)) if machine.module_version else "of unknown release"
        note = f"{version}, {machine.module_file}"
        return Step("driver", what, why, State.DONE, conditions=(has,), note=note)
    note = (
        f"{missing}, and openhailo does not bring it: give --driver-source DIR or --driver-package FILE.deb, or take "
        "the way that needs none (`openhailo setup vfio`)"
    )
    would = (
        f"with --driver-source DIR: copy DIR to /usr/src/{MODULE}-VERSION",
        *(f"$ dkms {verb} -m {MODULE} -v VERSION" for verb in ("add", "build", "install")),
        "with --driver-package FILE: $ apt-get install --yes --no-install-recommends FILE",
    )
    return Step("driver", what, why, State.BLOCKED, conditions=(has,), note=note, would=would)


def _unsupported(machine: Machine, request: Request) -> str:
    """Say why the module that is there will not do; empty when it will, or when its release cannot be read."""
    if machine.module_version is None:
        return ""
    try:
        require_release(machine.module_version, allow_unknown=request.allow_unknown_driver)
    except VersionUnsupported as error:
        return str(error)
    return ""


def _driver_tree(machine: Machine, driver: DriverTree, tree: Tree, what: str, why: str) -> Step:
    name, version = driver.name, driver.version_text
    target = f"/usr/src/{name}-{version}"
    ours = Dkms(name, version, machine.kernel)
    checked = (
        f"release {version}, from {driver.version_from}",
        f"{len(driver.entries)} files and folders, no link leads out",
        "not checked: what the code does; DKMS runs the tree's makefiles as root",
    )
    actions: list[Action] = []
    known = f"/var/lib/dkms/{name}/{version}/source"
    registered = tree.exists(known)
    if not registered:
        if tree.exists(target):
            note = f"{target} is there already, and DKMS does not know it: remove it first"
            return Step("driver", what, why, State.BLOCKED, note=note, checked=checked)
        actions.append(CopyTree(driver.folder, target, driver.entries))
        if driver.dkms_conf:
            actions.append(PutFile(f"{target}/dkms.conf", driver.dkms_conf.encode()))
    which = ("-m", name, "-v", version)
    remove = ("dkms", "remove", *which, "--all")
    if not registered:
        actions.append(Command(("dkms", "add", *which), undo=remove, gone=known))
    force = ("--force",) if machine.module_file else ()  # another release is there, DKMS would keep a newer one
    actions.append(Command(("dkms", "build", *which, "-k", machine.kernel), timeout_s=_BUILD_S))
    # Whoever registered it before keeps that.
    undo = ("dkms", "unbuild", *which, "-k", machine.kernel) if registered else ()
    install = ("dkms", "install", *which, "-k", machine.kernel, *force)
    actions.append(Command(install, undo=undo, timeout_s=300))
    conditions = (ours, HasModule(machine.kernel, MODULE))
    return make_step(
        tree, "driver", what, why, tuple(actions), conditions, undo=f"DKMS forgets it, {target} goes", checked=checked
    )


def _driver_package(machine: Machine, driver: DriverPackage, tree: Tree, what: str, why: str) -> Step:
    version = ".".join(map(str, driver.version))
    install = Command(
        ("apt-get", "install", "--yes", "--no-install-recommends", str(driver.path)),
        undo=("apt-get", "remove", "--yes", driver.name),
        timeout_s=_BUILD_S,
    )
    conditions: tuple[Condition, ...] = (
        PackageVersion(driver.name, driver.package_version),
        HasModule(machine.kernel, MODULE),
    )
    checked = (
        f"package {driver.name} {driver.package_version} for {driver.architecture}, driver release {version}",
        "not checked: what is in it; its scripts run as root",
    )
    return make_step(
        tree, "driver", what, why, (install,), conditions, undo=f"package {driver.name} is removed", checked=checked
    )


# --- files that both ways need ----------------------------------------------------------------------------------


def firmware_step(request: Request, tree: Tree) -> Step:
    """Return the step for the firmware file, which the card needs after each power-on."""
    what, why = f"the firmware file {TARGET}", "the card has no memory of its own for it and is loaded at each start"
    file = request.firmware
    if file is not None:
        checked = (f"headers and sizes add up, version {'.'.join(map(str, file.version))}", CHIPS)
        action = PutFile(TARGET, file.content, source=str(file.path))
        has = HasFile(TARGET, file.content)
        return make_step(tree, "firmware", what, why, (action,), (has,), undo="the former one, if any", checked=checked)
    present = request.present_firmware
    if present is not None:
        note = f"version {'.'.join(map(str, present.version))}"
        return Step("firmware", what, why, State.DONE, note=note, checked=(CHIPS,))
    if isinstance(request.driver, DriverPackage):
        note = "no --firmware, and none is there: the package has to bring it"
        return Step("firmware", what, why, State.SKIPPED, note=note)
    note = "none is there, and openhailo does not bring it: give --firmware FILE (the vendor's hailo8_fw.VERSION.bin)"
    would = (f"write {TARGET} (mode 0644, owner root:root), after a check of its headers",)
    return Step("firmware", what, why, State.BLOCKED, note=note, would=would)


def group_step(request: Request, tree: Tree) -> Step:
    """Return the step for the group whose members may use the card."""
    group, user = request.group, request.user
    actions: list[Action] = []
    if HasMember(group).missing(tree):
        actions.append(Command(("groupadd", "--system", group), undo=("groupdel", group)))
    if user and HasMember(group, user).missing(tree):
        join = ("usermod", "--append", "--groups", group, user)
        actions.append(Command(join, undo=("gpasswd", "--delete", user, group)))
    what = f"group {group}" + (f" with {user} in it" if user else "")
    why = "so that nobody needs to be root; a new member has to log in again"
    undo = "the user leaves the group, the group goes if it is new"
    return make_step(tree, "group", what, why, tuple(actions), (HasMember(group, user),), undo=undo)


def file_step(tree: Tree, name: str, what: str, why: str, path: str, text: str, *after: Command) -> Step:
    """Return the step for one configuration file of ours, and what makes it count at once."""
    content = text.encode()
    actions: tuple[Action, ...] = (PutFile(path, content), *after)
    return make_step(tree, name, what, why, actions, (HasFile(path, content),), undo=f"{path} goes")


def udev_commands(tree: Tree, subsystem: str) -> tuple[Command, ...]:
    """Return what makes new rules count; nothing where udev does not run, as in another root."""
    if not tree.exists("/run/udev/control"):
        return ()
    trigger = ("udevadm", "trigger", f"--subsystem-match={subsystem}", "--action=change")
    return Command(("udevadm", "control", "--reload")), Command(trigger)


def _udev(request: Request, tree: Tree) -> Step:
    text = (
        "# Written by openhailo setup. Comes after the vendor's 51-hailo-udev.rules, which opens the card to all.\n"
        f'SUBSYSTEM=="hailo_chardev", GROUP="{request.group}", MODE="0660"\n'
    )
    why = f"without it the node belongs to root, or with the vendor's rule to everybody; now to group {request.group}"
    commands = udev_commands(tree, "hailo_chardev")
    return file_step(tree, "udev", "the udev rule for /dev/hailo*", why, UDEV_RULES, text, *commands)


def _options(machine: Machine, request: Request, tree: Tree) -> Step:
    options = dict(request.module_options)
    small_reads = 0 < request.max_read_request_bytes < 512
    if machine.page_size_bytes > HARDWARE_PAGE_BYTES and not small_reads:
        options.setdefault("force_desc_page_size", str(HARDWARE_PAGE_BYTES))
    what = f"options of {MODULE}"
    if not options:
        note = f"none are needed with pages of {machine.page_size_bytes} bytes"
        return Step("options", what, "only where the defaults do not do", State.SKIPPED, note=note)
    lines = [f"# {name}: {PARAMETERS[name].meaning}" for name in options]
    words = " ".join(f"{name}={value}" for name, value in options.items())
    text = "\n".join(["# Written by openhailo setup.", *lines, f"options {MODULE} {words}", ""])
    why = "as asked for"
    if machine.page_size_bytes > HARDWARE_PAGE_BYTES:
        why = (
            f"this kernel's pages are {machine.page_size_bytes} bytes, the card takes {HARDWARE_PAGE_BYTES}; "
            "openhailo minds that by itself, the vendor's library does not"
        )
    return file_step(tree, "options", what, why, MODPROBE_OPTIONS, text)


def _gen3(machine: Machine, request: Request, tree: Tree) -> Step:
    what, why = "PCIe generation 3 on a Raspberry Pi 5", "twice the bandwidth; the board is certified for generation 2"
    if not request.pcie_gen3:
        return Step("pcie-gen3", what, why, State.SKIPPED, note="not asked for (--pcie-gen3)")
    path = next((path for path in PI_CONFIGS if tree.read(path) is not None), "")
    if not machine.is_pi5 or not path:
        return Step("pcie-gen3", what, why, State.BLOCKED, note="this is no Raspberry Pi 5: leave --pcie-gen3 out")
    before = tree.read(path) or b""
    added = ("" if before.endswith(b"\n") or not before else "\n") + f"# openhailo setup\n[all]\n{_GEN3}\n"
    action = PutFile(path, before + added.encode(), tree.mode(path) or 0o644, added=added)
    undo = "our lines go; counts from the next boot"
    return make_step(tree, "pcie-gen3", what, why, (action,), (HasLine(path, _GEN3),), undo=undo)


# --- loading ----------------------------------------------------------------------------------------------------


def _load(machine: Machine, request: Request, tree: Tree, reload: bool) -> Step:
    what, why = f"{MODULE} is loaded", "the driver loads the firmware into the card and makes /dev/hailo0"
    if not request.live:
        return Step("load", what, why, State.SKIPPED, note="another root is prepared: it happens when that boots")
    version = request.version(machine)
    condition = Loaded(MODULE, ".".join(map(str, version)) if version else "")
    loaded = bool(machine.loaded_version) or not Loaded(MODULE).missing(tree)
    actions = [Command(("modprobe", "--remove", MODULE))] if loaded else []
    actions.append(Command(("modprobe", MODULE), undo=() if loaded else ("modprobe", "--remove", MODULE)))
    step = make_step(tree, "load", what, why, tuple(actions), (condition,), undo="it is unloaded if it was not loaded")
    if reload and step.state is State.DONE:
        note = "it has to be loaded again for what changes above; programs that use the card have to end first"
        return Step("load", what, why, State.TO_DO, step.actions, step.conditions, note, step.undo)
    return step


def _advice(machine: Machine, request: Request) -> list[str]:
    found = []
    if request.live and not machine.functions:
        found.append(
            "no Hailo card is visible on PCI: check power and seating; on a Raspberry Pi 5 the connector is switched "
            "on by the HAT itself or by `dtparam=pciex1` in config.txt"
        )
    if machine.secure_boot:
        found.append(
            "Secure Boot is on: the kernel takes signed modules only. `mokutil --import /var/lib/dkms/mok.pub`, "
            "restart, and confirm the key on the console"
        )
    elif machine.lockdown:
        found.append(f"the kernel is locked down ({machine.lockdown}): it takes signed modules only")
    held = [function.address for function in machine.functions if function.driver == "vfio-pci"]
    found += [f"{address} is bound to vfio-pci: `openhailo bind kernel {address} --apply`" for address in held]
    if machine.is_pi5 and not request.pcie_gen3:
        found.append(f"PCIe generation 3 (outside the board's certification) is `{_GEN3}` in config.txt: --pcie-gen3")
    if machine.functions and not request.max_read_request_bytes and machine.page_size_bytes > HARDWARE_PAGE_BYTES:
        found.append("only root sees how much the card may read at once; below 512 bytes, the page size is left alone")
    if 0 < request.max_read_request_bytes < 512:
        found.append(
            f"the card may read {request.max_read_request_bytes} bytes at once only: a fault of the hardware then "
            "limits descriptor pages to the same size; leave force_desc_page_size alone"
        )
    return found
