"""Runs code against tests where it can do no harm; started by `sandbox`, as a program of its own.

It reads a job from standard input, and writes what became of each test to standard output. Before any code is run it
moves into new namespaces of Linux: no network, no other processes, and all files read-only but for a folder in memory.
The process that runs the code has no capabilities, no open files of this one, no sockets (those with a path
reach servers of this machine past every namespace), and limits on memory, time and output.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import Any

_NEW = 0x00020000 | 0x08000000 | 0x04000000 | 0x10000000 | 0x20000000 | 0x40000000
"""CLONE_NEWNS, NEWIPC, NEWUTS, NEWUSER, NEWPID, NEWNET."""
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _READ_ONLY, _NO_SUID = 442, -100, 0x8000, 0x1, 0x2
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
_CAPABILITY_VERSION_3, _CAPABILITIES = 0x20080522, 64
_SYSTEM_CALLS = {"x86_64": (0xC000003E, 41, 53), "aarch64": (0xC00000B7, 198, 199)}
"""AUDIT_ARCH, and the numbers of socket and socketpair, by machine."""
_IO_URING_SETUP, _X32 = 425, 0x40000000
_POLL_S = 0.002
_UNREAD, _TOO_MANY = 3, 1 << 8
_MIB = 2**20
_PROGRAM, _MODULE = "__main__", "solution"
"""Names of code: what stands below `if __name__ == "__main__":` is run only where its output is the test."""

_HARNESS = f"""
import os, sys, types
token = os.read(int(sys.argv[1]), 64)
code, test = open("code.py", encoding="utf-8").read(), open("test.py", encoding="utf-8").read()
try:
    code = compile(code, "code.py", "exec")
except (SyntaxError, ValueError, MemoryError, RecursionError):
    os._exit({_UNREAD})
module = types.ModuleType(sys.argv[3])
sys.modules[module.__name__] = module
exec(code, vars(module))
exec(compile(test, "test.py", "exec"), vars(module))
sys.stdout.flush()
os.write(int(sys.argv[2]), token)
"""
"""What is run: a test has passed when the token comes back, which no early end of the code can give."""


class Attributes(ctypes.Structure):
    """struct mount_attr."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "namespace")]


class Instruction(ctypes.Structure):
    """struct sock_filter."""

    _fields_ = [("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("value", ctypes.c_uint32)]


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(Instruction))]


def main() -> None:
    """Work through a job, and write a list with the outcome of each test, or why nothing can be run."""
    job = json.loads(sys.stdin.buffer.read())
    try:
        _move_away(job)
    except OSError as error:
        _tell({"refused": f"{error.strerror} ({error.filename})"})
        return
    child = os.fork()  # the first process of the new namespace: with it all others end
    if child == 0:
        _libc("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL)
        _libc("prctl", _PR_SET_DUMPABLE, 0)
        _see_own_processes()
        _tell([_outcome(job, test) for test in job["tests"]])
        os._exit(0)
    os.waitpid(child, 0)


def _tell(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()


def _move_away(job: dict[str, Any]) -> None:
    """Into namespaces of its own, where nothing can be written to."""
    if os.uname().machine not in _SYSTEM_CALLS:
        raise OSError(errno.ENOSYS, "sockets cannot be taken away", os.uname().machine)
    user, group = os.getuid(), os.getgid()
    _libc("unshare", _NEW)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        Path("/proc/self", name).write_text(text)
    with contextlib.suppress(OSError):  # where it cannot be written, what is mounted read-only stays so all the same
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
    _libc("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    attributes = Attributes(set=_READ_ONLY | _NO_SUID)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    _libc("syscall", _MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, ctypes.byref(attributes), size)
    _mount(job)  # tells now if it cannot be had
    _unmount(job)


def _mount(job: dict[str, Any]) -> None:
    """A folder in memory, a new one for each test, with nothing around it that code could write to."""
    options = f"size={job['files_mb']}m,nr_inodes=10000,mode=700"
    _libc("mount", b"tmpfs", os.fsencode(job["folder"]), b"tmpfs", _NO_SUID, options.encode())


def _unmount(job: dict[str, Any]) -> None:
    _libc("umount2", os.fsencode(job["folder"]), _MNT_DETACH)


def _see_own_processes() -> None:
    try:
        _libc("mount", b"proc", b"/proc", b"proc", _NO_SUID, None)
    except OSError:  # parts of /proc are hidden here, so that a whole one may not be had
        _libc("mount", b"tmpfs", b"/proc", b"tmpfs", _NO_SUID | _READ_ONLY, None)


def _outcome(job: dict[str, Any], test: dict[str, str]) -> str:
    """`passed`, `failed`, `unread` or `out_of_time`; every process that the code has started is ended."""
    _mount(job)
    folder = Path(job["folder"])
    for name, text in (("code.py", job["code"]), ("test.py", test.get("code", "")), ("stdin", test.get("stdin", ""))):
        (folder / name).write_bytes(text.encode("utf-8", "replace"))
    printed = os.open(folder / "stdout", os.O_RDWR | os.O_CREAT, 0o600)  # kept: code may put another in its place
    token = secrets.token_hex(16).encode()
    (asked, ask), (told, tell) = os.pipe(), os.pipe()
    os.write(ask, token)
    os.close(ask)
    child = os.fork()
    if child == 0:
        try:
            _run(job, folder, printed, asked, tell, _PROGRAM if "stdout" in test else _MODULE)
        finally:
            os._exit(1)
    for end in (asked, tell):
        os.close(end)
    status = _waited(child, job["timeout_s"], job["processes"])
    os.set_blocking(told, False)
    if "stdout" in test:
        passed = status == 0 and same_lines(_text(printed, job["output_mb"]), test["stdout"])
    else:
        passed = status == 0 and _received(told) == token
    os.close(told)
    os.close(printed)
    _unmount(job)
    if status is None:
        return "out_of_time"
    unread = os.waitstatus_to_exitcode(status) == _UNREAD
    return "unread" if unread else "passed" if passed else "failed"


def _run(job: dict[str, Any], folder: Path, printed: int, asked: int, tell: int, name: str) -> None:
    """Become the process that runs the code, as a module of that name."""
    os.chdir(folder)
    os.setsid()
    os.dup2(os.open("stdin", os.O_RDONLY), 0)
    os.dup2(printed, 1)
    os.dup2(os.open("stderr", os.O_WRONLY | os.O_CREAT, 0o600), 2)
    for kept in (asked, tell):
        os.set_inheritable(kept, True)
    limits = {
        resource.RLIMIT_AS: job["memory_mb"] * _MIB,
        resource.RLIMIT_CPU: int(job["timeout_s"]) + 1,
        resource.RLIMIT_FSIZE: job["output_mb"] * _MIB,
        resource.RLIMIT_NPROC: job["processes"],
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    _give_up_capabilities()
    _give_up_sockets()
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-s", "-P", "-B", "-c", _HARNESS, str(asked), str(tell), name]
    os.execve(sys.executable, command, environment)  # noqa: S606 - this very interpreter


def _give_up_capabilities() -> None:
    """For good: what is run could otherwise make files writable again."""
    _libc("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for capability in range(_CAPABILITIES):
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # those that the kernel does not know fail
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _libc("capset", ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))


def _give_up_sockets() -> None:
    """By a filter of system calls; io_uring could open some, too. Connected pairs, which asyncio needs, stay."""
    machine, socket, pair = _SYSTEM_CALLS[os.uname().machine]
    load, mask, equal, least, end = 0x20, 0x54, 0x15, 0x35, 0x06
    filtered = [
        (load, 0, 0, 4),  # the kind of machine: code of another kind has other numbers
        (equal, 0, 8, machine),
        (load, 0, 0, 0),  # the number of the call
        (least, 6, 0, _X32),
        (equal, 5, 0, _IO_URING_SETUP),
        (equal, 4, 0, socket),
        (equal, 0, 4, pair),
        (load, 0, 0, 24),  # the type of a pair's sockets; one that is not a stream could be connected anew
        (mask, 0, 0, 0xF),
        (equal, 1, 0, 1),
        (end, 0, 0, 0x00050000 | errno.EPERM),
        (end, 0, 0, 0x7FFF0000),  # let it pass
    ]
    instructions = (Instruction * len(filtered))(*(Instruction(*each) for each in filtered))
    _libc("prctl", _PR_SET_SECCOMP, 2, ctypes.byref(Program(len(filtered), instructions)))


def _waited(child: int, seconds: float, processes: int) -> int | None:
    """The status of a process, None if it took too long; then everything it started is killed."""
    end = time.monotonic() + seconds
    status: int | None = None
    while status is None and time.monotonic() < end:
        done, found = os.waitpid(child, os.WNOHANG)
        if done:
            status = found
        elif _tasks() > processes + 1:  # the limit on processes does not hold for root
            status = _TOO_MANY
        else:
            time.sleep(_POLL_S)
    try:
        os.kill(-1, signal.SIGKILL)
        while True:
            os.waitpid(-1, 0)
    except (ProcessLookupError, ChildProcessError):
        return status


def _tasks() -> int:
    """Processes and threads here, this one included."""
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found += sum(1 for _ in (process / "task").iterdir())
    return found


def _received(pipe: int) -> bytes:
    try:
        return os.read(pipe, 64)
    except BlockingIOError:
        return b""


def _text(file: int, most_mb: int) -> str:
    return os.pread(file, most_mb * _MIB, 0).decode("utf-8", "replace")


def same_lines(printed: str, wanted: str) -> bool:
    """Whether two texts have the same lines, but for white space at their ends and empty lines at the end."""
    return [line.rstrip() for line in printed.rstrip().split("\n")] == [
        line.rstrip() for line in wanted.rstrip().split("\n")
    ]


def _libc(name: str, *arguments: Any) -> None:
    """Call a function of the C library.

    Raises:
        OSError: it fails; names the function.
    """
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)


if __name__ == "__main__":
    main()
