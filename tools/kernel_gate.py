#!/usr/bin/env python3
"""What the compiler made of the fused kernels (docs/gpu.md), read from their object files with
cuobjdump: each kernel keeps everything in registers, not too many of them, and moves rows 16 bytes at
a time; and there is code for the GPUs that the build names.

usage: kernel_gate.py BUILD [CUOBJDUMP]
       kernel_gate.py --self-test  shows that each kind of fault is found
"""
import os
import pathlib
import re
import subprocess
import sys

MOST_REGISTERS = 128  # a block of 512 threads then fits a multiprocessor's 65,536
# Kernel -> whether it must read and write 16 bytes at a time. What sums up small numbers need not.
KERNELS = {
    "RmsNorm": (True, True), "RmsNormBackward": (True, True), "RopeSplit": (True, True),
    "RopeMerge": (True, True), "Swiglu": (True, True), "SwigluBackward": (True, True),
    "CrossEntropy": (True, True), "AdamW": (True, True), "Squares": (True, False),
    "ColumnSums": (False, False), "Total": (False, False),
}
CODE, PTX = "sm_90a", "sm_90"


def kernel_of(function):
    """The kernel's struct in a mangled name: that of start<infinipipe::fused::Swiglu<float>> is
    _ZN10infinipipe5fused5startINS0_6SwigluIfEEEEvT_."""
    match = re.search(r"5startINS\w?_(\d+)(\w+)", function)
    return match.group(2)[:int(match.group(1))] if match else None


def faults(resources, assembly, listing):
    """What is wrong with the text of cuobjdump's -res-usage, -sass and -lelf -lptx; and the registers
    of each function."""
    found, registers = [], {}
    for function, usage in re.findall(r"Function (\S+?):\s*\n\s*(\S.*)", resources):
        numbers = dict(re.findall(r"\b([A-Z]+):(\d+)", usage))
        registers[function] = int(numbers["REG"])
        if int(numbers["STACK"]) or int(numbers["LOCAL"]):
            found.append(f"{function}: a stack of {numbers['STACK']} and {numbers['LOCAL']} bytes")
        if registers[function] > MOST_REGISTERS:
            found.append(f"{function}: {registers[function]} registers, more than {MOST_REGISTERS}")
    seen = set()
    for part in re.split(r"\n\s*Function : ", assembly)[1:]:
        function, _, body = part.partition("\n")
        kernel = kernel_of(function)
        if kernel not in KERNELS:
            found.append(f"{function}: a kernel without a row in KERNELS")
            continue
        if function.strip() not in registers:
            found.append(f"{function}: its registers are not known")
        seen.add(kernel)
        if re.search(r"\b(LDL|STL)\b", body):
            found.append(f"{function}: spills to local memory")
        for needed, pattern, what in zip(KERNELS[kernel], (r"\bLDG\.E\S*\.128\b",
                                                           r"\bSTG\.E\S*\.128\b"),
                                         ("reads", "writes")):
            if needed and not re.search(pattern, body):
                found.append(f"{function}: {what} less than 16 bytes at a time")
    found += [f"{kernel}: there is no such kernel" for kernel in sorted(set(KERNELS) - seen)]
    for kind, name in (("ELF", CODE), ("PTX", PTX)):
        if not re.search(rf"{kind} file.*\.{name}\.", listing):
            found.append(f"there is no {kind} for {name}")
    return found, registers


def cuobjdump(program, flags, objects):
    out = ""
    for file in objects:  # it takes one file at a time
        try:
            done = subprocess.run([program, *flags, str(file)], text=True, capture_output=True)
        except OSError as error:
            sys.exit(f"error: kernel gate: {program}: {error.strerror}; tools/setup.sh cuda brings it")
        if done.returncode != 0:
            sys.exit(f"error: kernel gate: {done.stderr.strip()}")
        out += "\n" + done.stdout
    return out


def main(build, program):
    objects = sorted(pathlib.Path(build).glob("CMakeFiles/infinipipe_fused_cuda.dir/**/*.o"))
    # Those of tables and launchers alone hold no kernel.
    objects = [file for file in objects if file.name != "table.cu.o"]
    if not objects:
        sys.exit(f"error: kernel gate: no kernels under {build}; build them with `make cuda`")
    if "/" in program:  # finds nvdisasm beside itself
        os.environ["PATH"] = str(pathlib.Path(program).resolve().parent) + ":" + os.environ["PATH"]
    found, registers = faults(cuobjdump(program, ["-res-usage"], objects),
                              cuobjdump(program, ["-sass"], objects),
                              cuobjdump(program, ["-lelf", "-lptx"], objects))
    for each in found:
        print(each, file=sys.stderr)
    if found:
        sys.exit(f"error: kernel gate: {len(found)} faults")
    print(f"{len(registers)} kernels: no stack, no spills, {min(registers.values())} to "
          f"{max(registers.values())} registers, 16 bytes at a time")


def self_test():
    global KERNELS
    KERNELS = {"Swiglu": (True, True), "Total": (False, False)}
    swiglu = "_ZN10infinipipe5fused5startINS0_6SwigluIfEEEEvT_"
    total = "_ZN10infinipipe5fused5startINS0_5TotalEEEvT_"
    clean = (f"Function {swiglu}:\n  REG:28 STACK:0 SHARED:0 LOCAL:0\n"
             f"Function {total}:\n  REG:30 STACK:0 SHARED:64 LOCAL:0\n",
             f"\n Function : {swiglu}\n LDG.E.128 R1 ; STG.E.128 R1 ;\n"
             f"\n Function : {total}\n LDG.E.64 R1 ; STG.E.64 R1 ;\n",
             "ELF file 1: a.1.sm_90a.cubin\nPTX file 1: a.1.sm_90.ptx\n")
    assert faults(*clean) == ([], {swiglu: 28, total: 30}), faults(*clean)
    cases = [(0, "STACK:0", "STACK:16"), (0, "LOCAL:0", "LOCAL:8"), (0, "REG:28", "REG:129"),
             (0, swiglu, "other"), (1, "LDG.E.128", "LDG.E.64"), (1, "STG.E.128", "STG.E"),
             (1, "LDG.E.64", "LDL"), (1, "STG.E.64", "STL"), (1, total, "5startINS0_4SumsEEEvT_"),
             (2, "sm_90a", "sm_80"), (2, "PTX", "ELF")]
    for place, old, new in cases:
        texts = list(clean)
        texts[place] = texts[place].replace(old, new)
        if not faults(*texts)[0]:
            sys.exit(f"not found: {old} -> {new}")
    print(f"{len(cases)} faults are found, and none in clean kernels")


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        self_test()
    elif len(sys.argv) in (2, 3):
        main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "cuobjdump")
    else:
        sys.exit(__doc__)
