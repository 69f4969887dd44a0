#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The kernel-TLS machine: boots a Debian kernel in QEMU (software emulation) on a throw-away copy of
this host's root file system, runs one command there as root in the project's tree, streams its
output and returns its exit status. Kernels are unpacked into a cache and never installed.

The command's output comes over a virtio port of its own, so no kernel message mixes with it. Two
frames are put into that stream: NUL nonce ":start:" release LF, NUL nonce ":exit:" status LF; the
nonce is new for each run."""
import argparse, fcntl, hashlib, os, re, secrets, select, shlex, shutil, signal, socket, subprocess
import sys, tempfile, time

HERE = os.path.dirname(os.path.realpath(__file__))
TREE = os.path.realpath(os.path.join(HERE, "..", ".."))
CACHE = os.environ.get("TIELINE_VM_CACHE", "/var/cache/tieline-vm")
# Meta package, and the suite of Debian that has it where the host's own package lists do not. "new" is
# what Debian has newest for servers, for what a kernel will do that is not in use yet.
KERNELS = {"6.12": ("linux-image-6.12-cloud-amd64", None), "6.1": ("linux-image-cloud-amd64", None),
           "new": ("linux-image-cloud-amd64", "trixie-backports")}
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# What the root file system needs before there is one; then what kernel TLS and the tests need.
ROOT_MODULES = ("virtio_pci", "virtio_console", "virtiofs", "overlay")
MODULES = ("tls aesni_intel ghash_clmulni_intel gcm ccm chacha_x86_64 poly1305_x86_64 chacha20poly1305"
           " cmac virtio_rng")
# Names that a test may set for itself; anything else of the caller's environment stays outside.
PASSED_ENV = re.compile(r"(TIELINE|CRITERION|ASAN|UBSAN|TSAN|LSAN|BENCH|DEMO|FUZZ)_?[A-Z0-9_]*$|"
                        r"(BUILD|BUILD_DIR|CALLS|LC_ALL|LANG|TZ)$")
VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")
SKIP, TIMED_OUT, BROKEN = 77, 124, 125
# Boots take 5 to 10 s; this is for a host with ten other jobs on it.
BOOT_LIMIT_S = 240


class Skip(Exception):
    """The machine cannot run here; the text says why."""


class NoBoot(Skip):
    """The machine ended, or hung, before the command began."""


def options():
    p = argparse.ArgumentParser(
        prog="tests/vm/run", description=__doc__.split("\n\n")[0],
        epilog="Exit status: the command's; 77 the machine cannot run (one line 'vm: SKIP: reason'); "
               "124 time limit reached; 125 the machine stopped by itself.")
    p.add_argument("--kernel", choices=sorted(KERNELS), default=os.environ.get("TIELINE_VM_KERNEL", "6.12"))
    p.add_argument("--timeout", type=float, default=900, metavar="SECONDS", help="for boot and command, default 900")
    p.add_argument("--memory", type=int, default=2048, metavar="MB", help="default 2048")
    p.add_argument("--cpus", type=int, default=2, help="default 2")
    p.add_argument("--icount", action="store_true",
                   help="one processor on which each instruction takes one virtual nanosecond")
    p.add_argument("--append", default="", metavar="WORDS", help="more words for the kernel's command line")
    p.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="set a variable there")
    p.add_argument("--verbose", action="store_true", help="tell boot time and kernel on stderr")
    p.add_argument("--prepare", action="store_true", help="only fetch the kernel")
    p.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND...")
    o = p.parse_args()
    if o.command and o.command[0] == "--":
        del o.command[0]
    if not o.command and not o.prepare:
        p.error("no command")
    return o


def note(text):
    print("vm: " + text, file=sys.stderr, flush=True)


def quiet(*argv, **kw):
    """Runs a helper program; its output matters only when it fails."""
    r = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)
    if r.returncode:
        tail = r.stdout.decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
        raise Skip(f"{argv[0]} {argv[1] if len(argv) > 1 else ''} failed: {tail[0]}")
    return r.stdout.decode(errors="replace")


# --- kernel -------------------------------------------------------------------------------------

def debian_source():
    """Where the host's own package lists of Debian's main archive come from."""
    r = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(CREATED_BY)"],
                       capture_output=True, text=True)
    for line in r.stdout.splitlines():
        uri, release, *by = line.split()
        if by == ["Packages"] and re.fullmatch(r"[a-z]+", release):
            return uri
    raise Skip("the host's package lists name no source of Debian")


def apt_options(suite):
    """Options with which apt knows SUITE alone, by lists of its own in the cache."""
    if not suite:
        return []
    base = os.path.join(CACHE, "apt-" + suite)
    os.makedirs(base + "/lists/partial", exist_ok=True)
    os.makedirs(base + "/cache/archives/partial", exist_ok=True)
    with open(base + "/sources.list", "w") as f:
        f.write(f"deb [signed-by={KEYRING}] {debian_source()} {suite} main\n")
    return ["-o", f"Dir::Etc::sourcelist={base}/sources.list", "-o", "Dir::Etc::sourceparts=-",
            "-o", f"Dir::State::lists={base}/lists", "-o", f"Dir::Cache={base}/cache"]


def depends(apt, package, pattern):
    r = subprocess.run(["apt-cache", *apt, "depends", package], capture_output=True, text=True)
    return re.findall(r"Depends: (%s)$" % pattern, r.stdout, re.M)


def image_packages(meta, apt):
    """The packages behind a meta package, which change with every kernel update: the image, and
    where Debian has them apart, the kernel itself and its modules."""
    for attempt in range(2):
        image = depends(apt, meta, r"linux-image-\S+")
        if image:
            return image[:1] + depends(apt, image[0], r"linux-(?:base|binary|modules)-\d\S+")
        if attempt == 0:
            note("refreshing the package lists")
            quiet("apt-get", *apt, "-q", "update")
    raise Skip(f"no package {meta} in the package lists")


def module_closure(root, release):
    """Files of ROOT_MODULES and what they need, in loading order (built-in ones have none)."""
    deps = {}
    base = os.path.join(root, "lib/modules", release)
    with open(os.path.join(base, "modules.dep")) as f:
        for line in f:
            path, _, need = line.partition(":")
            deps[path] = need.split()
    by_name = {os.path.basename(p).split(".ko")[0].replace("-", "_"): p for p in deps}
    out = []
    for name in ROOT_MODULES:
        path = by_name.get(name)
        if path:
            # modules.dep lists the nearest need first, so loading goes from its end.
            out += [p for p in [*reversed(deps[path]), path] if p not in out]
    return [os.path.join(base, p) for p in out]


def build_initramfs(root, release, target):
    with tempfile.TemporaryDirectory(prefix="initramfs.", dir=os.path.dirname(target)) as d:
        os.makedirs(d + "/bin")
        os.makedirs(d + "/modules")
        os.makedirs(d + "/dev")
        shutil.copy("/bin/busybox", d + "/bin/busybox")
        shutil.copy(HERE + "/initramfs-init", d + "/init")
        os.chmod(d + "/init", 0o755)
        order = []
        for path in module_closure(root, release):
            name = os.path.basename(path).split(".ko")[0] + ".ko"
            reader = {".xz": ["xz", "-dc"], ".zst": ["zstd", "-dcq"]}.get(os.path.splitext(path)[1], ["cat"])
            with open(f"{d}/modules/{name}", "wb") as f:
                subprocess.run([*reader, path], stdout=f, check=True)
            order.append(name)
        with open(d + "/modules.order", "w") as f:
            f.write("".join(n + "\n" for n in order))
        quiet("sh", "-c", f"cd {shlex.quote(d)} && find . | cpio -o -H newc --quiet > {shlex.quote(target)}.new")
    os.rename(target + ".new", target)


def fetch(series, into):
    meta, suite = KERNELS[series]
    apt = apt_options(suite)
    packages = image_packages(meta, apt)
    note(f"fetching {packages[0]} (once, into {CACHE})")
    with tempfile.TemporaryDirectory(prefix="fetch.", dir=CACHE) as d:
        os.chmod(d, 0o755)  # apt downloads as a user of its own
        quiet("apt-get", *apt, "-q", "download", *packages, cwd=d)
        root = d + "/root"
        for deb in [n for n in os.listdir(d) if n.endswith(".deb")]:
            quiet("dpkg", "-x", f"{d}/{deb}", root)
        if not os.path.isdir(root + "/lib/modules"):
            os.symlink("usr/lib", root + "/lib")  # where Debian has them since 13
        release = os.listdir(root + "/lib/modules")[0]
        quiet("depmod", "-b", root, release)
        os.chmod(root, 0o755)
        os.rename(root, into)


def kernel(series):
    """(vmlinuz, initramfs, module directory) of a series, fetched when the cache has none."""
    try:
        os.makedirs(CACHE, exist_ok=True)
        lock = open(CACHE + "/lock", "w")
    except OSError as e:
        raise Skip(f"cannot write the kernel cache {CACHE}: {e.strerror} (run as root or set TIELINE_VM_CACHE)")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = os.path.join(CACHE, series)
        if not os.path.isdir(root):
            fetch(series, root)
        release = os.listdir(root + "/lib/modules")[0]
        with open(HERE + "/initramfs-init", "rb") as f:
            text = f.read() + " ".join(ROOT_MODULES).encode()
        initramfs = f"{root}/initramfs-{hashlib.sha256(text).hexdigest()[:12]}"
        if not os.path.exists(initramfs):
            build_initramfs(root, release, initramfs)
    modules = f"{root}/lib/modules/{release}"
    images = [f"{root}/boot/vmlinuz-{release}", modules + "/vmlinuz"]  # the second since Linux 7
    return next(filter(os.path.exists, images), images[0]), initramfs, modules


# --- one run ------------------------------------------------------------------------------------

def child(argv, log, **kw):
    # The kernel ends the children even when this process is killed without a chance to do it.
    return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *argv], stdin=subprocess.DEVNULL,
                            stdout=log, stderr=subprocess.STDOUT, start_new_session=True, **kw)


def tail(path, lines=15):
    try:
        with open(path, errors="replace") as f:
            text = [re.sub(r"[^\x20-\x7e]", "", l.rstrip()) for l in f.read().splitlines()]
    except OSError:
        return ""
    return "\n".join(["vm:   " + l for l in text if l][-lines:])


class Machine:
    def __init__(self, o):
        self.o, self.children = o, []
        self.nonce = secrets.token_hex(8)
        self.dir = tempfile.mkdtemp(prefix="tieline-vm.", dir="/tmp")
        self.deadline = time.monotonic() + o.timeout

    def write_job(self, modules):
        env = {"HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh", "TERM": "dumb",
               "TMPDIR": "/tmp", "TIELINE_VM": self.o.kernel}
        env.update((k, v) for k, v in os.environ.items() if PASSED_ENV.match(k) and k != "TIELINE_VM_CACHE")
        env.update(e.split("=", 1) for e in self.o.env if "=" in e)
        lines = [f"export {k}={shlex.quote(v)}" for k, v in sorted(env.items())]
        lines += [f"cd {shlex.quote(TREE)} || exit 126", "exec " + shlex.join(self.o.command)]
        with open(self.dir + "/command", "w") as f:
            f.write("\n".join(lines) + "\n")
        with open(self.dir + "/vars", "w") as f:
            f.write(f"NONCE={self.nonce}\nMODULES='{MODULES}'\nRELEASE_DIR={shlex.quote(modules)}\n")
        shutil.copy(HERE + "/guest-init", self.dir + "/guest-init")

    def share_root(self):
        prog = next((p for p in VIRTIOFSD if os.path.exists(p)), None)
        if not prog:
            raise Skip("no virtiofsd (package qemu-system-common)")
        if os.geteuid() != 0:
            raise Skip("virtiofsd needs root; run it with sudo")
        sock, log = self.dir + "/fs.sock", open(self.dir + "/virtiofsd.log", "w")
        fs = child([prog, "--socket-path=" + sock, "-o", "source=/", "-o", "sandbox=chroot",
                    "-o", "cache=always"], log)
        self.children.append(fs)
        for _ in range(100):
            if os.path.exists(sock):
                return sock
            if fs.poll() is not None:
                break
            time.sleep(0.05)
        raise NoBoot("virtiofsd does not start: " + tail(self.dir + "/virtiofsd.log", 1).strip())

    def start(self, vmlinuz, initramfs, sock):
        ours, theirs = socket.socketpair()
        log = open(self.dir + "/qemu.log", "w")
        mem, counted = self.o.memory, self.o.icount
        argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-machine", "q35,memory-backend=mem",
                "-accel", f"tcg,thread={'single' if counted else 'multi'}",
                *(["-icount", "shift=0,sleep=off"] if counted else []),
                # An emulated "rep movsb" goes byte by byte; without erms wider moves are used.
                "-cpu", "max,-erms,-fsrm",
                "-smp", "1" if counted else str(self.o.cpus), "-m", str(mem),
                "-object", f"memory-backend-memfd,id=mem,size={mem}M,share=on",
                "-kernel", vmlinuz, "-initrd", initramfs, "-serial", f"file:{self.dir}/console.log",
                "-chardev", f"socket,id=fs,path={sock}",
                "-device", "vhost-user-fs-pci,chardev=fs,tag=rootfs",
                "-chardev", f"socket,id=out,fd={theirs.fileno()}", "-device", "virtio-serial-pci",
                "-device", "virtserialport,chardev=out,name=tieline.out", "-device", "virtio-rng-pci",
                "-append", f"console=ttyS0 quiet loglevel=4 panic=-1 random.trust_cpu=on tsc=reliable "
                           # The self-tests of the ciphers take longer than all else of the boot.
                           # Translated code is found again only at the same address: a program
                           # starts in less than half the time where addresses are not random.
                           f"cryptomgr.notests=1 norandmaps vm.job={self.dir}"
                           # There a process pays for its interrupts, as its sends on loopback are
                           # delivered in them; and "rep movsq" counts as one for each word, as above.
                           + (" tsc=noirqtime clearcpuid=rep_good " if counted else " ") + self.o.append]
        qemu = child(argv, log, pass_fds=(theirs.fileno(),))
        self.children.append(qemu)
        theirs.close()
        return qemu, ours

    def stopped(self, started):
        """The machine ended before the command did: what it said last is all there is."""
        said = tail(self.dir + "/console.log") or tail(self.dir + "/qemu.log")
        if started:
            note("the machine stopped before the command ended; its console said last:\n" + said)
            return BROKEN
        first = (tail(self.dir + "/qemu.log", 1) or tail(self.dir + "/console.log", 1) or "no output")
        raise NoBoot("the machine does not boot: " + first.replace("vm:", "").strip())

    def stream(self, port, begun):
        """Copies the command's output until the exit frame; returns the exit status."""
        start, end = (b"\0%s:%s:" % (self.nonce.encode(), w) for w in (b"start", b"exit"))
        buf, started = b"", False
        while True:
            limit = self.deadline if started else min(self.deadline, begun + BOOT_LIMIT_S)
            left = limit - time.monotonic()
            if left <= 0 and (started or limit == self.deadline):
                note(f"time limit of {self.o.timeout:g} s reached")
                return TIMED_OUT
            if left <= 0:
                raise NoBoot(f"no boot within {BOOT_LIMIT_S} s: " + tail(self.dir + "/console.log", 1))
            if not select.select([port], [], [], left)[0]:
                continue
            try:
                data = port.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                if started:
                    write_all(buf)
                return self.stopped(started)
            buf += data
            if not started:
                at = buf.find(start)
                nl = buf.find(b"\n", at)
                if at < 0 or nl < 0:
                    continue
                if self.o.verbose:
                    note(f"{buf[at + len(start):nl].decode()} up after {time.monotonic() - begun:.1f} s")
                buf, started = buf[nl + 1:], True
            buf, status = self.emit(buf, end)
            if status is not None:
                return status

    @staticmethod
    def emit(buf, end):
        """Writes what cannot be part of the exit frame; returns the rest, and the status if complete."""
        at = buf.find(end)
        if at < 0:
            # A frame may be cut anywhere: hold back the longest tail that could begin one.
            keep = next((n for n in range(min(len(end) - 1, len(buf)), 0, -1) if end.startswith(buf[-n:])), 0)
            at = len(buf) - keep
        elif b"\n" in buf[at + 1:]:
            write_all(buf[:at])
            return b"", int(buf[at + len(end):].split(b"\n")[0])
        write_all(buf[:at])
        return buf[at:], None

    def run(self):
        if self.o.memory < 256:
            raise Skip("less than 256 MB of memory")
        vmlinuz, initramfs, modules = kernel(self.o.kernel)
        self.deadline = time.monotonic() + self.o.timeout
        self.write_job(modules)
        try:
            return self.boot(vmlinuz, initramfs)
        except NoBoot as e:
            # Nothing of the command has run yet.
            note(f"it is tried once more: {e}")
            self.end_children()
            return self.boot(vmlinuz, initramfs)

    def boot(self, vmlinuz, initramfs):
        sock = self.share_root()
        begun = time.monotonic()
        _, port = self.start(vmlinuz, initramfs, sock)
        return self.stream(port, begun)

    def end_children(self):
        for c in self.children:
            if c.poll() is None:
                c.kill()
            c.wait()
        self.children = []
        if os.path.exists(self.dir + "/fs.sock"):
            os.unlink(self.dir + "/fs.sock")

    def close(self):
        self.end_children()
        shutil.rmtree(self.dir, ignore_errors=True)


def write_all(data):
    view = memoryview(data)
    while view:
        view = view[os.write(1, view):]


def on_signal(number, _frame):
    # Through the finally clause of main, which ends the children.
    raise SystemExit(128 + number)


def main():
    o = options()
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, on_signal)
    machine = None
    try:
        if o.prepare:
            kernel(o.kernel)
            return 0
        machine = Machine(o)
        return machine.run()
    except Skip as e:
        note("SKIP: " + " ".join(str(e).split()))
        return SKIP
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    finally:
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(s, signal.SIG_IGN)
        if machine:
            machine.close()


if __name__ == "__main__":
    sys.exit(main())
