#!/usr/bin/env python3
"""Installs a build, moves the copy, and uses it as a stranger would: the program starts from any
folder without help, and every example is configured, built and run with find_package(infinipipe).
The program has what cmake/Hardening.cmake gives it, and the copy asks that of nobody.

usage: installed_copy.py BUILD WORK [CMAKE-ARGUMENT ...]
           BUILD: a build folder; WORK: a folder that is emptied first; the arguments are for the
           examples' configuration
       installed_copy.py --self-test   shows that bad search paths and missing hardening are found
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parents[2]
# What a user's shell has of what matters here: nothing.
BARE = {"PATH": os.environ["PATH"], "LC_ALL": "C"}


def run(*command, cwd=None, env=None):
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def search_path(program):
    """The folders that an ELF file names for its libraries, as they stand; [] where it names none."""
    found = re.findall(r"\((?:RUNPATH|RPATH)\).*\[(.*)\]", run("readelf", "-d", program))
    return [folder for path in found for folder in path.split(":")]


def faults(folders, installed):
    """What is wrong with such folders. An empty one stands for the current folder."""
    found = []
    if not folders:
        found.append("names no folder")
    for folder in folders:
        if not folder.startswith(("/", "$ORIGIN/")):
            found.append(f"the entry '{folder}' depends on the current folder")
        elif installed and not folder.startswith("$ORIGIN/"):
            found.append(f"the entry '{folder}' of an installed program is not $ORIGIN-relative")
    return found


def require_search_path(program, installed):
    if problems := faults(search_path(program), installed):
        sys.exit(f"{program}: {'; '.join(problems)}")


# What readelf says of a hardened program; the last of optimised ones alone.
HARDENED = [
    ("is not position-independent", r"Type:\s+DYN\b(?s:.*)\(FLAGS_1\).*\bPIE\b"),
    ("has no segment that becomes read-only (-z relro)", r"\bGNU_RELRO\b"),
    ("binds symbols late (-z now)", r"\(FLAGS\).*\bBIND_NOW\b|\(FLAGS_1\).*\bNOW\b"),
    ("has a stack that can be executed", r"\bGNU_STACK\s.*\bRW +0x"),
    ("has no stack protector", r"\b__stack_chk_fail\b"),
    ("has no checked copies (_FORTIFY_SOURCE)", r"\b__\w+_chk\b"),
]
HARDENING_FLAG = r"stack-(?:protector|clash)|FORTIFY_SOURCE|-z,\w+"


def hardening_faults(elf, optimised):
    wanted = HARDENED if optimised else HARDENED[:-1]
    return [fault for fault, pattern in wanted if not re.search(pattern, elf)]


def require_hardening(program, optimised):
    elf = run("readelf", "-W", "-h", "-l", "-d", "--dyn-syms", program)
    if problems := hardening_faults(elf, optimised):
        sys.exit(f"{program}: {'; '.join(problems)}")


def require_no_flags(package):
    for file in sorted(package.glob("*.cmake")):
        if flag := re.search(HARDENING_FLAG, file.read_text()):
            sys.exit(f"{file}: forces {flag.group()} on those who link the libraries")


def main(build, work, arguments):
    cache = (build / "CMakeCache.txt").read_text()
    torch = "INFINIPIPE_TORCH:BOOL=ON" in cache
    cuda = "INFINIPIPE_CUDA:BOOL=ON" in cache  # LibTorch stays outside the copy
    shutil.rmtree(work, ignore_errors=True)
    installed = work / "installed"
    run("cmake", "--install", build, "--prefix", installed, "--component", "infinipipe")
    if torch and not cuda:  # half a gigabyte: links will do
        run("cmake", "--install", build, "--prefix", installed, "--component", "libtorch",
            env={**os.environ, "CMAKE_INSTALL_MODE": "ABS_SYMLINK"})
    copy = work / "moved"
    installed.rename(copy)

    require_search_path(build / "infinipipe", installed=False)
    require_search_path(copy / "bin/infinipipe", installed=not cuda)
    if "INFINIPIPE_HARDENING:BOOL=ON" in cache:
        optimised = re.search(r"^CMAKE_BUILD_TYPE:\w+=(Rel|MinSizeRel)", cache, re.M)
        require_hardening(copy / "bin/infinipipe", optimised)
    (package,) = copy.glob("lib*/**/cmake/infinipipe")
    require_no_flags(package)
    # A library of that name in the current folder must not be the one that is loaded.
    trap = work / "trap"
    trap.mkdir()
    for library in ("libhighs.so", "libtomlplusplus.so.3", "libtorch_cpu.so", "libc10.so"):
        (trap / library).write_text("no library\n")
    for program in (build / "infinipipe", copy / "bin/infinipipe"):
        run(program, "--version", cwd=trap, env=BARE)
    profile = copy / "share/infinipipe/profiles/llama-7b-a800.json"
    (work / "lengths.txt").write_text("5000\n300\n800\n")
    run(copy / "bin/infinipipe", "plan", "--lengths", work / "lengths.txt", "--cluster.profile",
        profile, "--parallelism.stages", "4", "--parallelism.sequence_parallel", "8", "--out",
        work / "plan.json", cwd=trap, env=BARE)

    for folder in sorted(f.parent for f in (SOURCE / "examples").glob("*/CMakeLists.txt")):
        if not torch and "COMPONENTS trainer" in (folder / "CMakeLists.txt").read_text():
            continue
        out = work / folder.name
        run("cmake", "-S", folder, "-B", out, f"-DCMAKE_PREFIX_PATH={copy}", *arguments)
        run("cmake", "--build", out)
        print(f"== {folder.name}\n{run(out / folder.name, cwd=out, env=BARE)}", end="")
    for plan in work.glob("*/*.json"):
        if '"infinipipe.plan"' in plan.read_text():
            print(plan.name, run(copy / "bin/infinipipe", "validate", plan, env=BARE), end="")


def self_test():
    bad = [([], False), (["/a/lib", ""], False), (["lib"], False), ([""], True), (["/a/lib"], True),
           (["$ORIGIN/../lib", ""], True)]
    for folders, installed in bad:
        if not faults(folders, installed):
            sys.exit(f"not found: {folders}, installed: {installed}")
    for folders, installed in [(["/a/lib"], False), (["$ORIGIN/../lib"], True)]:
        if found := faults(folders, installed):
            sys.exit(f"found without a reason: {found}")
    hardened = """  Type:                              DYN (Position-Independent Executable file)
  GNU_STACK      0x000000 0x0000000000000000 0x0000000000000000 0x000000 0x000000 RW  0x10
  GNU_RELRO      0x004df0 0x0000000000005df0 0x0000000000005df0 0x000210 0x000210 R   0x1
 0x000000000000001e (FLAGS)              BIND_NOW
 0x000000006ffffffb (FLAGS_1)            Flags: NOW PIE
     2: 0000000000000000     0 FUNC    GLOBAL DEFAULT  UND __stack_chk_fail@GLIBC_2.4 (2)
     3: 0000000000000000     0 FUNC    GLOBAL DEFAULT  UND __memcpy_chk@GLIBC_2.3.4 (3)
"""
    without = [("DYN (Pos", "EXEC (Pos"), ("NOW PIE", "NOW"), ("GNU_RELRO", "LOAD"),
               ("RW  0x10", "RWE 0x10"), ("GNU_STACK", "NOTE"), ("__stack_chk_fail", "strlen"),
               ("__memcpy_chk", "memcpy")]
    for old, new in without:
        if len(found := hardening_faults(hardened.replace(old, new), True)) != 1:
            sys.exit(f"not found once: {new} in place of {old}: {found}")
    late = hardened.replace("BIND_NOW", "").replace("NOW PIE", "PIE")
    if len(hardening_faults(late, True)) != 1 or hardening_faults(hardened, True) or \
            hardening_faults(hardened.replace("__memcpy_chk", "memcpy"), False):
        sys.exit("late binding is not found, or something is without a reason")
    for flag in ("-fstack-protector-strong", "-D_FORTIFY_SOURCE=3", "LINKER:-z,now"):
        if not re.search(HARDENING_FLAG, flag):
            sys.exit(f"not found: {flag}")
    print(f"{len(bad)} bad search paths and {len(without) + 1} lacks of hardening are found")


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        self_test()
    elif len(sys.argv) >= 3:
        main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3:])
    else:
        sys.exit(__doc__)
